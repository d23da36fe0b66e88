"""What a small model may say before it ranks, made up from what really followed: no log says what a person thought.

A reasoning names some titles that may come next, then says what the first of them is like. A mark stands before each: as bare lines
they would read as a history that goes on, whose items nobody wants a second time (docs/lab-notes.md). The marks are tokens, so that a
title behind one is the same tokens as in a history, and can be named by who knows histories. Learned as words alone: a ranking that were
learned behind them would take the model's guesses for the truth, since here they are.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from fathom.data.titles import neutral, single_line
from fathom.records import Case, Catalog
from fathom.settings import Settings
from fathom.training.preferences import facts

PERHAPS, LIKE = "Maybe: ", "Like: "
"""Stand before each title that may come next, and before what the next item is like."""


class ThoughtSettings(Settings):
    """What reasonings are made of before they are rewarded."""

    titles: int = Field(default=2, ge=0)
    """Titles that the person took next, the first of them first."""
    values: int = Field(default=2, ge=0)
    """Attribute values of what came next, drawn among those it has."""


def thought(case: Case, later: Sequence[int], catalog: Catalog, *, rng: np.random.Generator, settings: ThoughtSettings) -> str:
    """The reasoning about a case whose target was followed by `later`; '' where nothing is to be said.

    >>> films = Catalog(("1", "2"), ("Heat (1995)", "Emma (1996)"), {"genres": (("Crime",), ("Comedy",))})
    >>> print(thought(Case(0, (), 2), (1,), films, rng=np.random.default_rng(0), settings=ThoughtSettings()), end="")
    Maybe: Emma (1996)
    Maybe: Heat (1995)
    Like: Comedy; 1990s
    """
    known = [single_line(neutral(value)) for value, _ in facts(catalog, case.target)]
    said = sorted(rng.permutation(len(known))[: settings.values].tolist())
    lines = [f"{PERHAPS}{catalog.title(item)}" for item in (case.target, *later)[: settings.titles]]
    lines += [f"{LIKE}{'; '.join(known[place] for place in said)}"] if said else []
    return "".join(f"{line}\n" for line in lines)


def thoughts(cases: Sequence[Case], catalog: Catalog, *, seed: int, settings: ThoughtSettings) -> list[str]:
    """One reasoning for each case; what followed a target is known where the cases after it are the same person's next ones."""
    return [
        thought(case, followers(cases, place, settings.titles - 1), catalog, rng=np.random.default_rng([seed, place]), settings=settings)
        for place, case in enumerate(cases)
    ]


def followers(cases: Sequence[Case], place: int, most: int) -> tuple[int, ...]:
    """At most `most` items that the person of case `place` took after its target, as far as the cases behind it tell."""
    found: list[int] = []
    for before, case in zip(cases[place:], cases[place + 1 :], strict=False):
        if len(found) >= most or not case.follows(before):
            break
        found.append(case.target)
    return tuple(found)
