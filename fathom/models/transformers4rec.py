"""Any block by any objective that it goes with (Transformers4Rec, RecSys 2021)."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from fathom.errors import ConfigError
from fathom.models.architecture import ArchitectureModel, PermutedSettings, ReplacedSettings
from fathom.models.searching import HIDING, SearchSpace
from fathom.networks import block, masking
from fathom.networks.blocks import refuse_pair
from fathom.networks.masking import Objective
from fathom.settings import refuse_unheard


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

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        try:
            refuse_pair(self.block, self.objective)
        except ConfigError as error:  # as a value of the recipe, with its line
            raise ValueError(error) from error
        refuse_unheard(self, "objective", masking.LISTENERS)
        refuse_unheard(self, "block", block.LISTENERS)
        return self


class Transformers4Rec(ArchitectureModel[Transformers4RecSettings]):
    """The meta-architecture with all of its choices."""

    kind = "transformers4rec"
    about = "any block by any objective"
    searched: ClassVar[SearchSpace] = ArchitectureModel.searched | HIDING

    @classmethod
    def worth_searching(cls, settings: Transformers4RecSettings) -> SearchSpace:
        """What the objective reads."""
        return {
            name: what for name, what in cls.searched.items() if settings.objective in masking.LISTENERS.get(name, (settings.objective,))
        }

    @classmethod
    def _pair(cls, settings: Transformers4RecSettings) -> tuple[str, Objective]:
        return settings.block, settings.objective
