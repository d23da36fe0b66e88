"""The container files say what the package and its commands know; no image is built here."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from fathom.cli import app

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def parsed(words: list[str]) -> dict[str, Any]:
    """What the command reads of these words; one that it does not know is an error."""
    commands: Any = get_command(app)
    told: dict[str, Any] = commands.commands[words[0]].make_context(words[0], words[1:]).params
    return told


def commands() -> list[list[str]]:
    """Every command of Fathom in both files, in comments too."""
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    found = [shlex.split(line) for line in re.findall(r"docker run .* fathom (serve .*)", DOCKERFILE)]
    found += [shlex.split(line) for line in re.findall(r"run --rm fathom (\w+ .*)", compose)]
    found += [yaml.safe_load(line) for line in re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)]
    return [*found, COMPOSE["services"]["fathom"]["command"]]


@pytest.mark.parametrize("words", commands(), ids=lambda words: words[0])
def test_commands_are_understood(words: list[str]) -> None:
    assert parsed(words)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) == 4


def test_what_is_copied_and_installed_is_there() -> None:
    for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    [extras] = re.findall(r"'\.\[(.*)\]'", DOCKERFILE)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= known.keys()


def test_who_waits_for_whom_is_there_and_nothing_is_open_to_other_machines() -> None:
    services = COMPOSE["services"]
    assert set(services["fathom"]["depends_on"]) <= services.keys()
    assert {volume.split(":")[0] for one in services.values() for volume in one["volumes"]} - {"./runs"} == COMPOSE["volumes"].keys()
    assert [port for one in services.values() for port in one.get("ports", ())] == ["127.0.0.1:8000-8009:8000"]
    assert [name for name, one in services.items() if "profiles" not in one] == ["fathom", "postgres"]
