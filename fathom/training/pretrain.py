"""The language model learns to go on with texts and with people's histories, before it learns to converse.

Rows are packed: several documents share a row, but none sees another, and each begins at position 0, just as in use. A history
longer than the window becomes several windows, cut between events, that overlap: the overlap is read, not asked for again, so
every event is asked for once in an epoch. Where the cuts fall is drawn anew in every epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.contracts import Validate
from fathom.errors import ConfigError
from fathom.language.policy import LocalPolicy
from fathom.records import Ints
from fathom.settings import Settings
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


@dataclass(frozen=True, slots=True)
class Document:
    """Tokens that belong together, and from which of them on the model is asked."""

    tokens: Ints
    asked_from: int


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of documents; (B, row) each."""

    tokens: Tensor
    positions: Tensor
    """Counted from 0 in every document: where it falls back to 0, a new document begins."""
    asked: Tensor
    """True where the token is to be predicted."""


class History:
    """One person's events as tokens: a header that is only read, then the events."""

    def __init__(self, header: Sequence[int], events: Sequence[Sequence[int]]) -> None:
        self._header: Ints = np.asarray(header, dtype=np.int64)
        self._tokens: Ints = np.asarray([token for event in events for token in event], dtype=np.int64)
        self._ends: Ints = np.cumsum([len(event) for event in events], dtype=np.int64)
        """Where each event ends among the tokens."""

    def windows(self, row: int, *, overlap: float, rng: np.random.Generator) -> list[Document]:
        """Documents of at most `row` tokens that ask for every event exactly once."""
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
            documents.append(Document(tokens, max(1, len(self._header) + done - first)))
            done, wanted = end, stride
        return documents


def pack(lengths: Ints, row: int) -> list[list[int]]:
    """Which documents share a row: best fit, longest first, so that few tokens of a row stay empty.

    >>> pack(np.array([3, 6, 4, 7]), 10)
    [[3, 0], [1, 2]]
    """
    rooms: list[list[int]] = [[] for _ in range(row + 1)]  # rooms[r]: the rows with r tokens left
    rows: list[list[int]] = []
    for document in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[document])
        room = next((room for room in range(length, row + 1) if rooms[room]), None)
        if room is None:
            rows.append([])
            index, room = len(rows) - 1, row
        else:
            index = rooms[room].pop()
        rows[index].append(document)
        rooms[room - length].append(index)
    return rows


class Epoch(Sequence[Packed]):
    """The batches of one epoch, made when they are asked for."""

    def __init__(
        self, documents: Sequence[Document], settings: WindowSettings, *, batch_size: int, padding: int, rng: np.random.Generator
    ) -> None:
        order = rng.permutation(len(documents))  # equal lengths meet different neighbours in every epoch
        self._documents = [documents[index] for index in order]
        rows = pack(np.asarray([len(document.tokens) for document in self._documents], dtype=np.int64), settings.row)
        self._rows = [rows[index] for index in rng.permutation(len(rows))]
        self._length = settings.row
        self._batch_size = batch_size
        self._padding = padding

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __getitem__(self, index: int | slice) -> Packed:  # type: ignore[override]
        assert isinstance(index, int)
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = self._rows[index * self._batch_size : (index + 1) * self._batch_size]
        tokens = np.full((len(rows), self._length), self._padding, dtype=np.int64)
        positions = np.zeros_like(tokens)
        asked = np.zeros(tokens.shape, dtype=np.bool_)
        for at, row in enumerate(rows):
            start = 0
            for document in (self._documents[number] for number in row):
                end = start + len(document.tokens)
                tokens[at, start:end] = document.tokens
                positions[at, start:end] = np.arange(end - start)
                asked[at, start + document.asked_from : end] = True
                start = end
            positions[at, start:] = np.arange(self._length - start)  # the empty rest is a document of its own, never asked for
        return Packed(torch.from_numpy(tokens), torch.from_numpy(positions), torch.from_numpy(asked))


def pretrain(
    policy: LocalPolicy,
    histories: Sequence[Sequence[str]],
    *,
    texts: Sequence[str] = (),
    header: str = "User:\n",
    windows: WindowSettings,
    settings: FitSettings,
    run: Run,
    stage: str,
    validate: Validate | None = None,
) -> FitReport:
    """Fit `policy` in place to go on with `histories` (per person the events, oldest first, each ending in a line break) and `texts`.

    A text ends with the end-of-text token, which the model learns to write; a history does not: what ends there is the log.
    Texts longer than a row are cut into rows. Logits exist for asked tokens only, a chunk at a time.
    """
    encode = policy.table.encode_many
    start = policy.encode(header)
    flat = iter(encode([event for history in histories for event in history]))
    people = [History(start, [next(flat) for _ in history]) for history in histories]
    end = policy.tokenizer.eos_token_id
    pages = [np.asarray([*tokens, end], dtype=np.int64) for tokens in encode(texts)]
    plain = [Document(piece, 1) for page in pages for piece in np.split(page, range(windows.row, len(page), windows.row)) if len(piece) > 1]

    def batches(_: int, rng: np.random.Generator) -> Epoch:
        documents = [document for person in people for document in person.windows(windows.row, overlap=windows.overlap, rng=rng)]
        return Epoch([*documents, *plain], windows, batch_size=settings.batch_size, padding=end, rng=rng)

    def loss(_: nn.Module, batch: Packed) -> tuple[Tensor, Tensor]:
        return next_token_loss(policy, batch)

    def pieces(batch: Packed) -> list[Packed]:
        cut = windows.rows_at_once
        parts = zip(batch.tokens.split(cut), batch.positions.split(cut), batch.asked.split(cut), strict=True)
        return [Packed(*part) for part in parts]

    return fit(policy.model, batches=batches, loss=loss, settings=settings, run=run, stage=stage, validate=validate, micro_batches=pieces)


def next_token_loss(policy: LocalPolicy, batch: Packed) -> tuple[Tensor, Tensor]:
    """The summed negative log-likelihood of the asked tokens, and how many they are."""
    hidden = policy.hidden(batch.tokens, batch.positions)
    asked = batch.asked.to(hidden.device)
    targets = batch.tokens.to(hidden.device)[asked]
    before = hidden[:, :-1][asked[:, 1:]]
    return -policy.chunked_logprobs(before, targets).sum(), asked.sum()
