"""The run folder of enhanced recommenders: what was written, and the data as its readers see them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from fathom.contracts import Recommender
from fathom.items.embed import Remembering, cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.enhanced.recipe import TAGS, EnhancedRecipe
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.workshop import whole_histories
from fathom.prompting.describe import Described
from fathom.recommenders.preceded import Preceded, preceded_by
from fathom.records import Case, Catalog, Interactions

ITEMS, PEOPLE = "items", "people"
"""What is written about."""


class EnhancedWorkshop(SequentialWorkshop, AskingWorkshop):
    """Models as for sequences; readers see other data."""

    recipe: EnhancedRecipe

    @cached_property
    def short(self) -> tuple[Case, ...]:
        """The people whose training histories are short, but not empty."""
        pseudo = self.recipe.pseudo
        return tuple(case for case in whole_histories(self.split.train) if pseudo is not None and 0 < len(case.history) < pseudo.shorter)

    @cached_property
    def written(self) -> Mapping[int, Described]:
        """Item -> what was written about it; of another one, where that is the control."""
        told = {one.of: one for one in self.said(ITEMS, Described)}
        if not self.recipe.shuffled:
            return told
        others = np.random.default_rng(self.recipe.seed).permutation(sorted(told)).tolist()
        return {item: told[other] for item, other in zip(sorted(told), others, strict=True)}

    @cached_property
    def read_catalog(self) -> Catalog:
        """The catalogue with what was written: behind each description, and as an attribute."""
        catalog, told = self.catalog, self.written
        known = catalog.descriptions or ("",) * catalog.n_items
        texts = tuple(" ".join(part for part in (own, told[item].summary) if part) for item, own in enumerate(known, start=1))
        tags = tuple(told[item].tags for item in range(1, catalog.n_items + 1))
        name = TAGS if TAGS not in catalog.attributes else f"written {TAGS}"
        return replace(catalog, descriptions=texts, attributes={**catalog.attributes, name: tags})

    @cached_property
    def before(self) -> Mapping[int, tuple[int, ...]]:
        """User -> the items that are put before the history: nearest to what was written about the person, the nearest last, none of those
        that training has of them already. It follows from training histories alone."""
        pseudo = self.recipe.pseudo
        told = [one for one in self.said(PEOPLE, Described) if one.text] if pseudo is not None else []
        if pseudo is None or not told:
            return {}
        encoder = Remembering(text_encoder(self.recipe.encoder), cache_folder())
        vectors = item_vectors(self.read_catalog, encoder, cache_folder())
        cosines = encoder.encode([one.text for one in told]) @ vectors.T
        found = {}
        for row, one in zip(cosines, told, strict=True):
            row[[0, *self.split.train.history(one.of).tolist()]] = -np.inf
            found[one.of] = tuple(np.argsort(-row, kind="stable")[: pseudo.items][::-1].tolist())
        return found

    @cached_property
    def read_log(self) -> Interactions:
        """The training log with these items before short histories. What else is known of events is not known of them."""
        return preceded_by(self.split.train, self.before)

    @cached_property
    def read_valid(self) -> Sequence[Case]:
        """The validation cases as readers see them."""
        return [Preceded.case(case, self.before) for case in self.valid_cases]

    def model(self, name: str) -> Recommender:
        """The model; a reader's cases are seen with what is put before them."""
        found = super().model(name)
        return Preceded(found, self.before) if name in self.recipe.readers and self.before else found
