"""What a small model may say before it ranks: no log says what a person thought.

A reasoning names titles that the model itself ranks first without a word, drawn by its probabilities, and may say what the first of them
is like. About events that the model has not learned from it is right as often as the model is, and what is learned behind it takes names
for what they are: guesses. (Reasonings made of what really followed, or about what is known by heart, teach a ranking to believe them;
docs/lab-notes.md.) A mark stands before each title: as bare lines they would read as a history that goes on, whose items nobody wants a
second time. The marks are tokens, so that a title behind one is the same tokens as in a history.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from pydantic import Field

from fathom.data.titles import neutral, single_line
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import PERHAPS
from fathom.records import Case, Catalog, Floats
from fathom.settings import Settings
from fathom.training.contrastive import Excerpt
from fathom.training.lessons import silent, vectors_of
from fathom.training.preferences import facts
from fathom.training.processes import in_shares, processes
from fathom.training.run import progress

LIKE = "Like: "
"""Stands before what the first title is like."""


class ThoughtSettings(Settings):
    """What reasonings are made of before they are rewarded."""

    titles: int = Field(default=2, ge=1)
    """Titles that are named, none twice, none of the history."""
    temperature: float = Field(default=0.4, gt=0)
    """The model's logits are divided by it when they are drawn: near 0 the first ones, always."""
    draws: int = Field(default=4, ge=1)
    """How many reasonings about each event are learned from."""
    values: int = Field(default=0, ge=0)
    """Attribute values of the first title, drawn among those it has."""


def thought(named: Sequence[int], catalog: Catalog, *, rng: np.random.Generator, values: int = 0) -> str:
    """The reasoning that names these items, the likeliest first; '' where there are none.

    >>> films = Catalog(("1", "2"), ("Heat (1995)", "Emma (1996)"), {"genres": (("Crime",), ("Comedy",))})
    >>> print(thought((2, 1), films, rng=np.random.default_rng(0), values=2), end="")
    Maybe: Emma (1996)
    Maybe: Heat (1995)
    Like: Comedy; 1990s
    """
    known = [single_line(neutral(value)) for item in named[:1] for value, _ in facts(catalog, item)]
    said = sorted(rng.permutation(len(known))[:values].tolist())
    lines = [f"{PERHAPS}{catalog.title(item)}" for item in named]
    lines += [f"{LIKE}{'; '.join(known[place] for place in said)}"] if said else []
    return "".join(f"{line}\n" for line in lines)


def thoughts(head: DualHead, cases: Sequence[Case], catalog: Catalog, *, seed: int, settings: ThoughtSettings) -> list[str]:
    """One reasoning for each case, of what `head` ranks first; its table must be fresh. All processes of a run must call it together."""
    excerpts = silent(head, cases, catalog)
    firsts = np.cumsum([0, *(len(one.ends) for one in excerpts)]).tolist()
    with progress("thinking", len(cases)) as advance:

        def share(part: Sequence[tuple[Excerpt, int]]) -> list[list[str]]:
            found = []
            for (_, first), vectors in zip(part, vectors_of(head, [one for one, _ in part]), strict=True):
                found.append(
                    [
                        _drawn(logits, cases[place], catalog, rng=np.random.default_rng([seed, place]), settings=settings)
                        for place, logits in enumerate(head.logits(vectors).numpy(force=True), start=first)
                    ]
                )
                advance(len(vectors) * processes().num_processes)
            return found

        return list(chain.from_iterable(in_shares(share, list(zip(excerpts, firsts, strict=False)))))


def _drawn(logits: Floats, case: Case, catalog: Catalog, *, rng: np.random.Generator, settings: ThoughtSettings) -> str:
    """The reasoning about a case by these logits (N + 1,), which are overwritten."""
    logits /= settings.temperature
    logits[list(case.history)] = -np.inf
    logits -= np.log(rng.standard_exponential(len(logits), dtype=np.float32))  # the largest ones: a sample without replacement (Gumbel-max)
    best = np.argpartition(-logits, min(settings.titles, len(logits) - 1))[: settings.titles]
    named = [item for item in best[np.argsort(-logits[best])].tolist() if np.isfinite(logits[item])]
    return thought(named, catalog, rng=rng, values=settings.values)
