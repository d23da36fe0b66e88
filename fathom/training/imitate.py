"""The warm start: the language model imitates traces, mixed with histories, so that it does not forget what it knows of sequences."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from fathom.agents.protocol import HISTORY_OPEN
from fathom.contracts import Validate
from fathom.errors import ModelError
from fathom.language.policy import LocalPolicy
from fathom.settings import Settings
from fathom.training.packing import Document, Epoch, Packed, weighted_loss
from fathom.training.pretrain import History, WindowSettings
from fathom.training.processes import rows_at_once
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
) -> FitReport:
    """Fit `policy` in place to `traces` and to a share of `histories` (per person the events, oldest first, each ending in a line break).

    The loss is the weighted mean of the tokens' negative log-likelihood: the sum of weight times loss over the sum of weights
    of the whole batch. Every epoch reads all traces and other windows of the histories.
    """
    flat = iter(policy.table.encode_many([event for history in histories for event in history]))
    people = [History(policy.encode(HISTORY_OPEN), [next(flat) for _ in history]) for history in histories]
    lessons = [Document(trace.tokens, trace.weights) for trace in traces]
    longest = max((len(lesson.tokens) for lesson in lessons), default=0)
    if longest > policy.context:
        raise ModelError(f"a trace has {longest} tokens, but the model reads {policy.context}: build traces with longest={policy.context}")
    row = min(policy.context, max(windows.row, longest))
    wanted = int(sum(len(lesson.tokens) for lesson in lessons) * settings.histories / (1 - settings.histories))
    end = policy.tokenizer.eos_token_id

    def batches(_: int, rng: np.random.Generator) -> Epoch:
        mixed = [*lessons, *history_lessons(people, wanted, windows, rng=rng, weight=settings.history_weight)]
        return Epoch(mixed, row=row, batch_size=settings.fit.batch_size, padding=end, rng=rng)

    def loss(_: nn.Module, batch: Packed) -> tuple[Tensor, Tensor]:
        return weighted_loss(policy, batch)

    def pieces(batch: Packed) -> list[Packed]:
        return batch.pieces(rows_at_once(len(batch.tokens), windows.rows_at_once * windows.row // row))

    return fit(
        policy.model, batches=batches, loss=loss, settings=settings.fit, run=run, stage=stage, validate=validate, micro_batches=pieces
    )


def history_lessons(
    people: Sequence[History], wanted: int, windows: WindowSettings, *, rng: np.random.Generator, weight: float
) -> list[Document]:
    """Windows of randomly chosen people, about `wanted` tokens in all."""
    lessons: list[Document] = []
    read = 0
    for person in rng.permutation(len(people)):
        if read >= wanted:
            break
        documents = people[person].windows(windows.row, overlap=windows.overlap, rng=rng, weight=weight)
        lessons += documents
        read += sum(len(document.tokens) for document in documents)
    return lessons
