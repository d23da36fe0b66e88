"""P5 goes its whole way: several schemes of ids beside named models, every kind of task, another catalogue, resuming, the terminal."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import ran, told, work_of
from texttotext import N_ITEMS, SAID, catalogue, ring

from fathom.data.dataset import Dataset
from fathom.errors import ConfigError
from fathom.evaluation.judged import Judged
from fathom.evaluation.ratings import Ratings
from fathom.evaluation.results import Results, read
from fathom.evaluation.texts import Texts
from fathom.p5.templates import family_of
from fathom.p5.writing import WritingSettings
from fathom.pipeline.methods import recipe_at
from fathom.pipeline.p5.answers import SentencedRater, Task, answer
from fathom.pipeline.p5.recipe import P5Recipe
from fathom.pipeline.p5.workshop import P5Workshop
from fathom.records import Catalog, Interactions
from fathom.training.run import Run
from tests.serving.whole import served

pytestmark = pytest.mark.slow

RECIPE: dict[str, object] = {
    "method": "p5",
    "name": "tiny",
    "encoder": "hashing",
    "models": {"popularity": {}, "item-knn": {}},
    "p5": {
        "network": {"width": 32, "vocabulary": 400, "dropout": 0.0},
        "identifiers": {"clusters": 3, "leaf": 4, "levels": 2, "codes": 4},
        "sentences": {"latest": 4, "review_words": 20},
        "templates": ["continuation", "sequential", "rating", "direct", "explanation", "review", "titles"],
        "sampling": {
            "continuation": {"next": 2},
            "sequential": {"next": 1, "candidates": 1, "taken": 1},
            "direct": {"candidates": 0, "taken": 1},
            "rating": {"stars": 2, "stars-right": 0.1, "liked": 0.3},
            "explanation": {"explanation": 2},
            "review": {"headline": 0.2, "review-stars": 0.2},
            "titles": {"candidates": 0.2},
        },
        "candidates": 5,
        "candidate_titles": 3,
        "fit": {"epochs": 12, "batch_size": 32, "learning_rate": 0.01, "optimizer": "muon", "average": 0.99, "validate_every": 12},
    },
    "rows": {
        "p5-collaborative": {},
        "p5-one-token": {
            "identifiers": {"scheme": "one-token"},
            "sampling": {"rating": {"stars": 0.1}, "explanation": {"explanation": 0.1}, "continuation": {"next": 4}},
            "fit": {"epochs": 5},
        },
    },
    "asked": [
        "sequential-13",
        "sequential-7",
        "sequential-11",
        "titles-1",
        "rating-2",
        "rating-3",
        "rating-9",
        "rating-10",
        "explanation-8",
        "explanation-9",
        "review-1",
        "review-2",
    ],
    "negatives": 4,
    "elsewhere_asked": ["other-domain-2", "other-domain-4", "other-domain-7"],
}


def logs(folder: Path) -> tuple[Path, Path]:
    """The ring as a data set, and another catalogue of other things."""
    Dataset("ring", catalogue(), ring()).save(folder / "ring")
    other = Catalog(catalogue().names, tuple(f"Other {item} thing" for item in range(N_ITEMS)), {"brand": (("Moog",),) * N_ITEMS})
    Dataset("other", other, ring(people=12, seed=5)).save(folder / "other")
    return folder / "ring", folder / "other"


def written(folder: Path, **changes: object) -> Path:
    own, other = logs(folder)
    path = folder / "tiny.yaml"
    told = RECIPE | {"source": {"name": str(own)}, "elsewhere": {"name": str(other)}} | changes
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> P5Workshop:
    folder = tmp_path_factory.mktemp("p5")
    said = ran(written(folder), folder / "run")
    assert "lessons of an epoch" in said
    return work_of(folder / "run", P5Workshop)


@pytest.fixture(scope="module")
def results(work: P5Workshop) -> Results:
    return read(work.run.folder / "results.json")


def test_the_run_is_served(work: P5Workshop, tmp_path: Path) -> None:
    offer = served(work.run.folder, tmp_path)
    assert {"item-knn", "p5-collaborative"} <= set(offer.models)
    assert "p5-collaborative" in offer.raters
    assert not offer.growing


def test_every_row_stands_in_one_table(results: Results) -> None:
    names = [row.model for row in results.rows]
    for name in (
        "popularity",
        "item-knn",
        "p5-collaborative",
        "p5-one-token",
        "p5-collaborative@sequential-13",
        "biases",
        "nearest-review",
    ):
        assert name in names
    ranked = [row for row in results.rows if "ndcg@10" in row.metrics]
    assert {row.users for row in ranked} == {40}
    for name in ("p5-collaborative", "p5-one-token"):
        row = results.row(name)
        assert row is not None
        assert row.metrics["ndcg@10"] > 0.8, "the ring was learned"
        assert row.low["ndcg@10"] <= row.metrics["ndcg@10"] <= row.high["ndcg@10"]


def test_each_task_has_its_figures(results: Results) -> None:
    row = results.row("p5-collaborative")
    assert row is not None
    for name in (
        "sequential-7/recall@1",
        "sequential-7/ndcg@5",
        "sequential-11/accuracy",
        "titles-1/ndcg@1",
        "rating-2/rmse",
        "rating-2/rmse_words",
        "rating-2/unreadable",
        "rating-3/accuracy",
        "rating-9/auc",
        "rating-10/mae",
        "explanation-8/bleu-4",
        "explanation-9/rouge-l",
        "explanation-9/feature_match",
        "review-1/rouge-1",
        "review-2/rmse",
        "other-domain-2/rmse",
        "other-domain-4/accuracy",
        "other-domain-7/rouge-l",
    ):
        assert name in row.metrics, name
    assert row.metrics["rmse"] == row.metrics["rating-2/rmse"], "the first template that asks for stars is what the column shows"
    assert row.metrics["rmse"] < 0.7 * results.row("global-mean").metrics["rmse"], "a title tells its stars"  # type: ignore[union-attr]
    assert "titles-1/ndcg@5" not in row.metrics, "of titles fewer are offered: three"
    assert results.row("popularity").metrics["sequential-7/recall@1"] < 0.6  # type: ignore[union-attr]


def test_every_rated_test_event_is_counted(work: P5Workshop) -> None:
    for name in ("p5-collaborative@rating-2", "p5-collaborative@rating-2.words", "biases@rating-2"):
        ratings, _ = Ratings.load(work.folder("tasks") / f"{name}.parquet")
        assert len(ratings.users) == len(work.test_cases) == 40
    texts, _ = Texts.load(work.folder("tasks") / "p5-collaborative@explanation-9.parquet")
    spoken_of = [moment for moment in work.moments.of(work.test_cases) if moment.feature]
    assert len(texts.users) == len(spoken_of) > 10
    assert set(texts.references) <= set(SAID)


def test_a_row_is_a_rater_whose_batch_mates_change_nothing(work: P5Workshop) -> None:
    rater = SentencedRater(work.row("p5-collaborative"), work.recipe.templates["rating-2"])
    cases = work.test_cases[:6]
    together = rater.rate(cases)
    assert np.allclose(together, [rater.rate([case])[0] for case in cases], atol=1e-4)
    ratings, _ = Ratings.load(work.folder("tasks") / "p5-collaborative@rating-2.parquet")
    assert np.allclose(together, ratings.foretold[:6], atol=1e-4)
    assert ((together >= 1) & (together <= 5)).all()


def test_a_rating_outside_the_scale_is_counted(work: P5Workshop, tmp_path: Path) -> None:
    model, template = work.row("p5-collaborative"), work.recipe.templates["rating-3"]
    moments = [replace(moment, stars=9.0) for moment in work.moments.of(work.test_cases[:4])]
    answer(model, Task(template, moments, {}, WritingSettings()), tmp_path / "right.parquet")
    assert len(Judged.load(tmp_path / "right.parquet")[0].users) == 8
    answer(model, Task(work.recipe.templates["rating-2"], moments, {}, WritingSettings()), tmp_path / "stars.parquet")
    assert (Ratings.load(tmp_path / "stars.parquet")[0].absolute >= 4).all()


def test_explanations_leave_stars_out_and_name_features(work: P5Workshop, results: Results) -> None:
    texts, _ = Texts.load(work.folder("tasks") / "p5-collaborative@explanation-8.parquet")
    assert not any("stars :" in text for text in texts.written)
    with_feature = results.row("p5-collaborative").metrics["explanation-9/feature_match"]  # type: ignore[union-attr]
    assert with_feature > 0.5


def test_the_floor_says_what_training_reviews_say(work: P5Workshop) -> None:
    texts, _ = Texts.load(work.folder("tasks") / "nearest-review@explanation-9.parquet")
    assert set(texts.written) <= set(SAID)


def test_rows_are_compared_with_floors(results: Results) -> None:
    pairs = {(one.a, one.b, one.metric) for one in results.comparisons}
    assert ("p5-collaborative", "popularity", "ndcg@10") in pairs
    assert ("p5-one-token", "p5-collaborative", "ndcg@10") in pairs
    assert ("p5-collaborative@sequential-13", "p5-collaborative", "ndcg@10") in pairs
    assert ("p5-collaborative", "biases", "rating-2/mae") in pairs
    assert ("p5-collaborative", "nearest-review", "explanation-8/rouge-l") in pairs
    assert not any(metric.startswith("rating-10/") for _, _, metric in pairs), "another wording of the same"


def test_a_finished_run_does_nothing_again(work: P5Workshop) -> None:
    folder = work.run.folder
    said = ran(folder / "recipe.yaml", folder)
    assert said.count("done before") == 8


def test_candidates_stay_what_they_were(work: P5Workshop, tmp_path: Path) -> None:
    """P13: they are stored, so that another time asks the same; and each holds what came next once."""
    before = work.lists
    told("evaluate", work.run.folder, "--model", "p5-one-token@sequential-7")
    assert work_of(work.run.folder, P5Workshop).lists == before
    assert all(listed.count(case.target) == 1 and len(listed) == 5 for case in work.test_cases for listed in [before[case.user]])


def test_the_terminal_recommends_traces_and_reports(work: P5Workshop) -> None:
    folder = work.run.folder
    said = told("recommend", folder, "--history", "Thing 3 of many; Thing 4 of many; Thing 5 of many", "--k", "3")
    assert "Thing 6 of many" in said
    seen = told("trace", folder, "--model", "p5-collaborative", "--tokens")
    for word in ("question", "given of the answer", "nats", "/1"):
        assert word in seen
    assert "stars expected" in told("trace", folder, "--model", "p5-collaborative@rating-2")
    assert "for 'yes'" in told("trace", folder, "--model", "p5-collaborative@sequential-11")
    assert "the person wrote" in told("trace", folder, "--model", "p5-collaborative@explanation-9")
    assert (folder / "report.html").is_file()
    assert "report.html" in told("report", folder)


def test_tasks_that_a_log_says_nothing_of_are_told_and_have_no_column(tmp_path: Path) -> None:
    """No rating, no review: what asks for them is asked of nobody, and the rest of the table is there."""
    log = ring()
    Dataset("bare", catalogue(), Interactions(log.users, log.offsets, log.items)).save(tmp_path / "bare")
    common = RECIPE["p5"]
    assert isinstance(common, dict)
    small = common | {"templates": ["continuation", "rating", "explanation"], "sampling": {"continuation": {"next": 1}}}
    small |= {"fit": common["fit"] | {"epochs": 1}}
    changes = {"p5": small, "rows": {"p5": {}}, "asked": ["rating-2", "explanation-1"], "elsewhere": None, "elsewhere_asked": []}
    said = ran(written(tmp_path, source={"name": str(tmp_path / "bare")}, **changes), tmp_path / "run")
    assert "rating-2: no test event says what it needs, so nobody is asked by it" in said
    assert "NDCG@10" in said
    assert "RMSE" not in said
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_template_file_of_ones_own_is_trained_and_asked(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("family: mine\nversion: 1\ntemplates:\n  mine-1: {asks: next, source: 'so far ${history}', target: '${item}'}\n")
    common = RECIPE["p5"]
    assert isinstance(common, dict)
    fit = common["fit"] | {"epochs": 1}
    small = common | {"templates": [str(own)], "sampling": {"mine": {"next": 1}}, "fit": fit}
    path = written(tmp_path, p5=small, rows={"p5": {}}, asked=[], ranks_by="mine-1", elsewhere=None, elsewhere_asked=[])
    assert "p5" in ran(path, tmp_path / "run")
    assert np.isfinite(read(tmp_path / "run" / "results.json").row("p5").metrics["ndcg@10"])  # type: ignore[union-attr]
    shutil.rmtree(tmp_path / "run")


def test_two_processes_end_with_the_numbers_of_one(tmp_path: Path) -> None:
    common = RECIPE["p5"]
    assert isinstance(common, dict)
    small = common | {
        "fit": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "precision": "float32"},
        "templates": ["continuation", "rating"],
    }
    small["sampling"] = {"continuation": {"next": 1}, "rating": {"stars": 0.2}}
    path = written(tmp_path, p5=small, rows={"p5": {}}, asked=["rating-1"], elsewhere=None, elsewhere_asked=[])
    for count in (1, 2):
        words = [sys.executable, "-m", "fathom.cli", "run", str(path), "--out", str(tmp_path / f"run{count}"), "--processes", str(count)]
        done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("lessons of an epoch") == 1, "one process speaks"
    one, two = (Run(tmp_path / f"run{count}").metrics("p5") for count in (1, 2))
    assert len(one) == len(two) > 5
    assert any("p5/loss/rating" in line for line in two)
    for left, right in zip(one, two, strict=True):
        names = [name for name in left if not name.endswith("seconds")]
        assert [left[name] for name in names] == pytest.approx([right[name] for name in names], rel=5e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ranks_by": "continuation-9"}, "ranks_by names 'continuation-9'.*did you mean"),
        ({"ranks_by": "rating-1"}, "asks for stars: write a template that asks for next"),
        ({"asked": ["rating-99"]}, "asked names 'rating-99'"),
        ({"rows": {"popularity": {}}}, "rows.popularity: a model has this name"),
        ({"elsewhere": None}, "go together"),
        ({"rows": {"p5": {"identifiers": {"scheme": "sematic"}}}}, "rows.p5.identifiers.scheme"),
        ({"rows": {"p5": {"identifers": {}}}}, "unknown setting 'rows.p5.identifers'; did you mean 'identifiers'"),
        ({"rows": {"p5": {"fit": {"epoch": 3}}}}, "unknown setting 'rows.p5.fit.epoch'; did you mean 'epochs'"),
        ({"p5": {"sampling": {"rating": {"star": 1}}}}, "rating asks for 'star'; did you mean 'stars'"),
        ({"p5": {"templates": ["ratng"]}}, "did you mean 'rating'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        recipe_at(written(tmp_path, **changes))


def test_rows_say_only_what_is_different() -> None:
    recipe = P5Recipe.model_validate(RECIPE | {"world": {}, "elsewhere_asked": [], "source": None})
    assert recipe.trainings["p5-one-token"].identifiers.scheme == "one-token"
    assert recipe.trainings["p5-one-token"].identifiers.clusters == 3
    assert recipe.trainings["p5-one-token"].fit.epochs == 5
    assert recipe.trainings["p5-one-token"].fit.learning_rate == recipe.trainings["p5-collaborative"].fit.learning_rate == 0.01
    assert recipe.trainings["p5-one-token"].sampling["rating"] == {"stars": 0.1, "stars-right": 0.1, "liked": 0.3}
    again = P5Recipe.model_validate(recipe.model_dump(mode="json"))
    assert again.trainings == recipe.trainings
    assert family_of("continuation").templates["continuation-1"].asks == "next"
