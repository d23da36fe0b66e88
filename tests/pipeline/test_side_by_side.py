"""Models that do not need each other are trained side by side: the same table, and a stopped run goes on."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from commands import told

from fathom.errors import ConfigError, ModelError
from fathom.evaluation.evaluate import Evaluation
from fathom.pipeline.side_by_side import apart, before, with_needs
from fathom.pipeline.stages import Stage, stage_marks
from fathom.training.run import Run

FIT = {"epochs": 2, "batch_size": 8, "precision": "float32"}
MODELS: dict[str, object] = {
    "popularity": None,
    "item-knn": None,
    "gru4rec": {"width": 8, "negatives": 8, "fit": FIT},
    "narm": {"width": 8, "length": 8, "fit": FIT},
    "attrec": {"width": 8, "fit": FIT},
}
RECIPE = {
    "method": "sequential",
    "name": "tiny",
    "world": {"films": 60, "users": 24, "events": 9},
    "valid_users": 4,
    "models": MODELS,
}


def ran(folder: Path, name: str, *words: str) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return told("run", path, "--out", folder / name, *words)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two at once want two cores")
def test_side_by_side_is_as_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = ran(tmp_path, "alone", "--processes", "1")
    assert "2 at once" not in alone
    said = ran(tmp_path, "both", "--at-once", "2")
    assert "side by side, 2 at once: gru4rec, narm, attrec" in said
    assert not (tmp_path / "both" / "side").exists()
    for name in MODELS:
        lists = [Evaluation.load(tmp_path / run / "ranks" / f"{name}.parquet").items.tolist() for run in ("alone", "both")]
        assert lists[0] == lists[1], name
    logged = [{(line["stage"], line["step"]) for line in Run(tmp_path / run).log_lines()} for run in ("alone", "both")]
    assert logged[0] == logged[1], "what was logged aside is taken over"

    assert "2 at once" not in ran(tmp_path, "both", "--at-once", "2"), "nothing is done twice"
    monkeypatch.setattr("fathom.pipeline.side_by_side.sys.executable", "/bin/false")
    changed = [part for name in ("narm", "attrec") for part in ("--set", f"models.{name}.fit.epochs=1")]
    with pytest.raises(ModelError, match=r"the stage '(narm|attrec)' did not end well, see .*side/(narm|attrec)\.log"):
        ran(tmp_path, "both", "--at-once", "2", *changed)
    logs = {path.name for path in (tmp_path / "both" / "side").glob("*.log")}
    assert logs <= {"attrec.log", "narm.log"}, "gru4rec is what it was"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two at once want two cores")
def test_what_does_not_need_a_stage_that_fails_is_done_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *"--only gru4rec"*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr("fathom.pipeline.side_by_side.sys.executable", str(python))
        with pytest.raises(ModelError, match="the stage 'gru4rec' did not end well"):
            ran(tmp_path, "run", "--at-once", "2")
    done = stage_marks(tmp_path / "run")
    assert {"narm", "attrec"} <= done.keys()
    assert "gru4rec" not in done
    assert not (tmp_path / "run" / "results.json").exists()
    assert "done before" in ran(tmp_path, "run", "--at-once", "2")
    assert stage_marks(tmp_path / "run").items() >= done.items(), "the same command goes on with it alone"


def test_one_stage_is_done_with_what_it_needs_alone(tmp_path: Path) -> None:
    ran(tmp_path, "one", "--only", "item-knn")
    assert sorted(path.name for path in (tmp_path / "one").iterdir() if path.is_dir() and any(path.iterdir())) == [
        "dataset",
        "item-knn",
        "oracle",
    ]
    with pytest.raises(ConfigError, match="--only item-nn: there is no such stage; did you mean 'item-knn'"):
        ran(tmp_path, "other", "--only", "item-nn")
    with pytest.raises(ConfigError, match="write one of them"):
        ran(tmp_path, "other", "--at-once", "2", "--processes", "2")
    with pytest.raises(ConfigError, match="more stages only wait for each other"):
        ran(tmp_path, "other", "--at-once", "4096")


def test_who_is_done_first_apart_and_with_whom() -> None:
    def stage(name: str, *needs: str, alone: bool = False) -> Stage[object]:
        return Stage(name, "", needs, (), lambda _: None, alone=alone)

    stages = [
        stage("data", alone=True),
        stage("a", "data"),
        stage("count", "data", alone=True),
        stage("b", "data"),
        stage("c", "a", "count"),
    ]
    stages += [stage("list", "c", alone=True), stage("last", "list", "b")]
    assert [one.name for one in apart(stages, "")] == ["a", "b", "c"]
    assert [one.name for one in apart(stages, "a")] == ["a"]
    assert [one.name for one in before(stages, "")] == ["data", "count"]
    assert [one.name for one in with_needs(stages, "c")] == ["data", "a", "count", "c"]
