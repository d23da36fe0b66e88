"""Stages that do not need each other are done side by side: `fathom run --at-once 2`.

On a few cores a small model is not trained faster by more threads, and hardly by two processes that tell each other every gradient; two
models at the same time are (docs/lab-notes.md has figures). Each of these stages is done by a process of its own, in a folder of its own
below the run's, and then taken over; so it goes on where it was stopped, as every stage does.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from rich.console import Console

from fathom.errors import ConfigError, ModelError, suggestion
from fathom.pipeline.launch import PARENT
from fathom.pipeline.stages import Stage, done_stages, take_over
from fathom.settings import Settings
from fathom.training.run import Run, progress

SIDE = "side"
"""The folder, within the run's, of what is not taken over yet."""


def with_needs(stages: Sequence[Stage[Any]], name: str) -> list[Stage[Any]]:
    """The stage of that name and all that it needs, in order."""
    if name not in (names := [stage.name for stage in stages]):
        raise ConfigError(f"--only {name}: there is no such stage{suggestion(name, names)}")
    wanted = {name}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted |= set(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


def apart(stages: Sequence[Stage[Any]], until: str) -> list[Stage[Any]]:
    """Those of the stages, up to `until`, that are worth a process of their own: trained ones, but for the last, which judges."""
    return [stage for stage in _up_to(stages, until) if not stage.alone]


def before(stages: Sequence[Stage[Any]], until: str) -> list[Stage[Any]]:
    """Those of the stages, up to `until`, that are neither `apart` nor wait for such a one: they are done first, one after the other."""
    later = {stage.name for stage in apart(stages, until)}
    found = []
    for stage in _up_to(stages, until):
        if stage.name in later or later & set(stage.needs):
            later.add(stage.name)
        else:
            found.append(stage)
    return found


def done_side_by_side(stages: Sequence[Stage[Any]], recipe: Settings, run: Run, *, at_once: int, until: str, console: Console) -> None:
    """Do what is `apart` and has all that it needs, so many stages `at_once`; nothing where there is only one such stage at a time.

    Where one ends badly, those that do not need it are done all the same; then its error is told.
    """
    cores = os.cpu_count() or 1
    if at_once > cores:
        raise ConfigError(f"--at-once {at_once}: this machine has {cores} cores, and more stages only wait for each other; write {cores}")
    ready, folder = _ready(stages, recipe, run, until, ()), run.folder
    if len(ready) < 2:
        return
    console.print(f"side by side, {at_once} at once: {', '.join(stage.name for stage in ready)}", highlight=False)
    console.print(f"  [dim]each speaks into {folder / SIDE}/<stage>.log[/]", highlight=False)
    under_way: dict[Future[float], str] = {}
    failed: dict[str, ModelError] = {}
    children: list[subprocess.Popen[bytes]] = []
    with ThreadPoolExecutor(at_once) as pool, progress("side by side", len(ready)) as advance:
        try:
            while ready or under_way:
                for stage in ready[: at_once - len(under_way)]:  # none waits in the pool, to begin when all has ended
                    under_way[pool.submit(_do, folder, stage.name, cores // at_once, children)] = stage.name
                ended, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in ended:
                    name = under_way.pop(future)
                    try:
                        seconds = future.result()
                    except ModelError as error:
                        failed[name] = error
                        console.print(f"  [red]{name}[/] did not end well; what does not need it goes on", highlight=False)
                        continue
                    take_over(with_needs(stages, name) + [stages[-1]], recipe, folder / SIDE / name, run)
                    shutil.rmtree(folder / SIDE / name)
                    (folder / SIDE / f"{name}.log").unlink()
                    console.print(f"  [green]{name}[/] done in {seconds:.0f} s", highlight=False)
                    advance(1)
                ready = _ready(stages, recipe, run, until, (*under_way.values(), *failed))
        finally:
            for child in children:  # of those that are still at work, what they have done is kept
                child.terminate()
    if failed:
        raise next(iter(failed.values()))
    shutil.rmtree(folder / SIDE, ignore_errors=True)


def _up_to(stages: Sequence[Stage[Any]], until: str) -> Sequence[Stage[Any]]:
    """The stages up to `until`, but never the last one, which judges."""
    names = [stage.name for stage in stages]
    end = names.index(until) + 1 if until in names else len(stages)
    return stages[: min(end, len(stages) - 1)]


def _ready(stages: Sequence[Stage[Any]], recipe: Settings, run: Run, until: str, under_way: Sequence[str]) -> list[Stage[Any]]:
    done = done_stages(stages, recipe, run.folder)
    candidates = [stage for stage in apart(stages, until) if stage.name not in (*done, *under_way)]
    return [stage for stage in candidates if set(stage.needs) <= set(done)]


def _do(folder: Path, name: str, threads: int, children: list["subprocess.Popen[bytes]"]) -> float:
    """Do one stage by a process of its own, which joins `children`; returns the seconds it took. A bad end is a `ModelError`."""
    side = folder / SIDE
    side.mkdir(exist_ok=True)
    words = ["run", str(folder / "recipe.yaml"), "--out", str(side / name), "--like", str(folder), "--only", name]
    given = os.environ | {"OMP_NUM_THREADS": str(threads), PARENT: str(os.getpid())}
    began = time.perf_counter()
    with (side / f"{name}.log").open("w", encoding="utf-8") as log:
        child = subprocess.Popen([sys.executable, "-m", "fathom.cli", *words], stdout=log, stderr=log, env=given)
        children.append(child)
        if child.wait():
            raise ModelError(f"the stage '{name}' did not end well, see {side / name}.log; the same command goes on with it")
    return time.perf_counter() - began
