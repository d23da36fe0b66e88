"""Free recommendation goes its whole way: named models, the whole catalogue by likelihood, what a model names out of its own head."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import ran, work_of
from typer.testing import CliRunner

from fathom.cli import app
from fathom.errors import ConfigError
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import read
from fathom.pipeline.methods import recipe_at
from fathom.pipeline.next.table import NextTable
from fathom.pipeline.next.workshop import NextWorkshop
from fathom.prompting.generate import Generated

RECIPE: dict[str, object] = {
    "method": "next",
    "name": "tiny",
    "world": {"films": 60, "users": 40, "events": 9},
    "valid_users": 4,
    "models": {"popularity": None, "item-knn": {"neighbours": 7}},
    "encoder": "hashing",
    "language": {
        "builtin": {"parameters": 2.0e6, "vocabulary": 1024, "context": 512},
        "texts": 0.0,
        "pretrain": {"epochs": 25, "batch_size": 2, "learning_rate": 4.0e-3, "optimizer": "muon", "precision": "float32"},
    },
    "generated": {
        "titles": {"prompts": "next-compact", "reply_tokens": 100},
        "titles-kept": {"prompts": "next-compact", "reply_tokens": 400, "constrained": True},
        "titles-shuffled": {"prompts": "next-compact", "reply_tokens": 100, "shuffled": True},
        "words": {"users": 5, "reply_tokens": 20, "prompt_tokens": 400, "intent": True},
    },
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> NextWorkshop:
    folder = tmp_path_factory.mktemp("next")
    ran(written(folder), folder / "run")
    return work_of(folder / "run", NextWorkshop)


def test_everybody_has_a_row_and_what_was_named_is_told(work: NextWorkshop) -> None:
    results = read(work.run.folder / "results.json")
    assert [row.model for row in results.rows] == ["popularity", "item-knn", "lm-catalogue", *RECIPE["generated"], "oracle"]  # type: ignore[misc]
    compared = {(one.a, one.b) for one in results.comparisons}
    assert {("lm-catalogue", "popularity"), ("titles", "item-knn"), ("words", "lm-catalogue")} <= compared
    titles, shuffled, words = (results.row(name) for name in ("titles", "titles-shuffled", "words"))
    assert titles is not None
    assert shuffled is not None
    assert words is not None
    assert (titles.users, words.users) == (40, 5)
    kept = results.row("titles-kept")
    assert kept is not None
    wanted = {"named": 20, "hallucinated": 0, "duplicate_items": 0, "seen_items": 0, "filled": 0, "by/exact": 1, "questions": 1}
    assert {name: kept.metrics[name] for name in wanted} == wanted
    assert titles.metrics["named"] > 1
    assert titles.metrics["by/exact"] > 0, "a model that has read histories names titles"
    assert 0 < shuffled.metrics["changed_by_order"] <= 1
    assert "changed_by_order" not in titles.metrics
    assert all(
        0 <= row.metrics[name] <= 1 for row in (titles, words) for name in ("hallucinated", "duplicate_items", "seen_items", "filled")
    )


def test_every_list_is_whole_of_the_catalogue_and_new(work: NextWorkshop) -> None:
    by_user = {case.user: case for case in work.test_cases}
    for name in ("titles", "titles-kept", "words", "lm-catalogue"):
        evaluation = Evaluation.load(work.folder("ranks") / f"{name}.parquet")
        for user, items in zip(evaluation.users.tolist(), evaluation.items.tolist(), strict=True):
            assert len(set(items)) == 20
            assert all(0 < item <= 60 for item in items)
            assert not set(items) & set(by_user[user].history)


def test_what_was_said_is_kept_and_not_asked_for_again(work: NextWorkshop, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = work.said("titles", Generated)
    assert len(kept) == 40
    assert kept[0].prompt.startswith("User:\n")
    before = (work.run.folder / "results.json").read_bytes()
    (work.folder("ranks") / "titles.parquet").unlink()
    monkeypatch.setattr("fathom.prompting.generate.Generator.generate", lambda *given: pytest.fail("nothing is asked twice"))
    folder = str(work.run.folder)
    told = CliRunner().invoke(app, ["evaluate", folder, "--model", "titles"], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    after = read(work.run.folder / "results.json").row("titles")
    assert after is not None
    assert f'"ndcg@10": {after.metrics["ndcg@10"]}' in before.decode()


def test_the_catalogue_by_likelihood_is_that_of_each_title_behind_the_history(work: NextWorkshop) -> None:
    case = work.test_cases[0]
    ranking = NextTable(work).recommenders()["lm-catalogue"]().recommend([case], 5)
    titles = work.catalog.titles
    prompt = "User:\n" + "".join(f"{titles[item - 1]}\n" for item in case.history)
    conversation = work.local.converse([prompt], temperature=0.0, seeds=[0])
    [alone] = conversation.score([0], [[f"{titles[item - 1]}\n" for item in ranking.items[0]]])
    assert np.allclose(alone, ranking.scores[0], atol=1e-3)
    assert (np.diff(ranking.scores[0]) <= 0).all()


def test_a_list_is_traced_to_what_was_said(work: NextWorkshop) -> None:
    told = CliRunner().invoke(app, ["trace", str(work.run.folder), "--model", "titles"], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert "User:" in told.stdout
    assert "(exact 1.00" in told.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"language": None}, "nobody is there to ask"),
        ({"endpoint": {"base_url": "http://localhost:1/v1", "model": "m"}}, "leave one of them out"),
        ({"generated": {"item-knn": {}}}, "generated.item-knn: another row has this name"),
        (
            {
                "language": None,
                "endpoint": {"base_url": "http://localhost:1/v1", "model": "m"},
                "generated": {"kept": {"constrained": True}},
            },
            "generated.kept: an endpoint cannot be kept to titles",
        ),
        ({"filled_by": "item-nn"}, "did you mean 'item-knn'?"),
        ({"windows": {}}, "leave windows out"),
    ],
)
def test_a_recipe_that_cannot_be_is_told(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        recipe_at(written(tmp_path, **change))
    assert said in str(error.value)
