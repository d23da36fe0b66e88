"""Stages that are done once: each remembers the settings it was done with, and what it was built on.

Under `accelerate launch` every process performs the same stages: trainings together, the others by the main process alone, which
also keeps the record and speaks. Nobody begins a stage before everybody has ended the one before.
"""

import ctypes
import gc
import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console

from fathom.errors import ConfigError, suggestion
from fathom.evaluation.cost import peak_megabytes
from fathom.files import read_json, write_json
from fathom.settings import Settings
from fathom.training.processes import processes
from fathom.training.run import Run

Work = TypeVar("Work")

NOTED_EVERY = 10.0
"""Seconds after which the running time of a stage is written down again."""


@dataclass(frozen=True, slots=True)
class Stage(Generic[Work]):
    """One step of a run: `do` reads what `needs` left in the run folder and leaves its own products there."""

    name: str
    does: str
    """Half a sentence for people."""
    needs: tuple[str, ...]
    """Stages whose products it reads; when one of them was done anew, so is this one."""
    settings: tuple[str, ...]
    """Fields of the recipe that change its products, with dots where only a part of one does."""
    do: Callable[[Work], None]
    leaves: tuple[str, ...] = ()
    """Folders of the run that hold its products, and nobody else's; left out: one of its own name."""
    unread: tuple[str, ...] = ()
    """What of these fields leaves its products as they are, with dotted names: a change of it does not do the stage anew."""
    alone: bool = False
    """Only the main process does it; the others wait."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its products are, within the run folder."""
        return self.leaves or (self.name,)


def fingerprint(stage: Stage[Work], recipe: Settings, above: dict[str, str]) -> str:
    """Changes when one of the stage's settings changes or a stage it needs was done with other ones."""
    values = recipe.model_dump(mode="json")
    for field, _, setting in (name.partition(".") for name in stage.unread):
        del values[field][setting]
    told = {
        "stage": stage.name,
        "settings": {name: written_under(values, name) for name in stage.settings},
        "needs": {name: above[name] for name in stage.needs},
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def written_under(values: Mapping[str, Any], name: str) -> Any:
    """What the recipe says under a dotted name."""
    inner: Any = values
    for part in name.split("."):
        inner = inner[part]
    return inner


def perform(stages: Sequence[Stage[Work]], work: Work, recipe: Settings, run: Run, *, until: str, console: Console) -> None:
    """Do every stage that is not done yet, in order; the record in the run's stages.json makes a second call cheap."""
    folder = run.folder
    names = [stage.name for stage in stages]
    if until and until not in names:
        raise ConfigError(f"--until {until}: there is no such stage{suggestion(until, names)}")
    together = processes()
    console = console if together.is_main_process else Console(quiet=True)
    together.wait_for_everyone()  # the main process may have taken over what another run has done: all read the same record
    record = _read_record(folder / "stages.json")
    above: dict[str, str] = {}
    for number, stage in enumerate(stages, start=1):
        mark = above[stage.name] = fingerprint(stage, recipe, above)
        entry = record.get(stage.name, {})
        heading = f"[bold]{number}/{len(stages)} {stage.name}[/]  [dim]{stage.does}[/]"
        if entry.get("fingerprint") == mark and entry.get("done"):
            console.print(f"{heading}  [green]done before[/] [dim]({_minutes(float(str(entry['seconds'])))})[/]")
        else:
            console.print(heading)
            together.wait_for_everyone()  # all have ended the stage before; after the last one, nobody waits for who does it alone
            same = entry.get("fingerprint") == mark
            if not same:
                record[stage.name] = {"fingerprint": mark, "done": False, "seconds": 0.0, "peak_mb": 0.0}
            if not same and together.is_main_process:
                _clear(stage, run)
                write_json(folder / "stages.json", record)
            together.wait_for_everyone()
            if together.is_main_process or not stage.alone:
                _perform_one(stage, work, record, folder if together.is_main_process else None)
        if stage.name == until:
            console.print(f"stopped after '{until}', as asked; the same command without --until goes on")
            return


def stage_seconds(folder: Path) -> dict[str, float]:
    """Stage -> seconds it took over all attempts, of the stages that are done."""
    return {name: float(str(entry["seconds"])) for name, entry in _read_record(folder / "stages.json").items() if entry.get("done")}


def done_stages(stages: Sequence[Stage[Work]], recipe: Settings, folder: Path) -> list[str]:
    """Which of the stages the run in `folder` has done with these settings."""
    record, above, done = _read_record(folder / "stages.json"), dict[str, str](), []
    for stage in stages:
        mark = above[stage.name] = fingerprint(stage, recipe, above)
        entry = record.get(stage.name, {})
        if entry.get("fingerprint") == mark and entry.get("done"):
            done.append(stage.name)
    return done


def take_over(stages: Sequence[Stage[Work]], recipe: Settings, other: Path, run: Run) -> list[str]:
    """What the run in the folder `other` has done with the very same settings becomes this run's own; returns the stages' names.

    The last stage, which judges, is never taken over. Files are linked where the file system can: nobody ever writes into one again.
    """
    theirs, record = _read_record(other / "stages.json"), _read_record(run.folder / "stages.json")
    above: dict[str, str] = {}
    taken = []
    for stage in stages[:-1]:
        mark = above[stage.name] = fingerprint(stage, recipe, above)
        entry = theirs.get(stage.name, {})
        if entry.get("fingerprint") != mark or not entry.get("done") or record.get(stage.name, {}).get("done"):
            continue
        _clear(stage, run)
        for name in stage.folders:
            if (other / name).is_dir():
                shutil.copytree(other / name, run.folder / name, copy_function=_link)
        run.take_over(Run(other), stage.name)
        record[stage.name] = entry
        write_json(run.folder / "stages.json", record)
        taken.append(stage.name)
    return taken


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _clear(stage: Stage[Work], run: Run) -> None:
    """Remove the stage's folders, checkpoint and log lines, so that nothing of other settings remains."""
    for name in stage.folders:
        shutil.rmtree(run.folder / name, ignore_errors=True)
    run.forget(stage.name)


def stage_marks(folder: Path) -> dict[str, str]:
    """Stage -> fingerprint it was done with, of the stages that are done."""
    return {name: str(entry["fingerprint"]) for name, entry in _read_record(folder / "stages.json").items() if entry.get("done")}


def _perform_one(stage: Stage[Work], work: Work, record: dict[str, dict[str, object]], folder: Path | None) -> None:
    """Do one stage; write down in `folder`, if there is one, that it is done, its seconds over all attempts and its peak of memory.

    The seconds are written every now and then: an attempt that is killed counts too, for the sum is what the run cost.
    """
    entry = record[stage.name]
    before, start = float(str(entry["seconds"])), time.perf_counter()
    over = threading.Event()

    def note() -> None:
        entry["seconds"] = round(before + time.perf_counter() - start, 1)
        entry["peak_mb"] = round(peak_megabytes(), 1)
        if folder is not None:
            write_json(folder / "stages.json", record)

    def watch() -> None:
        while not over.wait(NOTED_EVERY):
            note()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        stage.do(work)
        entry["done"] = True
    finally:
        over.set()
        watcher.join()
        note()
        _return_memory()


def _return_memory() -> None:
    """Hand what a stage has freed back to the system: glibc keeps it, in pieces that the next stage's arrays do not fit into.

    Without it the demo's processes grow by some 600 MB over their stages. Elsewhere than on glibc nothing is done.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _read_record(path: Path) -> dict[str, dict[str, object]]:
    value = read_json(path) if path.exists() else {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping of stages; remove the run folder and start again")
    return {name: dict(entry) for name, entry in value.items() if isinstance(entry, dict)}


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
