"""A language model foretells ratings: from what it writes, or from how likely it would write each of them.

What cannot be read falls back to the person's own mean, or to everybody's, and is counted; nobody is left out.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from fathom.contracts import Policy
from fathom.prompting.asking import Answered, AskingSettings, asked, fitted, mark_of, opened
from fathom.prompting.prompts import Prompts, Words, prompts_of
from fathom.prompting.ratings import expected_rating, read_rating
from fathom.recommenders.raters import Numbers, rated
from fathom.records import Case, Catalog


class RaterSettings(AskingSettings):
    """What the model is shown, and how its answers are read."""

    prompts: str = "rating"
    """The prompts that come with Fathom, or a file of one's own."""
    history_length: int = Field(default=20, ge=1)
    """The latest rated events of the history that are shown."""
    examples: int = Field(default=0, ge=0)
    """So many other people, drawn for each case, are shown with what they gave next: few-shot."""
    lowest: float = 1.0
    """The scale's worst."""
    best: float = 5.0
    """The scale's best."""
    step: float = Field(default=1.0, gt=0)
    """From one rating to the next; of answers by likelihoods."""
    answers: Literal["words", "likelihoods"] = "words"
    """How answers are read: from what the model writes, or as the expectation over how likely each rating is; that needs a local model."""


@dataclass(frozen=True, slots=True)
class Rated:
    """What was said of a case."""

    user: int
    rating: float
    """Within the scale."""
    tally: Mapping[str, int]
    """1 where the answer was `unreadable` and the rating is a mean instead; tokens `read` and `written`."""
    prompt: str = ""
    reply: str = ""
    seconds: float = field(default=0.0, compare=False)
    """Its share of the wall clock."""


class PromptedRater:
    """Keeps the `Rater` seam by asking a language model."""

    def __init__(
        self,
        policy: Policy,
        catalog: Catalog,
        settings: RaterSettings,
        *,
        mean: float,
        others: Sequence[tuple[Case, float]] = (),
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """`mean` is everybody's; `others` are training cases and how their targets were rated: what examples are drawn from."""
        self._policy = policy
        self._catalog = catalog
        self._settings = settings
        self._mean = mean
        self._others = others
        self._prompts = prompts_of(settings.prompts, "rating")
        self._progress = progress

    def rate(self, cases: Sequence[Case]) -> Numbers:
        """(B,) the rating that each person would give to `case.target`, within the scale."""
        return np.array([one.rating for one in self.told(cases)])

    def told(self, cases: Sequence[Case]) -> list[Rated]:
        """The same, with what led to it."""
        found: list[Rated] = []
        for start in range(0, len(cases), self._policy.at_once):
            began, part = time.perf_counter(), cases[start : start + self._policy.at_once]
            prompts = [self._prompt(case) for case in part]
            seeds = [mark_of(self._settings.seed, case.user, case.history, case.target) for case in part]
            if self._settings.answers == "likelihoods":
                ratings, answers = self._weighed(prompts, seeds)
            else:
                answers = asked(self._policy, prompts, self._settings, seeds)
                ratings = [read_rating(answer.text, lowest=self._settings.lowest, best=self._settings.best) for answer in answers]
            share = (time.perf_counter() - began) / len(part)
            for case, prompt, rating, answer in zip(part, prompts, ratings, answers, strict=True):
                tally = {"unreadable": int(rating is None), "read": answer.read, "written": answer.written}
                own = self._fallback(case) if rating is None else rating
                found.append(Rated(case.user, own, tally, prompt, answer.text, share))
            if self._progress is not None:
                self._progress(len(part))
        return found

    def _weighed(self, prompts: Sequence[str], seeds: Sequence[int]) -> tuple[list[float | None], list[Answered]]:
        """The expected ratings by likelihoods, and answers without a word."""
        scale = self.scale
        conversation = opened(self._policy, prompts, self._settings, seeds)
        weights = conversation.score(range(len(prompts)), [[f"{rating:g}" for rating in scale]] * len(prompts))
        ratings: list[float | None] = [expected_rating(logprobs.tolist(), scale) for logprobs in weights]
        return ratings, [Answered("", len(self._policy.encode(prompt)), 0) for prompt in prompts]

    @property
    def scale(self) -> list[float]:
        """Every rating there is, the worst first."""
        settings = self._settings
        return [settings.lowest + place * settings.step for place in range(round((settings.best - settings.lowest) / settings.step) + 1)]

    def _fallback(self, case: Case) -> float:
        _, ratings = rated(case)
        return float(ratings.mean()) if len(ratings) else self._mean

    def _prompt(self, case: Case) -> str:
        settings = self._settings
        slots = {"lowest": f"{settings.lowest:g}", "best": f"{settings.best:g}", "candidate": self._catalog.title(case.target)}
        slots["examples"] = "\n\n".join(self._example(*one) for one in self._drawn(case))

        def filled(events: Sequence[str]) -> str:
            return self._prompts.render("rating", settings.words, slots | {"history": "\n".join(events)}, needs=("candidate",))

        return fitted(self._events(case), filled, self._policy, settings, name="rating")

    def _events(self, case: Case) -> list[str]:
        items, ratings = rated(case)
        latest = list(zip(items.tolist(), ratings.tolist(), strict=True))[-self._settings.history_length :]
        return [event_of(self._prompts, self._settings.words, self._catalog.title(item), rating) for item, rating in latest]

    def _example(self, case: Case, given: float) -> str:
        return "\n".join([*self._events(case)[-5:], f"next {self._catalog.title(case.target)}: {given:g}"])

    def _drawn(self, case: Case) -> list[tuple[Case, float]]:
        """Other people than this one."""
        count = self._settings.examples
        if not count or not self._others:
            return []
        draw = np.random.default_rng([self._settings.seed, mark_of(case.user, case.history)])
        places = (
            draw.permutation(len(self._others))
            if len(self._others) < 4 * count
            else np.unique(draw.integers(len(self._others), size=4 * count))
        )
        others = [self._others[place] for place in draw.permutation(places).tolist()]
        return [one for one in others if one[0].user != case.user][:count]


def event_of(prompts: Prompts, words: Words, title: str, rating: float) -> str:
    """A rated thing as the prompts write it."""
    return prompts.render("event", words, {"title": title, "given": f"{rating:g}"}, needs=("title", "given"))
