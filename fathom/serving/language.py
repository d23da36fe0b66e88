"""A language model over HTTP, in the way that OpenAI's clients speak: completions, chat, streams, usage, errors.

    GET  /v1/models
    POST /v1/chat/completions  {"model": "fathom", "messages": [{"role": "user", "content": "..."}], "max_tokens": 64}
    POST /v1/completions       {"model": "fathom", "prompt": "...", "max_tokens": 64, "stop": ["\\n"]}
    POST /v1/embeddings        {"model": "fathom", "input": ["...", "..."]}
    GET  /healthz

What arrives at the same time is written in one batch. A stream sends its text in one piece: the model writes for many at once. What
cannot be answered gets the error that such clients know, {"error": {"message", "type", "param", "code"}}.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from fathom.language.encoding import mean_states
from fathom.language.policy import LocalPolicy
from fathom.records import Reply
from fathom.serving.refusals import Refused, tell_refusals
from fathom.serving.together import Together


class _Body(BaseModel):
    """What both kinds of request share; what this server has no use for is passed over, as clients send much."""

    model_config = ConfigDict(extra="ignore")

    model: str
    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: dict[str, bool] | None = None
    n: Literal[1] = 1

    @property
    def stops(self) -> tuple[str, ...]:
        """Where a reply ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionBody(_Body):
    """What POST /v1/completions takes."""

    prompt: str


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


class ChatBody(_Body):
    """What POST /v1/chat/completions takes."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)


class EmbeddingBody(BaseModel):
    """What POST /v1/embeddings takes."""

    model_config = ConfigDict(extra="ignore")

    model: str
    input: str | list[str] = Field(min_length=1)
    encoding_format: Literal["float"] = "float"


@dataclass(frozen=True, slots=True)
class _Question:
    prompt: str
    stops: tuple[str, ...]
    limit: int
    temperature: float
    seed: int


def written(policy: LocalPolicy, questions: Sequence[_Question]) -> list[Reply]:
    """A reply to each question; those of one temperature and the same stop strings are written side by side."""
    replies: dict[int, Reply] = {}
    alike: dict[tuple[float, tuple[str, ...]], list[int]] = {}
    for place, question in enumerate(questions):
        alike.setdefault((question.temperature, question.stops), []).append(place)
    for (temperature, stops), places in alike.items():
        for start in range(0, len(places), policy.at_once):
            part = places[start : start + policy.at_once]
            asked = [questions[place] for place in part]
            seeds = [question.seed for question in asked]
            conversation = policy.converse([question.prompt for question in asked], temperature=temperature, seeds=seeds)
            replies |= dict(zip(part, conversation.reply(range(len(part)), stops, [one.limit for one in asked]), strict=True))
    return [replies[place] for place in range(len(questions))]


def language_app(policy: LocalPolicy, *, name: str = "fathom", key: str = "") -> FastAPI:
    """The service over `policy`, which clients call `name`; with a `key` they must bring it."""
    together = Together(partial(written, policy))
    app = FastAPI(title="Fathom language model", docs_url=None, redoc_url=None)

    tell_refusals(app)

    async def with_key(request: Request) -> None:
        if key and request.headers.get("authorization", "") != f"Bearer {key}":
            raise Refused(401, "the key is missing or not the server's: send it as 'Authorization: Bearer KEY'", code="invalid_api_key")

    def known(model: str) -> None:
        if model != name:
            raise Refused(404, f"there is no model '{model}' here: ask for '{name}'", code="model_not_found", param="model")

    def question(body: _Body, prompt: str, limit: int) -> _Question:
        known(body.model)
        tokens = len(policy.encode(prompt))
        if not 0 < tokens < policy.context:
            most = f"this model's context is {policy.context} tokens, the reply among them"
            raise Refused(400, f"the prompt has {tokens} tokens, and {most}", code="context_length_exceeded", param="prompt")
        seed = uuid.uuid4().int % 2**63 if body.seed is None else body.seed % 2**63
        return _Question(prompt, body.stops, limit, body.temperature, seed)

    async def answered(body: _Body, asked: _Question, *, chat: bool) -> Response:
        [reply] = await together.answer([asked])
        text = reply.text.removesuffix(reply.stop) if reply.stop else reply.text
        why = "stop" if reply.stop or len(reply.tokens) < asked.limit else "length"
        read, wrote = len(policy.encode(asked.prompt)), len(reply.tokens)
        usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        kind = "chat.completion" if chat else "text_completion"
        head = {"id": f"fathom-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}
        if body.stream:
            with_usage = bool((body.stream_options or {}).get("include_usage"))
            return StreamingResponse(_streamed(head, text, why, usage if with_usage else None, chat=chat), media_type="text/event-stream")
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text, "logprobs": None}
        return JSONResponse({**head, "choices": [{"index": 0, **said, "finish_reason": why}], "usage": usage})

    @app.get("/healthz")
    async def health() -> dict[str, object]:
        return {"status": "ok", "model": name, "context": policy.context}

    @app.get("/v1/models", dependencies=[Depends(with_key)])
    async def models() -> dict[str, object]:
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "fathom"}]}

    @app.post("/v1/completions", dependencies=[Depends(with_key)])
    async def complete(body: CompletionBody) -> Response:
        return await answered(body, question(body, body.prompt, body.max_tokens), chat=False)

    @app.post("/v1/chat/completions", dependencies=[Depends(with_key)])
    async def chat(body: ChatBody) -> Response:
        limit = body.max_completion_tokens or body.max_tokens
        return await answered(body, question(body, chat_text(policy, body.messages), limit), chat=True)

    @app.post("/v1/embeddings", dependencies=[Depends(with_key)])
    async def embed(body: EmbeddingBody) -> dict[str, object]:
        known(body.model)
        texts = [body.input] if isinstance(body.input, str) else body.input
        vectors = (await together.alone(mean_states, policy, texts)).tolist()
        data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
        read = sum(len(policy.encode(text)) for text in texts)
        return {"object": "list", "data": data, "model": name, "usage": {"prompt_tokens": read, "total_tokens": read}}

    return app


def chat_text(policy: LocalPolicy, messages: Sequence[Message]) -> str:
    """What the model reads of a chat: its own template where it has one, else the contents, one below the other."""
    if policy.tokenizer.chat_template:
        said = [{"role": message.role, "content": message.content} for message in messages]
        return str(policy.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))
    return "".join(message.content if message.content.endswith("\n") else f"{message.content}\n" for message in messages)


async def _streamed(head: dict[str, Any], text: str, why: str, usage: dict[str, int] | None, *, chat: bool) -> AsyncIterator[str]:
    """The events of a stream: the text, why it ended, what it cost where that was asked for, and that it is over."""
    head = {**head, "object": "chat.completion.chunk" if chat else "text_completion"}
    pieces: list[tuple[str, str | None]] = [(text, None), ("", why)]
    for piece, reason in pieces:
        said = {"delta": {"role": "assistant", "content": piece}} if chat else {"text": piece, "logprobs": None}
        yield f"data: {json.dumps({**head, 'choices': [{'index': 0, **said, 'finish_reason': reason}]})}\n\n"
    if usage is not None:
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"
