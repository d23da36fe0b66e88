"""One conversation between a language model and a retriever, as an environment: pure Python, played once, never reused.

    dialogue = Dialogue(case, catalog, titles, settings)
    # the model reads dialogue.opening and writes until one of dialogue.stops, at most dialogue.room tokens
    call = dialogue.hear(reply)  # a question to the retriever, or None: over, and dialogue.ending says why
    text = dialogue.show(items)  # what the model reads next, or None: over

The protocol is that of DeepRec (arXiv:2505.16810). The same object plays in trace building, training, evaluation and
serving, so that a response cannot be judged by two sets of rules.
"""

from collections.abc import Sequence

from fathom.agents.format import Response, Segment, Writer, faults, final_text, list_lines
from fathom.agents.protocol import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    BEGIN_PREF,
    END_PREF,
    STOPS,
    THINK_CLOSE,
    ProtocolSettings,
    answer_body,
    byte_length,
    item_block,
    opening,
    reminder,
)
from fathom.data.titles import TitleIndex, canonical
from fathom.language.prompt import Count
from fathom.records import Call, Case, Catalog, Ending, Episode, Reply, Tape, Turn

LINE_END = "\n"
"""Where the last words of a model whose calls are spent end."""


def is_lost(text: str) -> bool:
    """Whether the preference that is being written at the end of `text` has said a phrase twice (phrases end at a semicolon), or begins
    another line.

    >>> is_lost(f"{BEGIN_PREF}war; love; war;"), is_lost(f"{BEGIN_PREF}war; love.\\n"), is_lost(f"{BEGIN_PREF}war; love; wa")
    (True, True, False)
    """
    _, begun, preference = text.rpartition(BEGIN_PREF)
    said = [canonical(phrase) for phrase in preference.split(";")[:-1]]
    return bool(begun) and (len(set(said)) < len(said) or "\n" in preference.lstrip())


def without_repeats(preference: str) -> str:
    """The preference with each phrase where it was said first.

    >>> without_repeats("war; love; War;")
    'war; love'
    """
    phrases: dict[str, str] = {}
    for phrase in preference.split(";"):
        if phrase.strip():
            phrases.setdefault(canonical(phrase), phrase.strip())
    return "; ".join(phrases.values())


class Dialogue:
    """The environment of one episode. Using it after it is over is a `RuntimeError`.

    `count` says how many tokens a text has under the policy's tokenizer; by default a byte counts as one, which is
    never too few. It limits the prompt, and it counts the item lists and those replies that come without token ids.
    """

    stops: tuple[str, ...] = STOPS

    def __init__(self, case: Case, catalog: Catalog, titles: TitleIndex, settings: ProtocolSettings, *, count: Count = byte_length) -> None:
        self.opening = opening(case, catalog, settings, count=count)
        self.ending: Ending | None = None
        self._case = case
        self._catalog = catalog
        self._titles = titles
        self._settings = settings
        self._count = count
        self._used = count(self.opening)
        self._segments: list[Segment] = []
        self._turns: list[Turn] = []
        self._asked: tuple[str, str] | None = None  # thought and preference of the call whose items have not been shown yet

    @property
    def retrieved(self) -> tuple[int, ...]:
        """Every item shown so far, in order of first appearance."""
        return tuple(dict.fromkeys(item for turn in self._turns for item in turn.shown))

    @property
    def turns(self) -> Sequence[Turn]:
        """The calls that were answered so far."""
        return self._turns

    @property
    def lists(self) -> tuple[tuple[int, ...], ...]:
        """The item lists so far, one a call."""
        return tuple(turn.shown for turn in self._turns)

    @property
    def spent(self) -> bool:
        """Whether all calls that it may make are made: another one would end the episode."""
        return len(self._turns) >= self._settings.max_calls

    @property
    def hidden(self) -> frozenset[int]:
        """The items that are neither retrieved nor may stand in a constrained answer: what the person has, if that is excluded."""
        return frozenset(self._case.history if self._settings.exclude_history else ())

    @property
    def room(self) -> int:
        """How many tokens the model may write now."""
        return max(0, min(self._settings.segment_tokens, self._settings.trajectory_tokens - self._used))

    @property
    def most_tokens(self) -> int:
        """How many tokens the whole conversation may have."""
        return self._settings.trajectory_tokens

    @property
    def reminder(self) -> str:
        """What stands between the answer's opening tag and its first number or title; '' where nobody is reminded."""
        return reminder(self._case, self._catalog, self._settings) if self._settings.reminded else ""

    def hear(self, reply: Reply) -> Call | None:
        """Take in what the model wrote: the call it asks for, or None where the episode is over."""
        cut_off = self._take_in(reply)
        if reply.stop == END_PREF:
            return self._call(reply.text.removesuffix(END_PREF))
        answered = reply.stop == ANSWER_CLOSE and list_lines(final_text(tuple(self._segments)))
        self.ending = Ending.ANSWERED if answered else Ending.TOO_LONG if cut_off else Ending.UNREADABLE
        return None

    def show(self, items: tuple[int, ...]) -> str | None:
        """Take in what the retriever answered: the text to append, or None where it leaves the model no room to go on."""
        if self._asked is None:
            raise RuntimeError("show() answers a call, but none is open")
        thought, preference = self._asked
        text = item_block(items, self._catalog, self._settings)
        if not self._fits(text):
            return None
        self._asked = None
        self._turns.append(Turn(thought, preference, tuple(items)))
        self._segments.append(Segment(Writer.RETRIEVAL, text))
        return text

    def conclude(self, reply: Reply) -> str | None:
        """Take in the last line of a model whose calls are spent: what closes its thinking and opens its answer, or None: over."""
        cut_off = self._take_in(reply)
        if BEGIN_PREF in reply.text:
            self.ending = Ending.TOO_MANY_CALLS
        elif reply.stop != LINE_END:
            self.ending = Ending.TOO_LONG if cut_off else Ending.UNREADABLE
        text = ("" if THINK_CLOSE in reply.text else f"{THINK_CLOSE}\n") + ANSWER_OPEN
        if self.ending is not None or not self._fits(text):
            return None
        self._segments.append(Segment(Writer.CLOSING, text))
        return text

    def remind(self, reply: Reply) -> str | None:
        """Take in a reply that stopped at the opening answer tag: the reminder to append, or None where it leaves no room to go on."""
        self._take_in(reply)
        text = self.reminder
        if not self._fits(text):
            return None
        self._segments.append(Segment(Writer.REMINDER, text))
        return text

    def complete(self, reply: Reply, items: Sequence[int]) -> str:
        """The answer `items`, written for the model after a reply that stopped at the opening answer tag, or after the reminder;
        it ends the episode."""
        self._take_in(reply)
        text = f"{answer_body(items, self._catalog, self._settings)}{ANSWER_CLOSE}"
        self._segments.append(Segment(Writer.FINISH, text))
        self.ending = Ending.ANSWERED if items else Ending.UNREADABLE
        return text

    def fail(self, reason: Ending) -> None:
        """End the episode for a reason that is not the model's, such as a retriever that does not answer."""
        self._must_be_open()
        self.ending = reason

    def episode(self, *, tape: Tape | None = None, scored: Sequence[int] = (), seconds: float = 0.0) -> Episode:
        """The finished conversation as a record; its answer is resolved to item ids and its format is judged."""
        if self.ending is None:
            raise RuntimeError("the dialogue is not over yet")
        final = final_text(tuple(self._segments))
        lines = list_lines(final) if self.ending is Ending.ANSWERED else ()
        shown = frozenset(self.retrieved)
        answer = tuple(self._titles.resolve(line, shown) for line in lines)
        response = Response(tuple(self._segments), lines, answer)
        return Episode(
            case=self._case,
            turns=tuple(self._turns),
            conclusion=final.partition(THINK_CLOSE)[0].partition(ANSWER_OPEN)[0].strip(),
            lines=lines,
            answer=answer,
            scored=tuple(scored),
            faults=faults(response, self._settings),
            ending=self.ending,
            text=response.text,
            tape=tape,
            seconds=seconds,
        )

    def _take_in(self, reply: Reply) -> bool:
        """Add the model's words; whether it was cut off because it wrote as much as it may."""
        self._must_be_open()
        if self._asked is not None:
            raise RuntimeError("a call is open: show() its items first")
        allowed = self.room
        tokens = len(reply.tokens) or self._count(reply.text)
        self._used += tokens
        self._segments.append(Segment(Writer.MODEL, reply.text))
        return tokens >= allowed

    def _fits(self, text: str) -> bool:
        """Count what the environment is about to append; where it leaves the model no room to go on, the episode is over."""
        self._used += self._count(text)
        if self._used < self._settings.trajectory_tokens:
            return True
        self.ending = Ending.TOO_LONG
        return False

    def _call(self, words: str) -> Call | None:
        """The call at the end of `words`, the model's text up to the closing marker of a preference."""
        thought, begun, preference = words.rpartition(BEGIN_PREF)
        preference = " ".join(without_repeats(preference.replace('"', "")).split())
        if not begun:
            self.ending = Ending.BAD_CALL
        elif not preference:
            self.ending = Ending.EMPTY_PREFERENCE
        elif self.spent:
            self.ending = Ending.TOO_MANY_CALLS
        if self.ending is not None:
            return None
        self._asked = (thought.strip(), preference)
        shown = frozenset(self.retrieved if self._settings.exclude_shown else ())
        return Call(history=self._case.history, preference=preference, k=self._settings.items_per_call, exclude=self.hidden | shown)

    def _must_be_open(self) -> None:
        if self.ending is not None:
            raise RuntimeError(f"the dialogue is over ({self.ending}): play a new one")
