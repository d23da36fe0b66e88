"""A run is judged again, or its page written anew."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fathom.errors import ConfigError
from fathom.pipeline.guests import invite
from fathom.pipeline.judge import conclude, judge, report, results_of
from fathom.pipeline.methods import opened, table_of


def judge_folder(folder: Path, *, models: Sequence[str], users: int, beside: Path | None, rows: Sequence[str], command: str) -> None:
    """`fathom evaluate`: judge again, or only take rows of the run `beside`, and write results.json and the page anew."""
    work = opened(folder)
    if beside is not None:
        if models or users:
            raise ConfigError("--beside takes rows of another run and judges nothing again: leave --model and --users out")
        results_of(folder), None if beside.is_file() else results_of(beside)  # both must be finished
        taken = invite(folder, beside, names=rows)
        Console().print(f"from {beside}: {', '.join(taken)}", highlight=False)
        conclude(table_of(work), command=command)
        return
    if rows:
        raise ConfigError("--row names rows of the run given by --beside: write --beside as well")
    if users:
        work.recipe = work.recipe.model_copy(update={"test_users": users})
        if models:
            raise ConfigError("--users changes who is asked, so every row must be judged again: leave --model out")
    table = table_of(work)
    judge(table, models=models)
    conclude(table, command=command)


def report_folder(folder: Path) -> None:
    """`fathom report`: write the page anew from what the run folder holds."""
    table = table_of(opened(folder))
    Console().print(f"page: {report(table, results_of(folder))}")
