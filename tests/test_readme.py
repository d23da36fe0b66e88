"""The README cannot drift: its tables are the committed results, its commands exist, its files are there."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fathom.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("fathom ")]
TARGETS = sorted(set(re.findall(r"`?make ([a-z]+)", README)))


def test_the_tables_are_the_committed_results() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "readme.py"))
    runs = script["committed"]()
    assert script["renewed"](README, runs) == README, "run  make readme"
    assert script["measured"](runs) == (ROOT / "docs" / "measured.md").read_text(encoding="utf-8"), "run  make readme"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_exists(command: str) -> None:
    words = shlex.split(command)[1:]
    verbs = [word for word in words[:2] if re.fullmatch("[a-z]+", word)]
    for count in range(len(verbs), 0, -1):
        shown = CliRunner().invoke(app, [*verbs[:count], "--help"], env={"COLUMNS": "300"})
        if shown.exit_code == 0:
            break
    assert shown.exit_code == 0, f"there is no command {verbs}"
    for word in words:
        if word.startswith("--"):
            assert word in shown.output, f"{verbs} has no option {word}"


@pytest.mark.parametrize("target", TARGETS)
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_linked_file_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link
