"""`fathom serve`: a folder that cannot be served is told in one sentence."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fathom.cli.serve import app
from fathom.errors import ConfigError, DataError


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["retrieval", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "not the folder of a run" in str(result.exception)


@pytest.mark.parametrize(("option", "stage"), [([], "retriever"), (["--training"], "retriever-fit")])
def test_a_run_without_the_retriever_is_told_what_to_do(option: list[str], stage: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: small\nworld: {}\n")
    result = CliRunner().invoke(app, ["retrieval", str(tmp_path), *option])
    assert isinstance(result.exception, DataError)
    assert f"there is no '{stage}' in it yet" in str(result.exception)
    assert f"--until {stage}" in str(result.exception)


@pytest.mark.parametrize("port", ["0", "70000", "x"])
def test_a_port_that_cannot_be_is_refused(port: str, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["retrieval", str(tmp_path), "--port", port]).exit_code == 2
