"""Named models go their whole way on a tiny world: fitted, judged, asked; recipes say what is wrong with them."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ir_measures
import pytest
import yaml
from commands import ran, told
from mcp import Client, StdioServerParameters

from fathom.contracts import Recommender
from fathom.errors import ConfigError, DataError
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import read
from fathom.models.model import AnyModel, TrainingData
from fathom.models.registry import MODELS
from fathom.pipeline import judge
from fathom.pipeline.ask import preference_aware, recommender_of
from fathom.pipeline.methods import opened, recipe_at, table_of
from fathom.pipeline.sequential.index import Indexed
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.sequential.stages import fit_along
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.serve import offer_of
from fathom.recipes import dump
from fathom.recommenders.mix import Mix, choose_weight
from fathom.records import Case, Interactions, cases_of
from tests.serving.whole import served

FIT = {"epochs": 1, "batch_size": 8, "precision": "float32"}
NETWORK = {"model": {"width": 16, "length": 16}, "fit": FIT}
ROWS = {"width": 8, "length": 8, "fit": FIT}
OWN = {
    "prod2vec": {"fit": FIT},
    **dict.fromkeys(("sasrec", "gsasrec", "sasrec+"), NETWORK),
    "sasrec-text": NETWORK | {"encoder": "hashing"},
    "text": {"encoder": "hashing"},
    "item-knn": {"neighbours": 7},
    **dict.fromkeys(("bert4rec", "xlnet-clm", "xlnet-mlm", "xlnet-plm", "xlnet-rtd"), ROWS),
    "attrec": {"width": 8, "fit": FIT},
    "afm": {"width": 4, "fit": FIT},
    "ssept": {"width": 8, "length": 8, "fit": FIT},
    "narm": {"width": 8, "length": 8, "fit": FIT},
    "gru4rec": {"width": 8, "negatives": 8, "fit": FIT},
    "transformers4rec": ROWS | {"block": "albert", "objective": "rtd"},
}
RECIPE = {
    "method": "sequential",
    "name": "tiny",
    "world": {"films": 60, "users": 24, "events": 9},
    "valid_users": 4,
    "test_users": 6,
    "models": {name: OWN.get(name) for name in MODELS},
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sequential")
    ran(written(folder), folder / "run")
    return folder / "run"


def test_every_named_model_has_a_row_and_serves_what_was_judged(run: Path) -> None:
    results = read(run / "results.json")
    assert [row.model for row in results.rows] == [*MODELS, "oracle"]
    assert all(row.users == 6 for row in results.rows)
    work = opened(run)
    for name in MODELS:
        asked = recommender_of(table_of(work), name).recommend(work.test_cases, 20)
        assert asked.items.tolist() == Evaluation.load(run / "ranks" / f"{name}.parquet").items.tolist(), name
    assert {(told.a, told.b) for told in results.comparisons} >= {("vsknn", "popularity"), ("vsknn", list(MODELS)[-1])}


def test_a_service_asks_indexed_models_through_their_index(run: Path, tmp_path: Path) -> None:
    place = f"qdrant:{tmp_path / 'points'}"
    with pytest.raises(ConfigError, match="no model of this run has an index at qdrant:"):
        offer_of(run, approximate=True, at=place)
    told("index", run, "--model", "sasrec+", "--at", place)
    offer, plain = offer_of(run, approximate=True, at=place), offer_of(run)
    assert isinstance(offer.models["sasrec+"](), Indexed)
    case = next(iter(offer.asked.values()))
    mine, exact = (one.models["sasrec+"]().recommend([case], 5).items.tolist() for one in (offer, plain))
    assert mine == exact


def test_another_agent_asks_the_run_through_its_own_process(run: Path, tmp_path: Path) -> None:
    words = ["-m", "fathom.cli", "mcp", str(run), "--model", "item-knn", "--state", str(tmp_path / "state.db")]

    async def asked() -> dict[str, Any]:
        async with Client(StdioServerParameters(command=sys.executable, args=words)) as client:
            found = (await client.call_tool("search_items", {"k": 3})).structured_content["items"]
            return (await client.call_tool("recommend", {"history": [one["title"] for one in found], "k": 5})).structured_content

    told = asyncio.run(asked())
    assert told["model"] == "item-knn"
    assert len({item["id"] for item in told["items"]}) == 5


def test_the_run_is_served(run: Path, tmp_path: Path) -> None:
    offer = served(run, tmp_path)
    assert set(offer.models) == set(MODELS), "no oracle: it knows what nobody can"
    assert offer.hearing == {name for name in MODELS if name == "text"}


@pytest.mark.parametrize("model", ["item-knn", "bert4rec"])
def test_who_is_served_gets_the_ids_of_the_log(run: Path, model: str) -> None:
    work = opened(run)
    case = replace(work.test_cases[0], user=-1)
    items = recommender_of(table_of(work), model).recommend([case], 3).items[0]
    titles = "; ".join(work.catalog.titles[item - 1] for item in case.history)
    answer = told("recommend", run, "--model", model, "--history", titles, "--k", 3)
    assert all(work.catalog.names[item - 1] in answer for item in items)


def test_what_is_wanted_is_said_in_words_alone_or_beside_a_history(run: Path) -> None:
    work = opened(run)
    text = preference_aware(recommender_of(table_of(work), "text"), "text")
    wanted = work.catalog.titles[4]
    alone, beside = (text.recommend(cases_of([items]), 60, preferences=[wanted]).items[0].tolist() for items in ((), (10,)))
    assert alone[0] == 5, "what is called like it"
    assert 10 in alone
    assert 10 not in beside, "nothing of the history"
    taste = text.recommend(cases_of([(10,)]), 60).items[0].tolist()
    assert taste.index(5) > beside.index(5)
    assert text.recommend(cases_of([(10,)]), 60, preferences=[""]).items[0].tolist() == taste, "no words ask for what the history suggests"
    ask = ("recommend", run, "--preference", wanted, "--model")
    assert f"text for 1 titles and '{wanted}'" in told(*ask, "text", "--history", work.catalog.titles[9])
    with pytest.raises(ConfigError, match="--preference: popularity hears no words; of the named models 'text' does"):
        told(*ask, "popularity")
    with pytest.raises(DataError, match="--history is empty: write titles"):
        told("recommend", run, "--model", "popularity")


def test_a_run_is_exported_for_other_tools_and_papers(run: Path, tmp_path: Path) -> None:
    shown = told("export", run, "--to", tmp_path / "out")
    assert "qrels.txt, table.md, table.tex, popularity.run" in shown
    results = read(run / "results.json")
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "out" / "qrels.txt")))
    for row in results.rows:
        listed = list(ir_measures.read_trec_run(str(tmp_path / "out" / f"{row.model}.run")))
        measure = ir_measures.nDCG @ 10
        assert ir_measures.calc_aggregate([measure], qrels, listed)[measure] == pytest.approx(row.metrics["ndcg@10"]), row.model
    assert (tmp_path / "out" / "table.tex").read_text().startswith(r"\begin{tabular}")


def test_an_interrupted_judgement_goes_on_with_the_next_piece(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "PIECE", 2)
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    expected = Evaluation.load(run / "ranks" / "vstan.parquet")
    (folder / "ranks" / "vstan.parquet").unlink()
    asked: list[int] = []
    usual = evaluate

    def killed(recommender: Recommender, cases: Sequence[Case], **more: Any) -> Evaluation:
        asked.extend(case.user for case in cases)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return usual(recommender, cases, **more)

    monkeypatch.setattr(judge, "evaluate", killed)
    table = table_of(opened(folder))
    with pytest.raises(KeyboardInterrupt):
        judge.judge(table, models=["vstan"], again=False)
    judge.judge(table, models=["vstan"], again=False)
    users = expected.users.tolist()
    assert asked == [*users[:4], *users[2:]]  # what was judged is not judged again
    found = Evaluation.load(folder / "ranks" / "vstan.parquet")
    assert (found.ranks.tolist(), found.items.tolist(), found.users.tolist()) == (expected.ranks.tolist(), expected.items.tolist(), users)
    assert not list((folder / "ranks" / "unfinished").glob("*"))


def test_a_model_is_asked_through_its_index(run: Path, tmp_path: Path) -> None:
    assert "of the exact 5 best of 6 test cases it finds 100.00%" in told("index", run, "--model", "narm", "--k", 5)
    words = ["recommend", str(run), "--model", "narm", "--k", "5", "--history", opened(run).catalog.title(3)]
    assert told(*words, "--approximate") == told(*words)
    place = f"qdrant:{tmp_path / 'points'}"
    assert f"{place}, collection fathom-run-narm: 60 items" in told("index", run, "--model", "narm", "--k", 5, "--at", place)
    assert told(*words, "--approximate", "--at", place) == told(*words)
    with pytest.raises(ConfigError, match="write --approximate as well"):
        told(*words, "--at", place)
    with pytest.raises(ConfigError, match="--model ease: it does not rank by products, so there is nothing to index; these do: "):
        told("index", run, "--model", "ease")


def test_the_same_command_does_nothing_twice_and_a_new_setting_one_model_alone(run: Path) -> None:
    words = ["run", str(run.parent / "tiny.yaml"), "--out", str(run), "--processes", "1"]
    assert told(*words).count("done before") == len(MODELS) + 2
    changed = told(*words, "--set", "models.item-knn.neighbours=9", "--until", "ease")
    assert changed.count("done before") == list(MODELS).index("ease") + 1  # the data, those before but item-knn, ease itself
    assert MODELS["item-knn"].load(run / "item-knn").settings.neighbours == 9
    told(*words)


def test_who_says_nothing_cannot_be_traced_but_asked(run: Path) -> None:
    with pytest.raises(ConfigError, match="it recommends without a word"):
        told("trace", run, "--model", "vstan")
    title = opened(run).catalog.title(3)
    assert "vstan for 1 titles" in told("recommend", run, "--history", title, "--model", "vstan")


def test_a_recipe_names_its_models(tmp_path: Path) -> None:
    recipe = recipe_at(written(tmp_path, models={"ease": None, "popularity": {"half_life": 30.0}}))
    assert isinstance(recipe, SequentialRecipe)
    assert recipe.models.names == ("popularity", "ease")
    again = tmp_path / "again.yaml"
    again.write_text(dump(recipe), encoding="utf-8")
    assert recipe_at(again) == recipe
    with pytest.raises(ConfigError, match=r"unknown setting 'models\.eese'"):
        recipe_at(written(tmp_path, models={"eese": {}}))
    with pytest.raises(ConfigError, match=r"models\.ease\.regularisation"):
        recipe_at(written(tmp_path, models={"ease": {"regularisation": -1}}))
    with pytest.raises(ConfigError, match="models names none"):
        recipe_at(written(tmp_path, models={}))


def test_one_model_stands_in_a_table_several_times(tmp_path: Path) -> None:
    models = {"item-knn_far-off": {"neighbours": 50}, "item-knn_near": {"neighbours": 2}, "popularity": None, "item-knn": {"neighbours": 7}}
    path = written(tmp_path, models=models)
    recipe = recipe_at(path, overrides=["models.item-knn_near.neighbours=3"])
    assert isinstance(recipe, SequentialRecipe)
    assert recipe.models.names == ("popularity", "item-knn", "item-knn_far-off", "item-knn_near")
    again = tmp_path / "again.yaml"
    again.write_text(dump(recipe), encoding="utf-8")
    assert recipe_at(again) == recipe
    ran(again, tmp_path / "run")
    results = read(tmp_path / "run" / "results.json")
    assert [row.model for row in results.rows] == [*recipe.models.names, "oracle"]
    pairs = {(told.a, told.b) for told in results.comparisons}
    assert pairs >= {("item-knn_near", "item-knn"), ("item-knn_far-off", "item-knn"), ("item-knn_far-off", "item-knn_near")}
    for name, neighbours in (("item-knn_near", 3), ("item-knn_far-off", 50)):
        assert MODELS["item-knn"].load(tmp_path / "run" / name).settings.neighbours == neighbours
    for name, said in (
        ("item-nkk_near", r"line \d+: unknown setting 'models\.item-nkk_near'; did you mean 'item-knn'"),
        ("item-knn_", r"unknown setting 'models\.item-knn_'"),
    ):
        with pytest.raises(ConfigError, match=said):
            recipe_at(written(tmp_path, models={name: None}))
    with pytest.raises(ConfigError, match=r"models\.item-knn_near\.neighbours: Input should be greater than or equal to 1"):
        recipe_at(written(tmp_path, models={"item-knn_near": {"neighbours": 0}}))


def test_two_models_are_fused_by_the_weight_that_validation_chooses(tmp_path: Path) -> None:
    path = written(tmp_path, models={"item-knn": None, "ease": None}, mixed={"hybrid": ["ease", "item-knn"]}, test_users=0)
    said = ran(path, tmp_path / "run")
    work = opened(tmp_path / "run")
    parts = (work.model("ease"), work.model("item-knn"))
    weight = choose_weight(parts, work.valid_cases)
    assert f"hybrid: {1 - weight:.1f} of ease, {weight:.1f} of item-knn, by 4 validation cases" in said
    results = read(tmp_path / "run" / "results.json")
    assert [row.model for row in results.rows] == ["item-knn", "ease", "hybrid", "oracle"]
    assert {(told.a, told.b) for told in results.comparisons} >= {("hybrid", "ease"), ("hybrid", "item-knn")}
    kept = Evaluation.load(tmp_path / "run" / "ranks" / "hybrid.parquet").items
    assert kept.tolist() == Mix(parts, (1 - weight, weight)).recommend(work.test_cases, 20).items.tolist()
    for mixed, message in (
        ({"ease": ["ease", "item-knn"]}, r"mixed\.ease: a model has this name"),
        ({"hybrid": ["ease", "item-nn"]}, r"mixed\.hybrid names 'item-nn'; did you mean 'item-knn'\?"),
    ):
        with pytest.raises(ConfigError, match=message):
            recipe_at(written(tmp_path, models={"item-knn": None, "ease": None}, mixed=mixed))


@pytest.mark.slow
def test_two_processes_end_with_the_same_table(run: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "fathom.cli", "run", str(run.parent / "tiny.yaml"), "--out", str(tmp_path / "run"), "--processes", "2"]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    alone, together = (read(folder / "results.json") for folder in (run, tmp_path / "run"))
    for name, model in MODELS.items():
        one, other = alone.row(name), together.row(name)
        assert one is not None
        assert other is not None
        if not model.by_gradients:  # noise of trainings is each process's own
            assert other.metrics["ndcg@10"] == pytest.approx(one.metrics["ndcg@10"]), name


ALONG = {
    "world": {"films": 60, "users": 150, "events": 9, "sitting": 4},
    "sessions": {"gap": 60},
    "windows": {"hours": 24 * 200, "most": 3},
    "test_users": 0,
    "models": {"popularity": None, "ease": None, "vstan": None, "sasrec+": NETWORK},
}


@pytest.fixture(scope="module")
def along(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("along")
    ran(written(folder, **ALONG), folder / "run")
    return folder / "run"


def test_models_are_learned_again_as_time_goes_on_and_windows_count_alike(along: Path) -> None:
    results, work = read(along / "results.json"), opened(along)
    assert isinstance(work, SequentialWorkshop)
    windows = work.windows
    assert len(windows) == 3
    assert results.rows[0].users == sum(len(window.test) for window in windows)
    assert [row.model for row in results.rows] == list(ALONG["models"])  # type: ignore[call-overload]
    for row in results.rows:
        each = [row.metrics[f"{window.name}/ndcg@10"] for window in windows]
        assert row.metrics["ndcg@10"] == pytest.approx(sum(each) / len(each))
        for number, window in enumerate(windows):
            own = evaluate(work.at(row.model, number), [replace(case, user=-1) for case in window.test])
            assert row.metrics[f"{window.name}/ndcg@10"] == pytest.approx(own.metrics()["ndcg@10"])
    assert "3 time windows" in results.dataset.split or "Nothing that happens in a window" in results.dataset.split


def test_nothing_of_a_window_is_seen_before_it_is_asked(along: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the models are given, event by event."""
    work = opened(along)
    assert isinstance(work, SequentialWorkshop)
    times = work.dataset.interactions.times
    assert times is not None
    given: list[Interactions] = []

    def heard(data: TrainingData, _: object) -> AnyModel:
        given.append(data.interactions)
        assert data.valid == (), "a window's own validation cases lie in the future of what is learned before it"
        return before

    before = work.at("popularity", 0)
    monkeypatch.setattr(MODELS["popularity"], "fit", heard)
    monkeypatch.setattr(SequentialWorkshop, "folder", lambda *_: along / "nowhere")
    monkeypatch.setattr(SequentialWorkshop, "keep", lambda *_: None)
    fit_along(work, "popularity", None)
    assert len(given) == len(work.windows)
    for log, window in zip(given, work.windows, strict=True):
        assert log.times is not None
        assert int(log.times.max()) < window.begins
        assert log.n_events > 0


def test_a_model_that_was_learned_piece_by_piece_goes_on_where_it_was_stopped(along: Path, tmp_path: Path) -> None:
    chosen = {name: ALONG["models"][name] for name in ("popularity", "vstan", "sasrec+")}  # type: ignore[index]
    path = written(tmp_path, **ALONG | {"models": chosen, "windows": {"hours": 24 * 200, "most": 3, "mode": "incremental"}})
    words = ["run", str(path), "--processes", "1", "--out"]
    told(*words, tmp_path / "whole")
    told(*words, tmp_path / "stopped", "--until", "vstan")
    folder = tmp_path / "stopped"
    shutil.copytree(tmp_path / "whole" / "sasrec+" / "0000", folder / "sasrec+" / "0000")
    record = json.loads((tmp_path / "whole" / "stages.json").read_text())
    record["sasrec+"]["done"] = False
    record.pop("results")
    (folder / "stages.json").write_text(json.dumps(record))
    told(*words, folder)
    for path in sorted((tmp_path / "whole" / "sasrec+").rglob("*.safetensors")):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "whole")).read_bytes(), path
    # What counts learns alike whether all of it at once or piece by piece.
    anew, further = opened(along), opened(tmp_path / "whole")
    assert isinstance(anew, SequentialWorkshop)
    assert isinstance(further, SequentialWorkshop)
    for name in ("popularity", "vstan"):
        for number, window in enumerate(anew.windows):
            one, other = (work.at(name, number).recommend(window.test, 10) for work in (anew, further))
            assert one.items.tolist() == other.items.tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"windows": {"mode": "incremental"}, "models": {"ease": None}}, "windows.mode 'incremental' cannot be for ease"),
        ({"windows": {}, "split": "global-time"}, "split 'global-time' and windows both say what is asked"),
        ({"windows": {"mode": "incremental", "span": 2}}, "'incremental' learns each once"),
    ],
)
def test_windows_that_cannot_be_are_refused(given: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe_at(written(tmp_path, **given))
