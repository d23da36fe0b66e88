"""A stage is done once; other settings do it, and what was built on it, anew; an interrupted one goes on."""

import ctypes
import resource
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from fathom.errors import ConfigError
from fathom.files import read_json
from fathom.pipeline import stages
from fathom.pipeline.stages import Stage, perform, stage_seconds, take_over
from fathom.settings import Settings
from fathom.training.run import Run


class Recipe(Settings):
    first: int = 1
    """Read by the first stage."""
    second: int = 1
    """Read by the second stage."""


class Log:
    """What the stages did, in order; `breaks` names a stage that fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.did: list[str] = []
        self.breaks = ""


def stage(name: str, needs: tuple[str, ...], settings: tuple[str, ...]) -> Stage[Log]:
    def do(log: Log) -> None:
        product = log.folder / name
        if not product.is_dir():
            log.did.append(f"begin {name}")
        product.mkdir(exist_ok=True)
        log.did.append(f"do {name}")
        if log.breaks == name:
            raise RuntimeError("the power went out")

    return Stage(name=name, does="", needs=needs, settings=settings, do=do)


STAGES = (stage("one", (), ("first",)), stage("two", ("one",), ("second",)))


def performed(folder: Path, recipe: Recipe, *, until: str = "", breaks: str = "") -> list[str]:
    log = Log(folder)
    log.breaks = breaks
    try:
        perform(STAGES, log, recipe, Run(folder), until=until, console=Console(quiet=True))
    except RuntimeError:
        log.did.append("broken")
    return log.did


def test_a_second_call_does_nothing(tmp_path: Path) -> None:
    assert performed(tmp_path, Recipe()) == ["begin one", "do one", "begin two", "do two"]
    assert performed(tmp_path, Recipe()) == []


def test_other_settings_do_the_stage_and_what_needs_it_anew(tmp_path: Path) -> None:
    performed(tmp_path, Recipe())
    assert performed(tmp_path, Recipe(second=2)) == ["begin two", "do two"]
    assert performed(tmp_path, Recipe(first=2, second=2)) == ["begin one", "do one", "begin two", "do two"]


def test_an_interrupted_stage_goes_on_without_beginning_again(tmp_path: Path) -> None:
    assert performed(tmp_path, Recipe(), breaks="two")[-2:] == ["do two", "broken"]
    assert performed(tmp_path, Recipe()) == ["do two"]


def test_until_stops_after_a_stage_and_refuses_an_unknown_one(tmp_path: Path) -> None:
    assert performed(tmp_path, Recipe(), until="one") == ["begin one", "do one"]
    with pytest.raises(ConfigError, match="no such stage; known are 'one', 'two'"):
        performed(tmp_path, Recipe(), until="three")


def test_the_time_of_an_attempt_that_is_killed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the file while a stage is at work is all that a kill leaves behind."""
    monkeypatch.setattr(stages, "NOTED_EVERY", 0.01)
    left = []

    def work_long(_: Log) -> None:
        wanted = time.monotonic() + 20
        while not left or left[-1] < 0.1:
            assert time.monotonic() < wanted, "nothing was written down"
            time.sleep(0.02)
            left.append(float(read_json(tmp_path / "stages.json")["one"]["seconds"]))  # type: ignore[index,arg-type,call-overload]

    long = Stage(name="one", does="", needs=(), settings=(), do=work_long)
    perform((long,), Log(tmp_path), Recipe(), Run(tmp_path), until="", console=Console(quiet=True))
    assert stage_seconds(tmp_path)["one"] >= left[-1] >= 0.1


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps what was freed")
def test_what_a_stage_has_freed_goes_back_to_the_system(tmp_path: Path) -> None:
    """Small pieces between which others live on: glibc gives nothing of that back by itself."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    kept: list[bytearray] = []
    held = 0

    def do(log: Log) -> None:
        nonlocal held
        pieces = [bytearray(60_000) for _ in range(4_000)]  # below glibc's size for separate mappings; every byte is written
        kept.extend(pieces[::40])
        del pieces
        held = resident()

    greedy = Stage(name="greedy", does="", needs=(), settings=(), do=do)
    perform((greedy,), Log(tmp_path), Recipe(), Run(tmp_path), until="", console=Console(quiet=True))

    assert held - resident() > 150e6
    assert len(kept) == 100


THREE = (*STAGES, stage("results", ("two",), ()))


def all_done(folder: Path, recipe: Recipe) -> list[str]:
    log = Log(folder)
    perform(THREE, log, recipe, Run(folder), until="", console=Console(quiet=True))
    return log.did


def test_what_another_run_has_done_with_the_same_settings_is_taken_over(tmp_path: Path) -> None:
    all_done(tmp_path / "a", Recipe())
    (tmp_path / "a" / "one" / "product").write_text("made once")
    Run(tmp_path / "a").log("one", 1, {"loss": 2.0})
    Run(tmp_path / "a").log("two", 1, {"loss": 3.0})
    run = Run(tmp_path / "b")
    assert take_over(THREE, Recipe(second=2), tmp_path / "a", run) == ["one"]
    assert (tmp_path / "b" / "one" / "product").read_text() == "made once"
    assert run.metrics("one") == [{"step": 1, "one/loss": 2.0}]
    assert run.metrics("two") == []
    assert stage_seconds(tmp_path / "b").keys() == {"one"}
    assert all_done(tmp_path / "b", Recipe(second=2)) == ["begin two", "do two", "begin results", "do results"]


def test_nothing_is_taken_over_twice_or_where_it_is_not_the_same(tmp_path: Path) -> None:
    all_done(tmp_path / "a", Recipe())
    all_done(tmp_path / "b", Recipe())
    assert take_over(THREE, Recipe(), tmp_path / "a", Run(tmp_path / "b")) == []
    assert take_over(THREE, Recipe(first=3), tmp_path / "a", Run(tmp_path / "c")) == []
    performed(tmp_path / "d", Recipe(), breaks="two")
    assert take_over(THREE, Recipe(), tmp_path / "d", Run(tmp_path / "e")) == ["one"], "what was interrupted is not done"
