"""The product's commands, as a test gives them."""

from pathlib import Path
from typing import TypeVar

from typer.testing import CliRunner

from fathom.cli import app
from fathom.pipeline.methods import opened
from fathom.pipeline.workshop import Workshop

Work = TypeVar("Work", bound=Workshop)


def told(*words: object) -> str:
    """What the command says, in one line; an error is raised, or fails the test."""
    said = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return " ".join(said.output.split())


def ran(recipe: Path, folder: Path, *words: object) -> str:
    """What a run by one process says."""
    return told("run", recipe, "--out", folder, "--processes", 1, *words)


def work_of(folder: Path, kind: type[Work]) -> Work:
    """The workshop of a run's folder, of the kind that its method has."""
    work = opened(folder)
    assert isinstance(work, kind)
    return work
