"""A language model with weights of our own: it talks, judges tokens, is saved and loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fathom.errors import MissingExtraError, ModelError
from fathom.files import folder_written_aside, read_json, write_json
from fathom.language.choices import Choices
from fathom.language.decoder import Decoder
from fathom.language.documents import followed
from fathom.language.engine import LocalConversation
from fathom.language.tokenizer import TokenTable

try:
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
    from transformers.utils import logging
    from transformers.utils.logging import disable_progress_bar
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "transformers", "llm") from error

Precision = Literal["float32", "bfloat16"]
Answer = TypeVar("Answer")

CONVERSATIONS, CONVERSATIONS_ON_ACCELERATORS = 64, 512
"""How many conversations a policy holds side by side."""

POLICY_FILE = "policy.json"

disable_progress_bar()  # bars for reading and writing weights would break up ours, which say more


class LocalPolicy:
    """Keeps the `Policy` seam with a transformers causal model; what it samples with is what it is trained with.

    `precision` holds for sampling and for `logprobs` alike: 'float32' computes as the weights are, 'bfloat16' under autocast.
    Logits are taken to float32 before the softmax in either case.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self.model = model
        nn.Module.to(model, torch.device(device))  # in place
        self.tokenizer = tokenizer
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.table = TokenTable(tokenizer)
        # LoRA layers live inside the bare model, so everything that computes talks to that one.
        self.decoder = Decoder(_bare(model), precision=precision, device=self.device)
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-text token: set `eos_token` before making a policy of it")
        known = self.decoder.model.config.vocab_size
        if len(self.table.bytes_of) > known:
            raise ModelError(
                f"the tokenizer has {len(self.table.bytes_of)} tokens but the model knows {known}: they do not belong together"
            )

    @property
    def at_once(self) -> int:
        """How many conversations it holds side by side with profit: a step of an accelerator takes about as long for one as for many."""
        return CONVERSATIONS if self.device.type == "cpu" else CONVERSATIONS_ON_ACCELERATORS

    @property
    def ends(self) -> frozenset[int]:
        """The ids with which the model ends its text."""
        configured = self.model.generation_config.eos_token_id if self.model.generation_config else None
        more = configured if isinstance(configured, list) else [configured] if isinstance(configured, int) else []
        return frozenset([self.tokenizer.eos_token_id, *more])

    @property
    def context(self) -> int:
        """How many tokens a row may have at most."""
        return int(self.decoder.model.config.max_position_embeddings)

    @property
    def vocabulary(self) -> int:
        """Over how many tokens the model has logits."""
        return len(self.decoder.output)

    @property
    def embeddings(self) -> Tensor:
        """(vocabulary, width) one row a token."""
        layer = self.decoder.model.get_input_embeddings()
        assert isinstance(layer, nn.Embedding)
        return layer.weight

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, no special tokens added or read out of it."""
        return self.table.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, nothing skipped or cleaned up."""
        return self.table.decode(tokens)

    def converse(self, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int]) -> LocalConversation:
        """One conversation per prompt; temperature 0 is greedy. Row i depends on `seeds[i]`, not on its batch mates."""
        return LocalConversation(
            self.decoder,
            self.table,
            self.table.encode_many(prompts),
            temperature=temperature,
            seeds=seeds,
            ends=self.ends,
            context=self.context,
        )

    def logprobs(self, tokens: Tensor, mask: Tensor, choices: Choices | None = None, positions: Tensor | None = None) -> Tensor:
        """(B, T) float32: log p(tokens[b, t] | tokens[b, :t]) where `mask` (B, T) is True, elsewhere 0; with gradients.

        Where `choices` say so, p is the probability among the tokens that were allowed; where `positions` (B, T) do, a row has
        branches (`documents`), and p is that of a token behind what its branch sees.

        Rows shorter than T are padded on the right with any id: attention is causal, so padding reaches nothing before it.
        The first token of a row has nothing before it and cannot be asked for.
        """
        if bool(mask[:, 0].any()):
            raise ModelError("the mask asks for the log-probability of a row's first token, which follows nothing: set mask[:, 0] to False")
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        with self.decoder.autocast():
            values = self.chunked_logprobs(self._before(tokens, mask, positions), tokens[mask], choices)
        return torch.zeros(tokens.shape, device=self.device).masked_scatter(mask, values)

    def logprobs_and_entropies(
        self, tokens: Tensor, positions: Tensor, mask: Tensor, choices: Choices | None = None
    ) -> tuple[Tensor, Tensor]:
        """(N,) float32 each, for the N places of `mask` (B, T) in order: the token's log-probability, with gradients, and the entropy.

        The rows `tokens` are packed as for `hidden`; the first token of a document cannot be asked for. Where `choices` say so,
        both are those of the tokens that were allowed.
        """
        if bool((mask & (positions == 0)).any()):
            raise ModelError("the mask asks for the log-probability of a document's first token, which follows nothing")
        with self.decoder.autocast():
            hidden = self._before(tokens, mask, positions)
            if not len(hidden):
                return hidden.sum(dim=-1).float(), hidden.sum(dim=-1).float()
            pieces = self._in_chunks(self.decoder.token_logprobs_and_entropies, hidden, tokens[mask], choices)
        logprobs, entropies = zip(*pieces, strict=True)
        return torch.cat(logprobs), torch.cat(entropies)

    def hidden(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T, width) last hidden states of right-padded `tokens` (B, T).

        `positions` (B, T) say where documents and their branches begin (`documents`); None: every row is one document.
        """
        return self.decoder.read(tokens.to(self.device), _or_plain(positions, tokens).to(self.device))

    def _before(self, tokens: Tensor, mask: Tensor, positions: Tensor | None) -> Tensor:
        """(N, width) the states behind which the N tokens of `mask` stand."""
        positions = _or_plain(positions, tokens).to(self.device)
        hidden = self.hidden(tokens, positions)
        row, _ = mask.nonzero(as_tuple=True)
        return hidden[row, followed(positions)[mask]]

    def chunked_logprobs(self, hidden: Tensor, targets: Tensor, choices: Choices | None = None, *, chunk: int = 2048) -> Tensor:
        """(N,) float32 log-probability of `targets` (N,) after `hidden` (N, width), with gradients; the logits of `chunk` at a time."""
        if not len(targets):
            return hidden.sum(dim=-1).float()
        return torch.cat(self._in_chunks(self.decoder.token_logprobs, hidden, targets, choices, chunk=chunk))

    def _in_chunks(
        self,
        ask: Callable[[Tensor, Tensor, Choices | None], Answer],
        hidden: Tensor,
        targets: Tensor,
        choices: Choices | None,
        *,
        chunk: int = 2048,
    ) -> list[Answer]:
        """What `ask` says of each chunk. Logits are computed again on the way back: for a small model they would fill the memory."""
        answers = []
        for start in range(0, len(hidden), chunk):
            given = hidden[start : start + chunk], targets[start : start + chunk], choices and choices.part(start, start + chunk)
            answers.append(checkpoint(ask, *given, use_reentrant=False) if torch.is_grad_enabled() else ask(*given))
        return answers

    def save(self, folder: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer, whole or not at all."""
        with folder_written_aside(folder) as aside, _quietly():
            self.model.save_pretrained(aside)
            self.tokenizer.save_pretrained(aside)
            write_json(aside / POLICY_FILE, {"precision": self.precision})

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        device: str | torch.device = "cpu",
        precision: Precision | None = None,
        lora: int | None = None,
    ) -> LocalPolicy:
        """The policy saved in the folder `name`, or the hub model of that name; `lora` adds fresh adapters of that rank.

        `precision` None takes what was saved, 'float32' where nothing was.
        """
        folder = Path(name)
        if not folder.is_dir() and (isinstance(name, Path) or name.startswith((".", "/", "~"))):
            raise ModelError(f"{name}: there is no such folder")
        saved = read_json(folder / POLICY_FILE) if (folder / POLICY_FILE).is_file() else {}
        known = saved.get("precision") if isinstance(saved, dict) else None
        adapted = (folder / "adapter_config.json").is_file()
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            with _quietly():
                model = _load_adapted(folder) if adapted else AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise ModelError(f"'{name}' is neither a saved model nor one the hub gives here: {str(error).splitlines()[0]}") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelError(f"'{name}' has a tokenizer without a fast version, which the token table needs")
        if lora is not None:
            model = _with_lora(model, lora)
        return cls(model, tokenizer, device=device, precision=precision or ("bfloat16" if known == "bfloat16" else "float32"))


def _or_plain(positions: Tensor | None, tokens: Tensor) -> Tensor:
    """(B, T) `positions`, or where there are none those of rows that are one document each."""
    return torch.arange(tokens.shape[1]).expand_as(tokens) if positions is None else positions


@contextmanager
def _quietly() -> Iterator[None]:
    """Within, transformers shows no progress bars: a model of our own is read and written in a moment."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _bare(model: PreTrainedModel) -> PreTrainedModel:
    """The transformers model inside a peft wrapper, or `model` itself."""
    if isinstance(model, PreTrainedModel):
        return model
    inner: PreTrainedModel = model.get_base_model()
    return inner


def _with_lora(model: PreTrainedModel, rank: int) -> PreTrainedModel:
    """`model` with fresh low-rank adapters of `rank` on every linear layer (Hu et al. 2021); only they are trained."""
    try:
        from peft import LoraConfig, get_peft_model
    except ModuleNotFoundError as error:
        raise MissingExtraError("peft", "llm") from error
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # peft asks by the old name
        return cast(PreTrainedModel, get_peft_model(model, settings))  # a wrapper that answers like the model


def _load_adapted(folder: Path) -> PreTrainedModel:
    """A base model with the adapters saved in `folder`, ready to be trained further."""
    try:
        from peft import AutoPeftModelForCausalLM
    except ModuleNotFoundError as error:
        raise MissingExtraError("peft", "llm") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return cast(PreTrainedModel, AutoPeftModelForCausalLM.from_pretrained(folder, is_trainable=True))
