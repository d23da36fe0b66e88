"""The run folder of ranked candidates."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fathom.contracts import Policy
from fathom.data import candidates
from fathom.evaluation.said import load_said
from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.models.model import AnyModel
from fathom.models.registry import model_of
from fathom.pipeline.ranking.recipe import RankingRecipe
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.prompting.rank import RankedCandidates
from fathom.records import Floats

if TYPE_CHECKING:
    from fathom.language.policy import LocalPolicy


class RankingWorkshop(SequentialWorkshop):
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

    @cached_property
    def vectors(self) -> Floats:
        """(n_items + 1, d) unit text vectors, row 0 zero."""
        return item_vectors(self.catalog, text_encoder(self.recipe.encoder), cache_folder())

    def scorer(self, name: str) -> AnyModel:
        """The named model."""
        return model_of(name).load(self.folder(name))

    @cached_property
    def who_is_asked(self) -> Policy:
        """The language model."""
        if self.recipe.endpoint is not None:
            from fathom.language.remote import RemotePolicy

            return RemotePolicy(self.recipe.endpoint, cache=cache_folder() / "endpoint")
        return self._local

    @cached_property
    def _local(self) -> "LocalPolicy":
        from fathom.language.policy import LocalPolicy

        return LocalPolicy.load(self.folder("lm"), device=self.device)

    def said(self, row: str) -> list[RankedCandidates]:
        """What the language model made of each list, for the row `row`."""
        return [one for file in sorted(self.folder("asked").glob(f"{row}@*.jsonl.gz")) for one in load_said(file, RankedCandidates)]
