"""The table of P5: who ranks best, and what else each row can say, beside named models, raters and reviews that are there already."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console, RenderableType

from fathom.contracts import Rater, Recommender
from fathom.data.candidates import Lists, shortened
from fathom.evaluation.compare import compare
from fathom.evaluation.cost import peak_megabytes
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.ratings import Ratings
from fathom.evaluation.results import Difference, Row
from fathom.evaluation.texts import Texts
from fathom.items.embed import Remembering, cache_folder
from fathom.language.encoding import text_encoder
from fathom.metrics import Values
from fathom.models.registry import model_of
from fathom.p5.identifiers import Identifiers
from fathom.p5.lexicon import plain
from fathom.p5.model import P5
from fathom.p5.moments import Moments
from fathom.p5.nearest import NearestReview
from fathom.p5.sentences import Moment, Sentences, can_say
from fathom.p5.templates import Asks, Template
from fathom.p5.writing import WritingSettings
from fathom.pipeline.p5.answers import Sentenced, SentencedRater, Task, answer, figures_of, texts_of
from fathom.pipeline.p5.recipe import P5Recipe
from fathom.pipeline.p5.view import answer_view
from fathom.pipeline.p5.workshop import P5Workshop
from fathom.pipeline.sequential.table import SequentialTable
from fathom.pipeline.table import Speaker
from fathom.recommenders.among import Among
from fathom.recommenders.raters import raters_of
from fathom.records import Case, Ints
from fathom.training.processes import processes

AT = "@"
"""Between a row and the template that it was asked by: 'p5@sequential-13'."""

NEAREST = "nearest-review"
"""The row that says what the most similar training review says."""

RATERS = ("global-mean", "person-mean", "item-mean", "biases", "factors")
"""The rows that foretell ratings from ratings."""

RATED: frozenset[Asks] = frozenset({"stars", "review-stars"})
WRITTEN: frozenset[Asks] = frozenset({"explanation", "headline"})


class P5Table(SequentialTable):
    """Rankings by one template are the table's figures; what other templates ask stands behind their names."""

    work: P5Workshop

    @property
    def recipe(self) -> P5Recipe:
        """What the run was asked to do."""
        return self.work.recipe

    @property
    def models(self) -> Sequence[str]:
        """The named models."""
        return super().protagonists

    @property
    def protagonists(self) -> Sequence[str]:  # type: ignore[override]
        return [*self.models, *self.recipe.rows]

    @property
    def shown(self) -> Sequence[str]:  # type: ignore[override]
        """What a terminal shows: rankings first, then of each kind of task that somebody was asked the figure that it is known by."""
        kinds = {self.recipe.templates[name].asks for name in self._tasks if self._answered(name)}
        more = [("rmse", RATED), ("mae", RATED), ("rouge-l", WRITTEN), ("bleu-4", WRITTEN)]
        return ["ndcg@10", "recall@10", *(name for name, asks in more if kinds & asks)]

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        rows = {row: (row,) for row in self.recipe.rows}
        others = {f"{row}{AT}{template}": (row,) for row in rows for template in (*self.recipe.asked, *self.recipe.elsewhere_asked)}
        return {**{name: (name,) for name in self.models}, **self.recipe.mixed, **rows, **others}

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        """Named models with the floor; each row with all of them, with every row before it, and with itself in other words."""
        rows = list(self.recipe.rows)
        named = [(name, "popularity") for name in self.models if name != "popularity" and "popularity" in self.models]
        beside = [(row, model) for row in rows for model in self.models]
        neighbours = [(b, a) for place, a in enumerate(rows) for b in rows[place + 1 :]]
        words = [(f"{row}{AT}{name}", row) for row in rows for name in self._rankings]
        return [*named, *beside, *neighbours, *words]

    @property
    def _rankings(self) -> list[str]:
        """The templates that rank the catalogue too."""
        return [name for name in self.recipe.asked if self.recipe.templates[name].asks == "next"]

    @property
    def _tasks(self) -> list[str]:
        """The templates that ask for something else."""
        return [name for name in self.recipe.asked if self.recipe.templates[name].asks != "next"]

    # Who is asked ----------------------------------------------------------------------------------------------------------------

    def recommenders(self) -> Mapping[str, Callable[[], Recommender]]:
        rows = dict(super().recommenders())
        for name in self.recipe.rows:
            rows.pop(name, None)
        ceilings = {name: rows.pop(name) for name in self.ceilings()}
        by_row = {row: partial(self._sentenced, row, self.recipe.ranks_by) for row in self.recipe.rows}
        more = {f"{row}{AT}{name}": partial(self._sentenced, row, name) for row in self.recipe.rows for name in self._rankings}
        return {**rows, **by_row, **more, **ceilings}

    def _sentenced(self, row: str, template: str) -> Recommender:
        return Sentenced(self.work.row(row), self.recipe.templates[template])

    def raters(self) -> Mapping[str, Callable[[], Rater]]:
        stars = next((template for template in self.recipe.templates.values() if template.asks == "stars"), None)
        own = {} if stars is None else {row: partial(self._rater, row, stars) for row in reversed(self.recipe.rows)}
        return {**own, **super().raters()}

    def _rater(self, row: str, template: Template) -> Rater:
        return SentencedRater(self.work.row(row), template)

    def speakers(self) -> Mapping[str, Speaker]:
        found: dict[str, Callable[[Path], None]] = {}
        for name in self._tasks:
            asks = self.recipe.templates[name].asks
            if asks == "candidates":
                found |= {f"{model}{AT}{name}": partial(self._among, model, name) for model in self.models}
            elif asks in RATED:
                found |= {f"{rater}{AT}{name}": partial(self._rate, rater, name) for rater in RATERS}
            elif asks in WRITTEN:
                found[f"{NEAREST}{AT}{name}"] = partial(self._nearest, name)
            found |= {f"{row}{AT}{name}": partial(self._answer, row, name, elsewhere=False) for row in self.recipe.rows}
        for name in self.recipe.elsewhere_asked:
            found |= {f"{row}{AT}{name}": partial(self._answer, row, name, elsewhere=True) for row in self.recipe.rows}
        return {name: Speaker((name,), True, partial(self._once, name, judge)) for name, judge in found.items()}

    def _file(self, name: str) -> Path:
        return self.work.folder("tasks") / f"{name}.parquet"

    def _once(self, name: str, judge: Callable[[Path], None]) -> None:
        """Let the main process ask, unless the answers are there."""
        if processes().is_main_process and not self._file(name).is_file():
            judge(self._file(name))

    def _answer(self, row: str, name: str, path: Path, *, elsewhere: bool) -> None:
        model = self.work.row(row)
        task = self._elsewhere(name) if elsewhere else self._task(name)
        if not task.moments:
            Console().print(f"  {name}: no test event says what it needs, so nobody is asked by it", highlight=False)
            return
        answer(self._abroad(model) if elsewhere else model, task, path)

    def _task(self, name: str) -> Task:
        """A template and the test cases of which it can be said."""
        template, moments = self.recipe.templates[name], self.work.moments.of(self.work.test_cases)
        said = [moment for moment in moments if can_say(template, moment)]
        lists = self._lists(template) if template.asks in ("candidates", "taken") else {}
        return Task(template, said, lists, self._writing(template))

    def _writing(self, template: Template) -> WritingSettings:
        """How its answer is written."""
        return self.recipe.headlines if template.asks == "headline" else self.recipe.writing

    def _lists(self, template: Template) -> Lists:
        """The candidates that the template offers: all that are stored, or, where they are titles, as many of them as it was trained on."""
        if "candidate_titles" not in template.slots:
            return self.work.lists
        most = self.recipe.p5.candidate_titles
        return {case.user: shortened(self.work.lists[case.user], case.target, most) for case in self.work.test_cases}

    def _elsewhere(self, name: str) -> Task:
        """A template and the other catalogue's test cases: of strangers, for whom its numbers would be other people's."""
        template, cases = self.recipe.templates[name], self.work.elsewhere_cases
        moments = Moments(self.work.elsewhere.interactions, features=self.work.moments.features).of(cases)
        strangers = [_strange(moment) for moment in moments if can_say(template, moment)]
        return Task(template, strangers, {}, self.recipe.writing)

    def _abroad(self, model: P5) -> P5:
        """The same model with the words for another catalogue, whose items have no ids in it."""
        own, there = model.sentences, self.work.elsewhere.catalog
        ids = Identifiers([(plain(title),) for title in there.titles])
        sentences = Sentences(there, ids, (), own.scale, own.settings)
        return P5(model.network, model.lexicon, sentences, model.settings, model.features)

    def _among(self, model: str, name: str, path: Path) -> None:
        """A named model puts the same candidates in order."""
        scorer, lists = model_of(model).load(self.work.folder(model)), self._lists(self.recipe.templates[name])
        evaluate(Among(scorer, lists), self.work.test_cases, depth=max(map(len, lists.values()))).save(path)

    @cached_property
    def _raters(self) -> Mapping[str, Rater]:
        return raters_of(self.work.split.train, self.work.catalog.n_items)

    def _rate(self, rater: str, name: str, path: Path) -> None:
        task, began = self._task(name), time.perf_counter()
        if not task.moments:
            return
        foretold = self._raters[rater].rate([moment.case for moment in task.moments])
        users = np.array([moment.case.user for moment in task.moments], dtype=np.int64)
        given = np.array([moment.stars for moment in task.moments])
        Ratings(users, foretold, given).save(path, seconds=time.perf_counter() - began)

    def _nearest(self, name: str, path: Path) -> None:
        task, began = self._task(name), time.perf_counter()
        if not task.moments:
            return
        texts = self._reviews.headline(task.moments) if task.template.asks == "headline" else self._reviews.explain(task.moments)
        texts_of(task, texts).save(path, seconds=time.perf_counter() - began)

    @cached_property
    def _reviews(self) -> NearestReview:
        encoder = Remembering(text_encoder(self.recipe.encoder), cache_folder())
        return NearestReview(Moments(self.work.split.train, features=self.work.moments.features), encoder)

    # What is told ----------------------------------------------------------------------------------------------------------------

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        rows, more = super().rows(evaluations)
        found = {row.model: row for row in rows}
        for name in (*self._tasks, *self.recipe.elsewhere_asked):
            asks = self.recipe.templates[name].asks
            for model, path in self._answered(name).items():
                (means, low, high), seconds = figures_of(asks, path, liked=self._liked, seed=self.recipe.seed)
                users = pl.scan_parquet(path).select(pl.len()).collect().item()
                row = found.get(model) or Row(model=model, metrics={}, users=users, seconds=seconds, peak_mb=peak_megabytes())
                found[model] = _with(row, name, means, low, high, first=name == self._first(RATED if asks in RATED else WRITTEN))
            if name == self._first({asks}):
                more += self._compared(name, asks)
        order = [*evaluations, *(name for name in found if name not in evaluations)]
        return sorted(found.values(), key=lambda row: order.index(row.model)), more

    def _answered(self, name: str) -> dict[str, Path]:
        """Who answered a template, in the order of the table -> where the answers are."""
        everybody = (*self.models, *self.recipe.rows, *RATERS, NEAREST)
        return {model: path for model in everybody if (path := self._file(f"{model}{AT}{name}")).is_file()}

    @property
    def _liked(self) -> float:
        return self.recipe.p5.sentences.liked

    def _first(self, asks: Collection[Asks]) -> str:
        """The first template that asks for one of these: others are other wordings of it."""
        return next((name for name in self._tasks if self.recipe.templates[name].asks in asks), "")

    def _compared(self, name: str, asks: Asks) -> list[Difference]:
        """Each row beside the simple raters, by the absolute error, or beside the nearest review, by ROUGE-L."""
        if asks not in RATED | WRITTEN:
            return []
        values: dict[str, tuple[Ints, Values]] = {}
        for model, path in self._answered(name).items():
            if asks in RATED:
                ratings, _ = Ratings.load(path)
                values[model] = ratings.users, ratings.absolute
            else:
                texts, _ = Texts.load(path)
                values[model] = texts.users, texts.rouge()["rougeL"]
        metric = f"{name}/{'mae' if asks in RATED else 'rouge-l'}"
        others = [NEAREST] if asks in WRITTEN else ["global-mean", "biases", "factors"]
        found = []
        for row in self.recipe.rows:
            for other in others:
                if row in values and other in values:
                    one = compare(values[row][1], values[other][1], values[row][0], seed=self.recipe.seed)
                    told = Difference(a=row, b=other, metric=metric, ratio=one.ratio, difference=one.difference, p=one.p)
                    found.append(told.model_copy(update={"low": one.low, "high": one.high}))
        return found

    def trace(self, name: str, case: Case, *, tokens: bool) -> list[RenderableType]:
        row, _, chosen = name.partition(AT)
        if row not in self.recipe.rows:
            return super().trace(name, case, tokens=tokens)
        template = self.recipe.templates[chosen or self.recipe.ranks_by]
        [moment] = self.work.moments.of([case])
        lists = self._lists(template) if template.asks == "candidates" else {}
        return list(answer_view(self.work.row(row), template, moment, lists, writing=self._writing(template), tokens=tokens))


def _with(row: Row, name: str, means: Mapping[str, float], low: Mapping[str, float], high: Mapping[str, float], *, first: bool) -> Row:
    """The row with more figures: behind the template's name, and where it is the `first` of its kind plainly too."""
    prefixes = (f"{name}/", "") if first else (f"{name}/",)

    def more(before: Mapping[str, float], figures: Mapping[str, float]) -> dict[str, float]:
        return {**before, **{prefix + key: value for prefix in prefixes for key, value in figures.items()}}

    return row.model_copy(update={"metrics": more(row.metrics, means), "low": more(row.low, low), "high": more(row.high, high)})


def _strange(moment: Moment) -> Moment:
    """The same of somebody who is nobody here: numbers of people and items belong to this catalogue."""
    return replace(moment, case=replace(moment.case, user=-1, history=(), ratings=()))
