"""`fathom lend`: a folder of which nothing can be lent is told in one sentence."""

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import torch
from typer.testing import CliRunner
from worlds import ring_world

from fathom.cli.lend import app
from fathom.data.dataset import Dataset
from fathom.errors import ConfigError, DataError
from fathom.items.embed import item_vectors
from fathom.items.encoders import HashingEncoder
from fathom.recommenders.retriever import Retriever
from fathom.recommenders.retriever_model import RetrieverModel, RetrieverSettings


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["retriever", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "not the folder of a run" in str(result.exception)


@pytest.mark.parametrize(("option", "stage"), [([], "retriever"), (["--training"], "retriever-fit")])
def test_a_run_without_the_retriever_is_told_what_to_do(option: list[str], stage: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: small\nworld: {}\n")
    result = CliRunner().invoke(app, ["retriever", str(tmp_path), *option])
    assert isinstance(result.exception, DataError)
    assert f"there is no '{stage}' in it yet" in str(result.exception)
    assert f"--until {stage}" in str(result.exception)


@pytest.mark.parametrize("port", ["0", "70000", "x"])
def test_a_port_that_cannot_be_is_refused(port: str, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["retriever", str(tmp_path), "--port", port]).exit_code == 2


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """What a run leaves behind, as far as the service needs it; the retriever has random weights."""
    catalog, interactions = ring_world()
    Dataset("ring", catalog, interactions).save(tmp_path / "dataset")
    encoder = HashingEncoder()
    torch.manual_seed(0)
    model = RetrieverModel(torch.from_numpy(item_vectors(catalog, encoder, None)), RetrieverSettings())
    Retriever(model, encoder).save(tmp_path / "retriever")
    (tmp_path / "recipe.yaml").write_text("name: ring\nworld: {}\nencoder: hashing\n")
    return tmp_path


def test_the_command_serves_a_run(run_folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fathom.cli", "lend", "retriever", str(run_folder), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            health = None
            while health is None and process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    health = httpx.get(f"{url}/healthz").json()
                time.sleep(0.1)
            assert health == {"status": "ok", "items": 12, "calls_per_request": 1024}, process.stderr and process.stderr.read().decode()
            answer = httpx.post(f"{url}/retrieve", json={"calls": [{"history": ["r1"], "k": 5, "exclude": ["r1"]}]}).json()
            assert len(set(answer["results"][0]) - {"r1"}) == 5
        finally:
            process.terminate()
