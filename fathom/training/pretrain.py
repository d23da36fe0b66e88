"""The language model learns to go on with texts and with people's histories, before it learns to converse.

Rows are packed: several documents share a row, but none sees another, and each begins at position 0, just as in use. A history
longer than the window becomes several windows, cut between events, that overlap: the overlap is read, not asked for again, so
every event is asked for once in an epoch. Where the cuts fall is drawn anew in every epoch.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from fathom.agents.protocol import HISTORY_OPEN
from fathom.contracts import Validate
from fathom.errors import ConfigError
from fathom.language.policy import LocalPolicy
from fathom.records import Ints
from fathom.settings import Settings
from fathom.training.packing import Document, Epoch, Packed, weighted_loss
from fathom.training.processes import rows_at_once
from fathom.training.recitation import Recitations
from fathom.training.run import Run
from fathom.training.supervised import FitReport, FitSettings, fit


class WindowSettings(Settings):
    """How texts and histories are laid out for next-token learning. One example of `FitSettings.batch_size` is one row."""

    row: int = Field(default=256, ge=16)
    """Tokens of a row, and of the longest window."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share of a later window of a long history that is only read."""
    rows_at_once: int = Field(default=32, ge=1)
    """Rows behind one pass through the model; larger batches are cut, which changes memory and nothing else."""


class History:
    """One person's events as tokens: a header that is only read, then the events."""

    def __init__(self, header: Sequence[int], events: Sequence[Sequence[int]]) -> None:
        self._header: Ints = np.asarray(header, dtype=np.int64)
        self._tokens: Ints = np.asarray([token for event in events for token in event], dtype=np.int64)
        self._ends: Ints = np.cumsum([len(event) for event in events], dtype=np.int64)
        """Where each event ends among the tokens."""

    def windows(self, row: int, *, overlap: float, rng: np.random.Generator, weight: float = 1.0) -> list[Document]:
        """Documents of at most `row` tokens that ask for every event exactly once, each token with `weight`."""
        room = row - len(self._header)
        starts = np.concatenate([[0], self._ends[:-1]])
        longest = int((self._ends - starts).max(initial=0))
        if longest > room:
            raise ConfigError(f"row is {row} tokens, but one event of a history needs {longest + len(self._header)}: write a longer row")
        if not len(self._ends):
            return []
        stride = max(1, int(room * (1 - overlap)))
        total = len(self._tokens)
        # The first window asks for everything in it; how long it is decides where all later cuts fall.
        wanted = total if total <= room else int(rng.integers(min(stride, room), room + 1))
        documents: list[Document] = []
        done = 0  # tokens asked for so far, always up to the end of an event
        while done < total:
            last = int(np.searchsorted(self._ends, done + wanted, side="right")) - 1
            if last < 0 or self._ends[last] <= done:  # the next event alone is longer than what is wanted
                last = int(np.searchsorted(self._ends, done, side="right"))
            end = int(self._ends[last])
            first = int(starts[np.searchsorted(starts, max(0, end - room))])
            tokens = np.concatenate([self._header, self._tokens[first:end]])
            documents.append(Document.asked_from(tokens, len(self._header) + done - first, weight))
            done, wanted = end, stride
        return documents


def pretrain(
    policy: LocalPolicy,
    histories: Sequence[Sequence[str]],
    *,
    texts: Sequence[str] = (),
    text_share: float = 1.0,
    recitations: Recitations | None = None,
    windows: WindowSettings,
    settings: FitSettings,
    run: Run,
    stage: str,
    validate: Validate | None = None,
) -> FitReport:
    """Fit `policy` in place to go on with `histories` (per person the events, oldest first, each ending in a line break) and `texts`.

    A text ends with the end-of-text token, which the model learns to write; a history does not: what ends there is the log.
    Texts longer than a row are cut into rows. An epoch reads `text_share` of the pieces, drawn
    anew, and new `recitations`. Logits exist for asked tokens only.
    """
    encode = policy.table.encode_many
    start = policy.encode(HISTORY_OPEN)
    flat = iter(encode([event for history in histories for event in history]))
    people = [History(start, [next(flat) for _ in history]) for history in histories]
    end = policy.tokenizer.eos_token_id
    pages = [np.asarray([*tokens, end], dtype=np.int64) for tokens in encode(texts)]
    plain = [
        Document.asked_from(piece, 1)
        for page in pages
        for piece in np.split(page, range(windows.row, len(page), windows.row))
        if len(piece) > 1
    ]

    def batches(_: int, rng: np.random.Generator) -> Epoch:
        documents = [document for person in people for document in person.windows(windows.row, overlap=windows.overlap, rng=rng)]
        shown = rng.choice(len(plain), size=round(text_share * len(plain)), replace=False) if plain else ()
        drawn = recitations.draw(rng) if recitations is not None else []
        return Epoch(
            [*documents, *(plain[index] for index in shown), *drawn],
            row=windows.row,
            batch_size=settings.batch_size,
            padding=end,
            rng=rng,
        )

    def loss(_: nn.Module, batch: Packed) -> tuple[Tensor, Tensor]:
        return weighted_loss(policy, batch)

    def pieces(batch: Packed) -> list[Packed]:
        return batch.pieces(rows_at_once(len(batch.tokens), windows.rows_at_once))

    return fit(policy.model, batches=batches, loss=loss, settings=settings, run=run, stage=stage, validate=validate, micro_batches=pieces)
