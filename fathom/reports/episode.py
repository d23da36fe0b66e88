"""One conversation in the terminal: what the model thought, asked, saw and answered, and token by token who wrote what.

Every piece of catalogue or model text is put into `rich.text.Text`, so that brackets in a title are never taken for markup.
"""

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from fathom.records import Case, Catalog, Ending, Episode, Tape, Turn

THOUGHT, WISH, TARGET, QUIET, FAULT = "italic", "bold cyan", "bold green", "dim", "bold red"
MARK = "★"
"""Stands before the item that came next in truth."""

ENDINGS = {
    Ending.ANSWERED: "answered",
    Ending.TOO_MANY_CALLS: "asked more often than allowed",
    Ending.TOO_LONG: "wrote more than allowed",
    Ending.EMPTY_PREFERENCE: "asked for nothing",
    Ending.BAD_CALL: "ended a call that it had not begun",
    Ending.UNREADABLE: "left no readable answer",
    Ending.RETRIEVAL_FAILED: "retrieval failed",
    Ending.ABANDONED: "nobody waited for it",
}
"""Every ending in words for people."""


def episode_view(episode: Episode, catalog: Catalog, *, history: int = 10, shown: int = 10) -> Group:
    """The conversation for a terminal: the last `history` items, each turn with the first `shown` items, the list, the verdict."""
    parts: list[RenderableType] = [
        Rule(Text(case_title(episode.case, catalog)), align="left", style="cyan"),
        history_text(episode.case, catalog, history),
    ]
    seen: set[int] = set()
    for number, turn in enumerate(episode.turns, start=1):
        parts += [Text(), *_turn(turn, number, episode.case.target, catalog, seen=seen, shown=shown)]
        seen |= set(turn.shown)
    parts += [Text(), *_answer(episode, catalog), Text(), _verdict(episode)]
    return Group(*parts)


def token_view(tape: Tape, decode: Callable[[Sequence[int]], str]) -> Group:
    """Every token in the colour of its writer: the prompt dim, the model's own green, what was inserted blue.

    Neighbours of one writer alternate in brightness, so that each token's borders are seen. Only green tokens are learned from.
    """
    words = Text()
    for place, (token, sampled) in enumerate(zip(tape.tokens, tape.sampled, strict=True)):
        colour = "dim" if place < tape.prompt else ("green" if sampled else "blue")
        words.append(decode([token]), style=colour if place % 2 else f"{colour} underline" if colour != "dim" else colour)
    own = sum(tape.sampled)
    legend = Text.assemble(
        (f"{tape.prompt} prompt", "dim"),
        "  ",
        (f"{own} by the model", "green"),
        "  ",
        (f"{len(tape.tokens) - own - tape.prompt} inserted", "blue"),
    )
    return Group(legend, Text(), words)


def case_title(case: Case, catalog: Catalog) -> str:
    """Whose case it is, and what came next."""
    target = f", then took {catalog.title(case.target)}" if case.target else ""
    return f"user {case.user}{target}" if case.user >= 0 else f"somebody new{target}"


def history_text(case: Case, catalog: Catalog, most: int) -> Text:
    """The latest `most` events of a history on one line."""
    items = case.history[-most:]
    left_out = len(case.history) - len(items)
    told = ([f"… {left_out} before"] if left_out else []) + [catalog.title(item) for item in items]
    return Text.assemble(("history  ", "bold"), (" · ".join(told) or "none", QUIET))


def _turn(turn: Turn, number: int, target: int, catalog: Catalog, *, seen: set[int], shown: int) -> list[RenderableType]:
    """One turn; items that an earlier turn had shown are dim, so that what is new stands out."""
    lines: list[RenderableType] = [Text.assemble((f"turn {number}  ", "bold"), (turn.thought.strip() or "(no thought)", THOUGHT))]
    lines.append(Padding(Text.assemble("asks for  ", (turn.preference, WISH)), (0, 0, 0, 2)))
    listed = Text()
    for place, item in enumerate(turn.shown, start=1):
        if place > shown and item != target:
            continue
        style = TARGET if item == target else QUIET if item in seen else ""
        listed.append(f"{place:>3}. {MARK + ' ' if item == target else ''}{catalog.title(item)}\n", style=style)
    if not turn.shown:
        listed.append("nothing came back\n", style=FAULT)
    elif len(turn.shown) > shown:
        listed.append(f"     of {len(turn.shown)} items\n", style=QUIET)
    listed.rstrip()
    return [*lines, Padding(listed, (0, 0, 0, 4))]


def _answer(episode: Episode, catalog: Catalog) -> list[RenderableType]:
    """The conclusion and the final lists: as written, and in the order of likelihood where that was asked for."""
    lines: list[RenderableType] = []
    if episode.conclusion.strip():
        lines.append(Text.assemble(("so  ", "bold"), (episode.conclusion.strip(), THOUGHT)))
    written = Text()
    for line, item in zip(episode.lines, episode.answer, strict=True):
        hit = item is not None and item == episode.case.target
        written.append(f"  {MARK + ' ' if hit else '  '}{line}", style=TARGET if hit else FAULT if item is None else "")
        written.append("  names no item\n" if item is None else "\n", style=QUIET)
    written.rstrip()
    if episode.lines:
        lines += [Text("final list", style="bold"), written]
    if episode.scored:
        first = episode.scored[:10]
        told = Text("by likelihood  ", style="bold")
        for place, item in enumerate(first):
            told.append(("" if place == 0 else " · ") + catalog.title(item), style=TARGET if item == episode.case.target else QUIET)
        lines.append(told)
    return lines


def _verdict(episode: Episode) -> Text:
    ended = Text.assemble(("ended  ", "bold"), (ENDINGS[episode.ending], "" if episode.ending is Ending.ANSWERED else FAULT))
    if episode.faults:
        ended.append("   faults  ", style="bold").append(", ".join(episode.faults), style=FAULT)
    if episode.case.target:
        places = [place for place, item in enumerate(episode.answer, start=1) if item == episode.case.target]
        where = (
            f"at place {places[0]}" if places else "not in the list" + ("" if episode.case.target in episode.retrieved else ", never shown")
        )
        ended.append("   target  ", style="bold").append(where, style=TARGET if places else QUIET)
    return ended
