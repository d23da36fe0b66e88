"""`fathom serve`: a folder that cannot be served is told in one sentence."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fathom.cli.serve import app
from fathom.errors import DataError


def test_a_folder_without_a_retriever_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    result = CliRunner().invoke(app, ["retrieval", str(tmp_path)])
    assert isinstance(result.exception, DataError)
    assert "there is no 'retriever' in it; make it first: fathom run RECIPE --until retriever" in str(result.exception)


@pytest.mark.parametrize("port", ["0", "70000", "x"])
def test_a_port_that_cannot_be_is_refused(port: str, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["retrieval", str(tmp_path), "--port", port]).exit_code == 2
