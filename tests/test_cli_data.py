"""`fathom data`: what it prints, what it writes, how it fails."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fathom.cli.data import app
from fathom.data.dataset import Dataset
from fathom.errors import ConfigError, DataError

LOG = "customer,product,stars,timestamp\nu,b,5,20\nu,a,4,10\nv,a,3,30\nv,c,1,5\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def run(*arguments: object) -> str:
    """What `fathom data ARGUMENTS` prints; an error is raised, for the command itself prints it and exits with 2."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_import_writes_a_dataset_and_tells_what_it_did(tmp_path: Path, log: Path) -> None:
    text = run("import", log, tmp_path / "shop", "--column", "user=customer", "--column", "item=product", "--name", "shop", "--rating", "2")
    dataset = Dataset.load(tmp_path / "shop")
    assert dataset.summary() == "shop: 2 users, 2 items, 3 interactions"
    for expected in (dataset.summary(), "user = 'customer'", "rating of at least 2: 1 interactions", dataset.fingerprint[:12]):
        assert expected in text


def test_check_reads_a_source_or_a_dataset(tmp_path: Path, log: Path) -> None:
    run("import", log, tmp_path / "shop", "--column", "user=customer", "--column", "item=product", "--name", "log")
    text = run("check", tmp_path / "shop")
    assert "1970-01-01" in text
    assert "3 items have no title" in text


def test_get_takes_a_local_copy(tmp_path: Path) -> None:
    for name in ("Software_5.json.gz", "meta_Software.json.gz"):
        (tmp_path / name).write_bytes(b"x")
    text = run("get", "amazon-2018-software", "--into", tmp_path / "data", "--from", tmp_path)
    assert "research use, not to be redistributed" in text
    assert (tmp_path / "data" / "amazon-2018-software" / "download.json").is_file()


def test_mistakes_are_named_errors(tmp_path: Path, log: Path) -> None:
    with pytest.raises(DataError, match="no column looks like the user"):
        run("import", log, tmp_path / "shop", "--column", "item=product")
    with pytest.raises(ConfigError, match="--column 'customer' is not ROLE=COLUMN"):
        run("import", log, tmp_path / "shop", "--column", "customer")
    with pytest.raises(DataError, match="there is no such file or folder"):
        run("check", tmp_path / "nowhere")
    assert not (tmp_path / "shop").exists()
