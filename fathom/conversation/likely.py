"""A language model that has read conversations says which title is likely to be named next."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fathom.agents.protocol import HISTORY_OPEN
from fathom.contracts import Policy
from fathom.language.prompt import within
from fathom.records import Catalog, Utterance

NAMED = "> "
"""Begins a line with a title that is recommended; what is said with it follows."""


def lines_of(said: Sequence[Utterance], catalog: Catalog) -> list[str]:
    """A conversation as the model reads it, a line at a time: titles that a recommender names first stand before what is said."""
    lines, named = [], set[int]()
    for utterance in said:
        if utterance.speaker == "recommender":
            lines += [f"{NAMED}{catalog.title(item)}\n" for item in dict.fromkeys(utterance.items) if item not in named]
        lines.append(f"{utterance.speaker.capitalize()}: {utterance.text}\n")
        named.update(utterance.items)
    return lines


class Likelihoods:
    """How likely titles are to be named next."""

    def __init__(self, policy: Policy, catalog: Catalog, *, tokens: int) -> None:
        """At most `tokens` of what was said, the latest, are read: as many as in training."""
        self._policy = policy
        self._catalog = catalog
        self._tokens = tokens

    def of(self, scripts: Sequence[Sequence[Utterance]], items: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        """For each conversation log p of the titles of its `items`, each with the line break behind it."""
        found: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(scripts), self._policy.at_once):
            prompts = [self._prompt(script) for script in scripts[start : start + self._policy.at_once]]
            offered = [[f"{self._catalog.title(item)}\n" for item in row] for row in items[start : start + self._policy.at_once]]
            conversation = self._policy.converse(prompts, temperature=0.0, seeds=[0] * len(prompts))
            found += conversation.score(range(len(prompts)), offered)
        return found

    def _prompt(self, script: Sequence[Utterance]) -> str:
        def filled(lines: Sequence[str]) -> str:
            return f"{HISTORY_OPEN}{''.join(lines)}{NAMED}"

        lines = lines_of(script, self._catalog)
        return within(lines, filled, name="conversation", most=self._tokens, count=lambda text: len(self._policy.encode(text)))


class LikelyOrder:
    """An `Order`: what speaks for an item so far and how likely it is named next, each times its weight."""

    def __init__(self, likelihoods: Likelihoods, *, scores: float, likelihood: float) -> None:
        self.likelihoods = likelihoods
        self._weights = (scores, likelihood)

    def __call__(self, script: Sequence[Utterance], items: Sequence[int], scores: Sequence[float]) -> list[int]:
        """The items in order; ties stay as they came."""
        [told] = self.likelihoods.of([script], [items])
        return [items[place] for place in np.argsort(-self.mixed(scores, told), kind="stable")]

    def mixed(self, scores: Sequence[float], told: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """(n,) what speaks for each item, all in all."""
        return self._weights[0] * np.asarray(scores, dtype=np.float64) + self._weights[1] * told.astype(np.float64)
