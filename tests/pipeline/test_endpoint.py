"""A remote language model is judged like an agent: same protocol, stated users, counted tokens, a budget that is obeyed."""

import json
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from listening import listening
from rich.console import Console

from fathom.agents.protocol import BEGIN_ITEMS, BEGIN_PREF, END_ITEMS, END_PREF
from fathom.errors import ModelError
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.said import load_said
from fathom.pipeline.deeprec.recipe import DeepRecRecipe, EndpointSettings
from fathom.pipeline.deeprec.stages import STAGES
from fathom.pipeline.deeprec.table import DeepRecTable
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.pipeline.judge import judge, summarise
from fathom.pipeline.stages import perform
from fathom.records import Episode
from fathom.training.run import Run

COST = 100
"""Tokens that the endpoint says each request took."""


class Endpoint(BaseHTTPRequestHandler):
    """Makes one call, then answers with the first ten titles of the list it was shown."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(body["prompt"])
        told = body["prompt"].rpartition("Assistant:\n<think>\n")[2]
        if BEGIN_ITEMS not in told:
            text = f"Something like before.\n{BEGIN_PREF}a quiet drama{END_PREF}"
        else:
            shown = told.rpartition(BEGIN_ITEMS)[2].partition(END_ITEMS)[0]
            titles = re.findall(r"^(\d+\. .*)$", shown, re.MULTILINE)[:10]
            text = "\n".join(["These fit.", "</think>", "<recommendation_list>", *titles, "</recommendation_list>"])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        usage = {"prompt_tokens": COST - 10, "completion_tokens": 10, "total_tokens": COST}
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": None}
        line = json.dumps({"id": "1", "object": "text_completion", "created": 0, "model": "m", "choices": [choice], "usage": usage})
        self.wfile.write(f"data: {line}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Endpoint.asked = []
    with listening(Endpoint) as address:
        yield f"{address}/v1"


FIT = {"epochs": 1, "batch_size": 8, "precision": "float32"}
RECIPE = DeepRecRecipe.model_validate(
    {
        "name": "remote",
        "world": {"films": 60, "users": 20, "events": 8},
        "valid_users": 4,
        "encoder": "hashing",
        "retriever": {"model": {"width": 16, "length": 16}, "fit": FIT, "texts_per_item": 1},
        "retriever_refit": FIT,
        "protocol": {"items_per_call": 12, "segment_tokens": 8, "trajectory_tokens": 64, "prompt_tokens": 32},
    }
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with its data and its retriever."""
    folder = tmp_path_factory.mktemp("trained")
    stages = [stage for stage in STAGES if stage.name in ("dataset", "retriever-fit", "retriever")]
    perform(stages, DeepRecWorkshop(RECIPE, Run(folder)), RECIPE, Run(folder), until="", console=Console(quiet=True))
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(trained, tmp_path / "run")


def workshop(folder: Path, url: str, **changes: object) -> DeepRecWorkshop:
    endpoint = EndpointSettings.model_validate({"base_url": url, "model": "m", "users": 6, "parallel": 2, "retries": 0, **changes})
    return DeepRecWorkshop(RECIPE.model_copy(update={"endpoint": endpoint}), Run(folder))


def test_an_endpoint_gets_a_row_over_its_own_users(folder: Path, url: str) -> None:
    work = workshop(folder, url)
    judge(DeepRecTable(work), models=("retriever", "endpoint"))
    results = summarise(DeepRecTable(work), command="test")
    row, retriever = results.row("endpoint"), results.row("retriever")
    assert row is not None
    assert retriever is not None
    assert (row.users, retriever.users) == (6, len(work.test_cases))
    assert row.metrics["format_valid"] == row.metrics["turns"] == 1.0
    assert row.metrics["endpoint_tokens"] == 2 * COST
    [told] = [one for one in results.comparisons if one.a == "endpoint"]
    assert told.b == "retriever"
    assert len(Endpoint.asked) == 12
    assert all("Something" not in prompt.partition("Assistant:")[0] for prompt in Endpoint.asked)
    episodes = load_said(folder / "episodes" / "endpoint.jsonl.gz", Episode)
    order = [case.user for case in work.test_cases]
    assert sorted((episode.case.user for episode in episodes), key=order.index) == [episode.case.user for episode in episodes]
    readings = DeepRecTable(work).readings("endpoint")
    assert [(one.case, one.place) for one in readings] == [
        (episode.case, place)
        for episode, place in zip(episodes, Evaluation.load(folder / "ranks" / "endpoint.parquet").ranks.tolist(), strict=True)
    ]


def test_what_was_answered_once_is_not_asked_again_and_still_counted(folder: Path, url: str) -> None:
    for _ in range(2):
        work = workshop(folder, url)
        judge(DeepRecTable(work), models=("endpoint",))
        row = summarise(DeepRecTable(work), command="test").row("endpoint")
        assert row is not None
        assert row.metrics["endpoint_tokens"] == 2 * COST
    assert len(Endpoint.asked) == 12


def test_a_budget_leaves_the_users_that_were_finished(folder: Path, url: str) -> None:
    work = workshop(folder, url, token_budget=5 * COST + 1)
    judge(DeepRecTable(work), models=("endpoint",))
    row = summarise(DeepRecTable(work), command="test").row("endpoint")
    assert row is not None
    assert row.users == 2
    assert row.metrics["endpoint_tokens"] == 2 * COST
    assert len(Endpoint.asked) == 6, "two users of four requests in all, then two that were under way when it ran out"


def test_a_budget_for_nobody_is_an_error(folder: Path, url: str) -> None:
    with pytest.raises(ModelError, match="the token budget of 1 is used up"):
        judge(DeepRecTable(workshop(folder, url, token_budget=1)), models=("endpoint",))
