"""One forward pass over new tokens of many rows, behind a key-value cache in which every row has its own length.

Any transformers decoder takes part: its own modules run unchanged on the new tokens of all rows laid end to end (no padding),
and only its attention function is replaced, through transformers' `AttentionInterface`, by one that writes keys and values
into each row's own places and attends there. The rows of one pass stand in neighbouring slots, so the cache is read in place.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from fathom.errors import ModelError
from fathom.language.choices import Choices
from fathom.language.documents import DOCUMENTS, Documents
from fathom.records import Ints

ATTENTION = "fathom_rows"
"""The name of our attention function in transformers' registry."""

PLAIN_HEADS = frozenset({"qwen3", "qwen2", "llama", "mistral", "smollm3", "olmo2"})
"""Architectures whose logits are the output matrix times the last hidden state, with full causal attention and nothing scaled or capped."""

GROWTH = 128
"""The cache grows by so many places at a time."""


class KeyValues:
    """Keys and values of all layers: `keys[layer]` is (slots, key-value heads, places, head width)."""

    def __init__(self, model: PreTrainedModel, slots: int, *, dtype: torch.dtype, device: torch.device) -> None:
        config = model.config
        heads = config.num_key_value_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        # Zeros, not `empty`: places behind the mask are still multiplied by 0, and 0 times NaN is NaN.
        self.keys = [torch.zeros(slots, heads, 0, width, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]
        self.values = [layer.clone() for layer in self.keys]

    @property
    def places(self) -> int:
        """How many tokens a slot can hold at present."""
        return self.keys[0].shape[2]

    def reserve(self, places: int) -> None:
        """Make room for `places` tokens in every slot."""
        if places <= self.places:
            return
        more = -(-places // GROWTH) * GROWTH - self.places
        self.keys = [functional.pad(layer, (0, 0, 0, more)) for layer in self.keys]
        self.values = [functional.pad(layer, (0, 0, 0, more)) for layer in self.values]

    def copy(self, sources: Sequence[int], targets: Sequence[int], *, places: int) -> None:
        """Slot `targets[i]` becomes slot `sources[i]`, up to `places` tokens; a slot may be source and target."""
        for layer in (*self.keys, *self.values):
            layer[list(targets), :, :places] = layer[list(sources), :, :places]


@dataclass(frozen=True, slots=True)
class Step:
    """Where the N new tokens of one pass stand. The pass covers the slots `first` .. `first + rows - 1`."""

    cache: KeyValues
    first: int
    rows: int
    row: Tensor
    """(N,) the row of each token, counted from `first`, ascending."""
    column: Tensor
    """(N,) which of its row's new tokens it is."""
    place: Tensor
    """(N,) where its key and value are written."""
    mask: Tensor
    """(rows, columns, places) True where a new token may look."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """(1, N, heads, width): attention of query (1, heads, N, width) over the slots, new keys and values included."""
        layer = module.layer_idx
        assert isinstance(layer, int)
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        slot = self.row + self.first
        keys[slot, :, self.place] = key[0].transpose(0, 1).to(keys.dtype)
        values[slot, :, self.place] = value[0].transpose(0, 1).to(values.dtype)
        rows, columns, places = self.mask.shape
        groups, width = keys.shape[1], keys.shape[3]
        siblings = query.shape[1] // groups  # query heads that share one key head are handed in as further queries: no key is copied
        flat = query[0].transpose(0, 1).to(keys.dtype)  # (N, heads, width)
        dense = columns == 1 and len(flat) == rows  # every row has one new token, in the order of the rows
        if dense:
            queries = flat.reshape(rows, groups, siblings, width)
        else:
            padded = flat.new_zeros(rows, columns, groups * siblings, width)
            padded[self.row, self.column] = flat
            queries = (
                padded.view(rows, columns, groups, siblings, width).permute(0, 2, 3, 1, 4).reshape(rows, groups, siblings * columns, width)
            )
        slots = slice(self.first, self.first + rows)
        seen = self.mask[:, None, None].expand(rows, 1, siblings, columns, places).reshape(rows, 1, siblings * columns, places)
        out = functional.scaled_dot_product_attention(queries, keys[slots, :, :places], values[slots, :, :places], seen, scale=scaling)
        if dense:
            return out.reshape(1, rows, groups * siblings, width)
        spread = out.view(rows, groups, siblings, columns, width).permute(0, 3, 1, 2, 4).reshape(rows, columns, groups * siblings, width)
        return spread[self.row, self.column][None]


def _rows_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    step: Step,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The signature that transformers asks of an attention function; what it hands over besides concerns other functions."""
    if sliding_window is not None:
        raise ModelError(
            "the model attends through a sliding window, which the rollout engine does not know: use a model with full attention"
        )
    return step.attend(module, query, key, value, scaling).to(query.dtype), None


AttentionInterface.register(ATTENTION, _rows_attention)


class Decoder:
    """A transformers decoder taken apart: hidden states of new tokens, and the logits of chosen ones."""

    def __init__(self, model: PreTrainedModel, *, precision: str, device: torch.device) -> None:
        kind = model.config.model_type
        if kind not in PLAIN_HEADS:
            raise ModelError(f"models of type '{kind}' are not supported; known are " + ", ".join(sorted(PLAIN_HEADS)))
        self.model = model
        self.device = device
        self.precision = precision
        self.temperature = 1.0
        """Logits are divided by it, wherever tokens are drawn or judged: so what is sampled is what is learned from."""

    @property
    def cache_dtype(self) -> torch.dtype:
        """The element type of keys and values."""
        return torch.bfloat16 if self.precision == "bfloat16" else self.model.dtype

    def cache(self, slots: int) -> KeyValues:
        """An empty cache of `slots` slots."""
        return KeyValues(self.model, slots, dtype=self.cache_dtype, device=self.device)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within: no gradients, no dropout, this decoder's precision, our attention; afterwards the model is as it was."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.autocast(), self._attending(ATTENTION):
                yield
        finally:
            self.model.train(training)

    @contextmanager
    def heated(self, temperature: float) -> Iterator[None]:
        """Within, the model is another policy: that of its logits divided by `temperature`."""
        usual = self.temperature
        self.temperature = temperature
        try:
            yield
        finally:
            self.temperature = usual

    @contextmanager
    def _attending(self, name: str) -> Iterator[None]:
        """Within, the model's layers attend by the registered function `name`."""
        config = self.model.config
        usual = config._attn_implementation
        config._attn_implementation = name
        try:
            yield
        finally:
            config._attn_implementation = usual

    def autocast(self) -> torch.autocast:
        """The one precision in which tokens are sampled and judged."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def forward(self, tokens: Tensor, positions: Tensor, step: Step) -> Tensor:
        """(N, width) last hidden states of `tokens` (N,) at `positions` (N,) of their rows."""
        hidden: Tensor = self.model.get_decoder()(
            input_ids=tokens[None], position_ids=positions[None], use_cache=False, step=step
        ).last_hidden_state
        return hidden[0]

    def read(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(B, T, width) last hidden states of packed rows `tokens` (B, T), with gradients where they are on.

        `positions` (B, T) say where documents and their branches begin (`documents`); no document sees another.
        """
        with self._attending(DOCUMENTS):
            states: Tensor = self.model.get_decoder()(
                input_ids=tokens, position_ids=positions, use_cache=False, documents=Documents(positions)
            ).last_hidden_state
        return states

    @property
    def output(self) -> Tensor:
        """(vocabulary, width) the output matrix: with `PLAIN_HEADS`, logits are its product with the last hidden state."""
        head = self.model.get_output_embeddings()
        assert isinstance(head, nn.Linear)
        return head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, vocabulary) in float32, divided by the temperature."""
        head = self.model.get_output_embeddings()
        assert isinstance(head, nn.Module)
        logits: Tensor = head(hidden)
        return logits.float() if self.temperature == 1 else logits.float() / self.temperature

    def token_logprobs(self, hidden: Tensor, targets: Tensor, choices: Choices | None = None) -> Tensor:
        """(N,) float32 log-probability of token `targets[i]` after hidden state i, with gradients where they are on."""
        logits = self.logits(hidden)
        return -functional.cross_entropy(logits if choices is None else choices.among(logits), targets, reduction="none")

    def token_logprobs_and_entropies(self, hidden: Tensor, targets: Tensor, choices: Choices | None = None) -> tuple[Tensor, Tensor]:
        """(N,) float32 each: `token_logprobs`, and the entropy of what could have stood there, without gradients."""
        logits = self.logits(hidden)
        logprobs = (logits if choices is None else choices.among(logits)).log_softmax(dim=-1)
        entropies = torch.special.entr(logprobs.detach().exp()).sum(dim=-1)
        return logprobs.gather(1, targets[:, None]).squeeze(1), entropies

    def pair_logprobs(self, hidden: Tensor, rows: Ints, targets: Ints, *, chunk: int = 1024) -> npt.NDArray[np.float64]:
        """(P,) log-probability of token `targets[p]` after hidden state `rows[p]`; a state's logits exist once, `chunk` at a time."""
        order = np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], np.arange(0, len(hidden) + chunk, chunk))
        values = np.empty(len(rows))
        for piece, (low, high) in enumerate(pairwise(cuts.tolist())):
            if low == high:
                continue
            logits = self.logits(hidden[piece * chunk : (piece + 1) * chunk])
            pairs = order[low:high]
            at = torch.from_numpy(rows[pairs] - piece * chunk).to(logits.device)
            chosen = logits[at, torch.from_numpy(targets[pairs]).to(logits.device)]
            values[pairs] = (chosen.double() - logits.logsumexp(dim=-1).double()[at]).cpu().numpy()
        return values
