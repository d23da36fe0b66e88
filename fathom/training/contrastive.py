"""The recommendation head learns to match people with what they took (arXiv:2505.16994, its contrastive loss), and the language head
to say what is said on the way.

    loss = - mean over read-outs of  log softmax over the batch's items (logits of the one that came next)  +  words * mean token loss

People and items are vectors of the same model, both live. Two kinds of excerpts teach:

- A *window* of a history is read out behind every event at once: the read-out stands as a branch behind each event, sees what happened
  up to there and its own tokens and nothing else, exactly as behind a prompt that ends there. So one pass through a history asks as
  often as it has events. This is R²ec without reasoning. Behind some of them the language head learns what it may say there before it
  ranks: the titles that followed, each behind a mark (as bare lines they would read as a history that goes on). They are another branch:
  nothing is matched behind them, or a match would learn to believe names.
- A *lesson* is some neighbouring cases of one person, a reasoning behind each, read out behind it (`training/lessons.py`). Its words may
  be learned too.

An item that many people took is in most batches, and would be held against everybody in most of them: `popularity` corrects for it
as sampled softmax does, by the logarithm of how probable it is to be there (Yi et al., RecSys 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.contracts import Validate
from fathom.language.documents import followed
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import READOUT, event_lines, frame, naming
from fathom.records import Case, Catalog
from fathom.settings import Settings
from fathom.training.full_softmax import full_softmax
from fathom.training.memory import announce, expected
from fathom.training.processes import among_all, portions
from fathom.training.run import Run
from fathom.training.supervised import FitReport, FitSettings, fit

USUAL = 2
"""Titles that a model which writes freely learns to name."""


class ContrastiveSettings(Settings):
    """How people and items are matched. One example of `fit.batch_size` is one excerpt: a window of a history, or a lesson."""

    fit: FitSettings = FitSettings(epochs=4, batch_size=16, learning_rate=1e-3)
    """The loop."""
    words: float = Field(default=0.2, ge=0)
    """Weight of the words' loss beside the match's: of the events of windows, so that histories are not forgotten, and of reasonings."""
    popularity: float = Field(default=1.0, ge=0, le=1)
    """How much of an item's log-probability to be among a batch's items is taken off its logits: 0, the paper's loss; 1, unbiased."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share of a window of a long history that is read a second time, so that the events it asks for have others before them."""
    named: float = Field(default=0.0, ge=0, le=1)
    """Share of the windows' events behind which the titles that followed are learned as a reasoning: as many as `reasoner.titles` says."""
    untitled: float = Field(default=0.0, ge=0, lt=1)
    """Share of a batch's items whose prompts are read without their titles: what else is known of an item learns to speak for it, as it
    must for a new item, whose title nobody has ever read."""


@dataclass(slots=True)
class Excerpt:
    """What is read, in tokens, and what is asked about it."""

    tokens: list[int]
    positions: list[int]
    """From 0 on; they fall back where a branch begins."""
    weights: list[float]
    """Of each token in the words' loss."""
    ends: list[int] = field(default_factory=list)
    """Places at which a person is read out."""
    spans: list[int] = field(default_factory=list)
    """How many tokens, up to its end, stand behind each one's prompt."""
    targets: list[int] = field(default_factory=list)
    """The item that came next, for each read-out."""

    def say(self, words: Sequence[int], weights: Sequence[float], *, at: int) -> None:
        """Let these tokens follow the first `at` tokens."""
        self.tokens += words
        self.positions += range(at, at + len(words))
        self.weights += weights

    def ask(self, target: int, tail: Sequence[int], *, at: int, span: int) -> None:
        """Read out behind the first `at` tokens; `span` counts the tail's."""
        self.say(tail, [0.0] * len(tail), at=at)
        self.ends.append(len(self.tokens) - 1)
        self.spans.append(span)
        self.targets.append(target)


@dataclass(frozen=True, slots=True)
class Readings:
    """Some excerpts of a batch, and what must be known of the whole of it."""

    excerpts: Sequence[Excerpt]
    first: int
    """Read-outs of the batch that come before theirs."""
    targets: tuple[int, ...]
    """The item that came next, for each read-out of the whole batch."""
    items: tuple[int, ...]
    """The distinct ones of them, ascending: every read-out is compared with all of them."""
    encoded: slice
    """Which of the items this piece encodes."""
    untitled: tuple[bool, ...]
    """Which of the items are read without their titles."""
    said: float
    """Weights of the words of the whole batch."""

    @property
    def asked(self) -> int:
        """Read-outs of the whole batch."""
        return len(self.targets)

    @classmethod
    def of(cls, excerpts: Sequence[Excerpt], *, untitled: float = 0.0, rng: np.random.Generator | None = None) -> "Readings":
        """A whole batch, of whose items `rng` draws the share `untitled`."""
        targets = tuple(target for one in excerpts for target in one.targets)
        items = tuple(sorted(set(targets)))
        bare = tuple((rng.random(len(items)) < untitled).tolist()) if rng is not None else (False,) * len(items)
        return cls(excerpts, 0, targets, items, slice(0, len(items)), bare, sum(sum(one.weights) for one in excerpts))

    def pieces(self) -> "list[Readings]":
        """The same, shared out among the processes of the run: one piece each, which may be empty."""
        asked = np.cumsum([0, *(len(one.ends) for one in self.excerpts)]).tolist()
        cuts = zip(portions(len(self.excerpts)), portions(len(self.items)), strict=True)
        return [replace(self, excerpts=self.excerpts[some], first=asked[some.start], encoded=items) for some, items in cuts]


class Row(NamedTuple):
    """Excerpts side by side in one row of T tokens, read out at M places."""

    tokens: Tensor
    """(1, T)"""
    positions: Tensor
    """(1, T)"""
    weights: Tensor
    """(T,) in the words' loss."""
    ends: Tensor
    """(M,) places in the row where a person is read out."""
    spans: Tensor
    """(M,)"""
    targets: Tensor
    """(M,) the item that came next."""

    @classmethod
    def of(cls, excerpts: Sequence[Excerpt]) -> "Row":
        """The row of `excerpts`."""
        starts = np.cumsum([0, *(len(one.tokens) for one in excerpts)]).tolist()
        ends = [start + end for start, one in zip(starts, excerpts, strict=False) for end in one.ends]
        return cls(
            torch.tensor([[token for one in excerpts for token in one.tokens]], dtype=torch.long),
            torch.tensor([[position for one in excerpts for position in one.positions]], dtype=torch.long),
            torch.tensor([weight for one in excerpts for weight in one.weights]),
            torch.tensor(ends, dtype=torch.long),
            torch.tensor([span for one in excerpts for span in one.spans], dtype=torch.long),
            torch.tensor([target for one in excerpts for target in one.targets], dtype=torch.long),
        )


@dataclass(frozen=True, slots=True)
class Naming:
    """Reasonings that name what followed."""

    lines: Sequence[Sequence[int]]
    """Per item the tokens of the line that names it; nothing for `PAD`."""
    closing: Sequence[int]
    """Those of the read-out string."""
    count: int
    """How many items are named."""
    most: int
    """Tokens that a reasoning may have; a longer one is cut, and does not end."""

    @classmethod
    def by(cls, head: DualHead, catalog: Catalog) -> "Naming":
        """As `head` may reason."""
        lines = [(), *head.policy.table.encode_many([naming(title) for title in catalog.titles])]
        return cls(lines, head.policy.encode(READOUT), head.settings.titles or USUAL, head.settings.reasoning_tokens)

    def of(self, items: Sequence[int]) -> tuple[int, ...]:
        """The first of the items named, and the end."""
        words = tuple(token for item in items[: self.count] for token in self.lines[item])
        return words[: self.most] if len(words) > self.most else (*words, *self.closing)


class Person:
    """One history as tokens: what stands before it and behind it, its events, and the read-out that follows each of them."""

    def __init__(
        self,
        before: Sequence[int],
        events: Sequence[Sequence[int]],
        items: Sequence[int],
        behind: Sequence[int],
        tail: Sequence[int],
        naming: Naming,
    ) -> None:
        self._before, self._events, self._items = list(before), events, items
        self._behind, self._tail, self._naming = list(behind), list(tail), naming

    def __len__(self) -> int:
        return len(self._items)

    def window(self, first: int, stop: int, *, asked: int, named: Sequence[int] = ()) -> Excerpt:
        """The events `first` to `stop`, of which those from `asked` on are asked for, and those in `named` named as well.

        An event is asked for behind all events of the window before it; the window's own first one behind the bare prompt.
        """
        excerpt = Excerpt(list(self._before), [], [0.0] * len(self._before))
        edges = []
        for event in range(first, stop):
            edges.append(len(excerpt.tokens))
            if event + 1 < stop:  # the last event is only a target
                excerpt.tokens += self._events[event]
                excerpt.weights += [float(event >= asked)] * len(self._events[event])
        excerpt.positions += range(len(excerpt.tokens))
        branch = [*self._behind, *self._tail]
        for event in range(stop - 1, asked - 1, -1):  # from the last one: so that positions fall back wherever a branch begins
            excerpt.ask(self._items[event], branch, at=edges[event - first], span=len(self._tail))
        for event in sorted(named, reverse=True):
            words = self._naming.of(self._items[event:])
            weights = [0.0] * len(self._behind) + [1.0] * len(words)
            excerpt.say([*self._behind, *words], weights, at=edges[event - first])
        return excerpt


class Excerpts(Sequence[Readings]):
    """The batches of one epoch: every event of every history is asked for once, behind at most `length` events before it, and every
    lesson once."""

    def __init__(
        self,
        people: Sequence[Person],
        lessons: Sequence[Excerpt],
        *,
        length: int,
        batch_size: int,
        overlap: float = 0.5,
        named: float = 0.0,
        untitled: float = 0.0,
        rng: np.random.Generator,
    ) -> None:
        made: list[tuple[int, int, int, int] | Excerpt] = [
            (person, *bounds) for person, one in enumerate(people) for bounds in _cuts(len(one), length, overlap, rng)
        ]
        made += lessons
        self._people, self._batch_size = people, batch_size
        self._made = [made[place] for place in rng.permutation(len(made))]
        self._named, self._untitled, self._seed = named, untitled, int(rng.integers(2**32))

    def __len__(self) -> int:
        return -(-len(self._made) // self._batch_size)

    def __getitem__(self, index: int | slice) -> Readings:  # type: ignore[override]
        assert isinstance(index, int)
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = np.random.default_rng((self._seed, index))
        excerpts = [self._excerpt(one, rng) for one in self._made[index * self._batch_size : (index + 1) * self._batch_size]]
        return Readings.of(excerpts, untitled=self._untitled, rng=rng)

    def _excerpt(self, one: tuple[int, int, int, int] | Excerpt, rng: np.random.Generator) -> Excerpt:
        if isinstance(one, Excerpt):
            return one
        person, first, asked, stop = one
        named = asked + np.flatnonzero(rng.random(stop - asked) < self._named)
        return self._people[person].window(first, stop, asked=asked, named=named.tolist())


def match(
    head: DualHead,
    histories: Sequence[Case],
    catalog: Catalog,
    *,
    settings: ContrastiveSettings,
    run: Run,
    stage: str,
    lessons: Sequence[Excerpt] = (),
    validate: Validate | None = None,
) -> FitReport:
    """Fit `head` in place to match every event of `histories` (each person's whole history as a case) with what came before it, and
    every target of `lessons` with the reasoning about it.

    `validate` is called with a fresh table. Resumes where it was killed; the table is fresh at the end.
    """
    people = people_of(head, histories, catalog)
    asked = [item for case in histories for item in case.history] + [item for lesson in lessons for item in lesson.targets]
    shares = shares_of(asked, head.n_items).to(head.table.device)

    def loss(_: nn.Module, part: Readings) -> tuple[Tensor, Tensor]:
        return contrastive_loss(head, part, shares=shares, settings=settings)

    def batches(_: int, rng: np.random.Generator) -> Excerpts:
        size, length = settings.fit.batch_size, head.settings.history_length
        kept = {"overlap": settings.overlap, "named": settings.named, "untitled": settings.untitled}
        return Excerpts(people, lessons, length=length, batch_size=size, **kept, rng=rng)

    if len(first := batches(0, np.random.default_rng(settings.fit.seed))):
        piece = first[0].pieces()[0]
        tokens = sum(len(one.tokens) for one in piece.excerpts) + sum(len(head.items[item]) for item in piece.items[piece.encoded])
        needed = expected(head, head.probe, tokens=tokens, averaged=bool(settings.fit.average))
        announce(stage, needed, device=head.table.device, smaller="fit.batch_size")
    report = fit(
        head,
        batches=batches,
        loss=loss,
        settings=settings.fit,
        run=run,
        stage=stage,
        validate=head.refreshed(validate),
        micro_batches=Readings.pieces,
    )
    head.refresh()
    return report


def contrastive_loss(head: DualHead, part: Readings, *, shares: Tensor, settings: ContrastiveSettings) -> tuple[Tensor, Tensor]:
    """The part's share of its batch's loss, and which share of the batch's read-outs it has: shares add up to 1.

    `shares` (N + 1,): each item's of all that is asked.
    """
    row, hidden, own = Row.of(part.excerpts), head.table[:0], head.table[:0]
    if part.excerpts:
        hidden = head.policy.hidden(row.tokens, row.positions)[0]
        own = head.vectors(hidden, row.positions, row.ends, row.spans) / head.settings.temperature
    # Each process encodes its people and its items once, and knows the vectors of the others, through which nothing flows back.
    queries = among_all(own, part.first, part.asked)
    items = among_all(
        head.item_vectors(part.items[part.encoded], untitled=part.untitled[part.encoded]), part.encoded.start, len(part.items)
    )
    ids = torch.tensor(part.items, device=items.device)
    if settings.popularity:
        bias = settings.popularity * rarity(shares[ids], part.asked)
        queries = torch.cat([queries, torch.ones_like(queries[:, :1])], dim=1)
        items = torch.cat([items, bias[:, None]], dim=1)
    wanted = torch.searchsorted(ids, torch.tensor(part.targets, device=ids.device))
    with torch.autocast(items.device.type, enabled=False):  # in float32 whatever the model computes in, as people are served
        whole = full_softmax(queries, items, wanted) / part.asked
    share = len(own) / part.asked
    # The gradient is that of everybody's loss by what is live here, which may be nothing; of the value every process says its share.
    nothing = 0.0 * next(weight for weight in head.parameters() if weight.requires_grad).sum()
    loss = whole + (share - 1) * whole.detach() + nothing
    told = row.weights > 0
    if settings.words and bool(told.any()):
        before = hidden[followed(row.positions)[0, told].to(hidden.device)]
        weights, targets = row.weights[told].to(hidden.device), row.tokens[0, told].to(hidden.device)
        loss = loss + settings.words * full_softmax(before, head.policy.decoder.output, targets, weights=weights) / part.said
    return loss, torch.tensor(share, device=loss.device)


def shares_of(asked: Sequence[int], n_items: int) -> Tensor:
    """(N + 1,) float64: each item's share of all that is asked, a list of items."""
    counts = np.bincount(np.asarray(asked, dtype=np.int64), minlength=n_items + 1)
    return torch.from_numpy(counts / max(counts.sum(), 1))


def rarity(shares: Tensor, asked: int) -> Tensor:
    """(n,) float32: minus the logarithm of how probable it is that an item with this share is among so many that are asked for.

    Added to its logits it makes a softmax over a batch's items unbiased (logQ correction; Yi et al., RecSys 2019).

    >>> rarity(torch.tensor([0.5, 0.5]), 1).exp()
    tensor([2., 2.])
    """
    present = -torch.expm1(asked * torch.log1p(-shares.double().clamp(max=0.999)))
    return -present.clamp_min(1e-12).log().float()


def people_of(head: DualHead, histories: Sequence[Case], catalog: Catalog) -> list[Person]:
    """Whole histories as tokens, laid out as `reasoners.prompts.user_prompt` does."""
    before, behind = map(head.policy.encode, frame(head.settings))
    encode, names = head.policy.table.encode_many, Naming.by(head, catalog)
    return [Person(before, encode(event_lines(case, catalog, head.settings)), case.history, behind, head.tail, names) for case in histories]


def _cuts(events: int, length: int, overlap: float, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """(first read, first asked, end) of windows that ask for each of so many events once, behind at most `length` others.

    Windows of a long history begin at places that change from epoch to epoch; of a later one the share `overlap` was read before.
    """
    if events <= length + 1:
        return [(0, 0, events)] if events else []
    stride = max(1, round(length * (1 - overlap)))
    lead = int(rng.integers(1, stride + 1)) + length - stride
    found, done = [(0, 0, lead)], lead
    while done < events:
        stop = min(events, done + stride)
        found.append((max(0, stop - length - 1), done, stop))
        done = stop
    return found
