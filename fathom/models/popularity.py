"""The floor: what most people took, the same for everybody."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fathom.errors import ConfigError, DataError
from fathom.models.model import TensorModel, TrainingData
from fathom.records import PAD, Case, Interactions
from fathom.settings import Settings

DAY = 86_400


class PopularitySettings(Settings):
    """What counts as popular."""

    half_life: float = Field(default=0.0, ge=0)
    """Days before the end of the log after which an interaction counts half as much; 0: all count alike."""


class Popularity(TensorModel[PopularitySettings]):
    """How often each item was taken."""

    kind = "popularity"
    about = "what most people took"
    goes_on = True

    @classmethod
    def fit(cls, data: TrainingData, settings: PopularitySettings) -> Self:
        """Counts of the log, of old interactions less if `half_life` says so."""
        return cls.of(data.interactions, data.catalog.n_items, settings)

    @classmethod
    def of(cls, log: Interactions, n_items: int, settings: PopularitySettings | None = None) -> Self:
        """The same of a log alone."""
        settings = settings or PopularitySettings()
        if log.n_events and not 1 <= int(log.items.min()) <= int(log.items.max()) <= n_items:
            low, high = int(log.items.min()), int(log.items.max())
            raise DataError(
                f"the interactions hold item ids {low} to {high}, but the catalogue has 1 to {n_items}: give both from one dataset"
            )
        weights = None
        if settings.half_life:
            if log.times is None or (log.times < 0).any():
                raise DataError("half_life asks for the time of every interaction, which this log does not have: leave it out")
            weights = 0.5 ** ((log.times.max() - log.times) / (DAY * settings.half_life))
        counts = np.bincount(log.items, weights=weights, minlength=n_items + 1)
        return cls(n_items, settings, {"counts": torch.from_numpy(counts.astype(np.float32))})

    def continued(self, data: TrainingData) -> Self:
        """The counts of both logs; with a half-life, which asks for the time of everything that was counted, a `ConfigError`."""
        if self.settings.half_life:
            raise ConfigError("popularity with a half_life cannot learn a further log without the ones before it: leave half_life out")
        more = type(self).of(data.interactions, self.n_items, self.settings)
        return type(self)(self.n_items, self.settings, {"counts": self.tensors["counts"] + more.tensors["counts"]})

    def score(self, cases: Sequence[Case]) -> Tensor:
        """(B, n_items + 1) float32 counts; -inf in column `PAD`."""
        row = self.tensors["counts"].clone()
        row[PAD] = -torch.inf
        return row.repeat(len(cases), 1)
