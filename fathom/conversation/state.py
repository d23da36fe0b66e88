"""What is known of a conversation: wishes, what was shown, what was said. All of it is plain data, and goes into a file and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fathom.errors import DataError
from fathom.files import written_aside


@dataclass(frozen=True, slots=True)
class Span:
    """From one number to another, both inside; None: open."""

    low: float | None = None
    high: float | None = None

    def __bool__(self) -> bool:
        return self.low is not None or self.high is not None

    @property
    def empty(self) -> bool:
        """Whether nothing can lie inside."""
        return self.low is not None and self.high is not None and self.low > self.high

    def holds(self, number: float | None) -> bool:
        """Whether the number lies inside; what is not known does not, where anything is asked."""
        if not self:
            return True
        if number is None:
            return False
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)


ANY = Span()
"""No bound at all."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody wants."""

    likes: tuple[int, ...] = ()
    """Items that were named as good."""
    dislikes: tuple[int, ...] = ()
    """Items that were named as bad."""
    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Attribute -> values, of which an item must have one."""
    barred: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Attribute -> values that no item may have."""
    years: Span = ANY
    price: Span = ANY
    words: tuple[str, ...] = ()
    """Whatever else was asked for, in the words that were used, the latest last."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to go on."""
        return self == Wishes()


NOTHING = Wishes()
"""Nothing is known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said back."""

    text: str
    items: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()
    """One for each item."""
    asks: bool = False
    """Whether it is a question, because there was nothing to go on or nothing left."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand between two turns."""

    wishes: Wishes = NOTHING
    listed: tuple[int, ...] = ()
    """The list that lies before the person."""
    shown: tuple[int, ...] = ()
    """Everything that was ever shown; none of it comes again."""
    seen: tuple[int, ...] = ()
    """What the person said to know already."""
    accepted: tuple[int, ...] = ()
    asked: bool = False
    """Whether the last answer was a question: nobody is asked twice in a row."""
    count: int = 5
    """How many items a list has."""


START = Standing()
"""Nothing was said yet."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said, what was said back, and how things stood before."""

    said: str
    answer: Answer
    before: Standing


@dataclass(frozen=True, slots=True)
class State:
    """A conversation so far."""

    history: tuple[int, ...] = ()
    """What a known person took before, oldest first; nothing for somebody new."""
    now: Standing = START
    turns: tuple[Turn, ...] = ()

    def after(self, said: str, answer: Answer, now: Standing) -> "State":
        """The state once this was said and answered, and things stand like this."""
        shown = tuple(dict.fromkeys((*now.shown, *answer.items)))
        turn = Turn(said, answer, self.now)
        return replace(self, now=replace(now, shown=shown, asked=answer.asks), turns=(*self.turns, turn))

    def undone(self) -> "State":
        """The state before the last turn, which is forgotten; as it is where nothing was said."""
        return replace(self, now=self.turns[-1].before, turns=self.turns[:-1]) if self.turns else self


_STATE = TypeAdapter(State)


def save(state: State, path: Path) -> None:
    """Write the conversation as JSON, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(_STATE.dump_json(state))


def load(path: Path) -> State:
    """What `save` wrote; the conversation goes on from there as if nothing had happened."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        return _STATE.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: not a conversation as Fathom writes it ({where}: {first['msg']})") from error
