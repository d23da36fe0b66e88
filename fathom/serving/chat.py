"""The routes of conversations: turn by turn with a memory, streamed as they are played, or as OpenAI's clients speak."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from fathom.conversation.state import Answer, State
from fathom.errors import FathomError
from fathom.records import Episode, Turn
from fathom.serving import bodies
from fathom.serving.desk import Answered, Asked
from fathom.serving.live import Shown
from fathom.serving.refusals import Refused, refusal_of
from fathom.serving.service import Service, Who, listed_told, turn_told
from fathom.serving.store.store import Conflict, Kept
from fathom.serving.talk import assistant_of, replayed, written

TALKERS = 64
"""Conversations that are answered side by side: each waits in a thread for its model, which answers many at once."""

_KINDS = ["turn", "list", "reply", "error"]
_EVENT = {"type": "object", "properties": {"event": {"enum": _KINDS}, "data": {"type": "string"}}, "required": ["data"]}

EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": _EVENT}}}}
"""What the document says of a route that also streams."""

_STATE = TypeAdapter(State)


class Presence:
    """Whether somebody still waits, and what they hear meanwhile."""

    def __init__(self, heard: Callable[[Turn], object] | None = None) -> None:
        self.left = False
        self._heard = heard

    def turn(self, turn: Turn) -> None:
        """A turn is over."""
        if self._heard is not None:
            self._heard(turn)

    def gone(self) -> bool:
        """Whether nobody waits any more."""
        return self.left


@asynccontextmanager
async def waiting(request: Request, presence: Presence) -> AsyncIterator[None]:
    """Inside the block `presence` knows whether whoever sent the request, whose body was read, has gone away."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        presence.left = True

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        presence.left = True  # answered, refused or too late: whoever still plays for it may stop


class Message(BaseModel):
    """One message of a chat as OpenAI's clients send it."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


class Completion(BaseModel):
    """What POST /v1/chat/completions takes; what this service has no use for is passed over, as clients send much."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1, max_length=1_000, pattern="^[^/]", description="RUN/MODEL, or RUN for its own choice.")
    messages: list[Message] = Field(min_length=1)
    stream: bool = False


class Talks:
    """Conversations of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = ThreadPoolExecutor(TALKERS, thread_name_prefix="talk")

    async def reply(self, body: bodies.Said, presence: Presence, episodes: list[Episode]) -> tuple[Kept, Who, Answer]:
        """What is said back, kept before it is told. `episodes` takes what an agent played for it."""
        service = self._service
        service.words(body.message, "message")
        if body.conversation is None:
            who, kept = service.who(body), None
            known = who.history
            if who.user is not None:
                known = (await asyncio.to_thread(who.desk.people, [who.user]))[who.user].history
            state = State(known)
        else:
            if body.user is not None or body.history is not None:
                told = "a conversation that goes on knows who speaks: leave user and history out"
                raise Refused(400, told, code="invalid_value", param="conversation")
            kept = await asyncio.to_thread(service.store.conversation, body.conversation)
            if kept is None:
                told = "there is no such conversation, or nothing was said in it for long: begin a new one by leaving this field out"
                raise Refused(404, told, code="no_such_conversation", param="conversation")
            who = service.who(bodies.Whom(run=kept.run, model=kept.model))
            state = _STATE.validate_json(kept.state)
        after, answer = await self.answered(who, state, body.message, presence, episodes)
        written_down = _STATE.dump_json(after).decode()
        try:
            if kept is None:
                kept = await asyncio.to_thread(service.store.begin, who.desk.offer.name, who.model, written_down)
            else:
                kept = await asyncio.to_thread(service.store.go_on, kept, written_down)
        except Conflict as error:
            raise Refused(409, str(error), code="conflict", param="conversation") from error
        return kept, who, answer

    async def answered(self, who: Who, state: State, message: str, presence: Presence, episodes: list[Episode]) -> tuple[State, Answer]:
        """The conversation with one turn more, and what is said back."""
        loop = asyncio.get_running_loop()

        def ask(asked: Asked) -> Answered:
            stranger = Who(who.desk, who.model, None, ())
            found = asyncio.run_coroutine_threadsafe(self._service.ask(stranger, asked), loop).result()
            if found.episode is not None:
                episodes.append(found.episode)
            return found

        def work() -> tuple[State, Answer]:
            who.desk.live.refresh()
            return assistant_of(who.desk.shelves, ask, hears=presence).reply(state, message)

        return await loop.run_in_executor(self._threads, work)


def chat_routes(service: Service) -> APIRouter:
    """Of one service."""
    router, talks = APIRouter(prefix="/v1", tags=["talk"]), Talks(service)

    @router.post("/chat", response_model=bodies.Reply, responses=EVENTS)
    async def chat(body: bodies.Said, request: Request) -> Response | bodies.Reply:
        """Say something, and get a list with its reasons; the conversation goes on under the name that comes back.

        Streamed, events come as they happen: `turn` (a turn of an agent), `reply` (as without stream), `error`.
        """

        async def answer(presence: Presence) -> bodies.Reply:
            episodes: list[Episode] = []
            return _reply(*await talks.reply(body, presence, episodes), episodes)

        if body.stream:
            return as_stream(streamed(answer, lambda: service.desk(body.run).live.now, name="reply"))
        presence = Presence()
        async with waiting(request, presence):
            return await answer(presence)

    @router.get("/models")
    async def models() -> dict[str, Any]:
        """Every model as OpenAI's clients list them."""
        names = [f"{run}/{model}" for run, desk in service.desks.items() for model in desk.offer.models]
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "fathom"} for name in names]}

    @router.post("/chat/completions", response_model=None, responses=EVENTS)
    async def complete(body: Completion, request: Request) -> Response:
        """A conversation as OpenAI's clients speak: all that was said so far comes with each request, and nothing is kept."""
        run, _, model = body.model.partition("/")
        who = service.who(bodies.Whom.model_construct(run=None if run == "fathom" else run, model=model or None))
        *before, last = body.messages
        if last.role != "user":
            raise Refused(400, "messages: the last one must be the user's", code="invalid_value", param="messages")
        pairs = _pairs(before)
        message = service.words(last.content, "messages")
        if not message.strip():
            raise Refused(400, "messages: the last one says nothing", code="invalid_value", param="messages")
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body.model}
        if body.stream:
            return as_stream(_chunks(talks, who, pairs, message, head))
        presence, episodes = Presence(), list[Episode]()
        async with waiting(request, presence):
            text = await _completed(talks, who, pairs, message, presence, episodes)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": _usage(episodes)})

    return router


def _usage(episodes: list[Episode]) -> dict[str, int]:
    """Tokens that an agent's language model read and wrote; none where nobody thinks aloud."""
    written = sum(sum(episode.tape.sampled) for episode in episodes if episode.tape)
    whole = sum(len(episode.tape.tokens) for episode in episodes if episode.tape)
    return {"prompt_tokens": whole - written, "completion_tokens": written, "total_tokens": whole}


async def _completed(
    talks: Talks, who: Who, pairs: list[tuple[str, str]], message: str, presence: Presence, episodes: list[Episode]
) -> str:
    desk = who.desk
    by_rules = assistant_of(desk.shelves, _nobody)
    state = await asyncio.to_thread(replayed, by_rules, pairs, desk.live.now.titles)
    _, answer = await talks.answered(who, state, message, presence, episodes)
    return written(answer, desk.live.now.catalog.title)


def _nobody(asked: Asked) -> Answered:
    """What was answered before stands in the texts: no model is asked again."""
    del asked
    return Answered((), ())


def _pairs(messages: list[Message]) -> list[tuple[str, str]]:
    """What was said, and what was answered to it."""
    pairs: list[tuple[str, str]] = []
    for message in messages:
        if message.role == "user":
            pairs.append((message.content, ""))
        elif message.role == "assistant" and pairs:
            pairs[-1] = (pairs[-1][0], message.content)
    return pairs


def _reply(kept: Kept, who: Who, answer: Answer, episodes: list[Episode]) -> bodies.Reply:
    shown, first = who.desk.live.now, dict[int, tuple[int, str]]()
    for episode in episodes:
        first |= who.desk.first_seen(episode)
    listed = listed_told(shown, answer.items, reasons=answer.reasons)
    for place, item in enumerate(answer.items):
        listed[place].turn, listed[place].preference = first.get(item, (None, None))
    turns, before = list[bodies.TurnTold](), set[int]()
    for turn in (turn for episode in episodes for turn in episode.turns):
        turns.append(turn_told(shown, len(turns) + 1, turn, before))
        before |= set(turn.shown)
    return bodies.Reply(
        conversation=kept.name,
        run=who.desk.offer.name,
        model=who.model,
        text=answer.text,
        items=listed,
        turns=turns,
        asks=answer.asks,
    )


async def streamed(answer: Callable[[Presence], Awaitable[BaseModel]], shown: Callable[[], Shown], *, name: str) -> AsyncIterator[str]:
    """Server-sent events: a `turn` for each that an agent ends, and then what `answer` gives as the event `name`.

    When the reader goes away, the model is left alone.
    """
    turns: asyncio.Queue[Turn] = asyncio.Queue()
    loop, before, number = asyncio.get_running_loop(), set[int](), 0
    presence = Presence(lambda turn: loop.call_soon_threadsafe(turns.put_nowait, turn))
    task = asyncio.ensure_future(answer(presence))
    try:
        async for turn in _until(task, turns):
            number += 1
            yield _event("turn", turn_told(shown(), number, turn, before))
            before |= set(turn.shown)
        yield _event(name, await task)
    except (Refused, FathomError) as error:
        yield f"event: error\ndata: {json.dumps({'error': refusal_of(error).told}, ensure_ascii=False)}\n\n"
    finally:
        presence.left = True
        task.cancel()


async def _chunks(talks: Talks, who: Who, pairs: list[tuple[str, str]], message: str, head: dict[str, Any]) -> AsyncIterator[str]:
    """The stream of a completion: thoughts as they come, then the answer."""
    turns: asyncio.Queue[Turn] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    presence = Presence(lambda turn: loop.call_soon_threadsafe(turns.put_nowait, turn))
    task = asyncio.create_task(_completed(talks, who, pairs, message, presence, []))

    def chunk(delta: dict[str, str], why: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": why}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]}, ensure_ascii=False)}\n\n"

    try:
        yield chunk({"role": "assistant", "content": ""})
        async for turn in _until(task, turns):
            yield chunk({"reasoning_content": f"{turn.thought}\n{turn.preference}\n"})
        yield chunk({"content": await task})
        yield chunk({}, "stop")
        yield "data: [DONE]\n\n"
    except (Refused, FathomError) as error:
        yield f"data: {json.dumps({'error': refusal_of(error).told}, ensure_ascii=False)}\n\n"
    finally:
        presence.left = True
        task.cancel()


async def _until(task: "asyncio.Task[Any]", turns: "asyncio.Queue[Turn]") -> AsyncIterator[Turn]:
    """The turns as they come, until the task is over."""
    while True:
        get = asyncio.create_task(turns.get())
        await asyncio.wait({get, task}, return_when=asyncio.FIRST_COMPLETED)
        if get.done():
            yield get.result()
            continue
        get.cancel()
        while not turns.empty():
            yield turns.get_nowait()
        return


def as_stream(parts: AsyncIterator[str]) -> StreamingResponse:
    """The parts as a response that nobody keeps."""
    return StreamingResponse(parts, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _event(name: str, told: BaseModel) -> str:
    return f"event: {name}\ndata: {told.model_dump_json()}\n\n"
