"""The catalogue as a conversation sees it: what is allowed by hard filters, and what of it fits what is known, best first."""

import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fathom.contracts import TextEncoder
from fathom.conversation.state import Span, Wishes
from fathom.items.lexical import Lexical
from fathom.items.text import item_texts
from fathom.records import PAD, Catalog, Floats, Ints

Mask: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[np.float64]

_YEAR = re.compile(r"[(\[](\d{4})\b")

WEIGHTS = {"words": 1.0, "lexical": 1.0, "likes": 1.0, "profile": 0.5, "dislikes": -0.7, "popularity": 0.15}
"""What each of the things that are known counts, each of them scaled to mean 0 and deviation 1 over the catalogue."""


class Shelves:
    """Retrieves for a conversation. Everything is worked out over the whole catalogue: one product each."""

    def __init__(self, catalog: Catalog, encoder: TextEncoder, vectors: Floats, counts: Ints | None = None) -> None:
        """`vectors` (n_items + 1, d) of the items' texts by `encoder`; `counts` (n_items + 1,) is how often each was taken, if known."""
        self.catalog = catalog
        self.vectors = vectors
        self._encoder = encoder
        self._texts = item_texts(catalog)
        self._lexical = Lexical(self._texts)
        self._popular = _scaled(np.log1p(counts.astype(np.float64))) if counts is not None else None
        years = np.array([np.nan, *(_first_number(catalog, "year", item) for item in _ids(catalog))], dtype=np.float64)
        titled = np.array([np.nan, *(_year_of(title) for title in catalog.titles)], dtype=np.float64)
        self._years = np.where(np.isnan(years), titled, years)
        self._prices = np.array([np.nan, *(_first_number(catalog, "price", item) for item in _ids(catalog))], dtype=np.float64)
        self._values = {name: [frozenset[str](), *map(frozenset, column)] for name, column in catalog.attributes.items()}

    def allowed(self, wishes: Wishes) -> Mask:
        """(n_items + 1,) which items satisfy every hard filter; an item of which nothing is known satisfies none that asks."""
        kept = np.ones(self.catalog.n_items + 1, dtype=np.bool_)
        kept[PAD] = False
        for name, values in wishes.wanted.items():
            kept &= np.array([bool(own & set(values)) for own in self._values[name]])
        for name, values in wishes.barred.items():
            kept &= np.array([not own & set(values) for own in self._values[name]])
        return kept & _inside(self._years, wishes.years) & _inside(self._prices, wishes.price)

    def ranked(self, wishes: Wishes, history: Sequence[int], hidden: Sequence[int]) -> list[int]:
        """All allowed items that are not `hidden`, best first; ties go to the smaller id."""
        scores = np.zeros(self.catalog.n_items + 1)
        for name, values in self._known(wishes, history).items():
            scores += WEIGHTS[name] * values
        kept = self.allowed(wishes)
        kept[list(hidden)] = False
        items = np.flatnonzero(kept)
        order: list[int] = items[np.argsort(-scores[items], kind="stable")].tolist()
        return order

    def nearest(self, item: int, others: Sequence[int]) -> int | None:
        """Which of `others` has the text that is nearest to that of `item`."""
        if not others:
            return None
        return others[int(np.argmax(self.vectors[list(others)] @ self.vectors[item]))]

    def year(self, item: int) -> int | None:
        """Of the item, where it is known."""
        return None if np.isnan(self._years[item]) else int(self._years[item])

    def _known(self, wishes: Wishes, history: Sequence[int]) -> dict[str, Numbers]:
        found = {}
        asked = " ".join([*wishes.words, *(value for values in wishes.wanted.values() for value in values)])
        if wishes.words:
            [query] = self._encoder.encode([asked])
            found["words"] = _scaled(self.vectors @ query)
            found["lexical"] = _scaled(self._lexical.scores(asked))
        for name, items in (("likes", wishes.likes), ("dislikes", wishes.dislikes), ("profile", history[-20:])):
            if items:
                found[name] = _scaled(self.vectors @ self.vectors[list(items)].mean(axis=0))
        if wishes.likes:
            texts = " ".join(self._texts[item - 1] for item in wishes.likes)
            found["likes"] = found["likes"] + _scaled(self._lexical.scores(texts))
        if self._popular is not None:
            found["popularity"] = self._popular
        return found


def _inside(numbers: Numbers, span: Span) -> Mask:
    if not span:
        return np.ones(len(numbers), dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        low = numbers >= (-np.inf if span.low is None else span.low)
        high = numbers <= (np.inf if span.high is None else span.high)
    return low & high


def _scaled(values: Numbers | Floats) -> Numbers:
    """Mean 0 and deviation 1 over the items; as it is where all are alike."""
    own = np.asarray(values, dtype=np.float64).copy()
    own[PAD] = own[1:].mean()
    deviation = own[1:].std()
    scaled: Numbers = (own - own[1:].mean()) / (deviation if deviation > 0 else 1.0)
    return scaled


def _ids(catalog: Catalog) -> range:
    return range(1, catalog.n_items + 1)


def _year_of(title: str) -> float:
    found = _YEAR.findall(title)
    return float(found[-1]) if found else np.nan


def _first_number(catalog: Catalog, name: str, item: int) -> float:
    """The number that an attribute of the item says; NaN where there is none."""
    for value in catalog.attributes[name][item - 1] if name in catalog.attributes else ():
        if found := re.search(r"\d+(?:[.,]\d+)?", value):
            return float(found[0].replace(",", "."))
    return np.nan
