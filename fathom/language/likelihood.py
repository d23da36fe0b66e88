"""The exact best titles of a whole catalogue by the model's likelihood, without looking at most of them.

The titles' tokens form a trie. The log-probability of a beginning is never less than that of any title that begins so; hence a
beginning whose log-probability is below the k-th best title found can be left closed with everything behind it. Beginnings are
opened best first, many rows at a time, as branches on each row's cache: one token each, never the prompt again.
"""

import heapq
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch

from fathom.errors import ConfigError
from fathom.language.branches import ROOT, Branches
from fathom.language.policy import LocalPolicy
from fathom.language.trie import TitleTrie
from fathom.records import PAD, Floats, Ints, Ranking

OPENED = 16
"""So many beginnings of a row are opened in one pass: opening one at a time would look at fewer, in many more passes."""


class _Search:
    """The best k titles of one row so far, and the beginnings that may still hold a better one."""

    def __init__(self, trie: TitleTrie, k: int, forbidden: npt.NDArray[np.bool_]) -> None:
        self._trie = trie
        self._k = k
        self._forbidden = forbidden
        self.best: list[tuple[np.float32, int]] = []  # a heap of (score, -item): the worst, of equals the larger id, on top
        self.closed: list[tuple[float, int, int]] = []  # a heap of (-bound, node, branch)

    @property
    def bar(self) -> float:
        """What a beginning must reach to matter."""
        return float(self.best[0][0]) if len(self.best) == self._k else -np.inf

    def look(self, nodes: Ints, bounds: npt.NDArray[np.float64], branches: Ints) -> None:
        """Take note of `nodes` and their log-probabilities; `branches` are those on which their children would hang."""
        items = self._trie.item[nodes]
        ends = np.flatnonzero((items != PAD) & ~self._forbidden[items])
        scores = bounds[ends].astype(np.float32)
        if len(ends) > self._k:  # the root has thousands of children
            kept = np.argsort(-scores, kind="stable")
            kept = kept[scores[kept] >= scores[kept[self._k - 1]]]
            ends, scores = ends[kept], scores[kept]
        for score, item in zip(scores, items[ends].tolist(), strict=True):
            if len(self.best) < self._k:
                heapq.heappush(self.best, (score, -item))
            elif (score, -item) > self.best[0]:
                heapq.heapreplace(self.best, (score, -item))
        inside = np.flatnonzero((items == PAD) & (bounds.astype(np.float32) >= self.bar))
        for bound, node, branch in zip(bounds[inside].tolist(), nodes[inside].tolist(), branches[inside].tolist(), strict=True):
            heapq.heappush(self.closed, (-bound, node, branch))

    def open(self) -> list[tuple[float, int, int]]:
        """The next beginnings to open, as (log-probability, node, parent branch); none: the search is over."""
        chosen: list[tuple[float, int, int]] = []
        while self.closed and len(chosen) < OPENED and np.float32(-self.closed[0][0]) >= self.bar:
            bound, node, branch = heapq.heappop(self.closed)
            chosen.append((-bound, node, branch))
        return chosen


class CatalogLikelihood:
    """Ranks all titles by sum log p(token | prompt, tokens before) over the tokens of `title + "\\n"`."""

    def __init__(self, policy: LocalPolicy, titles: Sequence[str], *, batch_size: int = 64) -> None:
        self._policy = policy
        self._batch_size = batch_size
        self._trie = policy.table.trie(tuple(titles))
        self._n_items = len(titles)

    def top(self, prompts: Sequence[str], k: int, *, exclude: Sequence[Collection[int]]) -> Ranking:
        """The exact k best items after each prompt with their log-likelihoods, none of `exclude[row]`; ties go to the smaller id."""
        if k < 1:
            raise ConfigError(f"k is {k}: write 1 or more")
        items: Ints = np.full((len(prompts), k), PAD, dtype=np.int64)
        scores: Floats = np.full((len(prompts), k), -np.inf, dtype=np.float32)
        for start in range(0, len(prompts), self._batch_size):
            piece = slice(start, start + self._batch_size)
            for row, search in enumerate(self._batch(prompts[piece], k, exclude[piece]), start=start):
                for place, (score, negative) in enumerate(sorted(search.best, reverse=True)):
                    items[row, place], scores[row, place] = -negative, score
        return Ranking(items, scores)

    def _batch(self, prompts: Sequence[str], k: int, exclude: Sequence[Collection[int]]) -> list[_Search]:
        """Finished searches, one a prompt."""
        searches = []
        for excluded in exclude:
            forbidden = np.zeros(self._n_items + 1, dtype=np.bool_)
            forbidden[list(excluded)] = True
            searches.append(_Search(self._trie, k, forbidden))
        conversation = self._policy.converse(prompts, temperature=0.0, seeds=[0] * len(prompts))
        with self._policy.decoder.at_work():
            forest = conversation.branches(range(len(prompts)))
            self._look(searches, forest.roots, [(row, 0.0, 0, ROOT) for row in range(len(prompts))])
            while opened := [(row, *node) for row, search in enumerate(searches) for node in search.open()]:
                self._open(forest, searches, opened)
        return searches

    def _open(self, forest: Branches, searches: Sequence[_Search], opened: Sequence[tuple[int, float, int, int]]) -> None:
        """Hang the opened nodes on their rows and look at their children."""
        first = forest.size
        tokens = self._trie.token[[node for _, _, node, _ in opened]].tolist()
        hidden = forest.grow([row for row, _, _, _ in opened], [parent for _, _, _, parent in opened], tokens)
        grown = [(row, bound, node, first + index) for index, (row, bound, node, _) in enumerate(opened)]
        self._look(searches, hidden, grown)

    def _look(self, searches: Sequence[_Search], hidden: torch.Tensor, grown: Sequence[tuple[int, float, int, int]]) -> None:
        """Show each search the children of the nodes (row, log-probability, node, branch) after which `hidden` states stand."""
        firsts = self._trie.first[[node for _, _, node, _ in grown]]
        counts = self._trie.first[[node + 1 for _, _, node, _ in grown]] - firsts
        ends = np.cumsum(counts)
        parents = np.repeat(np.arange(len(grown)), counts)
        nodes = np.arange(ends[-1]) - np.repeat(ends - counts, counts) + firsts[parents]
        steps = np.minimum(self._policy.decoder.pair_logprobs(hidden, parents, self._trie.token[nodes]), 0.0)  # rounding may give +1e-7
        bounds = np.asarray([bound for _, bound, _, _ in grown])[parents] + steps
        branches = np.asarray([branch for _, _, _, branch in grown], dtype=np.int64)[parents]
        rows = np.asarray([row for row, _, _, _ in grown], dtype=np.int64)[parents]
        cuts = np.flatnonzero(np.diff(rows)) + 1  # `grown` lists the nodes of a row together
        for low, high in zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True):
            searches[int(rows[low])].look(nodes[low:high], bounds[low:high], branches[low:high])
