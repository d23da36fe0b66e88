"""What every conversation has in common that is sampled elsewhere: there are no logits, so it refuses what needs them."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fathom.contracts import Over
from fathom.errors import ModelError
from fathom.records import Written


class SampledElsewhere:
    """The parts of the `Conversation` seam that ask for likelihoods, refused in the name of `sampler`."""

    sampler: ClassVar[str]
    """Who samples, in words."""

    def refuse_watching(self, over: Over | None, barred: Sequence[str]) -> None:
        """A `ModelError` if somebody wants to stop a reply on the way, or to keep something out of it."""
        if over is not None or barred:
            raise ModelError(f"{self.sampler} cannot be watched while it writes: write protocol.constrained: false, or use a local model")

    def score(self, rows: Sequence[int], continuations: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        """Always a `ModelError`: nobody tells the likelihood of a given text."""
        raise ModelError(f"{self.sampler} gives no likelihoods, so it has no scored finish: write finish: written, or use a local model")

    def write_list(
        self,
        rows: Sequence[int],
        titles: Sequence[str],
        *,
        numbers: Sequence[str],
        closing: str,
        forbidden: Sequence[Collection[int]],
        limits: Sequence[int],
        favour: Sequence[Mapping[int, float]] | None = None,
        forked: bool = False,
    ) -> list[Written]:
        """Always a `ModelError`: it chooses from its whole vocabulary."""
        raise ModelError(f"{self.sampler} cannot be kept to titles: write protocol.constrained: false, or use a local model")
