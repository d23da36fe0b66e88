"""Attention among the tokens of one document where several documents share a row, without computing what no document may see.

Training packs documents into rows, so that no token is padding. Attention over whole rows would then compute every product of
two documents and throw it away behind a mask. On a CPU the documents are taken out of their rows instead, attended to with others
of like length, and laid back; one that computes in bfloat16 attends to short documents by plain matrix products, which are
several times faster there than the fused function. On an accelerator products are cheap and many small steps are not: there the
mask it is.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

DOCUMENTS = "fathom_documents"
"""The name of our attention function in transformers' registry."""

SHORT = 640
"""Up to this length plain products beat the fused function on a CPU in bfloat16."""

ALIKE = 0.75
"""Documents of a group are at least this share of its longest: what is computed for nothing stays small."""


class Documents:
    """Where the documents of packed rows stand: a new one begins wherever `positions` (B, T) falls back to 0."""

    def __init__(self, positions: Tensor, *, masked: bool | None = None) -> None:
        """`masked`: attend across whole rows behind a mask; left out: on accelerators."""
        self._seen: Tensor | None = None
        if positions.device.type != "cpu" if masked is None else masked:
            self._seen = seen_by(positions)
            return
        flat = positions.cpu().numpy().reshape(-1)
        starts = np.flatnonzero(flat == 0)
        lengths = np.diff(starts, append=len(flat))
        order = np.argsort(-lengths, kind="stable")
        self._groups: list[Tensor] = []
        """Each (documents, longest) places in the flattened rows; past a document's end its first place is repeated."""
        back = np.empty(len(flat), dtype=np.int64)
        first = done = 0
        while first < len(order):
            longest = int(lengths[order[first]])
            last = first + int(np.searchsorted(-lengths[order[first:]], -ALIKE * longest, side="right"))
            group = order[first:last]
            inside = np.arange(longest) < lengths[group, None]
            places = starts[group, None] + np.where(inside, np.arange(longest), 0)
            back[places[inside]] = done + np.flatnonzero(inside)
            self._groups.append(torch.from_numpy(places).to(positions.device))
            first, done = last, done + places.size
        self._back = torch.from_numpy(back).to(positions.device)
        """Where each place of the rows is found among the groups laid end to end."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """(B, T, heads, width): causal attention within each document. query (B, heads, T, width); key and value with their own heads."""
        if self._seen is not None:
            shared = query.shape[1] // key.shape[1]
            key, value = (states.repeat_interleave(shared, dim=1) for states in (key, value))
            masked: Tensor = functional.scaled_dot_product_attention(query, key, value, self._seen, scale=scale)
            return masked.transpose(1, 2)
        rows, heads, length, width = query.shape
        query, key, value = (states.transpose(1, 2).flatten(0, 1) for states in (query, key, value))
        parts = []
        for places in self._groups:
            asking, offered, held = (states[places].transpose(1, 2) for states in (query, key, value))
            parts.append(causal(asking, offered, held, scale).transpose(1, 2).flatten(0, 1))
        return torch.cat(parts)[self._back].view(rows, length, heads, width)


def seen_by(positions: Tensor) -> Tensor:
    """(B, 1, T, T) whether a token (dimension 2) may look at another (3): one of the same document, not after it."""
    document = (positions == 0).cumsum(dim=1)
    together = document[:, :, None] == document[:, None]
    return together.tril()[:, None]


def causal(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """(n, heads, T, width): plain causal attention; key and value may have fewer heads, each shared by neighbouring query heads."""
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or query.shape[2] > SHORT:
        mixed: Tensor = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=True)
        return mixed
    count, heads, length, width = query.shape
    groups = key.shape[1]
    future = torch.full((length, length), -torch.inf, dtype=query.dtype).triu(1).repeat(heads // groups, 1)
    asked = query.reshape(count * groups, heads // groups * length, width)
    scores = torch.baddbmm(future, asked, key.flatten(0, 1).transpose(1, 2), alpha=width**-0.5 if scale is None else scale)
    return torch.bmm(scores.softmax(dim=-1), value.flatten(0, 1)).view(count, heads, length, width)


def _documents_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    documents: Documents,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The signature that transformers asks of an attention function; what it hands over besides concerns other functions."""
    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value.dtype
    with torch.autocast(kind, enabled=False):
        return documents.attend(query.to(dtype), key.to(dtype), value.to(dtype), scaling).to(value.dtype), None


AttentionInterface.register(DOCUMENTS, _documents_attention)
