import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from listening import listening
from pydantic import ValidationError

from fathom.errors import ModelError
from fathom.language.remote import BudgetError, RemotePolicy
from fathom.language.remote_settings import RemoteSettings

WORDS = ("I would ", "look <|end", "_of_it|> and", " never see", " this")


class Endpoint(BaseHTTPRequestHandler):
    """Streams `WORDS` to whoever asks, after as many failures as it was told to give."""

    asked: ClassVar[list[dict[str, object]]] = []
    failures = 0
    status: ClassVar[int] = 503
    usage = True
    half: ClassVar[bool] = False
    pause: ClassVar[float] = 0.0
    cut: ClassVar[int | None] = None
    """The connection breaks off behind so many words."""
    stall: ClassVar[float] = 0.0
    """So long it says nothing behind its first word."""
    raw: ClassVar[bytes] = b""
    """Said in the place of everything."""
    received: ClassVar[int] = 0
    under_way: ClassVar[list[int]] = []
    """How many were asked at once, at each request."""
    here: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            type(self).received += 1
            type(self).here += 1
            self.under_way.append(self.here)
        try:
            self.answer(body)
        finally:
            with self.lock:
                type(self).here -= 1

    def answer(self, body: dict[str, Any]) -> None:
        if type(self).failures > 0:
            type(self).failures -= 1
            told = json.dumps({"error": {"message": f"no: {self.headers['Authorization']}", "code": "no"}}).encode()
            self.send_response(self.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)
            return
        if self.pause:
            time.sleep(self.pause)
        type(self).asked.append(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if self.cut is not None:
            self.send_header("Content-Length", "99999")
        self.end_headers()
        if self.raw:
            self.wfile.write(self.raw)
            return
        chat = self.path.endswith("/chat/completions")
        for word in WORDS[: body["max_tokens"]][: self.cut]:
            choice = {"index": 0, "delta": {"content": word}} if chat else {"index": 0, "text": word, "logprobs": None}
            self.send({"choices": [{**choice, "finish_reason": None}]}, chat=chat)
            if self.stall:
                time.sleep(self.stall)
        if self.cut is not None:
            return
        last = {"index": 0, "delta": {}} if chat else {"index": 0, "text": "", "logprobs": None}
        if not self.half:
            self.send({"choices": [{**last, "finish_reason": "stop"}]}, chat=chat)
        if self.usage:
            self.send({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}, chat=chat)
        self.wfile.write(b"data: [DONE]\n\n")

    def do_GET(self) -> None:
        told = json.dumps({"object": "list", "data": [{"id": "gpt-small", "object": "model", "created": 0, "owned_by": "me"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def send(self, values: dict[str, object], *, chat: bool) -> None:
        kind = "chat.completion.chunk" if chat else "text_completion"
        line = json.dumps({"id": "1", "object": kind, "created": 0, "model": "m", **values})
        with suppress(BrokenPipeError, ConnectionResetError):  # the reader may have what it needs
            self.wfile.write(f"data: {line}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Endpoint.asked, Endpoint.failures, Endpoint.usage = [], 0, True
    Endpoint.status, Endpoint.half, Endpoint.pause = 503, False, 0.0
    Endpoint.stall = 0.0
    Endpoint.cut, Endpoint.raw, Endpoint.received, Endpoint.under_way = None, b"", 0, []
    with listening(Endpoint) as address:
        yield f"{address}/v1"


def settings(url: str, **changes: object) -> RemoteSettings:
    return RemoteSettings.model_validate({"base_url": url, "model": "m", "retries": 2, "parallel": 2, **changes})


@pytest.mark.parametrize("kind", ["completions", "chat"])
def test_a_reply_ends_with_the_stop_string_though_it_comes_in_pieces(url: str, kind: str) -> None:
    talk = RemotePolicy(settings(url, kind=kind)).converse(["Hello"], temperature=0.5, seeds=[3])
    (reply,) = talk.reply([0], ["never said", "<|end_of_it|>"], [50])
    assert (reply.text, reply.stop, reply.tokens) == ("I would look <|end_of_it|>", "<|end_of_it|>", ())
    (other,) = talk.reply([0], ["never said"], [2])
    assert (other.text, other.stop) == ("I would look <|end", None)


def test_the_endpoint_reads_everything_that_was_said(url: str) -> None:
    for kind in ("completions", "chat"):
        talk = RemotePolicy(settings(url, kind=kind)).converse(["Hello"], temperature=0.0, seeds=[3])
        talk.reply([0], ["would "], [50])
        assert talk.extend([0], ["\n1. Heat\n"]) == [()]
        talk.reply([0], [], [1])
    assert Endpoint.asked[1]["prompt"] == "HelloI would \n1. Heat\n"
    assert Endpoint.asked[3]["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "I would "},
        {"role": "user", "content": "\n1. Heat\n"},
    ]


def test_an_answer_is_asked_for_once(url: str, tmp_path: Path) -> None:
    def play() -> tuple[list[str], int, int]:
        policy = RemotePolicy(settings(url), cache=tmp_path)
        talk = policy.converse(["A", "B"], temperature=0.0, seeds=[1, 2])
        return [reply.text for reply in talk.reply([0, 1], [], [9, 9])], policy.paid.tokens, policy.due.tokens

    assert play() == (["".join(WORDS)] * 2, 24, 24)
    assert play() == (["".join(WORDS)] * 2, 0, 24)
    assert len(Endpoint.asked) == 2


def test_a_failing_endpoint_is_asked_again_and_then_named(url: str) -> None:
    Endpoint.failures = 1
    assert RemotePolicy(settings(url)).converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])[0].text == "".join(WORDS)
    Endpoint.failures = 99
    with pytest.raises(ModelError, match=f"{url} does not answer for model 'm'"):
        RemotePolicy(settings(url, retries=1)).converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])


def test_no_more_are_asked_at_once_than_told(url: str) -> None:
    Endpoint.pause = 0.05
    rows = list(range(12))
    talk = RemotePolicy(settings(url, parallel=3)).converse([f"Q{row}" for row in rows], temperature=0.0, seeds=rows)
    talk.reply(rows, [], [9] * 12)
    assert len(Endpoint.under_way) == 12
    assert max(Endpoint.under_way) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_who_was_not_answered_is_asked_again_and_nobody_else(url: str, status: int) -> None:
    Endpoint.failures, Endpoint.status = 1, status
    talk = RemotePolicy(settings(url)).converse(["A", "B", "C", "D"], temperature=0.0, seeds=[1, 2, 3, 4])
    assert [reply.text for reply in talk.reply([0, 1, 2, 3], [], [9] * 4)] == ["".join(WORDS)] * 4
    assert sorted(str(body["prompt"]) for body in Endpoint.asked) == ["A", "B", "C", "D"]
    assert Endpoint.received == 5


@pytest.mark.parametrize(
    "changed", [{"model": "other"}, {"kind": "chat"}, {"temperature": 0.5}, {"seed": 2}, {"limit": 3}, {"stops": ["<|"]}, {"prompt": "B"}]
)
def test_another_question_is_another_answer(url: str, changed: dict[str, Any], tmp_path: Path) -> None:
    def ask(
        *, temperature: float = 0.0, seed: int = 1, limit: int = 9, stops: Sequence[str] = (), prompt: str = "A", **more: object
    ) -> str:
        policy = RemotePolicy(settings(url, **more), cache=tmp_path)
        return policy.converse([prompt], temperature=temperature, seeds=[seed]).reply([0], stops, [limit])[0].text

    ask()
    ask()
    assert Endpoint.received == 1
    ask(**changed)
    assert Endpoint.received == 2


def test_the_token_budget_ends_the_run_with_a_word(url: str) -> None:
    policy = RemotePolicy(settings(url, token_budget=20))
    talk = policy.converse(["A"], temperature=0.0, seeds=[1])
    talk.reply([0], [], [9])
    talk.reply([0], [], [9])
    assert policy.paid.tokens == 24
    with pytest.raises(BudgetError, match="the token budget of 20 is used up"):
        talk.reply([0], [], [9])


def test_usage_that_is_not_reported_is_estimated(url: str) -> None:
    Endpoint.usage = False
    policy = RemotePolicy(settings(url))
    policy.converse(["A" * 400], temperature=0.0, seeds=[1]).reply([0], [], [1])
    assert policy.paid.tokens == 400 // 4 + len(WORDS[0]) // 4


def test_an_endpoint_has_no_ids_and_no_likelihoods(url: str) -> None:
    policy = RemotePolicy(settings(url))
    assert policy.encode("text") == ()
    assert policy.decode(()) == ""
    with pytest.raises(ModelError, match="no token ids"):
        policy.decode([1])
    with pytest.raises(ModelError, match="no scored finish"):
        policy.converse(["A"], temperature=0.0, seeds=[1]).score([0], [["B"]])


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "it refuses the key in the environment variable FATHOM_TEST_KEY"),
        (404, "it has no model 'gpt-smal', or base_url lacks a part such as /v1; did you mean 'gpt-small'?"),
        (429, "it asks to wait, still after 1 retries: lower parallel, or raise retries"),
        (400, "it refuses the request"),
        (500, "it refuses the request"),
    ],
)
def test_what_an_endpoint_refuses_is_told_with_what_to_do_and_without_the_key(
    url: str, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FATHOM_TEST_KEY", "sk-very-secret")
    Endpoint.failures, Endpoint.status = 99, status
    policy = RemotePolicy(settings(url, retries=1, model="gpt-smal", api_key_variable="FATHOM_TEST_KEY"), cache=tmp_path)
    with pytest.raises(ModelError) as told:
        policy.converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])
    assert said in str(told.value)
    assert "sk-very-secret" not in str(told.value)
    assert "***" in str(told.value)
    assert not list(tmp_path.rglob("*.json"))
    Endpoint.failures = 0
    policy.converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])
    assert all(b"sk-very-secret" not in path.read_bytes() for path in tmp_path.rglob("*.json"))


def test_an_endpoint_that_is_not_there_or_slow_is_told(url: str) -> None:
    gone = RemotePolicy(settings("http://127.0.0.1:9/v1", retries=0))
    with pytest.raises(ModelError, match="it cannot be reached: is it running, and is base_url right"):
        gone.converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])
    Endpoint.pause = 1.0
    slow = RemotePolicy(settings(url, retries=0, timeout=0.2))
    with pytest.raises(ModelError, match=r"it said nothing for 0\.2 s: raise timeout, or lower parallel"):
        slow.converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])


def test_half_an_answer_is_none_and_is_asked_for_again(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Endpoint.half = True
    pauses: list[float] = []

    def mended(seconds: float) -> None:
        pauses.append(seconds)
        Endpoint.half = len(pauses) < 2

    monkeypatch.setattr("fathom.language.remote.time.sleep", mended)
    policy = RemotePolicy(settings(url), cache=tmp_path)
    assert policy.converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])[0].text == "".join(WORDS)
    assert (pauses, len(Endpoint.asked)) == ([0.5, 1.0], 3)
    Endpoint.half = True
    monkeypatch.setattr("fathom.language.remote.time.sleep", lambda seconds: None)
    with pytest.raises(ModelError, match=r"ends its answers half way, 3 times in a row \(the stream ended without a reason\)"):
        policy.converse(["B"], temperature=0.0, seeds=[1]).reply([0], [], [9])
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.parametrize("kind", ["completions", "chat"])
@pytest.mark.parametrize("words", [0, 2])
def test_a_connection_that_breaks_off_is_half_an_answer_too(url: str, kind: str, words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Endpoint.cut = words
    pauses: list[float] = []

    def mended(seconds: float) -> None:
        pauses.append(seconds)
        Endpoint.cut = None

    monkeypatch.setattr("fathom.language.remote.time.sleep", mended)
    policy = RemotePolicy(settings(url, kind=kind))
    assert policy.converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])[0].text == "".join(WORDS)
    assert pauses == [0.5]
    Endpoint.cut = words
    monkeypatch.setattr("fathom.language.remote.time.sleep", lambda seconds: None)
    with pytest.raises(ModelError, match="ends its answers half way, 3 times in a row"):
        policy.converse(["B"], temperature=0.0, seeds=[1]).reply([0], [], [9])


def test_who_falls_silent_in_the_middle_has_given_half_an_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Endpoint.stall = 0.6
    monkeypatch.setattr("fathom.language.remote.time", SimpleNamespace(sleep=lambda seconds: setattr(Endpoint, "stall", 0.0)))
    policy = RemotePolicy(settings(url, timeout=0.2))
    assert policy.converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])[0].text == "".join(WORDS)
    assert Endpoint.received == 2


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"data: {not json\n\n", "does not speak as OpenAI's do"),
        (b"<html>Login</html>", r"ends its answers half way, 3 times in a row \(the stream ended without a reason\)"),
    ],
)
def test_who_does_not_speak_as_openai_s_do_is_told(url: str, raw: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathom.language.remote.time.sleep", lambda seconds: None)
    monkeypatch.setenv("FATHOM_TEST_KEY", "not json")
    Endpoint.raw = raw
    with pytest.raises(ModelError, match=said) as told:
        RemotePolicy(settings(url, api_key_variable="FATHOM_TEST_KEY")).converse(["A"], temperature=0.0, seeds=[1]).reply([0], [], [9])
    assert "not json" not in str(told.value)


def test_money_is_counted_and_ends_the_run_with_a_word(url: str) -> None:
    policy = RemotePolicy(settings(url, price_read=1e6, price_written=2e6, money_budget=30.0))
    talk = policy.converse(["A"], temperature=0.0, seeds=[1])
    assert talk.reply([0], [], [9])[0].usage == (7, 5)
    assert policy.paid.money(policy._settings) == 7 + 2 * 5
    talk.reply([0], [], [9])
    with pytest.raises(BudgetError, match=r"the money budget of 30 is used up \(34 spent\): raise money_budget to go on"):
        talk.reply([0], [], [9])
    with pytest.raises(ValidationError, match="money_budget is 3, but nothing costs anything: write price_read and price_written"):
        settings(url, money_budget=3.0)
