"""The catalogue as a conversation sees it: what is allowed by hard filters, and what of it fits what is known, best first."""

import re
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fathom.contracts import Scorer, TextEncoder
from fathom.conversation.requests import Language
from fathom.conversation.state import Span, Wishes
from fathom.items.lexical import Lexical
from fathom.items.text import item_texts
from fathom.records import PAD, Case, Catalog, Floats, Ints

Mask: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[np.float64]

_YEAR = re.compile(r"[(\[](\d{4})\b")

Signal: TypeAlias = Literal["words", "lexical", "likes", "profile", "taken", "dislikes", "popularity"]
"""What may speak for an item. 'words': its text is near to what is asked for; 'lexical': it shares words with that; 'likes', 'dislikes',
'profile': its text is near to those of the items named as good, as bad, of the history; 'taken': it is taken together with those of
the history and those named as good; 'popularity': it is taken often."""

WEIGHTS: Mapping[str, float] = {
    "words": 0.5,
    "lexical": 0.25,
    "likes": 0.4,
    "profile": 0.4,
    "taken": 1.4,
    "dislikes": -0.4,
    "popularity": 0.9,
}
"""What each signal counts where nothing was learned from conversations: between what ReDial teaches, whose films have no texts but their
titles (recipes/conversation-redial.yaml), and what a catalogue with texts is worth."""

SHARPNESS = 20.0
"""Of 'taken', log(1 + 20 s): a first shared person says much, each further one less; s is a sum of cosines."""


class Shelves:
    """Retrieves for a conversation. Everything is worked out over the whole catalogue: one product each."""

    def __init__(
        self,
        catalog: Catalog,
        encoder: TextEncoder,
        vectors: Floats,
        counts: Ints | None = None,
        *,
        taken: Scorer | None = None,
        weights: Mapping[str, float] = WEIGHTS,
    ) -> None:
        """`vectors` (n_items + 1, d) of the items' texts by `encoder`; `counts` (n_items + 1,) is how often each was taken and `taken` an
        item-kNN, if known; `weights` of the signals, one that is not there counts nothing."""
        self.weights = weights
        self._taken = taken
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

    def weighed(self, weights: Mapping[str, float]) -> "Shelves":
        """The same catalogue, its signals weighed otherwise."""
        other = copy(self)
        other.weights = weights
        return other

    @property
    def everything(self) -> Mask:
        """(n_items + 1,) every item."""
        kept = np.ones(self.catalog.n_items + 1, dtype=np.bool_)
        kept[PAD] = False
        return kept

    def allowed(self, wishes: Wishes) -> Mask:
        """(n_items + 1,) which items satisfy every hard filter; an item of which nothing is known satisfies none that asks."""
        kept = self.everything
        for name, values in wishes.wanted.items():
            kept &= np.array([bool(own & set(values)) for own in self._values[name]])
        for name, values in wishes.barred.items():
            kept &= np.array([not own & set(values) for own in self._values[name]])
        return kept & _inside(self._years, wishes.years) & _inside(self._prices, wishes.price)

    def ranked(
        self, wishes: Wishes, history: Sequence[int], hidden: Sequence[int], *, filtered: bool = True
    ) -> tuple[list[int], list[float]]:
        """All items that are not `hidden`, allowed ones where they are `filtered`, best first, with scores; ties go to the smaller id."""
        scores, kept = self.scores(wishes, history), self.allowed(wishes) if filtered else self.everything
        kept[list(hidden)] = False
        items = np.flatnonzero(kept)
        items = items[np.argsort(-scores[items], kind="stable")]
        return items.tolist(), scores[items].tolist()

    def scores(self, wishes: Wishes, history: Sequence[int]) -> Numbers:
        """(n_items + 1,) the weighted sum of the signals."""
        scores = np.zeros(self.catalog.n_items + 1)
        for name, values in self.signals(wishes, history, [name for name, weight in self.weights.items() if weight]).items():
            scores += self.weights[name] * values
        return scores

    def nearest(self, item: int, others: Sequence[int]) -> int | None:
        """Which of `others` has the text that is nearest to that of `item`."""
        if not others:
            return None
        return others[int(np.argmax(self.vectors[list(others)] @ self.vectors[item]))]

    def companions(self, items: Sequence[int], others: Sequence[int]) -> list[int | None]:
        """Of each of `items` which of `others` it is taken together with most; None where it is with none of them, or nobody knows."""
        if self._taken is None or not others:
            return [None] * len(items)
        cosines = self._taken.score([Case(-1, (other,), PAD) for other in others])[:, list(items)].numpy()
        best = cosines.argmax(axis=0).tolist()
        return [others[place] if cosines[place, column] > 0 else None for column, place in enumerate(best)]

    @cached_property
    def language(self) -> Language:
        """What people may name of the catalogue."""
        return Language(self.catalog)

    @property
    def popular(self) -> Numbers:
        """(n_items + 1,) how often each item was taken, scaled; zeros where nobody knows."""
        return np.zeros(self.catalog.n_items + 1) if self._popular is None else self._popular

    def lexical(self, words: str) -> Floats:
        """(n_items + 1,) how much each item's text shares with `words` (BM25)."""
        return self._lexical.scores(words)

    def year(self, item: int) -> int | None:
        """Of the item, where it is known."""
        return None if np.isnan(self._years[item]) else int(self._years[item])

    def signals(self, wishes: Wishes, history: Sequence[int], names: Collection[str]) -> dict[str, Numbers]:
        """Name -> (n_items + 1,) of those of the signals `names` that the conversation has something for, scaled to mean 0 and deviation 1
        over the catalogue, but for 'taken', which is 0 for whatever is not known to go with the history."""
        found: dict[str, Numbers] = {}
        asked = " ".join([*wishes.words, *(value for values in wishes.wanted.values() for value in values)])
        if wishes.words and "words" in names:
            [query] = self._encoder.encode([asked])
            found["words"] = _scaled(self.vectors @ query)
        if wishes.words and "lexical" in names:
            found["lexical"] = _scaled(self._lexical.scores(asked))
        for name, items in (("likes", wishes.likes), ("dislikes", wishes.dislikes), ("profile", history[-20:])):
            if items and name in names:
                found[name] = _scaled(self.vectors @ self.vectors[list(items)].mean(axis=0))
        if "likes" in found:
            texts = " ".join(self._texts[item - 1] for item in wishes.likes)
            found["likes"] = found["likes"] + _scaled(self._lexical.scores(texts))
        known = tuple(dict.fromkeys((*history, *wishes.likes)))
        if self._taken is not None and known and "taken" in names:
            cosines = np.maximum(self._taken.score([Case(-1, known, PAD)])[0].numpy(), 0.0).astype(np.float64)
            found["taken"] = np.log1p(SHARPNESS * cosines)
        if self._popular is not None and "popularity" in names:
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
