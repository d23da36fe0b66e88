"""T5 whose encoder also reads which word a token belongs to (P5, arXiv:2203.13366, section 3.2), in training and in use alike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.errors import ConfigError, MissingExtraError, ModelError
from fathom.p5.lexicon import NUMBERED, Encoded, Lexicon
from fathom.settings import Settings

try:
    from transformers import T5Config, T5ForConditionalGeneration
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "transformers", "llm") from error

IGNORED = -100
"""A target that is not asked for."""

SHAPES: dict[str, tuple[int, int, int, int]] = {"tiny": (64, 2, 4, 256), "small": (512, 6, 8, 2048), "base": (768, 12, 12, 3072)}
"""Name -> width, layers of the encoder and of the decoder, heads, width inside; small and base as in T5 (arXiv:1910.10683)."""


SPREAD = 0.2
"""Standard deviation of new vectors where the settings name none."""


class NetworkSettings(Settings):
    """Which text-to-text network it is."""

    model: str = "tiny"
    """'tiny', 'small' or 'base' from random weights with a tokenizer learned here, or a folder or hub name of a T5 with its tokenizer."""
    width: int = Field(default=0, ge=0)
    """Of a model from random weights: another width than its name says; 0: that."""
    layers: int = Field(default=0, ge=0)
    """Of a model from random weights: other depths of encoder and decoder; 0: as its name says."""
    vocabulary: int = Field(default=2000, ge=200)
    """Tokens that its tokenizer may learn, beside those of ids."""
    spread: float = Field(default=0.0, ge=0)
    """Of a model from random weights: standard deviation of its new token and whole-word vectors; 0: .2. T5's own, 1, is made for an
    optimiser whose steps grow with what they move (Adafactor); AdamW's and Muon's do not, and items stay as drawn for a whole epoch. The
    more items and events, the smaller: .05 for MovieLens-1M, where .2 suits a log of some hundred lines (docs/lab-notes.md)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """In all of its layers."""
    lora: int = Field(default=0, ge=0)
    """Rank of LoRA adapters for a model of one's own, whose token vectors are learned all the same; 0 trains all its weights."""


class Padded(NamedTuple):
    """Texts as the encoder reads them, padded on the right."""

    tokens: Tensor
    """(B, S)"""
    words: Tensor
    """(B, S) whole-word numbers; 0 at the end token and the padding."""
    mask: Tensor
    """(B, S) bool, true where a text is."""

    def to(self, device: torch.device) -> "Padded":
        """The same on another device."""
        return Padded(*(part.to(device) for part in self))


def padded(texts: Sequence[Encoded], lexicon: Lexicon, *, longest: int) -> Padded:
    """The texts with their ends; of one of more than `longest` tokens the middle goes, so that question and latest events stay."""
    rows = [_shortened(text, longest - 1) for text in texts]
    width = max(len(row.tokens) for row in rows) + 1
    tokens = torch.full((len(rows), width), lexicon.pad, dtype=torch.int64)
    words = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, row in enumerate(rows):
        size = len(row.tokens)
        tokens[place, :size] = torch.tensor(row.tokens, dtype=torch.int64)
        words[place, :size] = torch.tensor(row.words, dtype=torch.int64)
        tokens[place, size] = lexicon.end
        mask[place, : size + 1] = True
    return Padded(tokens, words, mask)


def refuse_cut(text: Encoded, longest: int) -> None:
    """A `ConfigError` where the question, which must be read whole, has more than `longest` tokens."""
    if (size := len(text.tokens) + 1) > longest:
        told = f"a question with its candidates has {size} tokens, and longest is {longest}, so its answer may be in the part that goes"
        raise ConfigError(f"{told}: write longest: {size}, or fewer candidates")


def _shortened(text: Encoded, most: int) -> Encoded:
    if len(text.tokens) <= most:
        return text
    head = most // 4
    tail = most - head
    return Encoded(text.tokens[:head] + text.tokens[-tail:], text.words[:head] + text.words[-tail:])


class TextToText(nn.Module):
    """A T5 and its whole-word vectors."""

    def __init__(self, t5: Any, *, spread: float) -> None:
        """`spread`: standard deviation of the whole-word vectors; 0 leaves what a pretrained T5 says as it is."""
        super().__init__()
        self.t5 = t5
        self.whole = nn.Embedding(NUMBERED, t5.config.d_model)
        nn.init.normal_(self.whole.weight, std=spread)

    @property
    def config(self) -> dict[str, Any]:
        """All that must be known to build it again, beside its adapters."""
        told: dict[str, Any] = self.t5.config.to_diff_dict()
        plain = {name: value for name, value in told.items() if isinstance(value, str | int | float | bool)}
        return {name: value for name, value in plain.items() if name != "transformers_version"}

    @property
    def start(self) -> int:
        """The token before every answer."""
        start: int = self.t5.config.decoder_start_token_id
        return start

    def read(self, source: Padded) -> Tensor:
        """(B, S, d) what the encoder makes of `source`; padding changes nothing."""
        vectors = self.t5.get_input_embeddings()(source.tokens) + self.whole(source.words)
        hidden: Tensor = self.t5.get_encoder()(inputs_embeds=vectors, attention_mask=source.mask).last_hidden_state
        return hidden

    def logits(self, source: Padded, inputs: Tensor) -> Tensor:
        """(B, T, V) of what follows each of `inputs` (B, T), which begin with `start`."""
        return self.say(self._states(source, inputs))

    def _states(self, source: Padded, inputs: Tensor) -> Tensor:
        """(B, T, d) behind each of `inputs`."""
        decoder = self.t5.get_decoder()
        out = decoder(input_ids=inputs, encoder_hidden_states=self.read(source), encoder_attention_mask=source.mask, use_cache=False)
        hidden: Tensor = out.last_hidden_state
        return hidden

    def say(self, hidden: Tensor) -> Tensor:
        """(..., V) logits of states (..., d)."""
        if self.t5.config.scale_decoder_outputs:
            hidden = hidden * self.t5.config.d_model**-0.5
        logits: Tensor = self.t5.get_output_embeddings()(hidden)
        return logits

    def losses(self, source: Padded, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) negative log-probabilities of `targets` (B, T), 0 where one is `IGNORED`; and (B,) how many are asked for."""
        asked = targets != IGNORED
        shown = torch.where(asked, targets, self.t5.config.pad_token_id)
        inputs = torch.cat([torch.full_like(shown[:, :1], self.start), shown[:, :-1]], dim=1)
        hidden = self._states(source, inputs)
        found = torch.zeros(targets.shape, dtype=torch.float32, device=targets.device)
        logits = self.say(hidden[asked]).float()
        found[asked] = nn.functional.cross_entropy(logits, targets[asked], reduction="none")
        return found, asked.sum(dim=1)


def build(settings: NetworkSettings, lexicon: Lexicon) -> TextToText:
    """The network that the settings name for this lexicon; drawn from torch's generator where it is new."""
    if settings.model in SHAPES:
        t5 = T5ForConditionalGeneration(_config(settings, lexicon))
        spread = settings.spread or SPREAD
        nn.init.normal_(t5.get_input_embeddings().weight, std=spread)
        return TextToText(t5, spread=spread)
    if settings.width or settings.layers or settings.spread:
        told = f"and '{settings.model}' is a model of one's own: leave them out"
        raise ConfigError(f"width, layers and spread shape models from random weights, {told}")
    try:
        t5 = T5ForConditionalGeneration.from_pretrained(settings.model, dropout_rate=settings.dropout)
    except (OSError, ValueError) as error:
        names = ", ".join(SHAPES)
        raise ModelError(f"{settings.model}: no T5 can be read from it ({error}); write one of {names}, a folder or a hub name") from error
    if lexicon.size > t5.get_input_embeddings().num_embeddings:
        t5.resize_token_embeddings(lexicon.size, mean_resizing=False)
    return TextToText(with_adapters(t5, settings.lora), spread=0.0)


def rebuilt(config: Mapping[str, Any], lora: int) -> TextToText:
    """A network of this configuration (`TextToText.config`), whose weights are still to be put in."""
    return TextToText(with_adapters(T5ForConditionalGeneration(T5Config(**config)), lora), spread=0.0)


def with_adapters(t5: Any, rank: int) -> Any:
    """The same T5 with LoRA adapters of this rank in its attention, where only they and the token vectors are learned; as it is for 0."""
    if not rank:
        return t5
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise MissingExtraError("peft", "llm") from error
    adapted: Any = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q", "v"]), t5)
    adapted.get_input_embeddings().requires_grad_(True)  # the ids' tokens have nothing to begin from
    return adapted


def _config(settings: NetworkSettings, lexicon: Lexicon) -> T5Config:
    """The shape that the settings name."""
    width, layers, heads, inside = SHAPES[settings.model]
    wide = settings.width or width
    if wide % heads:
        raise ConfigError(f"width is {wide}: a {settings.model} model has {heads} heads, so write a multiple of {heads}")
    if settings.lora:
        raise ConfigError(f"lora is {settings.lora}: adapters are for a model of one's own, and '{settings.model}' begins from nothing")
    told: dict[str, Any] = {
        "vocab_size": lexicon.size,
        "d_model": wide,
        "d_kv": wide // heads,
        "d_ff": inside * wide // width,
        "num_layers": settings.layers or layers,
        "num_decoder_layers": settings.layers or layers,
        "num_heads": heads,
        "dropout_rate": settings.dropout,
        "pad_token_id": lexicon.pad,
        "eos_token_id": lexicon.end,
        "decoder_start_token_id": lexicon.pad,
        "scale_decoder_outputs": False,  # T5 scales by 1/sqrt(d) for vectors of deviation 1; small ones tell answers apart unscaled
    }
    return T5Config(**told)
