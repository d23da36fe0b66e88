"""The warm start: the language model imitates traces, mixed with histories, so that it does not forget what it knows of sequences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.contracts import Validate
from fathom.errors import ModelError
from fathom.language.policy import LocalPolicy
from fathom.records import Floats, Ints
from fathom.settings import Settings
from fathom.training.pretrain import History, WindowSettings, pack
from fathom.training.run import Run
from fathom.training.supervised import FitReport, FitSettings, fit
from fathom.training.traces import Trace


class ImitateSettings(Settings):
    """The warm start. One example of `fit.batch_size` is one row of packed traces and histories."""

    fit: FitSettings = FitSettings(epochs=2, batch_size=32, learning_rate=5e-4)
    """The loop; after each epoch the conversations of validation cases decide which weights are kept."""
    histories: float = Field(default=0.3, ge=0, lt=1)
    """Share of the tokens of an epoch that are plain histories: without them the model forgets what follows what."""
    history_weight: float = Field(default=0.2, ge=0)
    """Weight of a history's token in the loss; a trace's tokens have those of `TraceSettings`."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Tokens that belong together and the weight of each in the loss; (T,) each, the first weight is 0."""

    tokens: Ints
    weights: Floats


class Rows(NamedTuple):
    """Packed lessons; (B, row) each."""

    tokens: Tensor
    positions: Tensor
    """Counted from 0 in every lesson."""
    weights: Tensor


class Epoch(Sequence[Rows]):
    """The batches of one epoch: lessons packed into rows, no lesson cut, rows in a random order."""

    def __init__(self, lessons: Sequence[Lesson], *, row: int, batch_size: int, padding: int, rng: np.random.Generator) -> None:
        order = rng.permutation(len(lessons))  # equal lengths meet different neighbours in every epoch
        self._lessons = [lessons[index] for index in order]
        packed = pack(np.asarray([len(lesson.tokens) for lesson in self._lessons], dtype=np.int64), row)
        self._rows = [packed[index] for index in rng.permutation(len(packed))]
        self._length, self._batch_size, self._padding = row, batch_size, padding

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __getitem__(self, index: int | slice) -> Rows:  # type: ignore[override]
        assert isinstance(index, int)
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = self._rows[index * self._batch_size : (index + 1) * self._batch_size]
        tokens = np.full((len(rows), self._length), self._padding, dtype=np.int64)
        positions = np.zeros_like(tokens)
        weights = np.zeros(tokens.shape, dtype=np.float32)
        for at, row in enumerate(rows):
            start = 0
            for lesson in (self._lessons[number] for number in row):
                end = start + len(lesson.tokens)
                tokens[at, start:end] = lesson.tokens
                positions[at, start:end] = np.arange(end - start)
                weights[at, start:end] = lesson.weights
                start = end
            positions[at, start:] = np.arange(self._length - start)  # the empty rest is a lesson of its own, without weight
        return Rows(torch.from_numpy(tokens), torch.from_numpy(positions), torch.from_numpy(weights))


def imitate(
    policy: LocalPolicy,
    traces: Sequence[Trace],
    histories: Sequence[Sequence[str]],
    *,
    settings: ImitateSettings,
    windows: WindowSettings,
    run: Run,
    stage: str,
    validate: Validate | None = None,
    header: str = "User:\n",
) -> FitReport:
    """Fit `policy` in place to `traces` and to a share of `histories` (per person the events, oldest first, each ending in a line break).

    The loss is the weighted mean of the tokens' negative log-likelihood: the sum of weight times loss over the sum of weights
    of the whole batch. Every epoch reads all traces and other windows of the histories.
    """
    flat = iter(policy.table.encode_many([event for history in histories for event in history]))
    people = [History(policy.encode(header), [next(flat) for _ in history]) for history in histories]
    lessons = [Lesson(trace.tokens, trace.weights) for trace in traces]
    longest = max((len(lesson.tokens) for lesson in lessons), default=0)
    if longest > policy.context:
        raise ModelError(f"a trace has {longest} tokens, but the model reads {policy.context}: build traces with longest={policy.context}")
    row = min(policy.context, max(windows.row, longest))
    wanted = int(sum(len(lesson.tokens) for lesson in lessons) * settings.histories / (1 - settings.histories))
    end = policy.tokenizer.eos_token_id

    def batches(_: int, rng: np.random.Generator) -> Epoch:
        mixed = [*lessons, *history_lessons(people, wanted, windows, rng=rng, weight=settings.history_weight)]
        return Epoch(mixed, row=row, batch_size=settings.fit.batch_size, padding=end, rng=rng)

    def loss(_: nn.Module, batch: Rows) -> tuple[Tensor, Tensor]:
        return weighted_loss(policy, batch)

    def pieces(batch: Rows) -> list[Rows]:
        cut = max(1, windows.rows_at_once * windows.row // row)
        return [Rows(*part) for part in zip(batch.tokens.split(cut), batch.positions.split(cut), batch.weights.split(cut), strict=True)]

    return fit(
        policy.model, batches=batches, loss=loss, settings=settings.fit, run=run, stage=stage, validate=validate, micro_batches=pieces
    )


def history_lessons(
    people: Sequence[History], wanted: int, windows: WindowSettings, *, rng: np.random.Generator, weight: float
) -> list[Lesson]:
    """Windows of randomly chosen people, about `wanted` tokens in all."""
    lessons: list[Lesson] = []
    read = 0
    for person in rng.permutation(len(people)):
        if read >= wanted:
            break
        for document in people[person].windows(windows.row, overlap=windows.overlap, rng=rng):
            weights = np.full(len(document.tokens), weight, dtype=np.float32)
            weights[: document.asked_from] = 0.0
            lessons.append(Lesson(document.tokens, weights))
            read += len(document.tokens)
    return lessons


def weighted_loss(policy: LocalPolicy, batch: Rows) -> tuple[Tensor, Tensor]:
    """The weighted sum of the tokens' negative log-likelihood, and the sum of the weights; logits exist where a weight is positive."""
    hidden = policy.hidden(batch.tokens, batch.positions)
    weights = batch.weights.to(hidden.device)
    asked = weights > 0
    targets = batch.tokens.to(hidden.device)[asked]
    before = hidden[:, :-1][asked[:, 1:]]
    return -(policy.chunked_logprobs(before, targets) * weights[asked]).sum(), weights.sum()
