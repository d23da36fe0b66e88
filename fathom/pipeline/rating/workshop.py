"""The run folder of foretold ratings."""

from functools import cached_property

import numpy as np

from fathom.errors import DataError
from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.rating.recipe import RatingRecipe
from fathom.pipeline.workshop import sampled
from fathom.recommenders.raters import Numbers, truths
from fathom.records import Case


class RatingWorkshop(AskingWorkshop):
    """The test events that were rated, and whoever is asked about them."""

    recipe: RatingRecipe

    @cached_property
    def test_cases(self) -> tuple[Case, ...]:
        """The test cases whose targets were rated, drawn by the recipe's seed where some are asked; none of them is a `DataError`."""
        known = ~np.isnan(truths(self.dataset.interactions, self.split.test))
        cases = tuple(case for case, rated in zip(self.split.test, known.tolist(), strict=True) if rated)
        if not cases:
            raise DataError("no test event was rated: there is nothing to foretell")
        return sampled(cases, self.recipe.test_users, seed=self.recipe.seed)

    @cached_property
    def given(self) -> Numbers:
        """(n,) how each test event was rated."""
        return truths(self.dataset.interactions, self.test_cases)

    @cached_property
    def examples(self) -> tuple[tuple[Case, float], ...]:
        """Validation cases and how their targets were rated: what a prompt may show of other people."""
        given = truths(self.dataset.interactions, self.split.valid).tolist()
        return tuple((case, rating) for case, rating in zip(self.split.valid, given, strict=True) if not np.isnan(rating))
