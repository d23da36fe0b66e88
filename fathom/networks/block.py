"""What a block is: it reads a row of vectors, is told which places are real, and whether it may look ahead."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from fathom.errors import ConfigError, suggestion
from fathom.settings import Settings, refuse_unheard

Looks = Literal["back", "both", "two-stream"]


LISTENERS = {"groups": ("albert",), "window": ("longformer", "reformer")}
"""Which kinds read a setting; one that is not named here is a size of any block."""


class BlockSettings(Settings):
    """The size of a block."""

    kind: str = "xlnet"
    """Which one: a name of `BLOCKS`."""
    width: int = Field(default=64, ge=1)
    """Numbers in a state: as wide as what the features give."""
    layers: int = Field(default=2, ge=1)
    """Layers."""
    heads: int = Field(default=4, ge=1)
    """Attention heads of a layer, which share the width."""
    inner: int = Field(default=256, ge=1)
    """Width inside the feed-forward nets."""
    length: int = Field(default=50, ge=1)
    """Longest row that is read."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of entries zeroed in training, everywhere inside the block."""
    activation: str = "gelu"
    """Inside the feed-forward nets, as transformers names it."""
    epsilon: float = Field(default=1e-12, gt=0)
    """Of the layer norms."""
    spread: float = Field(default=0.02, gt=0)
    """Standard deviation of the first weights of blocks with attention heads."""
    groups: int = Field(default=1, ge=1)
    """Of ALBERT: layers with weights of their own; the others share them."""
    window: int = Field(default=8, ge=4, multiple_of=2)
    """Of Longformer and Reformer: how far attention reaches, an even number."""

    @model_validator(mode="after")
    def _heard(self) -> Self:
        refuse_unheard(self, "kind", LISTENERS)
        return self


class Block(nn.Module, ABC):
    """Turns (B, L, d) into (B, L, d)."""

    looks: ClassVar[frozenset[Looks]]
    """Where it can look."""

    @abstractmethod
    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """(B, L, d) states from (B, L, d); `inside` (B, L) says which places are real; with `back` no place knows those after it."""


def activation_of(settings: BlockSettings) -> nn.Module:
    """As transformers names it; an unknown one is a `ConfigError`."""
    from transformers.activations import ACT2FN

    if settings.activation not in ACT2FN:
        raise ConfigError(f"activation '{settings.activation}'{suggestion(settings.activation, list(ACT2FN))}")
    found: nn.Module = ACT2FN[settings.activation]
    return found
