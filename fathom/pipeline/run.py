"""`fathom run`: a recipe becomes a run folder."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console

from fathom.errors import ConfigError
from fathom.evaluation.results import commit, machine, versions
from fathom.files import remove_unfinished, write_json, write_text
from fathom.pipeline.launch import helped
from fathom.pipeline.methods import METHODS, recipe_at
from fathom.pipeline.side_by_side import before, done_side_by_side, with_needs
from fathom.pipeline.stages import perform, take_over
from fathom.recipes import dump
from fathom.training.processes import leave
from fathom.training.run import Run
from fathom.training.trackers import TrackerName, tracker_for

ABOUT = """# Run '{name}'

Made by  {command}
The same command goes on where it was stopped, and does again what depends on a changed setting.

| file | what |
|---|---|
| recipe.yaml | every setting, defaults written out |
| run.json | command, commit, versions, machine |
| stages.json | what is done, with which fingerprint, in how many seconds |
| metrics.jsonl | one line a step of every training |
{stages}
| checkpoints/ | where an unfinished training goes on |
| ranks/ | each row's rank of every test target |
| episodes/ | what was said about every test user |
| results.json | the table (schema fathom-results/1) |
| report.html | the page: open it in a browser |
"""


def run_recipe(
    path: Path,
    *,
    out: Path | None,
    overrides: Sequence[str],
    until: str,
    command: str,
    processes: int = 1,
    tracker: TrackerName | None = None,
    like: Sequence[Path] = (),
    at_once: int = 1,
    only: str = "",
) -> None:
    """Perform the stages of the recipe at `path` that are not done yet, in `out` or runs/<name>.

    `processes` of them share the work on this machine; `tracker` shows the log as it grows; what the runs in the folders `like` have
    done with the very same settings is taken over. Trainings that do not need each other are done `at_once`; `only` one stage, and what
    it needs, is done.
    """
    if at_once > 1 and processes > 1:
        raise ConfigError(f"--at-once {at_once} gives each stage a process, --processes {processes} each stage several: write one of them")
    recipe = recipe_at(path, overrides=overrides)
    method = METHODS[recipe.method]
    if method.trains_with:
        import_module(method.trains_with)  # a package that is missing is told now, and not when the run is half done
    stages = method.stages(recipe) if not only else with_needs(method.stages(recipe), only)
    folder = out or Path("runs") / recipe.name
    console = Console()
    if os.environ.get("WORLD_SIZE", "1") == "1" and folder.is_dir():  # several processes would take each other's files for leftovers
        remove_unfinished(folder)
    main = os.environ.get("RANK", "0") == "0"
    shown = tracker_for(tracker, folder) if tracker is not None and main else None
    try:
        run = Run(folder, tracker=shown)
        write_text(folder / "recipe.yaml", dump(recipe))
        made = "\n".join(f"| {stage.name}/ | {stage.does} |" for stage in stages[:-1])
        write_text(folder / "README.md", ABOUT.format(name=recipe.name, command=command, stages=made))
        write_json(folder / "run.json", {"command": command, "commit": commit(), "versions": versions(), "machine": machine()})
        for other in like if main else ():
            if not (other / "stages.json").is_file():
                raise ConfigError(f"--like {other}: not the folder of a run (it has no stages.json)")
            if taken := take_over(stages, recipe, other, run):
                console.print(f"taken over from {other}: {', '.join(taken)}", highlight=False)
        console.print(f"[bold]{recipe.name}[/] in {folder}" + (f", curves by  {shown.hint}" if shown is not None else ""))
        work = method.workshop(recipe, run, command=command)
        with helped(processes if at_once == 1 else 1):
            if at_once > 1:
                perform(before(stages, until), work, recipe, run, until="", console=console)
                done_side_by_side(stages, recipe, run, at_once=at_once, until=until, console=console)
            perform(stages, work, recipe, run, until=until, console=console)
            leave()
    finally:
        if shown is not None:
            shown.close()
