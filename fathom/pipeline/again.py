"""A run is judged again, or its page written anew."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fathom.errors import ConfigError
from fathom.pipeline.judge import conclude, judge, report, results_of
from fathom.pipeline.methods import opened, table_of


def judge_folder(folder: Path, *, models: Sequence[str], users: int, command: str) -> None:
    """`fathom evaluate`: judge again and write results.json and the page anew."""
    work = opened(folder)
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
