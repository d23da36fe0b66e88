"""Items whose texts say what the texts of a history say: nothing is learned from people, and any item with a text can be ranked."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.models.model import TensorModel, TrainingData, refuse_unknown
from fathom.models.searching import Range, SearchSpace
from fathom.recommenders.textual import TextRecommender, Weighting
from fathom.records import Case, Catalog, Ranking
from fathom.settings import Settings


class TextSettings(Settings):
    """What of an item is read, by whom, and how a history becomes a query."""

    encoder: str = "minilm"
    """Makes vectors of item texts: minilm, hashing, st:NAME, lm:FOLDER or http://HOST/v1#MODEL."""
    template: str | None = None
    """What of an item is read, such as '{title} by {director}'; left out: title, attributes and description."""
    weighting: Weighting = "decay"
    """What each event of a history counts: decay, constant, linear, quadratic or last."""
    half_life: float = Field(default=4.0, gt=0)
    """Of 'decay': an event so many places before the last counts half."""
    latest: int = Field(default=50, ge=1)
    """Newest events that count."""


class Text(TensorModel[TextSettings]):
    """Text embedding: `add_items` makes new items recommendable at once."""

    kind = "text"
    about = "items whose texts are near to those of the history"
    searched: ClassVar[SearchSpace] = {
        "weighting": ("decay", "constant", "linear", "quadratic", "last"),
        "half_life": Range(0.5, 20.0, log=True),
        "latest": Range(1, 100, log=True),
    }

    @classmethod
    def fit(cls, data: TrainingData, settings: TextSettings) -> Self:
        """The vectors of all items."""
        vectors = item_vectors(data.catalog, text_encoder(settings.encoder), cache_folder(), template=settings.template)
        return cls(data.catalog.n_items, settings, {"vectors": torch.from_numpy(vectors)})

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) cosines."""
        refuse_unknown(cases, self.n_items)
        return self._recommender.score(cases)

    def recommend(
        self, cases: Sequence[Case], k: int, *, exclude_history: bool = True, preferences: Sequence[str] | None = None
    ) -> Ranking:
        """The k best items of each case, by its history and, half and half, by what its preference says."""
        if preferences is None:
            return super().recommend(cases, k, exclude_history=exclude_history)
        refuse_unknown(cases, self.n_items)
        queries = text_encoder(self.settings.encoder).encode(list(preferences))
        return self._recommender.asked(queries, cases, k, exclude_history=exclude_history)

    def add_items(self, items: Catalog) -> range:
        """Take `items` behind the present ones, known by their texts; returns their ids."""
        first = self.n_items + 1
        new = item_vectors(items, text_encoder(self.settings.encoder), cache_folder(), template=self.settings.template)[1:]
        self.tensors["vectors"] = torch.cat([self.tensors["vectors"], torch.from_numpy(new)])
        self.n_items += items.n_items
        self.__dict__.pop("_recommender", None)
        return range(first, self.n_items + 1)

    @cached_property
    def _recommender(self) -> TextRecommender:
        settings = self.settings
        vectors = self.tensors["vectors"].numpy()
        return TextRecommender(vectors, half_life=settings.half_life, recent=settings.latest, weighting=settings.weighting)
