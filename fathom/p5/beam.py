"""The best items of a catalogue by the likelihood of their ids: a beam over the trie of the ids that there are, and no other.

Nothing illegal can be written, no id twice, and none that is forbidden. A beginning never has less log-probability than what begins so;
so it is known of every row whether anything that the beam let go could have been among the best.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fathom.language.trie import FIRST, TitleTrie
from fathom.p5.decoding import SideBySide
from fathom.p5.network import TextToText
from fathom.records import PAD, Ints, Ranking

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Found:
    """The answers of a batch."""

    ranking: Ranking
    """(B, k) items by the log-probability of their ids, ties to the smaller id."""
    exact: npt.NDArray[np.bool_]
    """(B,) whether no item outside the list can be better than one in it."""


class ConstrainedBeam:
    """Writes ids of a trie, several beginnings of each row side by side."""

    def __init__(self, network: TextToText, trie: TitleTrie) -> None:
        self._network = network
        self._trie = trie
        self._below = np.asarray(trie.below)
        n_items = len(trie.ends) - 1
        paths = [list(trie.path(item)) for item in range(1, n_items + 1)]
        self._paths: Ints = np.full((n_items + 1, max(map(len, paths))), -1, dtype=np.int64)
        for item, path in enumerate(paths, start=1):
            self._paths[item, : len(path)] = path

    @torch.inference_mode()
    def top(
        self, read: Tensor, mask: Tensor, given: Tensor, k: int, *, beams: int, forbidden: Sequence[Collection[int]], exact: bool = False
    ) -> Found:
        """The k best items of each row behind `given` (B, G), which begins with the network's start.

        `read` (B, S, d) and `mask` are what the encoder made of the questions. With `exact`, rows of which it is not proven that nothing
        better was let go are asked again with twice as many beams, until it is.
        """
        items = np.full((len(given), k), PAD, dtype=np.int64)
        scores = np.full((len(given), k), -np.inf, dtype=np.float32)
        proven = np.zeros(len(given), dtype=np.bool_)
        rows = np.arange(len(given))
        while len(rows):
            part = torch.from_numpy(rows).to(read.device)
            found = self._once(read[part], mask[part], given[part], k, beams, [forbidden[row] for row in rows.tolist()])
            items[rows], scores[rows], proven[rows] = found.ranking.items, found.ranking.scores, found.exact
            rows, beams = (rows[~found.exact] if exact else rows[:0]), 2 * beams
        return Found(Ranking(items, scores), proven)

    def _once(self, read: Tensor, mask: Tensor, given: Tensor, k: int, beams: int, forbidden: Sequence[Collection[int]]) -> Found:
        trie, n_rows = self._trie, len(given)
        gone = self._gone(forbidden)
        decoder = SideBySide(self._network, read, mask)
        hidden = decoder.go_on(given[:, None])[:, 0]
        row, node, score = np.arange(n_rows), np.full(n_rows, FIRST), np.zeros(n_rows)
        questions = np.arange(n_rows)  # which rows the decoder still holds, and in which order
        best = _Best(n_rows, k)
        let_go = np.full(n_rows, -np.inf)
        place = np.zeros(n_rows, dtype=np.int64)
        while len(row):
            # 1. What may follow each beginning, and how likely it is.
            firsts = trie.first[node]
            counts = trie.first[node + 1] - firsts
            parent = np.repeat(np.arange(len(node)), counts)
            child = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + firsts[parent]
            allowed = ~gone[row[parent], child]
            parent, child = parent[allowed], child[allowed]
            score = score[parent] + self._logprobs(hidden, parent, trie.token[child])
            owner, item = row[parent], trie.item[child]
            # 2. Whole ids are answers.
            whole = item != PAD
            best.add(owner[whole], item[whole], score[whole])
            # 3. The best beginnings go on, unless as many answers are better already.
            open_ = np.flatnonzero(~whole & (score >= best.bar[owner]))
            kept = open_[_best_of_each(owner[open_], score[open_], beams)]
            lost = np.setdiff1d(open_, kept, assume_unique=True)
            np.maximum.at(let_go, owner[lost], score[lost])
            before = place[parent[kept]]
            row, node, score = owner[kept], child[kept], score[kept]
            place = np.arange(len(row)) - np.searchsorted(row, row)
            if len(row):
                questions = _without_idle(decoder, questions, row, read.device)
                hidden = _grown(decoder, np.searchsorted(questions, row), place, before, trie.token[node], len(questions), read.device)
        return Found(best.ranking(), let_go <= np.where(best.full, best.bar, -np.inf))

    def _logprobs(self, hidden: Tensor, parent: Ints, tokens: Ints) -> Numbers:
        """Of each token behind its parent's state (R, d), over the whole vocabulary."""
        logits = self._network.say(hidden).double()
        at = torch.from_numpy(parent).to(logits.device), torch.from_numpy(tokens).to(logits.device)
        found: Numbers = (logits[at] - logits.logsumexp(dim=-1)[at[0]]).cpu().numpy()
        return np.minimum(found, 0.0)

    def _gone(self, forbidden: Sequence[Collection[int]]) -> npt.NDArray[np.bool_]:
        """(B, nodes): whether nothing but forbidden ids can still be written there."""
        gone = np.zeros((len(forbidden), len(self._trie.token)), dtype=np.int32)
        for row, items in zip(gone, forbidden, strict=True):
            nodes = self._paths[sorted(set(items) - {PAD})]
            np.add.at(row, nodes[nodes >= 0], 1)
        found: npt.NDArray[np.bool_] = gone == self._below
        return found


def _without_idle(decoder: SideBySide, questions: Ints, row: Ints, device: torch.device) -> Ints:
    """The rows that the decoder holds from now on: where half of them have no beginning left, it forgets those."""
    active = np.unique(row)
    if 2 * len(active) > len(questions):
        return questions
    decoder.keep(torch.from_numpy(np.searchsorted(questions, active)).to(device))
    return active


def _grown(decoder: SideBySide, slot: Ints, place: Ints, before: Ints, tokens: Ints, held: int, device: torch.device) -> Tensor:
    """(R, d) the states behind one more token of R beginnings: number `place` of the question at `slot`, which was number `before`."""
    wide = int(place.max()) + 1
    parents, written = np.zeros((held, wide), dtype=np.int64), np.zeros((held, wide), dtype=np.int64)
    parents[slot, place], written[slot, place] = before, tokens
    hidden = decoder.go_on(torch.from_numpy(written).to(device)[..., None], torch.from_numpy(parents).to(device))
    return hidden[torch.from_numpy(slot).to(device), torch.from_numpy(place).to(device)]


class _Best:
    """The k best answers of each row so far."""

    def __init__(self, rows: int, k: int) -> None:
        self._k = k
        self._rows = rows
        self._owner: Ints = np.zeros(0, dtype=np.int64)
        self._item: Ints = np.zeros(0, dtype=np.int64)
        self._score: Numbers = np.zeros(0)
        self.bar: Numbers = np.full(rows, -np.inf)
        """The k-th best score; -inf where there are fewer."""

    @property
    def full(self) -> npt.NDArray[np.bool_]:
        """(rows,) whether there are k."""
        found: npt.NDArray[np.bool_] = np.bincount(self._owner, minlength=self._rows) == self._k
        return found

    def add(self, owner: Ints, item: Ints, score: Numbers) -> None:
        """Take more answers into account."""
        if not len(owner):
            return
        owner, item = np.concatenate([self._owner, owner]), np.concatenate([self._item, item])
        score = np.concatenate([self._score, score])
        order = np.lexsort((item, -score, owner))
        owner, item, score = owner[order], item[order], score[order]
        place = np.arange(len(owner)) - np.searchsorted(owner, owner)
        kept = place < self._k
        self._owner, self._item, self._score = owner[kept], item[kept], score[kept]
        last = place[kept] == self._k - 1
        self.bar[self._owner[last]] = self._score[last]

    def ranking(self) -> Ranking:
        """(rows, k), `PAD` where there are fewer."""
        items = np.full((self._rows, self._k), PAD, dtype=np.int64)
        scores = np.full((self._rows, self._k), -np.inf, dtype=np.float32)
        place = np.arange(len(self._owner)) - np.searchsorted(self._owner, self._owner)
        items[self._owner, place], scores[self._owner, place] = self._item, self._score.astype(np.float32)
        return Ranking(items, scores)


def _best_of_each(owner: Ints, score: Numbers, most: int) -> Ints:
    """The positions of the `most` best scores of each owner, ascending; of equals the first."""
    order = np.lexsort((-score, owner))
    ordered = owner[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return np.sort(order[place < most])
