"""The `Policy` seam over an OpenAI-compatible endpoint: it plays and is judged, but gives no token ids and cannot be trained.

Replies are streamed and cut here at the first stop string: the interface does not say which of several stop strings ended a
reply, nor whether one did. Answers are kept on disk, so a run that is started again asks only for what it does not have.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fathom.contracts import Over
from fathom.errors import MissingExtraError, ModelError
from fathom.files import read_json, write_json
from fathom.language.remote_settings import RemoteSettings
from fathom.language.sampled import SampledElsewhere
from fathom.records import Reply

try:
    import openai
    from openai.types.chat import ChatCompletionMessageParam
except ModuleNotFoundError as error:
    raise MissingExtraError("openai", "llm") from error

BYTES_PER_TOKEN = 4
"""How many bytes of UTF-8 count as one token where the endpoint reports no usage."""


class BudgetError(ModelError):
    """The token budget is used up; whatever was answered by then is kept in the cache."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a row's text and who wrote it."""

    role: Literal["user", "assistant"]
    text: str


class RemotePolicy:
    """Keeps the `Policy` seam without token ids: `encode` gives none, `Reply.tokens` are empty."""

    def __init__(self, settings: RemoteSettings, *, cache: Path | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self._client = openai.OpenAI(
            base_url=settings.base_url,
            api_key=os.environ.get(settings.api_key_variable, "none"),
            timeout=settings.timeout,
            max_retries=settings.retries,
        )
        self._lock = threading.Lock()
        self._spent = 0
        self._used = 0

    @property
    def spent(self) -> int:
        """Tokens, read and written, of the requests sent so far, as the endpoint reports them; where it does not, one for every 4 bytes."""
        return self._spent

    @property
    def used(self) -> int:
        """The same with the answers that came from the cache: what all of it would have cost without one."""
        return self._used

    @property
    def at_once(self) -> int:
        """As many conversations as may ask side by side."""
        return self._settings.parallel

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
            known = read_json(path)
            if isinstance(known, dict) and isinstance(known.get("text"), str) and isinstance(known.get("tokens"), int):
                stop, tokens = known.get("stop"), int(str(known["tokens"]))
                with self._lock:
                    self._used += tokens
                return Reply(text=str(known["text"]), stop=stop if isinstance(stop, str) else None)
            raise ModelError(f"{path}: not a cached answer; remove the file")
        reply, tokens = self._written(pieces, stops, limit=limit, temperature=temperature, seed=seed)
        with self._lock:
            self._spent += tokens
            self._used += tokens
        if path is not None:
            write_json(path, {"text": reply.text, "stop": reply.stop, "tokens": tokens})
        return reply

    def _written(self, pieces: Sequence[Piece], stops: Sequence[str], *, limit: int, temperature: float, seed: int) -> tuple[Reply, int]:
        """Ask the endpoint; cut the stream at the first stop string. Returns the tokens that it took as well."""
        budget = self._settings.token_budget
        if budget is not None and self._spent >= budget:
            raise BudgetError(f"the token budget of {budget:,} is used up ({self._spent:,} spent): raise token_budget to go on")
        text, reported, stop = "", 0, None
        try:
            for part, usage in self._stream(pieces, limit=limit, temperature=temperature, seed=seed):
                before = len(text)
                text += part
                reported = max(reported, usage)
                found = [(at, word) for word in stops if (at := text.find(word, max(0, before - len(word) + 1))) >= 0]
                if found:
                    at, stop = min(found)
                    text = text[: at + len(stop)]
                    break
        except openai.APIError as error:
            raise ModelError(f"{self._settings.base_url} does not answer for model '{self._settings.model}': {error}") from error
        guess = (sum(len(piece.text.encode("utf-8")) for piece in pieces) + len(text.encode("utf-8"))) // BYTES_PER_TOKEN
        return Reply(text=text, stop=stop), reported or guess

    def _stream(self, pieces: Sequence[Piece], *, limit: int, temperature: float, seed: int) -> Iterator[tuple[str, int]]:
        """Texts as they come, and the tokens used in all where the endpoint says so."""
        if self._settings.kind == "chat":
            with self._client.chat.completions.create(
                model=self._settings.model,
                messages=_messages(pieces),
                max_tokens=limit,
                temperature=temperature,
                seed=seed,
                stream=True,
                stream_options={"include_usage": True},
            ) as chats:
                for chat in chats:
                    yield (chat.choices[0].delta.content or "") if chat.choices else "", chat.usage.total_tokens if chat.usage else 0
            return
        with self._client.completions.create(
            model=self._settings.model,
            prompt="".join(piece.text for piece in pieces),
            max_tokens=limit,
            temperature=temperature,
            seed=seed,
            stream=True,
            stream_options={"include_usage": True},
        ) as chunks:
            for chunk in chunks:
                yield chunk.choices[0].text if chunk.choices else "", chunk.usage.total_tokens if chunk.usage else 0


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
