"""The catalogue of a service, which changes while it runs: items come and go without a restart, on all replicas alike."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fathom.contracts import Scorer, TextEncoder
from fathom.conversation.shelves import Shelves
from fathom.data.titles import TitleIndex, catalog_with, display_titles, single_line
from fathom.records import Case, Catalog, Floats, Ints
from fathom.serving.store.store import ItemChange, Store


class NewItem(BaseModel):
    """All that is known of an item that comes after training."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1, max_length=200)
    """Its name in the outside world."""
    title: str = Field(min_length=1, max_length=500)
    attributes: dict[str, list[str]] = Field(default_factory=dict)
    """Of those that the catalogue has."""
    description: str = Field(default="", max_length=20_000)


@dataclass(frozen=True, slots=True)
class Shown:
    """The catalogue at one moment."""

    catalog: Catalog
    n_trained: int
    """Items up to this id were there in training; those behind it came later."""
    removed: frozenset[int]
    ids: dict[str, int]
    """Name of the outside world -> item id."""
    titles: TitleIndex
    number: int
    """The last change that it holds."""

    def item(self, word: str) -> int | None:
        """The item of this name or title that has not been removed."""
        found = self.ids.get(word) or self.titles.resolve(word)
        return None if found in self.removed else found


class LiveCatalog:
    """Follows the changes that the store holds."""

    def __init__(self, catalog: Catalog, run: str, store: Store) -> None:
        self._run = run
        self._store = store
        self._lock = threading.Lock()
        ids = {name: item for item, name in enumerate(catalog.names, start=1)}
        self._shown = Shown(catalog, catalog.n_items, frozenset(), ids, TitleIndex(catalog), 0)
        self.refresh()

    @property
    def now(self) -> Shown:
        """As it was when `refresh` was last called."""
        return self._shown

    def refresh(self) -> Shown:
        """Take in what was changed meanwhile, here or by another replica."""
        with self._lock:
            for change in self._store.changes(self._run, self._shown.number):
                self._shown = _changed(self._shown, change)
            return self._shown


def as_catalog(item: NewItem) -> Catalog:
    """The one item as a catalogue, its title as catalogues keep them."""
    [title] = display_titles([item.title], [[]])
    attributes = {name: (tuple(map(single_line, values)),) for name, values in item.attributes.items()}
    return Catalog((item.id,), (title,), attributes, (item.description,) if item.description else ())


def _changed(shown: Shown, change: ItemChange) -> Shown:
    """The catalogue after a change. A run that was trained anew may hold an item already that was added to it once, and may lack one that
    was removed: there is nothing to do then. Two replicas may add items of one title at once: the later one's name goes behind it.
    """
    catalog, ids, titles, removed = shown.catalog, shown.ids, shown.titles, shown.removed
    if change.change == "added" and change.name not in ids:
        added = as_catalog(NewItem.model_validate(json.loads(change.item or "")))
        if titles.resolve(added.titles[0]) is not None:
            added = replace(added, titles=(f"{added.titles[0]} [{single_line(change.name)}]",))
        catalog = catalog_with(catalog, added)
        ids, titles = {**ids, change.name: catalog.n_items}, TitleIndex(catalog)
    elif change.change == "removed" and change.name in ids:
        removed |= {ids[change.name]}
    elif change.change == "restored" and change.name in ids:
        removed -= {ids[change.name]}
    return Shown(catalog, shown.n_trained, removed, ids, titles, change.number)


class LiveShelves:
    """What is known of all items, those that came later too: made anew when one comes."""

    def __init__(self, encoder: TextEncoder, vectors: Callable[[Catalog], Floats], counts: Ints, taken: Scorer) -> None:
        """`vectors` of the texts of a catalogue; `counts` (n + 1,) and `taken` of the items that were there in training."""
        self._encoder = encoder
        self._vectors = vectors
        self._counts = counts
        self._taken = taken
        self._made: Shelves | None = None
        self._lock = threading.Lock()

    def of(self, catalog: Catalog) -> Shelves:
        """The shelves of the catalogue."""
        with self._lock:
            if self._made is None or self._made.catalog is not catalog:
                counts = torch.nn.functional.pad(torch.from_numpy(self._counts), (0, catalog.n_items + 1 - len(self._counts))).numpy()
                taken = _Longer(self._taken, catalog.n_items)
                self._made = Shelves(catalog, self._encoder, self._vectors(catalog), counts, taken=taken)
            return self._made


class _Longer:
    """A scorer of the first items, which says nothing of those behind them."""

    def __init__(self, scorer: Scorer, n_items: int) -> None:
        self._scorer = scorer
        self.n_items = n_items

    def score(self, cases: Sequence[Case]) -> Tensor:
        known = self._scorer.n_items
        shorter = [Case(case.user, tuple(item for item in case.history if item <= known), case.target) for case in cases]
        return torch.nn.functional.pad(self._scorer.score(shorter), (0, self.n_items - known))
