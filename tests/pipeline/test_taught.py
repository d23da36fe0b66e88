"""The warm start: what it imitates has lists of `items_taught`, whatever it plays with; one that is too short is told."""

from pathlib import Path

import pytest
from tiny import RECIPE

from fathom.agents.protocol import BEGIN_ITEMS, END_ITEMS, ProtocolSettings
from fathom.pipeline.deeprec.agent import too_short, traced
from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.pipeline.deeprec.stages import STAGES
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.training.run import Run


@pytest.mark.slow
@pytest.mark.parametrize(("taught", "played", "lines"), [(13, 0.0, {13}), (13, 0.5, {11, 13}), (13, 1.0, {11}), (0, 0.5, {11})])
def test_traces_have_lists_of_the_taught_length_but_for_a_share_as_they_are_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taught: int, played: float, lines: set[int]
) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    protocol = {**RECIPE["protocol"], "items_per_call": 11, "items_taught": taught}  # type: ignore[dict-item]
    traces = {**RECIPE["traces"], "as_played": played}  # type: ignore[dict-item]
    work = DeepRecWorkshop(DeepRecRecipe.model_validate({**RECIPE, "protocol": protocol, "traces": traces}), Run(tmp_path))
    for stage in STAGES:
        if stage.name in ("dataset", "retriever-fit", "lm-fit"):
            stage.do(work)
    texts = [trace.episode.text for trace in traced(work, work.policy("lm-fit"))]
    lists = [text.partition(END_ITEMS)[0].strip().split("\n") for whole in texts for text in whole.split(BEGIN_ITEMS)[1:]]
    assert lists
    assert {len(items) for items in lists} == lines


@pytest.mark.slow
def test_the_language_model_learns_from_the_taught_lists_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played with 11 and taught with 13, it is to the byte what it is where 13 are played."""
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    language = {**RECIPE["language"], "recitations": {"each_epoch": 20}}  # type: ignore[dict-item]
    products = []
    for played, taught in ((11, 13), (13, 0), (11, 0)):
        protocol = {**RECIPE["protocol"], "items_per_call": played, "items_taught": taught}  # type: ignore[dict-item]
        recipe = DeepRecRecipe.model_validate({**RECIPE, "language": language, "protocol": protocol})
        work = DeepRecWorkshop(recipe, Run(tmp_path / f"{played}-{taught}"))
        for stage in STAGES:
            if stage.name in ("dataset", "lm-fit"):
                stage.do(work)
        products.append({path.name: path.read_bytes() for path in work.folder("lm-fit").iterdir() if path.is_file()})
    assert products[0] == products[1]
    assert products[0] != products[2]


def test_taught_lists_change_nothing_else() -> None:
    settings = ProtocolSettings(items_per_call=4, items_taught=9, max_calls=3)
    assert settings.taught() == ProtocolSettings(items_per_call=9, items_taught=9, max_calls=3)
    assert ProtocolSettings(items_per_call=4).taught() == ProtocolSettings(items_per_call=4)


@pytest.mark.slow
def test_a_warm_start_that_did_not_learn_its_form_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    run = Run(tmp_path)
    work = DeepRecWorkshop(DeepRecRecipe.model_validate(RECIPE), run)
    for stage in STAGES:
        if stage.name in ("dataset", "retriever-fit", "retriever", "lm-fit", "agent-warm"):
            stage.do(work)
    [formed] = [line["agent-warm/format_valid"] for line in run.metrics("agent-warm") if "agent-warm/format_valid" in line]
    assert f"only {formed:.1%} of its conversations are well formed" in " ".join(capsys.readouterr().out.split())


def test_what_is_said_of_a_warm_start_ends_where_its_form_is_learned() -> None:
    assert "imitate.fit.learning_rate" in too_short(0.949)
    assert too_short(0.95) == ""
