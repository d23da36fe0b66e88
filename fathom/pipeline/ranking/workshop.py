"""The run folder of ranked candidates."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from fathom.data import candidates
from fathom.models.model import AnyModel
from fathom.models.registry import model_of
from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.ranking.recipe import RankingRecipe
from fathom.pipeline.sequential.workshop import SequentialWorkshop


class RankingWorkshop(SequentialWorkshop, AskingWorkshop):
    """Models as for sequences, the lists, and whoever is asked."""

    recipe: RankingRecipe

    @property
    def lists_file(self) -> Path:
        """Where the lists are kept."""
        return self.folder("candidates") / candidates.FILE

    @cached_property
    def lists(self) -> Mapping[int, tuple[int, ...]]:
        """User -> candidates, as they are shown."""
        return candidates.load(self.lists_file)

    def scorer(self, name: str) -> AnyModel:
        """The named model."""
        return model_of(name).load(self.folder(name))
