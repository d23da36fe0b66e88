"""The `Policy` seam over an OpenAI-compatible endpoint: it plays and is judged, but gives no token ids and cannot be trained.

Replies are streamed and cut here at the first stop string: the interface does not say which of several stop strings ended a
reply, nor whether one did. Answers are kept on disk, so a run that is started again asks only for what it does not have.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from fathom.contracts import Over
from fathom.errors import MissingExtraError, ModelError, suggestion
from fathom.files import write_json
from fathom.language.remote_settings import RemoteSettings
from fathom.language.sampled import SampledElsewhere
from fathom.records import Reply

try:
    import openai
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionMessageParam
except ModuleNotFoundError as error:
    raise MissingExtraError("openai", "llm") from error

WAITING = 64
"""For each request under way so many may wait."""

BYTES_PER_TOKEN = 4
"""How many bytes of UTF-8 count as one token where the endpoint reports no usage."""


class BudgetError(ModelError):
    """A budget of tokens or money is used up; whatever was answered by then is kept in the cache."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a row's text and who wrote it."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What requests took."""

    requests: int = 0
    read: int = 0
    written: int = 0

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.read + self.written

    def money(self, settings: RemoteSettings) -> float:
        """By the settings' prices."""
        return settings.price(self.read, self.written)

    def __add__(self, other: "Bill") -> "Bill":
        return Bill(self.requests + other.requests, self.read + other.read, self.written + other.written)


class RemotePolicy:
    """Keeps the `Policy` seam without token ids: `encode` gives none, `Reply.tokens` are empty."""

    def __init__(self, settings: RemoteSettings, *, cache: Path | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self._key = os.environ.get(settings.api_key_variable, "")
        self._client = openai.OpenAI(
            base_url=settings.base_url, api_key=self._key or "none", timeout=settings.timeout, max_retries=settings.retries
        )
        self._lock = threading.Lock()
        self._paid = Bill()
        self._due = Bill()

    @property
    def paid(self) -> Bill:
        """What the requests sent so far took, as the endpoint reports it; where it does not, a token for every 4 bytes."""
        return self._paid

    @property
    def due(self) -> Bill:
        """The same with the answers that came from the cache: what all of it would have taken without one."""
        return self._due

    @property
    def at_once(self) -> int:
        """Many more than may ask side by side, so that nobody waits for the slowest of a few."""
        return WAITING * self._settings.parallel

    def encode(self, text: str) -> tuple[int, ...]:
        """No ids: the endpoint keeps its tokenizer to itself."""
        return ()

    def decode(self, tokens: Sequence[int]) -> str:
        """'' for no ids; there can be no others."""
        if tokens:
            raise ModelError("a remote endpoint has no token ids to decode: use a local model")
        return ""

    def converse(self, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int]) -> "RemoteConversation":
        """One conversation per prompt; whether row i follows from `seeds[i]` alone is up to the endpoint."""
        return RemoteConversation(self, prompts, temperature=temperature, seeds=seeds, parallel=self._settings.parallel)

    def ask(self, pieces: Sequence[Piece], stops: Sequence[str], *, limit: int, temperature: float, seed: int) -> Reply:
        """What the endpoint writes after `pieces`, up to and with the first stop string; from the cache if it was asked before."""
        question = {
            "base_url": self._settings.base_url,
            "model": self._settings.model,
            "kind": self._settings.kind,
            "pieces": [[piece.role, piece.text] for piece in pieces],
            "stops": list(stops),
            "limit": limit,
            "temperature": temperature,
            "seed": seed,
        }
        digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode("utf-8")).hexdigest()
        path = None if self._cache is None else self._cache / digest[:2] / f"{digest}.json"
        if path is not None and path.is_file():
            try:
                known = _KEPT.validate_json(path.read_bytes())
            except ValidationError as error:
                raise ModelError(f"{path}: not a cached answer; remove the file") from error
            with self._lock:
                self._due += Bill(1, known.read, known.written)
            return Reply(text=known.text, stop=known.stop, usage=(known.read, known.written))
        self._refuse_beyond_budgets()
        kept = self._asked(pieces, stops, limit=limit, temperature=temperature, seed=seed)
        with self._lock:
            self._paid += Bill(1, kept.read, kept.written)
            self._due += Bill(1, kept.read, kept.written)
        if path is not None:
            write_json(path, {"text": kept.text, "stop": kept.stop, "read": kept.read, "written": kept.written})
        return Reply(text=kept.text, stop=kept.stop, usage=(kept.read, kept.written))

    def _refuse_beyond_budgets(self) -> None:
        settings, paid = self._settings, self._paid
        if settings.token_budget is not None and paid.tokens >= settings.token_budget:
            raise BudgetError(
                f"the token budget of {settings.token_budget:,} is used up ({paid.tokens:,} spent): raise token_budget to go on"
            )
        if settings.money_budget is not None and paid.money(settings) >= settings.money_budget:
            spent = f"{paid.money(settings):.4g} spent"
            raise BudgetError(f"the money budget of {settings.money_budget:g} is used up ({spent}): raise money_budget to go on")

    def _asked(self, pieces: Sequence[Piece], stops: Sequence[str], *, limit: int, temperature: float, seed: int) -> "_Kept":
        """Ask the endpoint, once more after each half answer; a mistake that stays is named."""
        for pause in [0.5 * 2**attempt for attempt in range(self._settings.retries)] + [0.0]:
            try:
                return self._written(pieces, stops, limit=limit, temperature=temperature, seed=seed)
            except _HalfAnswerError as half:
                told = str(half)
            except openai.APIError as error:  # the client itself has tried as often as it was told
                raise ModelError(refusal(error, self._settings, self._key, self._client)) from error
            time.sleep(pause)
        raise ModelError(f"{self._settings.base_url} ends its answers half way, {self._settings.retries + 1} times in a row ({told})")

    def _written(self, pieces: Sequence[Piece], stops: Sequence[str], *, limit: int, temperature: float, seed: int) -> "_Kept":
        """Ask the endpoint once; cut the stream at the first stop string."""
        text, reported, stop, begun, ended = "", None, None, False, False
        try:
            for part in self._stream(pieces, limit=limit, temperature=temperature, seed=seed):
                before, begun = len(text), True
                text += part.text
                reported, ended = part.usage or reported, ended or part.ends
                found = [(at, word) for word in stops if (at := text.find(word, max(0, before - len(word) + 1))) >= 0]
                if found:
                    at, stop = min(found)
                    text = text[: at + len(stop)]
                    break
        except openai.APIStatusError:
            raise
        except (openai.APIConnectionError, ValueError) as error:
            if text or (begun and isinstance(error, openai.APIError)):
                raise _HalfAnswerError(" ".join(without(self._key, error).split())) from error
            if isinstance(error, openai.APIError):
                raise
            raise ModelError(f"{self._settings.base_url} does not speak as OpenAI's do: {without(self._key, error)}") from error
        if stop is None and not ended:
            raise _HalfAnswerError("the stream ended without a reason")
        asked = sum(len(piece.text.encode("utf-8")) for piece in pieces)
        read, written = reported or (asked // BYTES_PER_TOKEN, len(text.encode("utf-8")) // BYTES_PER_TOKEN)
        return _Kept(text, stop, read, written)

    def _stream(self, pieces: Sequence[Piece], *, limit: int, temperature: float, seed: int) -> "Iterator[_Part]":
        """Texts as they come, why they end, and the tokens used where the endpoint says so; an empty one when it begins to answer."""
        how: Any = {
            "model": self._settings.model,
            "max_tokens": limit,
            "temperature": temperature,
            "seed": seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._settings.kind == "chat":
            with self._client.chat.completions.create(messages=_messages(pieces), **how) as chats:
                yield _Part("", False, None)
                for chat in chats:
                    text = (chat.choices[0].delta.content or "") if chat.choices else ""
                    yield _Part(text, bool(chat.choices and chat.choices[0].finish_reason), _usage(chat.usage))
            return
        with self._client.completions.create(prompt="".join(piece.text for piece in pieces), **how) as chunks:
            yield _Part("", False, None)
            for chunk in chunks:
                text = chunk.choices[0].text if chunk.choices else ""
                yield _Part(text, bool(chunk.choices and chunk.choices[0].finish_reason), _usage(chunk.usage))


def refusal(error: openai.APIError, settings: RemoteSettings, key: str, client: openai.OpenAI) -> str:
    """What went wrong and what to do."""
    told = without(key, error)
    match error:
        case openai.APITimeoutError():
            why = f"it said nothing for {settings.timeout:g} s: raise timeout, or lower parallel"
        case openai.APIConnectionError():
            why = "it cannot be reached: is it running, and is base_url right?"
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            why = f"it refuses {'the key in' if key else 'no key:'} the environment variable {settings.api_key_variable}"
        case openai.NotFoundError():
            why = f"it has no model '{settings.model}', or base_url lacks a part such as /v1{_meant(settings.model, client)}"
        case openai.RateLimitError():
            why = f"it asks to wait, still after {settings.retries} retries: lower parallel, or raise retries"
        case _:
            why = "it refuses the request" if isinstance(error, openai.APIStatusError) else "it fails"
    return f"{settings.base_url} does not answer for model '{settings.model}': {why} ({told})"


def without(key: str, error: Exception) -> str:
    """What an error says, the key hidden: endpoints like to repeat it."""
    return str(error).replace(key, "***") if key else str(error)


def _meant(model: str, client: openai.OpenAI) -> str:
    """Which model may be meant, where the endpoint says which ones it has."""
    with suppress(openai.OpenAIError, ValueError):
        return suggestion(model, [other.id for other in client.with_options(max_retries=0).models.list()])
    return ""


class _HalfAnswerError(Exception):
    """A stream that broke off."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer as it lies in the cache."""

    text: str
    stop: str | None
    read: int
    written: int


_KEPT = TypeAdapter(_Kept)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a stream."""

    text: str
    ends: bool
    usage: tuple[int, int] | None


def _usage(told: CompletionUsage | None) -> tuple[int, int] | None:
    return None if told is None else (told.prompt_tokens, told.completion_tokens)


def _messages(pieces: Sequence[Piece]) -> list[ChatCompletionMessageParam]:
    """The pieces as chat messages; neighbours of one role become one."""
    merged: list[Piece] = []
    for piece in pieces:
        if merged and merged[-1].role == piece.role:
            merged[-1] = Piece(piece.role, merged[-1].text + piece.text)
        else:
            merged.append(piece)
    return [
        {"role": "assistant", "content": piece.text} if piece.role == "assistant" else {"role": "user", "content": piece.text}
        for piece in merged
    ]


class RemoteConversation(SampledElsewhere):
    """Keeps the `Conversation` seam over texts, but for what needs logits."""

    sampler = "a remote endpoint"

    def __init__(self, policy: RemotePolicy, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int], parallel: int) -> None:
        self._policy = policy
        self._temperature = temperature
        self._parallel = parallel
        self._rows = [[Piece("user", prompt)] for prompt in prompts]
        self._seeds = [seed % 2**31 for seed in seeds]  # endpoints take 32 bits

    def reply(
        self,
        rows: Sequence[int],
        stops: Sequence[str],
        limits: Sequence[int],
        over: Over | None = None,
        barred: Sequence[str] = (),
    ) -> list[Reply]:
        """Let the endpoint write on each of `rows`, several at a time; it cannot be stopped on the way."""
        self.refuse_watching(over, barred)

        def ask(row: int, limit: int) -> Reply:
            return self._policy.ask(self._rows[row], stops, limit=limit, temperature=self._temperature, seed=self._seeds[row])

        with ThreadPoolExecutor(self._parallel) as pool:
            replies = list(pool.map(ask, rows, limits))
        for row, reply in zip(rows, replies, strict=True):
            self._rows[row].append(Piece("assistant", reply.text))
        return replies

    def extend(self, rows: Sequence[int], texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Append the environment's text to each of `rows`; there are no ids to return."""
        for row, text in zip(rows, texts, strict=True):
            self._rows[row].append(Piece("user", text))
        return [() for _ in rows]
