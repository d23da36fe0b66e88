"""What a model names becomes items of the catalogue: by the title, by an alias, by nearly the title, or by a text that says the same."""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from fathom.contracts import TextEncoder
from fathom.prompting.matching import Titles
from fathom.records import PAD, Catalog, Floats

By: TypeAlias = Literal["exact", "alias", "fuzzy", "vector", "neighbour", "retriever"]
"""How an item came into a list; the last two fill what was left empty: near to what was said, or by another recommender."""

ALIKE = 0.7
"""Cosine from which on two texts are taken for the same thing."""


class Grounded(NamedTuple):
    """An item, and why it stands there."""

    item: int
    by: By
    score: float
    """1 for a title or an alias, the share of equal letters for a near one, the cosine for texts; 0 for what another recommender filled."""
    text: str
    """What was written; '' for what nobody wrote."""


class Grounder:
    """Finds the items of a catalogue by what is written of them."""

    def __init__(
        self, catalog: Catalog, encoder: TextEncoder | None = None, vectors: Floats | None = None, *, alike: float = ALIKE
    ) -> None:
        """Without an `encoder` and the items' `vectors` (n_items + 1, d) nothing is found by what it says alone."""
        self._titles = Titles(catalog.titles)
        self._encoder = encoder
        self._vectors = vectors
        self._alike = alike

    def find(self, listed: Sequence[Sequence[str]], *, hidden: Collection[int]) -> tuple[list[Grounded], list[str], dict[str, int]]:
        """The items that a list names, in its order; what named none; and how many lines were `repeated`, `seen` or `unknown`.

        Of each line there are readings, the longest first. Items that are `hidden`, the history's, are dropped.
        """
        found: list[Grounded] = []
        strangers: list[str] = []
        counts = {"repeated": 0, "seen": 0, "unknown": 0}
        for readings, grounded in zip(listed, self._grounded(listed), strict=True):
            if grounded is None:
                counts["unknown"] += 1
                strangers.append(readings[-1])
            elif grounded.item in hidden:
                counts["seen"] += 1
            elif any(grounded.item == other.item for other in found):
                counts["repeated"] += 1
            else:
                found.append(grounded)
        return found, strangers, counts

    def neighbours(self, texts: Sequence[str], k: int, *, hidden: Collection[int]) -> list[Grounded]:
        """Items near to `texts` that name nothing themselves, at most k, none of `hidden`: one for each text in turn, the nearest first."""
        if not texts or self._encoder is None or self._vectors is None or k < 1:
            return []
        cosines = self._encoder.encode(list(texts)) @ self._vectors.T
        cosines[:, [PAD, *hidden]] = -np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, : k + len(texts)]
        chosen: dict[int, Grounded] = {}
        for depth in range(order.shape[1]):
            for row, text in enumerate(texts):
                item = int(order[row, depth])
                if len(chosen) < k and np.isfinite(cosines[row, item]):
                    chosen.setdefault(item, Grounded(item, "neighbour", float(cosines[row, item]), text))
        return list(chosen.values())

    def _grounded(self, listed: Sequence[Sequence[str]]) -> list[Grounded | None]:
        named = [self._named(readings) for readings in listed]
        open_ = [place for place, one in enumerate(named) if one is None]
        if open_ and self._encoder is not None and self._vectors is not None:
            cosines = self._encoder.encode([listed[place][-1] for place in open_]) @ self._vectors.T
            cosines[:, PAD] = -np.inf
            for row, place in enumerate(open_):
                item = int(cosines[row].argmax())
                if cosines[row, item] >= self._alike:
                    named[place] = Grounded(item, "vector", float(cosines[row, item]), listed[place][-1])
        return named

    def _named(self, readings: Sequence[str]) -> Grounded | None:
        for text in readings:
            if match := self._titles.find(text):
                return Grounded(match.place + 1, match.way.value, match.score, text)
        return None
