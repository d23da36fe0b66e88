"""Whole user windows become batches, and SASRec learns from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.contracts import Recommender
from fathom.metrics import per_case, ranks_of
from fathom.recommenders.sasrec import SASRec, SASRecSettings
from fathom.recommenders.sequence import SequenceNetwork
from fathom.records import PAD, Case, Interactions, Ints
from fathom.settings import Settings
from fathom.training.full_softmax import full_softmax
from fathom.training.processes import cut
from fathom.training.run import Run, noise_from
from fathom.training.supervised import FitSettings, fit

POOL = 32
"""Batches whose windows are sorted by length together, so that a batch holds windows of like length and little padding."""


class SequenceFit(FitSettings):
    """How a model of whole windows is fitted: the same fields, with the values that did best on MovieLens-1M."""

    epochs: int = Field(default=40, ge=1)
    """Passes over the training data."""
    batch_size: int = Field(default=32, ge=1)
    """Windows of full length behind one step of the optimiser; shorter ones count for their share."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """The highest one, reached after the warm-up."""
    average: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the running average of the weights, which is validated and kept in place of the weights; 0: no average."""
    validate_every: int = Field(default=4, ge=1)
    """Epochs from one validation to the next; there is always one at the end."""


class SASRecTraining(Settings):
    """SASRec and how it is trained."""

    model: SASRecSettings = SASRecSettings()
    """The size of the model."""
    fit: SequenceFit = SequenceFit()
    """How it is fitted."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: this share of the target's weight is spread over all items."""


@dataclass(frozen=True, slots=True)
class Windows:
    """One batch of whole user windows, padded on the right."""

    ids: Tensor
    """(B, T) what is read; `PAD` before a user's first event and after the last one of the window."""
    targets: Tensor
    """(B, T) what must be said next; `PAD` where nothing is asked."""
    places: Tensor
    """(B, T) index of each target among all events; 0 where nothing is asked."""
    drawn: Tensor | None = None
    """(n,) items drawn for all of it, (B, n) for each window, or (B, T, n) for each event, where the loss is not over all of them."""

    def rows(self, piece: slice) -> "Windows":
        """Some of the windows."""
        drawn = self.drawn[piece] if self.drawn is not None and self.drawn.ndim > 1 else self.drawn
        return Windows(self.ids[piece], self.targets[piece], self.places[piece], drawn)


def train_sasrec(
    interactions: Interactions,
    valid: Sequence[Case],
    *,
    n_items: int,
    settings: SASRecTraining,
    run: Run,
    stage: str = "sasrec",
    judge: Callable[[Recommender, Sequence[Case]], Mapping[str, float]] | None = None,
) -> SASRec:
    """A SASRec fitted to all events of `interactions` by the full softmax at every position of every window.

    The weights of the best validation are kept, by `figures` unless `judge` is given; without validation cases the last ones.
    Resumes where it was killed.
    """
    with noise_from(settings.fit.seed):
        model = SASRec(n_items, settings.model)

    fit_full_softmax(model, interactions, valid, smoothing=settings.smoothing, settings=settings.fit, run=run, stage=stage, judge=judge)
    return model


def fit_full_softmax(
    model: SequenceNetwork,
    interactions: Interactions,
    valid: Sequence[Case],
    *,
    smoothing: float,
    settings: FitSettings,
    run: Run,
    stage: str,
    judge: Callable[[Recommender, Sequence[Case]], Mapping[str, float]] | None = None,
) -> None:
    """Fit `model` in place by the full softmax at every position of every window."""

    def loss(module: nn.Module, batch: Windows) -> tuple[Tensor, Tensor]:
        device = next(model.parameters()).device
        targets = batch.targets.to(device)
        asked = targets != PAD
        states = module(batch.ids.to(device))[asked]
        return full_softmax(states, model.items.weight[1:], targets[asked] - 1, smoothing=smoothing), asked.sum()

    fit_windows(model, interactions, valid, loss=loss, settings=settings, run=run, stage=stage, judge=judge)


def fit_windows(
    model: SequenceNetwork,
    interactions: Interactions,
    valid: Sequence[Case],
    *,
    loss: Callable[[nn.Module, Windows], tuple[Tensor, Tensor]],
    settings: FitSettings,
    run: Run,
    stage: str,
    judge: Callable[[Recommender, Sequence[Case]], Mapping[str, float]] | None = None,
    drawn: Callable[[Sequence[Windows], np.random.Generator], Sequence[Windows]] | None = None,
) -> None:
    """Fit `model` in place by any `loss` over windows; `drawn` adds to an epoch's windows what the loss draws for them."""

    def batches(_: int, rng: np.random.Generator) -> Sequence[Windows]:
        windows = window_batches(interactions, model.length, rows=settings.batch_size, rng=rng)
        return drawn(windows, rng) if drawn is not None else windows

    fit(
        model,
        batches=batches,
        loss=loss,
        settings=settings,
        run=run,
        stage=stage,
        validate=(lambda: (judge or figures)(model, valid)) if valid else None,
        micro_batches=lambda batch: [batch.rows(piece) for piece in cut(len(batch.ids))],
    )


def window_batches(interactions: Interactions, length: int, *, rows: int, rng: np.random.Generator) -> list[Windows]:
    """One epoch: every event is a target exactly once, read with at most `length` events before it.

    A long history is cut into windows at places that change from epoch to epoch, so that no event always stands at the start
    of a window, where little can be read. A batch has at most rows x length positions; its windows are of like length.
    """
    first, last = _cuts(interactions.offsets, length, rng)
    order = rng.permutation(len(first))
    sizes = (last - first + 1)[order]
    batches: list[Ints] = []
    for start in range(0, len(order), POOL * rows):
        pool = order[start : start + POOL * rows][np.argsort(sizes[start : start + POOL * rows], kind="stable")]
        batches += _packed(pool, last - first + 1, room=rows * length)
    shuffled = rng.permutation(len(batches))
    return [_filled(interactions, first[batches[at]], last[batches[at]]) for at in shuffled]


def starts_of(interactions: Interactions, places: Ints) -> Ints:
    """Where the history of each event begins: for indices among all events, the index of the same user's first event."""
    starts: Ints = interactions.offsets[np.searchsorted(interactions.offsets, places, side="right") - 1]
    return starts


def figures(recommender: Recommender, cases: Sequence[Case]) -> dict[str, float]:
    """Mean NDCG@10, Recall@10 and Recall@20 over full rankings, histories excluded."""
    ranks = ranks_of(recommender.recommend(cases, 20), np.array([case.target for case in cases]))
    return {name: float(per_case(name, ranks).mean()) for name in ("ndcg@10", "recall@10", "recall@20")}


def _cuts(offsets: Ints, length: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """First and last target of every window, as indices among all events; the first cut of a long history is drawn."""
    counts = np.diff(offsets)
    lead = np.where(counts > length, rng.integers(1, length + 1, size=len(counts)), np.minimum(counts, length))
    windows = np.where(counts > 0, 1 + -(-(counts - lead) // length), 0)
    users = np.repeat(np.arange(len(counts)), windows)
    nth = np.arange(len(users)) - np.repeat(np.cumsum(windows) - windows, windows)
    first = offsets[:-1][users] + np.where(nth == 0, 0, lead[users] + (nth - 1) * length)
    last = np.minimum(offsets[:-1][users] + lead[users] + nth * length, offsets[1:][users]) - 1
    return first, last


def _packed(pool: Ints, sizes: Ints, *, room: int) -> list[Ints]:
    """`pool`, sorted by size, cut into batches whose number times longest is at most `room`."""
    batches, start = [], 0
    for stop in range(1, len(pool) + 1):
        if stop == len(pool) or (stop + 1 - start) * sizes[pool[stop]] > room:
            batches.append(pool[start:stop])
            start = stop
    return batches


def _filled(interactions: Interactions, first: Ints, last: Ints) -> Windows:
    """The windows whose targets run from `first` to `last` (W,)."""
    at = first[:, None] + np.arange(int((last - first).max()) + 1)
    asked = at <= last[:, None]
    places = np.where(asked, at, 0)
    targets = np.where(asked, interactions.items[places], PAD)
    starts = starts_of(interactions, first)
    before = asked & (at > starts[:, None])
    ids = np.where(before, interactions.items[np.maximum(places - 1, 0)], PAD)
    return Windows(*(torch.from_numpy(part) for part in (ids, targets, places)))
