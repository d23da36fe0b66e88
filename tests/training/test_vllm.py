"""A server that speaks vLLM's part of the OpenAI protocol, with our engine behind it: what it samples is learned from as our own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from listening import listening
from pydantic import ValidationError
from reinforcing import CASES, CATALOG, PROTOCOL, change, column, tiny_policy, train
from torch.testing import assert_close
from worlds import Shelves

from fathom.agents.play import play
from fathom.agents.protocol import END_PREF, THINK_CLOSE, opening
from fathom.errors import ConfigError, MissingExtraError, ModelError
from fathom.language.engine import LocalConversation
from fathom.language.policy import LocalPolicy
from fathom.language.vllm import VllmPolicy
from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.training.rollouts import judged_again


class Server(BaseHTTPRequestHandler):
    """Samples with `policy`, token by token, up to a stop string; what a token has beyond it is returned as well, as vLLM does."""

    policy: ClassVar[LocalPolicy]
    asked: ClassVar[list[dict[str, Any]]] = []
    names_tokens: ClassVar[bool] = True
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_GET(self) -> None:
        self.answer({"object": "list", "data": [{"id": "tiny", "object": "model", "created": 0, "owned_by": "here"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:  # one decoder, many requests
            self.asked.append(body)
            policy = self.policy
            with policy.decoder.heated(body["temperature"]):
                conversation = LocalConversation(
                    policy.decoder,
                    policy.table,
                    [body["prompt"]],
                    temperature=1.0,
                    seeds=[body["seed"]],
                    ends=policy.ends,
                    context=policy.context,
                )
                tokens, logprobs, text = [], [], ""
                while len(tokens) < body["max_tokens"] and not any(stop in text for stop in body["stop"]):
                    [reply] = conversation.reply([0], (), [1])
                    tokens += reply.tokens
                    logprobs += reply.logprobs
                    text = policy.decode(tokens)
                    if tokens[-1] in body["stop_token_ids"]:
                        break
        choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": {"token_logprobs": logprobs}}
        named = {"token_ids": tokens} if self.names_tokens else {}
        self.answer({"id": "1", "object": "text_completion", "created": 0, "model": "tiny", "choices": [{**choice, **named}]})

    def answer(self, values: dict[str, Any]) -> None:
        body = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Server.policy, Server.asked, Server.names_tokens = tiny_policy(), [], True
    with listening(Server) as address:
        yield address


class Weights:
    """In the place of TRL's vLLM side, which needs GPUs: brings the server up to date when TRL says so."""

    brought: ClassVar[int] = 0
    stale: ClassVar[bool] = False

    def __init__(self, model: torch.nn.Module, mode: str, server_base_url: str, **_: object) -> None:
        assert mode == "server"
        assert server_base_url.startswith("http")
        self._model = model

    def sync_weights(self) -> None:
        type(self).brought += 1
        if not self.stale:
            Server.policy.model.load_state_dict(self._model.state_dict())


@pytest.fixture
def vllm(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("fathom.training.reinforce.is_vllm_available", lambda: True)
    monkeypatch.setattr("trl.trainer.grpo_trainer.VLLMGeneration", Weights)
    Weights.brought, Weights.stale = 0, False
    return url


def test_tokens_and_logprobs_are_those_of_the_policy(url: str) -> None:
    policy = tiny_policy()
    with policy.decoder.heated(0.7):
        episodes = play(VllmPolicy(policy, url), Shelves(CATALOG.n_items), CASES, CATALOG, PROTOCOL, temperature=1.0, seed=3)
        gaps = [(now - before).abs()[own].max() for now, own, before in judged_again(policy, episodes, CATALOG)]
    assert float(max(gaps)) < 1e-4
    assert {body["temperature"] for body in Server.asked} == {0.7}
    assert all(body["top_k"] == 0 and body["top_p"] == 1 and body["repetition_penalty"] == 1 for body in Server.asked)


def test_a_token_that_spills_past_a_stop_string_is_cut_as_by_our_engine(url: str) -> None:
    policy = tiny_policy()
    prompt = opening(CASES[0], CATALOG, PROTOCOL)
    with policy.decoder.heated(1e-4):  # as good as greedy, so that both write the same
        here = policy.converse([prompt], temperature=1.0, seeds=[5])
        free = here.reply([0], (), [6])[0]
        words = policy.decode(free.tokens)
        stop = words[2:4]  # in the middle of what it is going to write
        ours = policy.converse([prompt], temperature=1.0, seeds=[5]).reply([0], (stop, END_PREF), [6])[0]
        theirs = VllmPolicy(policy, url).converse([prompt], temperature=1.0, seeds=[5]).reply([0], (stop, END_PREF), [6])[0]
    assert (theirs.text, theirs.tokens, theirs.stop, theirs.spill) == (ours.text, ours.tokens, ours.stop, ours.spill)
    assert theirs.text.endswith(stop)


def test_a_planted_reward_rises_where_a_server_samples(vllm: str, tmp_path: Path) -> None:
    train(tmp_path, change(steps=25, learning_rate=2e-2, vllm=vllm))
    rewards = column(tmp_path, "reward/total")
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.2
    assert Weights.brought == 25  # before every batch of episodes
    assert len(Server.asked) >= 25 * 16, "every episode was sampled there"
    assert max(column(tmp_path, "clipped")) == 0  # one update a batch: the ratio to what the server sampled with is 1


def test_a_server_with_other_weights_is_refused(vllm: str, tmp_path: Path) -> None:
    Weights.stale = True
    with torch.no_grad():
        for weight in Server.policy.model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    with pytest.raises(ModelError, match="does not use the weights that are trained; start the server with --logprobs-mode"):
        train(tmp_path, change(vllm=vllm))


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"fathom-rec\[vllm\]"):
        train(tmp_path, change(vllm="http://127.0.0.1:9"))


def test_bad_input(url: str) -> None:
    policy = tiny_policy()
    there = VllmPolicy(policy, url)
    with pytest.raises(ConfigError, match="temperature is 0"):
        there.converse(["a"], temperature=0.0, seeds=[1])
    conversation = there.converse(["a"], temperature=1.0, seeds=[1])
    with pytest.raises(ModelError, match="constrained: false"):
        conversation.reply([0], (THINK_CLOSE,), [5], over=lambda _: False)
    with pytest.raises(ModelError, match="constrained: false"):
        conversation.write_list([0], ["a"], numbers=["1"], closing="", forbidden=[()], limits=[9])
    with pytest.raises(ModelError, match="scored finish"):
        conversation.score([0], [["a"]])
    Server.names_tokens = False
    with pytest.raises(ModelError, match=r"must be vLLM 0\.22 or newer"):
        conversation.reply([0], (THINK_CLOSE,), [5])
    with pytest.raises(ModelError, match=r"no vLLM server answers at http://127\.0\.0\.1:9 .*vllm serve"):
        VllmPolicy(policy, "http://127.0.0.1:9", retries=0)
    told = {"name": "x", "world": {}, "protocol": {"constrained": True}, "stage2": {"vllm": url}}
    with pytest.raises(ValidationError, match=r"stage2\.vllm is .* protocol\.constrained is true"):
        DeepRecRecipe.model_validate(told)


def test_rows_without_room_write_nothing(url: str) -> None:
    policy = tiny_policy()
    conversation = VllmPolicy(policy, url).converse(["a"], temperature=1.0, seeds=[1])
    assert conversation.reply([0], (), [0])[0].tokens == ()
    assert Server.asked == []
    assert_close(torch.tensor(conversation.extend([0], ["b"])[0]), torch.tensor(policy.encode("b")))
