"""SASRec by losses over drawn items: the paper's own with one (arXiv:1808.09781), gSASRec's with many (arXiv:2308.07192), and a softmax.

Rivals are drawn for each event or for all events of a batch, never such as the window holds: what somebody took is no wrong answer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from fathom.recommenders.sasrec import SASRecSettings
from fathom.recommenders.sequence import SequenceNetwork
from fathom.recommenders.text_vectors import TextVectorSettings
from fathom.records import PAD, Case, Interactions, Ints
from fathom.settings import Settings
from fathom.training.ranking_losses import RankingLoss, ranking_loss
from fathom.training.run import Run
from fathom.training.sequential import SequenceFit, Windows, fit_windows


class SampledTraining(Settings):
    """SASRec and how it is trained against drawn items; the defaults are the paper's: one for each event, binary cross-entropy."""

    model: SASRecSettings = SASRecSettings()
    """The size of the model."""
    fit: SequenceFit = SequenceFit()
    """How it is fitted."""
    texts: TextVectorSettings | None = None
    """Item vectors from item texts; left out: they are drawn."""
    loss: Literal["bce", "gbce", "sampled_softmax", "bpr", "top1", "top1_max", "bpr_max"] = "bce"
    """How the true item is set against the drawn ones."""
    negatives: int = Field(default=1, ge=1)
    """Items drawn; with as many as there are, all of them, once each."""
    drawn_for: Literal["event", "window", "batch"] = "event"
    """Whether each event has its own, all events of a window the same, or all of a batch: many are cheap only then. A batch's few rivals
    are pushed away by all of its events at once, and others not at all: a loss that is no softmax does not bear that."""
    exponent: float = Field(default=0.0, ge=0, le=1)
    """Of the counts by which they are drawn: 0 all alike, 1 by popularity."""
    calibration: float = Field(default=0.75, ge=0, le=1)
    """Of `gbce` (t): 0 plain BCE, 1 scores as calibrated as with all items for rivals."""


class GSASRecTraining(SampledTraining):
    """With gSASRec's defaults."""

    loss: Literal["bce", "gbce", "sampled_softmax", "bpr", "top1", "top1_max", "bpr_max"] = "gbce"
    """How the true item is set against the drawn ones."""
    negatives: int = Field(default=256, ge=1)
    """Items drawn."""
    drawn_for: Literal["event", "window", "batch"] = "window"
    """Whether each event has its own, all events of a window the same, or all of a batch."""


class Drawing(Sequence[Windows]):
    """An epoch's windows with drawn items, which depend on the seed and the number of the batch alone."""

    def __init__(self, windows: Sequence[Windows], counts: Ints, settings: SampledTraining, *, seed: int) -> None:
        """`counts` (N + 1,): how often each item was taken."""
        self._windows, self._settings, self._seed = windows, settings, seed
        self._all = settings.negatives >= len(counts) - 1
        self._steps = np.cumsum(chances(counts, settings.exponent) if settings.exponent else chances(np.ones(len(counts)), 0.0))

    def __len__(self) -> int:
        return len(self._windows)

    @overload
    def __getitem__(self, index: int) -> Windows: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Windows]: ...

    def __getitem__(self, index: int | slice) -> Windows | Sequence[Windows]:
        assert isinstance(index, int)
        windows = self._windows[index]
        events = {"event": tuple(windows.ids.shape), "window": tuple(windows.ids.shape[:1]), "batch": ()}[self._settings.drawn_for]
        if self._all:
            every = torch.arange(1, len(self._steps))
            return replace(windows, drawn=every.expand(*events, -1))
        luck = np.random.default_rng((self._seed, index)).random((*events, self._settings.negatives))
        return replace(windows, drawn=torch.from_numpy(np.searchsorted(self._steps, luck, side="right").clip(1, len(self._steps) - 1)))

    def expected(self) -> Tensor:
        """(N + 1,) float32 logarithm of how often each item is expected among the drawn; 0 for `PAD`, which is never asked for."""
        if self._all:
            return torch.zeros(len(self._steps))
        shares = np.diff(self._steps, prepend=0.0)
        shares[PAD] = 1.0
        return torch.from_numpy(np.log(np.maximum(shares * self._settings.negatives, 1e-12))).float()


def chances(counts: npt.NDArray[np.float64] | Ints, exponent: float) -> npt.NDArray[np.float64]:
    """(N + 1,) the probability of each item to be drawn, as its count to the power `exponent`; 0 for `PAD` and what nobody took.

    >>> chances(np.array([9, 1, 4, 0]), 0.5).round(2).tolist()
    [0.0, 0.33, 0.67, 0.0]
    """
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** exponent, 0.0)
    weights[PAD] = 0.0
    found: npt.NDArray[np.float64] = weights / max(weights.sum(), 1e-12)
    return found


def fit_sampled(
    model: SequenceNetwork, interactions: Interactions, valid: Sequence[Case], *, settings: SampledTraining, run: Run, stage: str
) -> None:
    """Fit `model` in place to all events of `interactions`; resumes where it was killed."""
    n_items = model.n_items
    counts = np.bincount(interactions.items, minlength=n_items + 1)
    compare = ranking_loss(settings.loss, drawn=settings.negatives, n_items=n_items, calibration=settings.calibration)
    expected = Drawing([], counts, settings, seed=0).expected() if settings.loss == "sampled_softmax" else None
    fit_windows(
        model,
        interactions,
        valid,
        loss=lambda _, batch: sampled_loss(model, batch, compare, expected=expected),
        settings=settings.fit,
        run=run,
        stage=stage,
        drawn=lambda windows, rng: Drawing(windows, counts, settings, seed=int(rng.integers(2**62))),
    )


def sampled_loss(model: SequenceNetwork, batch: Windows, compare: RankingLoss, *, expected: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The sum of `compare` over all events of the batch, and how many they are; `expected` (N + 1,) is taken off all logits."""
    table = model.items.weight
    ids, targets, drawn = (part.to(table.device) for part in (batch.ids, batch.targets, _given(batch.drawn)))
    asked = targets != PAD
    states = model(ids)
    with torch.autocast(table.device.type, enabled=False):
        states, chosen = states.float(), targets[asked]
        if drawn.ndim == 1:
            # One look into the table: each has a gradient as large as the catalogue.
            own, far = table[torch.cat([chosen, drawn])].split([len(chosen), len(drawn)])
            true, logits = (states[asked] * own).sum(dim=1), states[asked] @ far.T
            counts, rivals = ~held(targets, drawn.expand(len(ids), -1))[asked.nonzero()[:, 0]], drawn.expand(len(true), -1)
        elif drawn.ndim == 2:
            rows = asked.nonzero()[:, 0]
            true, logits = (states[asked] * table[chosen]).sum(dim=1), (states @ table[drawn].mT)[asked]
            counts, rivals = ~held(targets, drawn)[rows], drawn[rows]
        else:
            rivals = drawn[asked]
            true = (states[asked] * table[chosen]).sum(dim=1)
            logits = (states[asked][:, None] * table[rivals]).sum(dim=2)
            counts = ~held(targets, drawn.flatten(1)).view(drawn.shape)[asked]
        if expected is not None:
            expected = expected.to(table.device)
            true, logits = true - expected[chosen], logits - expected[rivals]
        return compare(true, logits, counts).sum(), asked.sum()


def held(rows: Tensor, items: Tensor) -> Tensor:
    """(B, n) whether each of `items` (B, n) stands in the same one of `rows` (B, T); nothing as large as the catalogue is made.

    >>> held(torch.tensor([[3, 1], [2, 2]]), torch.tensor([[1, 2], [2, 3]])).tolist()
    [[True, False], [True, False]]
    """
    ordered = rows.sort(dim=1).values
    place = torch.searchsorted(ordered, items.contiguous()).clamp(max=rows.shape[1] - 1)
    return ordered.gather(1, place) == items


def _given(drawn: Tensor | None) -> Tensor:
    assert drawn is not None
    return drawn
