"""R²ec goes its whole way on a tiny world: every stage, judged, asked, traced, and its page says what was thought."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from outside import save_tiny_qwen2
from rich.console import Console
from typer.testing import CliRunner

from fathom.cli import app
from fathom.data.world import WorldSettings, build_world
from fathom.errors import ConfigError, DataError
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import read, write
from fathom.evaluation.said import load_said
from fathom.language.policy import LocalPolicy
from fathom.pipeline.ask import recommender_of
from fathom.pipeline.r2ec.recipe import R2ecRecipe
from fathom.pipeline.r2ec.stages import STAGES
from fathom.pipeline.r2ec.table import R2ecTable
from fathom.pipeline.r2ec.workshop import REASONERS, R2ecWorkshop
from fathom.pipeline.stages import fingerprint, perform, stage_marks
from fathom.pipeline.sweep import own_seconds, sweep_file
from fathom.reasoners.recommender import R2ec
from fathom.recipes import dump, load
from fathom.records import Reasoning
from fathom.training.run import Run

FIT = {"epochs": 1, "batch_size": 8, "precision": "float32"}
RECIPE = {
    "method": "r2ec",
    "name": "tiny",
    "world": {"films": 60, "users": 24, "events": 9},
    "valid_users": 4,
    "test_users": 6,
    "encoder": "hashing",
    "hold_out": {"share": 0.4, "most": 4},
    "sasrec": {"model": {"width": 16, "length": 16}, "fit": FIT},
    "language": {"builtin": {"parameters": 2e6, "vocabulary": 600, "context": 256}, "windows": {"row": 64}, "pretrain": FIT},
    "reasoner": {"history_length": 6, "reasoning_tokens": 8, "prompt_tokens": 80, "item_tokens": 60},
    "match": {"fit": FIT},
    "match_refit": {"fit": FIT},
    "warm": {"fit": FIT},
    "recpo": {"fit": {**FIT, "learning_rate": 1e-4}, "samples": 3, "micro_batch": 8},
    "refit": {"fit": FIT},
    "budgets": [0, 3],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> R2ecWorkshop:
    folder = tmp_path_factory.mktemp("r2ec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FATHOM_CACHE", str(folder / "cache"))
        recipe = R2ecRecipe.model_validate(RECIPE)
        (folder / "recipe.yaml").write_text(dump(recipe), encoding="utf-8")
        work = R2ecWorkshop(recipe, Run(folder), command="test")
        perform(STAGES, work, recipe, Run(folder), until="", console=Console(quiet=True))
    return work


def test_every_row_is_judged_and_says_what_it_cost(run: R2ecWorkshop) -> None:
    results = read(run.run.folder / "results.json")
    assert [row.model for row in results.rows] == ["popularity", "text", "sasrec", "r2ec-no-reason", *REASONERS, "oracle"]
    assert {row.users for row in results.rows} == {6}
    for name in REASONERS:
        row = results.row(name)
        assert row is not None
        assert 0 < row.metrics["tokens"] <= 8
        assert row.metrics["context_tokens"] > row.metrics["tokens"]
        assert 0 <= row.metrics["forced"] <= 1
        assert row.metrics["users_per_second"] == pytest.approx(row.users / row.seconds)
        assert row.metrics["users_at_once"] > 1
        assert row.metrics["latency_seconds"] > 0
    last = results.row("r2ec")
    assert last is not None
    assert {"ndcg@10/tokens=0", "ndcg@10/tokens=3"} <= last.metrics.keys()
    assert ("r2ec", "r2ec-no-reason") in {(told.a, told.b) for told in results.comparisons}


def test_whoever_asks_gets_what_was_judged(run: R2ecWorkshop) -> None:
    for name in ("r2ec-no-reason", *REASONERS):
        asked = recommender_of(R2ecTable(run), name).recommend(run.test_cases, 20)
        assert asked.items.tolist() == Evaluation.load(run.run.folder / "ranks" / f"{name}.parquet").items.tolist()


def test_what_was_thought_can_be_traced_and_stands_on_the_page(run: R2ecWorkshop) -> None:
    folder = run.run.folder
    reasonings = load_said(folder / "episodes" / "r2ec.jsonl.gz", Reasoning)
    assert [reasoning.case for reasoning in reasonings] == list(run.test_cases)
    longest = max(reasonings, key=lambda reasoning: len(reasoning.text.strip().split("\n")[0]))
    user = run.dataset.interactions.users[longest.case.user]
    told = CliRunner().invoke(app, ["trace", str(folder), "--user", user, "--tokens"])
    assert told.exit_code == 0, told.output
    assert "ranks the whole catalogue" in told.output
    first = " ".join(longest.text.strip().split("\n")[0].split())[:30]
    assert first, "or nothing is looked for"
    assert first in " ".join(told.output.split())
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count('<article class="episode" id="answer-') == 6
    assert "Ranked behind it" in page
    assert "Worth of a token" in page


def test_nothing_after_the_training_cut_is_learned_from(run: R2ecWorkshop) -> None:
    later = {(case.user, case.target, len(case.history)) for case in (*run.split.valid, *run.split.test)}
    asked = {(case.user, case.target, len(case.history)) for case in (*run.told_cases, *run.asked_cases)}
    assert asked
    assert not asked & later


def test_what_the_model_is_told_about_and_what_it_is_asked_for_are_held_out_and_of_different_people(run: R2ecWorkshop) -> None:
    told, asked = run.told_cases, run.asked_cases
    assert sorted((*told, *asked), key=lambda case: (case.user, len(case.history))) == list(run.episode_cases)
    people = [{case.user for case in part} for part in (told, asked)]
    assert not people[0] & people[1]
    assert 0 <= len(people[0]) - len(people[1]) <= 1
    assert {case.user for case in run.questions} <= people[1]
    lengths = np.diff(run.fit_part.offsets).tolist()
    assert all(lengths[case.user] <= len(case.history) for case in run.episode_cases)


@pytest.mark.slow
def test_the_first_language_model_does_not_know_how_it_will_be_read_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    given = {
        "history_length": 5,
        "reasoning_tokens": 7,
        "prompt_tokens": 70,
        "item_tokens": 50,
        "similarity": "dot",
        "temperature": 1.0,
        "titles": 2,
    }
    changed = RECIPE["reasoner"] | given | {"readout": "mean", "beside": True, "items": "learned"}  # type: ignore[operator]
    language, matching = (next(stage for stage in STAGES if stage.name == name) for name in ("lm-fit", "match-fit"))
    assert {name.removeprefix("reasoner.") for name in language.unread} == set(changed)
    products, marks = [], []
    for name, reasoner in (("one", RECIPE["reasoner"]), ("two", changed)):
        recipe = R2ecRecipe.model_validate({**RECIPE, "reasoner": reasoner})
        work = R2ecWorkshop(recipe, Run(tmp_path / name))
        for stage in STAGES:
            if stage.name in ("dataset", "lm-fit"):
                stage.do(work)
        products.append({path.name: path.read_bytes() for path in sorted((tmp_path / name / "lm-fit").iterdir()) if path.is_file()})
        marks.append([fingerprint(stage, recipe, dict.fromkeys(stage.needs, "")) for stage in (language, matching)])
    assert products[0] == products[1]
    assert marks[0][0] == marks[1][0]
    assert marks[0][1] != marks[1][1], "what matches is read out, and takes them in"


def test_only_what_is_rewarded_or_served_knows_of_the_silent_read_out_beside_the_words(run: R2ecWorkshop) -> None:
    recipes = [
        R2ecRecipe.model_validate({**RECIPE, "reasoner": RECIPE["reasoner"] | {"beside": beside}})  # type: ignore[operator]
        for beside in (False, True)
    ]
    marks: list[dict[str, str]] = [{}, {}]
    for recipe, above in zip(recipes, marks, strict=True):
        for stage in STAGES:
            above[stage.name] = fingerprint(stage, recipe, above)
    assert {name for name in marks[0] if marks[0][name] != marks[1][name]} == {"r2ec-recpo", "r2ec", "results"}
    heads = [R2ecWorkshop(recipe, run.run).head("r2ec") for recipe in recipes]
    cases = run.test_cases[:4]
    plain, both = (R2ec(head, run.catalog).recommend(cases, 10) for head in heads)
    silent = [R2ec(head, run.catalog, budget=0).recommend(cases, 10) for head in heads]
    assert not np.allclose(plain.scores, both.scores)
    assert np.allclose(silent[0].scores, silent[1].scores, atol=1e-5)


def test_a_recipe_says_that_it_must_reason(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("method: r2ec\nname: a\nworld: {}\nreasoner: {reasoning_tokens: 0}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"reasoner.reasoning_tokens is 0, but every row except r2ec-no-reason reasons"):
        load(path, R2ecRecipe)


def test_rows_of_another_run_stand_beside_its_own(run: R2ecWorkshop, tmp_path: Path) -> None:
    here, other = (Path(shutil.copytree(run.run.folder, tmp_path / name)) for name in ("here", "other"))
    found = read(other / "results.json")
    stranger = found.rows[2].model_copy(update={"model": "stranger"})
    write(other / "results.json", found.model_copy(update={"rows": [*found.rows, stranger]}))
    shutil.copyfile(other / "ranks" / "sasrec.parquet", other / "ranks" / "stranger.parquet")
    told = CliRunner().invoke(app, ["evaluate", str(here), "--beside", str(other), "--row", "strangr"])
    assert isinstance(told.exception, ConfigError)
    assert "did you mean 'stranger'" in str(told.exception)
    told = CliRunner().invoke(app, ["evaluate", str(here), "--beside", str(other)])
    assert told.exit_code == 0, told.output
    results = read(here / "results.json")
    assert [row.model for row in results.rows][-2:] == ["stranger", "oracle"]
    assert results.row("stranger") == stranger
    assert next(one for one in results.comparisons if one.b == "stranger").a == "r2ec"


def test_rows_of_a_run_that_is_not_at_hand_stand_there_untested(run: R2ecWorkshop, tmp_path: Path) -> None:
    here, file = Path(shutil.copytree(run.run.folder, tmp_path / "here")), tmp_path / "other.json"
    found = read(here / "results.json")
    stranger = found.rows[2].model_copy(update={"model": "stranger"})
    write(file, found.model_copy(update={"rows": [stranger], "comparisons": [], "seed": 7}))
    told = CliRunner().invoke(app, ["evaluate", str(here), "--beside", str(file)])
    assert isinstance(told.exception, DataError)
    assert "was asked other cases" in str(told.exception)
    write(file, found.model_copy(update={"rows": [stranger], "comparisons": []}))
    told = CliRunner().invoke(app, ["evaluate", str(here), "--beside", str(file)])
    assert told.exit_code == 0, told.output
    results = read(here / "results.json")
    assert results.row("stranger") == stranger
    assert not [one for one in results.comparisons if "stranger" in (one.a, one.b)]


@pytest.mark.slow
@pytest.mark.parametrize("side_by_side", [[], ["--at-once", "2"]])
def test_a_sweep_does_once_what_its_variants_share(
    run: R2ecWorkshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side_by_side: list[str]
) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(run.run.folder / "cache"))
    (tmp_path / "tiny.yaml").write_text(dump(run.recipe), encoding="utf-8")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "recipe: tiny.yaml\nrow: r2ec\nbeside: [text]\nevery: ['budgets=[0]']\nvariants: {whole: [], fewer: ['refit.cut=0.9']}\n"
    )
    out = tmp_path / "out"
    shutil.copytree(run.run.folder, out / "whole")
    told = CliRunner().invoke(app, ["sweep", str(sweep), "--out", str(out), *side_by_side])
    assert told.exit_code == 0, told.output
    results = read(out / "results.json")
    assert [row.model for row in results.rows] == ["text", "whole", "fewer"]
    assert [(one.a, one.b) for one in results.comparisons] == [("fewer", "whole"), ("whole", "text")]
    marks = [stage_marks(out / name) for name in ("whole", "fewer")]
    assert {stage for stage, mark in marks[0].items() if marks[1][stage] != mark} == {"r2ec", "results"}
    assert {load(out / name / "recipe.yaml", R2ecRecipe).budgets for name in ("whole", "fewer")} == {(0,)}
    spent = own_seconds([out / "whole", out / "fewer"])
    assert spent["fewer"] < spent["whole"]
    assert (out / "fewer.log").is_file() == bool(side_by_side)
    assert "fewer" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ("{a: [], b: ['recpo.betta=0']}", "unknown setting 'recpo.betta'; did you mean 'beta'?"),
        ("{a: [], b/c: []}", "the variant 'b/c' would be a folder elsewhere"),
        ("{a: []}", "at least 2"),
    ],
)
def test_a_wrong_sweep_is_told_before_anything_is_run(tmp_path: Path, variants: str, said: str) -> None:
    (tmp_path / "tiny.yaml").write_text(dump(R2ecRecipe.model_validate(RECIPE)), encoding="utf-8")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(f"recipe: tiny.yaml\nrow: r2ec\nvariants: {variants}\n")
    with pytest.raises(ConfigError, match=re.escape(said)):
        sweep_file(sweep, out=tmp_path / "out", processes=1, command="test")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lora", [0, 4])
def test_a_model_from_outside_reasons_in_its_own_words_with_all_its_weights_or_adapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: int
) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    folder = save_tiny_qwen2(tmp_path / "tiny-qwen2", build_world(WorldSettings.model_validate(RECIPE["world"])).dataset.catalog)
    given = RECIPE | {
        "language": {"model": str(folder), "lora": lora, "windows": {"row": 256}, "pretrain": FIT},
        "reasoner": {"prompt": "long", "singular": "film", "plural": "films", "history_length": 6, "reasoning_tokens": 8}
        | {"prompt_tokens": 600, "item_tokens": 300},
    }
    recipe, run = R2ecRecipe.model_validate(given), Run(tmp_path / "run")
    work = R2ecWorkshop(recipe, run, command="test")
    perform(STAGES, work, recipe, run, until="", console=Console(quiet=True))
    results = read(run.folder / "results.json")
    for name in ("r2ec-no-reason", *REASONERS):
        assert (row := results.row(name)) is not None, name
        assert row.users == 6
    asked = recommender_of(R2ecTable(work), REASONERS[-1]).recommend(work.test_cases, 20)
    assert asked.items.tolist() == Evaluation.load(run.folder / "ranks" / f"{REASONERS[-1]}.parquet").items.tolist()
    assert all(
        "The films of this person" in work.head("r2ec").policy.decode(one.tape.tokens)
        for one in load_said(run.folder / "episodes" / "r2ec.jsonl.gz", Reasoning)
    )
    assert (run.folder / "r2ec" / "adapter_config.json").is_file() == bool(lora)
    if lora:  # what was not to be trained is what it was, to the bit, through six trainings
        frozen = LocalPolicy.load(folder).model.state_dict()
        kept = {name.replace(".base_layer", ""): weight for name, weight in work.head("r2ec").policy.decoder.model.state_dict().items()}
        assert all(torch.equal(kept[name], weight) for name, weight in frozen.items())
