"""The table of foretold ratings: how far off everybody is, and what asking costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from rich.console import RenderableType

from fathom.contracts import Rater, Recommender
from fathom.errors import ConfigError
from fathom.evaluation.compare import compare
from fathom.evaluation.cost import peak_megabytes
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.ratings import Ratings
from fathom.evaluation.results import Difference, Row
from fathom.pipeline.rating.recipe import FLOOR
from fathom.pipeline.rating.workshop import RatingWorkshop
from fathom.pipeline.table import Speaker, Table
from fathom.pipeline.workshop import sampled
from fathom.prompting.prompts import prompts_of
from fathom.prompting.rate import PromptedRater, Rated
from fathom.recommenders.raters import GlobalMean, raters_of
from fathom.records import Case, Ints
from fathom.training.processes import processes


class RatingTable(Table):
    """Nothing is ranked: a row's figures are how far off it is."""

    work: RatingWorkshop
    shown = ("mae", "rmse", "auc")

    @property
    def protagonists(self) -> Sequence[str]:  # type: ignore[override]
        return [*FLOOR, *self.work.recipe.asked]

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        speaking = ("lm",) if self.work.recipe.language is not None else ()
        return dict.fromkeys(self.work.recipe.asked, speaking)

    pairs = ()

    @property
    def ranked(self) -> str:
        return "nothing: the rating that each test event was given is foretold"

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        return {}

    def speakers(self) -> Mapping[str, Speaker]:
        floor = {name: Speaker((name,), True, partial(self._floor, name)) for name in FLOOR}
        return floor | {name: Speaker((name,), True, partial(self._ask, name)) for name in self.work.recipe.asked}

    def served(self) -> Mapping[str, Callable[[], Recommender]]:
        return {}

    def raters(self) -> Mapping[str, Callable[[], Rater]]:
        asked = {name: partial(self._rater, name) for name in self.work.recipe.asked}
        return {**asked, **{name: partial(self._raters.__getitem__, name) for name in reversed(FLOOR)}}

    @cached_property
    def _raters(self) -> Mapping[str, Rater]:
        return raters_of(self.work.split.train, self.work.catalog.n_items)

    def _file(self, name: str) -> Path:
        return self.work.folder("ratings") / f"{name}.parquet"

    def _floor(self, name: str) -> None:
        if processes().is_main_process and not self._file(name).is_file():
            rater, began = self._raters[name], time.perf_counter()
            foretold = rater.rate(self.work.test_cases)
            self._keep(name, self.work.test_cases, foretold.tolist(), time.perf_counter() - began)

    def _keep(self, name: str, cases: Sequence[Case], foretold: Sequence[float], seconds: float) -> None:
        users = np.array([case.user for case in cases], dtype=np.int64)
        places = {case.user: place for place, case in enumerate(self.work.test_cases)}
        given = self.work.given[[places[case.user] for case in cases]]
        Ratings(users, np.array(foretold), given).save(self._file(name), seconds=seconds)

    def _rater(self, name: str) -> PromptedRater:
        work = self.work
        mean = GlobalMean.of(work.split.train).mean
        return PromptedRater(work.who_is_asked, work.catalog, work.recipe.asked[name], mean=mean, others=work.examples)

    def _ask(self, name: str) -> None:
        work, settings = self.work, self.work.recipe.asked[name]
        cases = sampled(work.test_cases, settings.users, seed=work.recipe.seed)
        about = f"{len(cases):,} ratings, by the prompts {prompts_of(settings.prompts, 'rating').label}"
        told = work.ask(name, cases, Rated, about, lambda: self._rater(name).told)
        if told is not None:
            self._keep(name, cases, [one.rating for one in told], sum(one.seconds for one in told))

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        del evaluations
        work, rows = self.work, []
        there = {name: Ratings.load(self._file(name)) for name in self.protagonists if self._file(name).is_file()}
        for name, (ratings, seconds) in there.items():
            figures, low, high = ratings.figures(liked=work.recipe.liked, seed=work.recipe.seed)
            if name in work.recipe.asked:
                figures |= self._cost(name, seconds)
            users, peak = len(ratings.users), peak_megabytes()
            rows.append(Row(model=name, metrics=figures, low=low, high=high, users=users, seconds=seconds, peak_mb=peak))
        found = {name: ratings for name, (ratings, _) in there.items()}
        pairs = [(name, other) for name in found for other in ("global-mean", "biases", "factors") if name != other and other in found]
        return rows, [self._difference(found, *pair) for pair in pairs if (pair[1], pair[0]) not in pairs or pair[0] > pair[1]]

    def _difference(self, found: Mapping[str, Ratings], a: str, b: str) -> Difference:
        """By the absolute error, on the users of whoever was asked fewer."""
        users: Ints = np.intersect1d(found[a].users, found[b].users)
        one, other = (found[name].absolute[np.isin(found[name].users, users)] for name in (a, b))
        told = compare(one, other, users, seed=self.work.recipe.seed)
        return Difference(a=a, b=b, metric="mae", ratio=told.ratio, difference=told.difference, p=told.p, low=told.low, high=told.high)

    def _cost(self, name: str, seconds: float) -> dict[str, float]:
        """Share of answers that were `compliant`; for each person `questions`, `tokens` written, `context_tokens`, seconds, money."""
        said, endpoint = self.work.said(name, Rated), self.work.recipe.endpoint
        read, written, unreadable = (sum(one.tally[kind] for one in said) for kind in ("read", "written", "unreadable"))
        users = len(said)
        figures = {
            "questions": 1.0,
            "compliant": 1 - unreadable / users,
            "unreadable": unreadable / users,
            "tokens": written / users,
            "context_tokens": (read + written) / users,
            "seconds_per_user": seconds / users,
        }
        return figures if endpoint is None else figures | {"money": endpoint.price(read, written) / users}

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        del tokens
        if name not in self.work.recipe.asked:
            raise ConfigError(f"--model {name}: it rates without a word, there is nothing to trace")
        [told] = self._rater(name).told([case])
        return [told.prompt, told.reply or "(no words: by likelihoods)", f"{told.rating:.2f} for {self.work.catalog.title(case.target)}"]
