"""Any block by any objective that it goes with (Transformers4Rec, RecSys 2021)."""

from typing import ClassVar

from pydantic import Field

from fathom.models.architecture import ArchitectureModel, PermutedSettings, ReplacedSettings
from fathom.models.searching import HIDING, SearchSpace
from fathom.networks.masking import Objective


class Transformers4RecSettings(ReplacedSettings, PermutedSettings):
    """A block, an objective, and what either of them listens to."""

    block: str = "xlnet"
    """xlnet, gpt2, bert, electra, albert, roberta, transformer-xl, longformer, reformer, gru, lstm or mlp."""
    objective: Objective = "mlm"
    """What is hidden and asked for."""
    groups: int = Field(default=1, ge=1)
    """Of ALBERT: layers with weights of their own; the others share them."""
    window: int = Field(default=8, ge=4, multiple_of=2)
    """Of Longformer and Reformer: how far attention reaches, an even number."""


class Transformers4Rec(ArchitectureModel[Transformers4RecSettings]):
    """The meta-architecture with all of its choices."""

    kind = "transformers4rec"
    about = "any block by any objective"
    searched: ClassVar[SearchSpace] = ArchitectureModel.searched | HIDING

    @classmethod
    def _pair(cls, settings: Transformers4RecSettings) -> tuple[str, Objective]:
        return settings.block, settings.objective
