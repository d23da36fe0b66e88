"""Ratings go their whole way: means, biases, factors, and a language model by words and by likelihoods; every rated test event counts."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import ran, told, work_of
from prompted import rated_log

from fathom.errors import ConfigError, DataError
from fathom.evaluation.ratings import Ratings
from fathom.evaluation.results import read
from fathom.pipeline.methods import recipe_at
from fathom.pipeline.rating.recipe import FLOOR
from fathom.pipeline.rating.stages import rated_lines
from fathom.pipeline.rating.workshop import RatingWorkshop
from fathom.prompting.rate import Rated
from fathom.records import Case

COMPACT = {"prompts": "rating-compact", "answers": "likelihoods", "prompt_tokens": 400}
RECIPE: dict[str, object] = {
    "method": "rating",
    "name": "tiny",
    "encoder": "hashing",
    "language": {
        "builtin": {"parameters": 2.0e6, "vocabulary": 512, "context": 512},
        "texts": 0.0,
        "pretrain": {"epochs": 6, "batch_size": 2, "learning_rate": 4.0e-3, "optimizer": "muon", "precision": "float32"},
    },
    "asked": {"lm": COMPACT, "lm-words": {"users": 9, "reply_tokens": 8, "prompt_tokens": 400, "examples": 2}},
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"source": {"name": str(rated_log(folder))}} | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> RatingWorkshop:
    folder = tmp_path_factory.mktemp("rating")
    assert "RMSE" in ran(written(folder), folder / "run")
    return work_of(folder / "run", RatingWorkshop)


def test_everybody_foretells_every_rated_test_event(work: RatingWorkshop) -> None:
    results = read(work.run.folder / "results.json")
    rows = {row.model: row for row in results.rows}
    assert list(rows) == [*FLOOR, "lm", "lm-words"]
    unrated = sum((user + 7) % 11 == 0 for user in range(60))
    assert {row.users for name, row in rows.items() if name != "lm-words"} == {60 - unrated}
    assert rows["lm-words"].users == 9
    assert rows["global-mean"].metrics["rmse"] == pytest.approx(1.5, abs=0.1), "half give 5, half give 2"
    assert rows["biases"].metrics["rmse"] < 0.8 * rows["global-mean"].metrics["rmse"]
    assert rows["biases"].metrics["auc"] == 1
    assert rows["lm"].metrics["rmse"] < 0.6 * rows["global-mean"].metrics["rmse"], "a model that has read ratings goes on with them"
    assert (work.run.folder / "report.html").is_file()
    compared = {(one.a, one.b, one.metric) for one in results.comparisons}
    assert {("lm", "biases", "mae"), ("lm-words", "factors", "mae"), ("person-mean", "global-mean", "mae")} <= compared
    assert len({frozenset(pair[:2]) for pair in compared}) == len(compared), "nobody is compared twice"


def test_what_asking_takes_is_told_and_what_cannot_be_read_is_a_mean(work: RatingWorkshop) -> None:
    row = read(work.run.folder / "results.json").row("lm-words")
    assert row is not None
    said = work.said("lm-words", Rated)
    assert row.metrics["compliant"] + row.metrics["unreadable"] == pytest.approx(1)
    assert row.metrics["unreadable"] == np.mean([one.tally["unreadable"] for one in said])
    assert row.metrics["tokens"] <= 8 < row.metrics["context_tokens"]
    assert said[0].prompt.startswith("Some people's ratings, from 1 to 5")
    kept, _ = Ratings.load(work.folder("ratings") / "lm-words.parquet")
    assert kept.foretold.tolist() == [one.rating for one in said]


def test_the_figures_are_those_of_what_is_kept(work: RatingWorkshop) -> None:
    kept, _ = Ratings.load(work.folder("ratings") / "biases.parquet")
    row = read(work.run.folder / "results.json").row("biases")
    assert row is not None
    assert row.metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean((kept.foretold - kept.given) ** 2))))
    assert row.metrics["mae"] == pytest.approx(float(np.mean(np.abs(kept.foretold - kept.given))))
    assert kept.given.tolist() == work.given.tolist()
    with pytest.raises(DataError, match="no ratings as Fathom writes them"):
        Ratings.load(work.run.folder / "recipe.yaml")


def test_a_rating_is_traced_and_a_judgement_asks_nothing_twice(work: RatingWorkshop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "by likelihoods" in told("trace", work.run.folder, "--model", "lm")
    before = (work.run.folder / "results.json").read_text(encoding="utf-8")
    monkeypatch.setattr("fathom.prompting.rate.PromptedRater.told", lambda *given: pytest.fail("nothing is asked twice"))
    told("evaluate", work.run.folder)
    after = read(work.run.folder / "results.json")
    assert all(f'"rmse": {row.metrics["rmse"]}' in before for row in after.rows)


def test_the_built_in_model_learns_ratings_as_the_compact_prompt_shows_them(work: RatingWorkshop) -> None:
    case = Case(0, (1, 2), 3, ratings=(4.0, float("nan")))
    assert rated_lines(case, work.catalog) == [f"{work.catalog.title(1)}\n4\n"]
    assert work.said("lm", Rated)[0].prompt.startswith("User:\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"language": None}, "nobody to ask"),
        ({"asked": {"biases": {}}}, "asked.biases: another row has this name"),
        ({"asked": {"lm": {"lowest": 5.0, "best": 1.0}}}, "lowest 5 must be less than best 1"),
        ({"language": None, "endpoint": {"base_url": "http://x/v1", "model": "m"}, "asked": {"lm": COMPACT}}, "tells no likelihoods"),
    ],
)
def test_a_recipe_that_cannot_be_is_told(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        recipe_at(written(tmp_path, **change))
    assert said in str(error.value)


def test_a_log_without_ratings_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, asked={})
    lines = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "log.csv").write_text("\n".join(",".join(line.split(",")[i] for i in (0, 1, 3)) for line in lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no ratings"):
        ran(path, tmp_path / "run")
