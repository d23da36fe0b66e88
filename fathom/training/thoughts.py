"""What a small model may say before it ranks: no log says what a person thought.

A reasoning names titles that the model itself ranks first without a word, drawn by its probabilities, and may say what the first of them
is like. So it is right as often as the model is, and what is learned behind it takes names for what they are: guesses. (Reasonings made
of what really followed teach a ranking to believe them; docs/lab-notes.md.) A mark stands before each title: as bare lines they would
read as a history that goes on, whose items nobody wants a second time. The marks are tokens, so that a title behind one is the same
tokens as in a history.
"""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch
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


HOTTEST, HALVINGS = 16.0, 12
"""How hot names may be drawn beside what the settings say, and how closely the temperature is found."""


class ThoughtSettings(Settings):
    """What reasonings are made of before they are rewarded."""

    titles: int = Field(default=2, ge=1)
    """Titles that are named, none twice, none of the history."""
    temperature: float = Field(default=0.4, gt=0)
    """The model's logits are divided by it when they are drawn: near 0 the first ones, always. It holds for events that the model has not
    learned from; those that it has learned by heart are drawn hotter, so that names are right no more often there."""
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


def honest_temperature(
    head: DualHead, learned: Sequence[Case], held: Sequence[Case], catalog: Catalog, *, seed: int, settings: ThoughtSettings
) -> float:
    """At which temperature names about `learned` cases are right as often as those about `held` ones, which `head` has not learned from,
    are at the settings' own. What it has learned it knows by heart, and who learns behind names that know the answer believes all names.

    At most `HOTTEST` times the settings' own, and never below it. The table must be fresh; all processes must call it together.
    """
    if not learned or not held:  # nothing to compare
        return settings.temperature
    right = _rightness(head, held, catalog, seed=seed, titles=settings.titles)(settings.temperature)
    again = _rightness(head, learned, catalog, seed=seed, titles=settings.titles)
    low, high = settings.temperature, HOTTEST * settings.temperature
    if again(low) <= right or again(high) >= right:
        return low if again(low) <= right else high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if again(middle) > right else (low, middle)
    return high


def _rightness(head: DualHead, cases: Sequence[Case], catalog: Catalog, *, seed: int, titles: int) -> Callable[[float], float]:
    """Temperature -> the share of the cases whose target is among the names that would be drawn about them."""
    vectors = torch.cat(in_shares(lambda part: list(vectors_of(head, part)), silent(head, cases, catalog)))
    known, noise = head.logits(vectors).numpy(force=True), np.random.default_rng(seed)
    for logits, case in zip(known, cases, strict=True):
        logits[list(case.history)] = -np.inf
    luck, targets = np.log(noise.standard_exponential(known.shape, dtype=np.float32)), np.array([case.target for case in cases])

    def right(temperature: float) -> float:
        keys = known / np.float32(temperature) - luck
        own = np.take_along_axis(keys, targets[:, None], axis=1)
        return float(((keys > own).sum(axis=1) < titles).mean())

    return right


def _drawn(logits: Floats, case: Case, catalog: Catalog, *, rng: np.random.Generator, settings: ThoughtSettings) -> str:
    """The reasoning about a case by these logits (N + 1,), which are overwritten."""
    logits /= settings.temperature
    logits[list(case.history)] = -np.inf
    logits -= np.log(rng.standard_exponential(len(logits), dtype=np.float32))  # the largest ones: a sample without replacement (Gumbel-max)
    best = np.argpartition(-logits, min(settings.titles, len(logits) - 1))[: settings.titles]
    named = [item for item in best[np.argsort(-logits[best])].tolist() if np.isfinite(logits[item])]
    return thought(named, catalog, rng=rng, values=settings.values)
