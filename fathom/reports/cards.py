"""Episodes as cards to read: a conversation on a timeline, what is new in each list, and where the target was.

Titles, thoughts and preferences come from data and from models: all of it passes through `html.escape`.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape

from fathom.records import Case, Catalog, Ending, Episode, Turn
from fathom.reports.episode import ENDINGS

FIRST = 10
"""Items of a list that are seen at once; the rest unfolds."""

LATEST = 8
"""Events of a history that are shown."""

NUMBER = re.compile(r"^\s*\d{1,3}[.)]\s+")
"""The number that a written line begins with; the card numbers its lines itself."""


def episode_card(episode: Episode, catalog: Catalog, key: str) -> str:
    """One episode as an HTML article; `key` is the name of its anchor."""
    kind, verdict = outcome(episode)
    target = episode.case.target
    turns: list[str] = []
    first_seen: dict[int, int] = {}
    for place, turn in enumerate(episode.turns, start=1):
        turns.append(_turn(turn, place, target, catalog, first_seen=first_seen))
        for item in turn.shown:
            first_seen.setdefault(item, place)
    faults = f'<p class="faults">Failed checks: {escape(", ".join(episode.faults))}</p>' if episode.faults else ""
    return (
        f"{case_head(episode.case, catalog, key, kind=kind, verdict=verdict)}{history_list(episode.case, catalog)}"
        f'<ol class="timeline">{"".join(turns)}{_answer(episode, catalog, first_seen)}</ol>{faults}</article>'
    )


def case_head(case: Case, catalog: Catalog, key: str, *, kind: str, verdict: str) -> str:
    """The beginning of a card: whose it is, what came next, what became of it. The article stays open."""
    who = f"User {case.user}" if case.user >= 0 else "Somebody new"
    heading = escape(catalog.title(case.target)) if case.target else "An open question"
    return (
        f'<article class="episode" id="{key}" data-outcome="{kind}" tabindex="-1" aria-labelledby="{key}-title">'
        f'<header><p class="overline">{who}{" · next came" if case.target else ""}</p>'
        f'<h3 id="{key}-title">{heading}</h3>'
        f'<p class="chip {kind}">{escape(verdict)}</p></header>'
    )


def outcome(episode: Episode) -> tuple[str, str]:
    """What became of an episode: a kind ('hit', 'miss', 'failed') and a few words."""
    if episode.ending is not Ending.ANSWERED and not episode.scored:
        return "failed", ENDINGS[episode.ending]
    if not episode.case.target:
        return "miss", "target unknown"
    final = episode.answer if episode.ending is Ending.ANSWERED and episode.answer else episode.scored[:FIRST]
    if episode.case.target in final:
        return "hit", f"listed at place {list(final).index(episode.case.target) + 1}"
    return "miss", "shown, but not listed" if episode.case.target in episode.retrieved else "never shown"


def history_list(case: Case, catalog: Catalog) -> str:
    """The latest events of a history."""
    items = case.history[-LATEST:]
    before = len(case.history) - len(items)
    told = ([f"<li>{before} before</li>"] if before else []) + [f"<li>{escape(catalog.title(item))}</li>" for item in items]
    return f'<div class="history"><p class="label">History</p><ol>{"".join(told)}</ol></div>'


def _turn(turn: Turn, number: int, target: int, catalog: Catalog, *, first_seen: Mapping[int, int]) -> str:
    """One turn: thought, preference, and the list with what is new."""
    phrases = [phrase.strip() for phrase in turn.preference.split(";") if phrase.strip()]
    asked = "".join(f"<span>{escape(phrase)}</span>" for phrase in phrases)
    thought = f'<p class="thought">{escape(turn.thought.strip())}</p>' if turn.thought.strip() else ""
    new = sum(item not in first_seen for item in turn.shown)
    came = (
        "nothing came back" if not turn.shown else f"{len(turn.shown)} came back, {'all' if new == len(turn.shown) else new or 'none'} new"
    )
    lines = [item_line(item, target, catalog, note="seen before" if item in first_seen else "") for item in turn.shown]
    return (
        f'<li class="turn"><p class="label">Turn {number}</p>{thought}'
        f'<p class="asks"><span class="label">asks for</span>{asked}</p>'
        f'<p class="came">{came}</p>{item_list(lines, folded=target not in turn.shown[FIRST:])}</li>'
    )


def _answer(episode: Episode, catalog: Catalog, first_seen: Mapping[int, int]) -> str:
    """The conclusion and the final lists, each item with the turn that brought it."""
    target, lists = episode.case.target, []
    if episode.lines:
        written = []
        for line, item in zip(episode.lines, episode.answer, strict=True):
            if item is None:
                written.append(f'<li class="unknown"><span>{escape(NUMBER.sub("", line))}</span><em>names no item</em></li>')
            else:
                written.append(item_line(item, target, catalog, note=_origin(item, first_seen)))
        lists.append(f'<div><p class="label">Final list</p>{item_list(written, folded=False)}</div>')
    if episode.scored:
        ranked = [item_line(item, target, catalog, note=_origin(item, first_seen)) for item in episode.scored]
        lists.append(
            f'<div><p class="label">By the model’s likelihood</p>{item_list(ranked, folded=target not in episode.scored[FIRST:])}</div>'
        )
    said = f'<p class="thought">{escape(episode.conclusion.strip())}</p>' if episode.conclusion.strip() else ""
    ended = "" if episode.ending is Ending.ANSWERED else f'<p class="came failed">How it ended: {escape(ENDINGS[episode.ending])}.</p>'
    return f'<li class="turn answer">{said}{ended}<div class="finals">{"".join(lists)}</div></li>'


def _origin(item: int, first_seen: Mapping[int, int]) -> str:
    return f"turn {first_seen[item]}" if item in first_seen else "never shown"


def item_line(item: int, target: int, catalog: Catalog, *, note: str) -> str:
    """One line of a list; the target is marked for the eye and for the ear."""
    kind = "target" if item == target else "seen" if note == "seen before" else ""
    spoken = '<span class="spoken"> (what came next)</span>' if item == target else ""
    told = f"<em>{escape(note)}</em>" if note else ""
    marked = f' class="{kind}"' if kind else ""
    return f"<li{marked}><span>{escape(catalog.title(item))}{spoken}</span>{told}</li>"


def item_list(lines: Sequence[str], *, folded: bool) -> str:
    """A numbered list; what lies beyond the first ten unfolds, and is unfolded where the target stands in it."""
    if len(lines) <= FIRST:
        return f'<ol class="items">{"".join(lines)}</ol>' if lines else ""
    state = "" if folded else " open"
    return (
        f'<ol class="items">{"".join(lines[:FIRST])}</ol><details{state}><summary>{len(lines) - FIRST} more</summary>'
        f'<ol class="items" start="{FIRST + 1}">{"".join(lines[FIRST:])}</ol></details>'
    )
