"""What models answered, case by case, so that people can read, sort and compare it: conversations, reasonings, plain lists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from fathom.metrics import Values
from fathom.records import Case, Catalog, Episode, Reasoning
from fathom.reports.cards import FIRST, case_head, episode_card, history_list, item_line, item_list, outcome
from fathom.reports.reasoning import reasoning_card, reasoning_outcome

READ = 10
"""Answers that a page shows to be read."""

LONG = 10
"""One in so many answers is called long: those with the most tokens."""

KINDS: Mapping[str, str] = {
    "all": "All",
    "hit": "Found",
    "miss": "Missed",
    "failed": "Failed",
    "faulty": "Form broken",
    "long": "Longest",
}
"""Name of a kind of answers -> what people read on its button."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer to one case."""

    case: Case
    place: int
    """Of what came next among all that was ranked, from 1; 0: not there."""
    outcome: str
    """'hit': among the first ten; 'miss'; 'failed': there is no list."""
    card: Callable[[str], str]
    """Its anchor's name -> the answer as an HTML article."""
    written: int = 0
    """Tokens that the model wrote; 0 for one that says nothing."""
    faulty: bool = False
    """Whether a check of its form failed."""


def of_episode(episode: Episode, catalog: Catalog, place: int) -> Reading:
    """A conversation with a retriever."""
    return Reading(
        case=episode.case,
        place=place,
        outcome=outcome(episode)[0],
        card=partial(episode_card, replace(episode, tape=None), catalog),  # tapes are long, and cards show none
        written=sum(episode.tape.sampled) if episode.tape is not None else 0,
        faulty=bool(episode.faults),
    )


def of_reasoning(reasoning: Reasoning, items: Sequence[int], catalog: Catalog, place: int) -> Reading:
    """A reasoning, and the first `items` behind it."""
    return Reading(
        case=reasoning.case,
        place=place,
        outcome=reasoning_outcome(reasoning, items)[0],
        card=partial(reasoning_card, reasoning, items, catalog),
        written=reasoning.written,
    )


def of_list(case: Case, items: Sequence[int], catalog: Catalog, place: int) -> Reading:
    """A list without a word."""
    return Reading(
        case=case,
        place=place,
        outcome="hit" if 0 < place <= FIRST else "miss",
        card=partial(_list_card, case, items, catalog, place),
    )


def kinds(readings: Sequence[Reading]) -> dict[str, list[int]]:
    """Name of each kind, as in `KINDS`, that there is one of -> the places of its answers, in their order; the longest ones first."""
    found = {name: [number for number, one in enumerate(readings) if one.outcome == name] for name in ("hit", "miss", "failed")}
    found["faulty"] = [number for number, one in enumerate(readings) if one.faulty]
    if any(one.written for one in readings):
        by_length = sorted(range(len(readings)), key=lambda number: -readings[number].written)
        found["long"] = by_length[: -(-len(readings) // LONG)]
    return {"all": list(range(len(readings)))} | {name: places for name, places in found.items() if places}


def spread(count: int, most: int = READ) -> list[int]:
    """The places of at most `most` of so many answers, evenly spread over the order of the cases: nobody picked the good ones."""
    return list(range(count)) if count <= most else [number * count // most for number in range(most)]


def worth(readings: Sequence[Reading]) -> Values:
    """(n,) NDCG@10 of each."""
    places = np.array([one.place for one in readings], dtype=np.int64)
    found: Values = np.where((places > 0) & (places <= FIRST), 1 / np.log2(np.maximum(places, 1) + 1), 0.0)
    return found


def _list_card(case: Case, items: Sequence[int], catalog: Catalog, place: int, key: str) -> str:
    there = [item for item in items if item]
    kind, told = ("hit", f"ranked at place {place}") if 0 < place <= FIRST else ("miss", f"at place {place}" if place else "not ranked")
    lines = [item_line(item, case.target, catalog, note="") for item in there]
    return (
        f"{case_head(case, catalog, key, kind=kind, verdict=told)}{history_list(case, catalog)}"
        f'<ol class="timeline"><li class="turn answer"><p class="label">Ranks first</p>'
        f"{item_list(lines, folded=case.target not in there[FIRST:])}</li></ol></article>"
    )
