"""`fathom sweep`: variants of one recipe, each a run of its own, on one page: which change pays?"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from pydantic import Field
from rich.console import Console

from fathom.data.dataset import Dataset
from fathom.errors import ConfigError, ModelError
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Results, Row, write
from fathom.evaluation.rows import make_comparisons
from fathom.pipeline.judge import results_of, show
from fathom.pipeline.methods import recipe_at
from fathom.pipeline.stages import stage_marks, stage_seconds
from fathom.recipes import dump, load
from fathom.reports.page import PageData, write_page
from fathom.settings import Settings


class SweepSettings(Settings):
    """A recipe and how it is varied."""

    recipe: str
    """The recipe's file, from the folder of this one."""
    row: str
    """The row of each run's table that is compared, such as r2ec."""
    beside: tuple[str, ...] = ()
    """Rows of the first variant's table that stand beside it."""
    every: tuple[str, ...] = ()
    """What is changed in every variant, such as 'questions=1280': a sweep may be smaller than its recipe."""
    variants: Mapping[str, tuple[str, ...]] = Field(min_length=2)
    """Name -> what is changed, such as 'recpo.beta=0'. The first one is what all others are compared with."""


def sweep_file(path: Path, *, out: Path | None, processes: int, at_once: int = 1, command: str) -> None:
    """Run every variant that the file names, in `out` or runs/<name of the file>, and write the page that compares them.

    The others take over what the first has done alike. With `at_once` they run side by side, and what each says is in <variant>.log.
    """
    settings, folder = load(path, SweepSettings), out or Path("runs") / path.stem
    recipe, console = path.parent / settings.recipe, Console()
    for name, changes in settings.variants.items():  # all mistakes are told before anything is run
        if Path(name).name != name:
            raise ConfigError(f"{path}: the variant '{name}' would be a folder elsewhere: write a name without '/'")
        recipe_at(recipe, overrides=(*settings.every, *changes))
    names = list(settings.variants)
    cores = os.cpu_count() or 1
    alone = processes if at_once == 1 else min(cores, max(processes, 1) * at_once)
    few_threads = {} if at_once == 1 else {"OMP_NUM_THREADS": str(max(1, cores // (max(processes, 1) * at_once)))}

    def run(name: str) -> None:
        # A process of its own: what one run leaves in memory cannot change the next, and several can help it.
        first = name == names[0]
        changes = (*settings.every, *settings.variants[name])
        known = [other for other in names[: names.index(name)] if at_once == 1 or other == names[0]]
        told = [*(part for change in changes for part in ("--set", change))]
        told += [part for other in known for part in ("--like", str(folder / other))]
        words = ["run", str(recipe), "--out", str(folder / name), "--processes", str(alone if first else processes), *told]
        path = folder / f"{name}.log" if at_once > 1 and not first else None
        console.print(f"[bold]{name}[/]  {' '.join(changes)}" + (f"  [dim]speaks into {path}[/]" if path else ""))
        began = time.perf_counter()
        with path.open("w", encoding="utf-8") if path else nullcontext() as log:
            given = os.environ | ({} if first else few_threads)
            ended = subprocess.run([sys.executable, "-m", "fathom.cli", *words], stdout=log, stderr=log, env=given, check=False)
        if ended.returncode:
            where = f"see {path}" if path else "see above"
            raise ModelError(f"the variant '{name}' did not end well, {where}; the same command goes on with it")
        console.print(f"[green]{name}[/] done in {time.perf_counter() - began:.0f} s")

    run(names[0])
    with ThreadPoolExecutor(at_once) as pool:
        for ended in [pool.submit(run, name) for name in names[1:]]:
            ended.result()
    done = [folder / name for name in names]
    results = compared(settings, done, command=command)
    write(folder / "results.json", results)
    page = PageData(
        title=path.stem,
        results=results,
        catalog=Dataset.load(done[0] / "dataset").catalog,
        agent=next(iter(settings.variants)),
        settings=dump(settings) + "\n" + dump(recipe_at(recipe, overrides=settings.every)),
        notes=("Each variant is a run of its own; stages that are the same in two of them were done once.",),
        stage_seconds=own_seconds(done),
    )
    write_page(folder / "report.html", page)
    show(results, console)
    console.print(f"page: {folder / 'report.html'}")


def compared(settings: SweepSettings, folders: Sequence[Path], *, command: str) -> Results:
    """The chosen row of each run under its variant's name, each compared with the first."""
    first = results_of(folders[0])
    rows: list[Row] = []
    evaluations: dict[str, Evaluation] = {}
    named = [*((folders[0], row, row) for row in settings.beside), *((folder, settings.row, folder.name) for folder in folders)]
    for folder, row, name in named:
        found = results_of(folder).row(row)
        if found is None:
            raise ConfigError(f"{folder}: its table has no row '{row}'")
        rows.append(found.model_copy(update={"model": name}))
        evaluations[name] = Evaluation.load(folder / "ranks" / f"{row}.parquet")
    pairs = [(folder.name, folders[0].name) for folder in folders[1:]] + [(folders[0].name, row) for row in settings.beside]
    comparisons = make_comparisons(evaluations, pairs, seed=first.seed)
    return first.model_copy(update={"command": command, "rows": rows, "comparisons": comparisons})


def own_seconds(folders: Sequence[Path]) -> dict[str, float]:
    """Variant -> seconds of the stages that it did not take over from one before it."""
    known: set[tuple[str, str]] = set()
    spent = {}
    for folder in folders:
        marks, took = stage_marks(folder), stage_seconds(folder)
        spent[folder.name] = sum(took[stage] for stage, mark in marks.items() if (stage, mark) not in known)
        known |= set(marks.items())
    return spent
