"""What a row answers to a template about the test cases, as figures; each kind of task in one place."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.judged import Judged
from fathom.evaluation.ratings import Ratings
from fathom.evaluation.rows import make_row
from fathom.evaluation.texts import Texts
from fathom.files import read_json, write_json
from fathom.p5.model import P5
from fathom.p5.sentences import Draw, Moment
from fathom.p5.templates import Asks, Template
from fathom.p5.writing import WritingSettings
from fathom.prompting.ratings import read_rating
from fathom.recommenders.among import Kept
from fathom.records import Case, Ranking

Figures = tuple[dict[str, float], dict[str, float], dict[str, float]]
"""Means, and the ends of the intervals of those that have one."""


class Sentenced:
    """Keeps the `Recommender` seam: the catalogue in the order of one template's answers."""

    def __init__(self, model: P5, template: Template) -> None:
        self._model = model
        self._template = template

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """(B, k) best first; `PAD` where the beam found fewer."""
        exclude = [case.history if exclude_history else () for case in cases]
        return self._model.rank(self._template, [Moment(case) for case in cases], k, exclude=exclude)


class SentencedRater:
    """Keeps the `Rater` seam: the expectation over the scale by the answers to one template."""

    def __init__(self, model: P5, template: Template) -> None:
        self._model = model
        self._template = template

    def rate(self, cases: Sequence[Case]) -> npt.NDArray[np.float64]:
        """(B,) the rating that each person would give to `case.target`, within the scale."""
        return self._model.stars(self._template, [Moment(case) for case in cases])


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of everybody by one template."""

    template: Template
    moments: Sequence[Moment]
    """Of the test cases of which the template can be said."""
    lists: Mapping[int, Sequence[int]]
    """User -> candidates, where the template offers some, or needs something that was not taken."""
    writing: WritingSettings


def answer(model: P5, task: Task, path: Path) -> None:
    """Let the model answer, and keep what came out of it at `path`."""
    KINDS[task.template.asks].answer(model, task, path)


def figures_of(asks: Asks, path: Path, *, liked: float, seed: int) -> tuple[Figures, float]:
    """What stands at `path`, as figures, and how many seconds it took."""
    return KINDS[asks].figures(path, liked, seed)


def _choose(model: P5, task: Task, path: Path) -> None:
    lists, cases, began = task.lists, [moment.case for moment in task.moments], time.perf_counter()
    listed = [lists[case.user] for case in cases]
    scores = model.choose(task.template, task.moments, listed)
    kept = Kept({case.user: (items, told.tolist()) for case, items, told in zip(cases, listed, scores, strict=True)})
    replace(evaluate(kept, cases, depth=max(map(len, listed))), seconds=time.perf_counter() - began).save(path)


def chosen_figures(path: Path, liked: float, seed: int) -> tuple[Figures, float]:
    """Metrics of lists of candidates; and seconds."""
    del liked
    evaluation = Evaluation.load(path)
    row = make_row("", evaluation, seed=seed)
    names = [name for name in row.metrics if name.startswith(("ndcg", "recall", "mrr"))]
    means = {name: row.metrics[name] for name in names}
    return (means, {name: row.low[name] for name in names}, {name: row.high[name] for name in names}), evaluation.seconds


def _take(model: P5, task: Task, path: Path) -> None:
    """Of each test item, and of the first candidate that is another one, whether it is for the person."""
    others = [next(item for item in task.lists[moment.case.user] if item != moment.case.target) for moment in task.moments]
    _verdicts(model, task, path, [Draw(item=item, right=False) for item in others])


def _right(model: P5, task: Task, path: Path) -> None:
    """Of the stars that were given, and of other ones, whether they are right."""
    others = [[value for value in model.sentences.scale if value != moment.stars] for moment in task.moments]
    # Where the scale has one value there is no wrong one to propose: the right one is then what is asked twice.
    wrong = [Draw(stars=values[place % len(values)], right=False) if values else Draw() for place, values in enumerate(others)]
    _verdicts(model, task, path, wrong)


def _verdicts(model: P5, task: Task, path: Path, against: Sequence[Draw]) -> None:
    began = time.perf_counter()
    draws = [Draw()] * len(task.moments) + list(against)
    moments = [*task.moments, *task.moments]
    foretold = model.judge(task.template, moments, draws)
    users = np.array([moment.case.user for moment in moments], dtype=np.int64)
    Judged(users, foretold, np.array([draw.right for draw in draws])).save(path, seconds=time.perf_counter() - began)


def _like(model: P5, task: Task, path: Path) -> None:
    began = time.perf_counter()
    foretold = model.judge(task.template, task.moments, [Draw()] * len(task.moments))
    users = np.array([moment.case.user for moment in task.moments], dtype=np.int64)
    liked = np.array([moment.stars >= model.sentences.settings.liked for moment in task.moments])
    Judged(users, foretold, liked).save(path, seconds=time.perf_counter() - began)


def judged_figures(path: Path, liked: float, seed: int) -> tuple[Figures, float]:
    """Accuracy and AUC of verdicts; and seconds."""
    del liked
    judged, seconds = Judged.load(path)
    return judged.figures(seed=seed), seconds


def _rate(model: P5, task: Task, path: Path) -> None:
    """By the expectation over the scale; beside it, in files of their own, by what is written, where an unreadable word is the mean.

    The file at `path`, by which it is known that the row was asked, comes last.
    """
    users = np.array([moment.case.user for moment in task.moments], dtype=np.int64)
    given = np.array([moment.stars for moment in task.moments])
    scale, began = model.sentences.scale, time.perf_counter()
    expected = model.stars(task.template, task.moments)
    words_began = time.perf_counter()
    words = model.write(task.template, task.moments, WritingSettings(shortest=0, longest=8))
    read = [read_rating(word, lowest=scale[0], best=scale[-1]) for word in words]
    known = [one for one in read if one is not None]
    mean = float(np.mean(known)) if known else float(np.mean(scale))
    told = np.array([mean if one is None else one for one in read])
    write_json(_unreadable(path), {"unreadable": (len(read) - len(known)) / len(read)})
    Ratings(users, told, given).save(_in_words(path), seconds=time.perf_counter() - words_began)
    Ratings(users, expected, given).save(path, seconds=words_began - began)


def rated_figures(path: Path, liked: float, seed: int) -> tuple[Figures, float]:
    """RMSE, MAE and AUC; the same by what is written, and the share of it that could not be read; and seconds."""
    ratings, seconds = Ratings.load(path)
    means, low, high = ratings.figures(liked=liked, seed=seed)
    if _in_words(path).is_file():  # raters write nothing
        written, _, _ = Ratings.load(_in_words(path))[0].figures(liked=liked, seed=seed)
        told = cast(dict[str, float], read_json(_unreadable(path)))
        means |= {f"{name}_words": written[name] for name in ("rmse", "mae")} | told
    return (means, low, high), seconds


def _write(model: P5, task: Task, path: Path) -> None:
    began = time.perf_counter()
    texts = [_sentence(text, task.template) for text in model.write(task.template, task.moments, task.writing)]
    texts_of(task, texts).save(path, seconds=time.perf_counter() - began)


def texts_of(task: Task, written: Sequence[str]) -> Texts:
    """What was written beside what the person wrote."""
    reference = "headline" if task.template.asks == "headline" else "explanation"
    users = np.array([moment.case.user for moment in task.moments], dtype=np.int64)
    told = tuple(getattr(moment, reference) for moment in task.moments)
    return Texts(users, tuple(written), told, tuple(moment.feature for moment in task.moments))


def _sentence(text: str, template: Template) -> str:
    """The explanation alone, where stars stand before it."""
    before = template.target.partition("${explanation}")[0].replace("${stars}", "").split()
    return text.partition(before[-1])[2].strip() or text if before and before[-1] in text else text


def written_figures(path: Path, liked: float, seed: int) -> tuple[Figures, float]:
    """BLEU, ROUGE and their like; and seconds."""
    del liked
    texts, seconds = Texts.load(path)
    return texts.figures(seed=seed), seconds


def _in_words(path: Path) -> Path:
    return path.with_name(f"{path.stem}.words.parquet")


def _unreadable(path: Path) -> Path:
    return path.with_name(f"{path.stem}.words.json")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of task is answered and told."""

    answer: Callable[[P5, Task, Path], None]
    figures: Callable[[Path, float, int], tuple[Figures, float]]


_RATED = Kind(_rate, rated_figures)
_WRITTEN = Kind(_write, written_figures)

KINDS: Mapping[Asks, Kind] = {
    "candidates": Kind(_choose, chosen_figures),
    "taken": Kind(_take, judged_figures),
    "stars": _RATED,
    "stars-right": Kind(_right, judged_figures),
    "liked": Kind(_like, judged_figures),
    "explanation": _WRITTEN,
    "headline": _WRITTEN,
    "review-stars": _RATED,
}
"""What is asked for -> how; 'next' is a row of its own."""
