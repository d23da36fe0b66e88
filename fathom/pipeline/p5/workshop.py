"""The run folder of P5: a model for each row, in a folder of its name."""

import math
from functools import cached_property
from pathlib import Path

from fathom.data import candidates
from fathom.data.dataset import Dataset
from fathom.data.splits import SPLITS
from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.p5.model import P5
from fathom.p5.moments import Moments
from fathom.pipeline.p5.recipe import P5Recipe
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.workshop import sampled
from fathom.records import Case, Floats


class P5Workshop(SequentialWorkshop):
    """Models as for sequences, and those that are asked in sentences."""

    recipe: P5Recipe

    @cached_property
    def vectors(self) -> Floats:
        """(n_items + 1, d) unit text vectors, row 0 zero."""
        return item_vectors(self.catalog, text_encoder(self.recipe.encoder), cache_folder())

    @cached_property
    def p5(self) -> dict[str, P5]:
        """Rows that were opened, each once."""
        return {}

    def row(self, name: str) -> P5:
        """The model of a row as its stage left it."""
        if name not in self.p5:
            self.p5[name] = P5.load(self.folder(name), self.catalog, self.dataset.interactions.users)
            self.p5[name].network.to(self.device)
        return self.p5[name]

    @cached_property
    def moments(self) -> Moments:
        """All events, those that are asked for too, with what was written of them; features are those of the training part."""
        return Moments(self.dataset.interactions, features=Moments(self.split.train).features)

    @property
    def lists_file(self) -> Path:
        """Where the candidates of each test case are."""
        return self.folder("candidates") / candidates.FILE

    @cached_property
    def lists(self) -> candidates.Lists:
        """The candidates of each test case."""
        return candidates.load(self.lists_file)

    @cached_property
    def elsewhere(self) -> Dataset:
        """The other catalogue, of which nothing is learned."""
        return Dataset.load(self.folder("elsewhere"))

    @cached_property
    def elsewhere_cases(self) -> tuple[Case, ...]:
        """Its test cases, drawn by the recipe's seed where some are asked."""
        log = self.elsewhere.interactions
        moments = Moments(log, features=()).of(SPLITS[self.recipe.split](log).test)
        rated = tuple(moment.case for moment in moments if not math.isnan(moment.stars))
        return sampled(rated, self.recipe.test_users, seed=self.recipe.seed)
