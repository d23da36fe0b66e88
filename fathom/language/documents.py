"""Attention among the tokens of one document where several documents share a row, without computing what no document may see.

Training packs documents into rows, so that no token is padding. Attention over whole rows would then compute every product of
two documents and throw it away behind a mask. On a CPU the documents are taken out of their rows instead, attended to with others
of like length, and laid back; one that computes in bfloat16 attends to short documents by plain matrix products, which are
several times faster there than the fused function. On an accelerator products are cheap and many small steps are not: there the
mask it is.

`positions` (B, T) say everything. Where they fall back to 0 a new document begins. Where they fall back to another number f, a
branch of the document begins: its tokens see the document's first f tokens and their own branch, as if nothing stood in between.
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
    """Where the documents of packed rows and their branches stand, by `positions` (B, T)."""

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
        forks, begins, firsts = (part.reshape(-1).numpy() for part in _runs(positions.cpu()))
        self._groups: list[tuple[Tensor, Tensor | None]] = []
        """Each (documents, longest) places in the flattened rows; past a document's end its first place is repeated. And what may be
        seen where some document has branches, (documents, 1, longest, longest)."""
        back = np.empty(len(flat), dtype=np.int64)
        first = done = 0
        while first < len(order):
            longest = int(lengths[order[first]])
            last = first + int(np.searchsorted(-lengths[order[first:]], -ALIKE * longest, side="right"))
            group = order[first:last]
            inside = np.arange(longest) < lengths[group, None]
            places = starts[group, None] + np.where(inside, np.arange(longest), 0)
            back[places[inside]] = done + np.flatnonzero(inside)
            seen = None
            if forks[places[inside]].any():
                column = np.arange(longest)
                fork, begin = (np.where(inside, values[places], 0)[:, :, None] for values in (forks, begins - firsts))
                seen = torch.from_numpy((column <= column[:, None]) & ((column < fork) | (column >= begin)))[:, None]
            self._groups.append((torch.from_numpy(places), seen))
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
        for places, seen in self._groups:
            asking, offered, held = (states[places].transpose(1, 2) for states in (query, key, value))
            parts.append(causal(asking, offered, held, scale, seen).transpose(1, 2).flatten(0, 1))
        return torch.cat(parts)[self._back].view(rows, length, heads, width)


def _runs(positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T) each: the position at which the token's document or branch begins, the place in the row where it does, and the place where
    its document does."""
    place = torch.arange(positions.shape[1], device=positions.device).expand_as(positions)
    begun = functional.pad(positions[:, 1:] != positions[:, :-1] + 1, (1, 0), value=True)
    begin = torch.where(begun, place, 0).cummax(dim=1).values
    return positions.gather(1, begin), begin, torch.where(positions == 0, place, 0).cummax(dim=1).values


def followed(positions: Tensor) -> Tensor:
    """(B, T) the place in its row of the token that each token follows; -1 where a document begins.

    >>> followed(torch.tensor([[0, 1, 2, 3, 2, 3, 0, 1]])).tolist()
    [[-1, 0, 1, 2, 1, 4, -1, 6]]
    """
    place = torch.arange(positions.shape[1], device=positions.device).expand_as(positions)
    _, begin, first = _runs(positions)
    return torch.where(positions == 0, -1, torch.where(place == begin, first + positions, place) - 1)


def seen_by(positions: Tensor) -> Tensor:
    """(B, 1, T, T) whether a token (dimension 2) may look at another (3): not after it, of its document, and of its branch or before it."""
    fork, begin, first = _runs(positions)
    place = torch.arange(positions.shape[1], device=positions.device)
    before = (place - first)[:, None] < fork[:, :, None]
    own = place >= begin[:, :, None]
    return ((first[:, :, None] == first[:, None]) & (before | own)).tril()[:, None]


def causal(query: Tensor, key: Tensor, value: Tensor, scale: float | None, seen: Tensor | None = None) -> Tensor:
    """(n, heads, T, width): causal attention; key and value may have fewer heads, each shared by neighbouring query heads.

    `seen` (n, 1, T, T): what may be looked at, where that is not everything before.
    """
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or query.shape[2] > SHORT:
        mixed: Tensor = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, is_causal=seen is None, scale=scale, enable_gqa=True
        )
        return mixed
    count, heads, length, width = query.shape
    groups = key.shape[1]
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1) if seen is None else ~seen
    unseen = torch.zeros(hidden.shape, dtype=query.dtype).masked_fill(hidden, -torch.inf)
    unseen = unseen.repeat(heads // groups, 1) if seen is None else unseen.repeat(1, groups, heads // groups, 1).flatten(0, 1)
    asked = query.reshape(count * groups, heads // groups * length, width)
    scores = torch.baddbmm(unseen, asked, key.flatten(0, 1).transpose(1, 2), alpha=width**-0.5 if scale is None else scale)
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
