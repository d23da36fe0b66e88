"""The routes of a service: recommend, similar, rate, chat, items, feedback, and how it fares.

POST /v1/recommend  {"history": ["Heat (1995)"], "k": 5, "explain": true}
POST /v1/chat       {"message": "something funny from the nineties", "stream": true}
GET  /docs          all of them, with their fields
"""

import asyncio
import csv
import hmac
import io
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.responses import PlainTextResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from fathom import __version__
from fathom.errors import ConfigError, DataError, suggestion
from fathom.serving import bodies
from fathom.serving.chat import EVENTS, Presence, as_stream, chat_routes, streamed, waiting
from fathom.serving.desk import Asked, Desk
from fathom.serving.gate import Gate
from fathom.serving.limits import Limits
from fathom.serving.offer import Offer
from fathom.serving.pages import page_routes
from fathom.serving.refusals import Refused, tell_refusals
from fathom.serving.service import Service, item_told, listed_told, recommended
from fathom.serving.store.store import Conflict, Feedback, Store

ERRORS: dict[int | str, dict[str, type]] = {code: {"model": bodies.Error} for code in (400, 401, 404, 408, 409, 413, 429, 503)}


def service_app(
    offers: Sequence[Offer], store: Store, *, limits: Limits | None = None, keys: Sequence[str] = (), origins: Sequence[str] = ()
) -> FastAPI:
    """The service over these runs. With `keys` callers bring one of them; `origins` are the other sites whose pages may call."""
    service = Service(offers, store, limits or Limits())

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        store.forget_conversations(time.time() - 86_400 * service.limits.idle_days)
        for desk in service.desks.values():  # what everybody is asked for is made before anybody asks
            await asyncio.to_thread(desk.make_ready)
        yield

    app = FastAPI(title="Fathom", version=__version__, lifespan=living, docs_url=None, redoc_url=None)
    tell_refusals(app)
    app.include_router(_health(service))
    for routes in (_routes(service), chat_routes(service)):
        app.include_router(routes, dependencies=[Depends(_with_key(keys))], responses=ERRORS)
    app.include_router(page_routes(app))
    _tell_true_statuses(app)
    app.add_middleware(Gate, figures=service.figures, limits=service.limits)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"])
    return app


def _tell_true_statuses(app: FastAPI) -> None:
    """Take out of the document the status 422, which FastAPI writes into it: what is wrong with a body is told with 400 here."""
    document = app.openapi()  # which the app keeps
    for methods in document["paths"].values():
        for route in methods.values():
            route["responses"].pop("422", None)


def _with_key(keys: Sequence[str]):  # type: ignore[no-untyped-def]  # FastAPI wants the inner function's own types
    async def checked(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if keys and not sum(hmac.compare_digest(given, key.encode()) for key in keys):  # all are compared, so that time tells nothing
            raise Refused(401, "the key is missing or not the server's: send it as 'Authorization: Bearer KEY'", code="invalid_api_key")

    return checked


def _health(service: Service) -> APIRouter:
    """Whether it lives, whether it can be asked, how it fares: for machines, hence without a key."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def lives() -> bodies.Health:
        """Whether the process lives."""
        return bodies.Health()

    @router.get("/readyz", responses={503: {"model": bodies.Error}})
    async def ready() -> bodies.Health:
        """Whether requests should be sent here: its database answers."""
        try:
            await asyncio.to_thread(service.store.check)
        except DataError as error:
            raise Refused(503, "the database does not answer", code="not_ready") from error
        return bodies.Health()

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """How it fares, for Prometheus."""
        return Response(service.figures.text(), media_type="text/plain; version=0.0.4")

    return router


def _routes(service: Service) -> APIRouter:
    router, limits = APIRouter(prefix="/v1"), service.limits

    @router.get("/runs", tags=["what is there"])
    async def runs() -> list[bodies.RunTold]:
        """The runs that are served, and their models."""
        return [await asyncio.to_thread(_run_told, desk) for desk in service.desks.values()]

    @router.post("/recommend", tags=["ask"], response_model=bodies.Recommended, responses=EVENTS)
    async def recommend(body: bodies.Recommend, request: Request) -> Response | bodies.Recommended:
        """The best items for somebody known by name, or for a history."""
        who = service.who(body)
        k, wishes = service.at_most(body.k), service.wishes(who.desk, body.filters)
        if service.words(body.preference, "preference") and who.model not in who.desk.offer.hearing:
            hearing = ", ".join(sorted(who.desk.offer.hearing)) or "none of this run"
            raise Refused(400, f"preference: {who.model} hears no words; {hearing} does", code="invalid_value", param="preference")
        hidden = service.items(who.desk, body.exclude, "exclude", most=limits.history_length)
        asked = Asked(
            who.history,
            k,
            hidden=frozenset(hidden),
            wishes=wishes,
            preference=body.preference,
            explain=body.explain,
        )

        async def answer(presence: Presence | None) -> bodies.Recommended:
            began = time.perf_counter()
            found = await service.ask(who, replace(asked, hears=presence))
            return recommended(who, found, explain=body.explain, seconds=time.perf_counter() - began)

        if body.stream:
            return as_stream(streamed(answer, lambda: who.desk.live.now, name="list"))
        if who.model not in who.desk.offer.agents:
            return await answer(None)
        presence = Presence()
        async with waiting(request, presence):  # an agent takes long enough to be left
            return await answer(presence)

    @router.post("/similar", tags=["ask"])
    async def similar(body: bodies.Similar) -> bodies.SimilarItems:
        """What is most like an item: taken together with it, and of like text."""
        desk = service.desk(body.run)
        k, [item] = service.at_most(body.k), service.items(desk, [body.item], "item", most=1)
        found = await asyncio.to_thread(desk.similar, item, k)
        listed = listed_told(desk.live.now, [one for one, _ in found], scores=[score for _, score in found])
        return bodies.SimilarItems(run=desk.offer.name, items=listed)

    @router.post("/rate", tags=["ask"])
    async def rate(body: bodies.Rate) -> bodies.Rated:
        """What somebody would give to items, in the data's own scale."""
        desk = service.desk(body.run)
        raters = desk.offer.raters
        if not raters:
            raise Refused(400, f"no model of the run '{desk.offer.name}' foretells ratings", code="no_rater", param="run")
        model = body.model or next(iter(raters))
        if model not in raters:
            raise Refused(404, f"'{model}' foretells no ratings{suggestion(model, raters)}", code="no_such_model", param="model")
        who = service.who(body.model_copy(update={"model": None}))
        items = service.items(desk, body.items, "items", most=limits.history_length)
        ratings = await asyncio.to_thread(desk.rate, model, who.user, who.history, items)
        return bodies.Rated(run=desk.offer.name, model=model, ratings=ratings)

    @router.get("/items", tags=["catalogue"])
    async def search(
        q: Annotated[str, Query(max_length=200, description="Words of a title, or of what an item is about.")] = "",
        k: Annotated[int, Query(ge=1, le=100)] = 10,
        run: Annotated[str | None, Query()] = None,
    ) -> bodies.Found:
        """Items by their titles and texts; the commonest ones without words."""
        desk = service.desk(run)
        found = await asyncio.to_thread(desk.search, q, k)
        return bodies.Found(items=[item_told(desk.live.now, item) for item in found])

    @router.post("/items", tags=["catalogue"], status_code=201)
    async def add(body: bodies.AddItem) -> bodies.Added:
        """Put a new item into the catalogue, at once and on all replicas."""
        desk = service.desk(body.run)
        item = bodies.NewItem.model_validate(body.model_dump(exclude={"run"}))
        return await asyncio.to_thread(_add, desk, item)

    @router.delete("/items/{item:path}", tags=["catalogue"])
    async def remove(item: Annotated[str, Path(max_length=200)], run: Annotated[str | None, Query()] = None) -> bodies.Item:
        """Show an item to nobody any more."""
        desk = service.desk(run)
        [found] = service.items(desk, [item], "item", most=1)
        told = item_told(desk.live.now, found)
        await asyncio.to_thread(desk.remove, found)
        return told

    @router.put("/items/{item:path}", tags=["catalogue"])
    async def restore(item: Annotated[str, Path(max_length=200)], run: Annotated[str | None, Query()] = None) -> bodies.Item:
        """Show an item again that was removed."""
        desk = service.desk(run)
        found = desk.live.now.ids.get(item)
        if found is None:
            raise Refused(404, f"'{item}' is no item of this catalogue", code="no_such_item", param="item")
        await asyncio.to_thread(desk.restore, found)
        return item_told(desk.live.now, found)

    @router.post("/feedback", tags=["people"], status_code=201)
    async def feedback(body: bodies.Acts) -> bodies.Kept:
        """Keep what people did; once it is answered it is kept for good, and the next recommendation knows it."""
        desk = service.desk(body.run)
        items = service.items(desk, [act.item for act in body.acts], "acts", most=limits.history_length)
        names = desk.live.now.catalog.names
        acts = [
            Feedback(act.user, names[item - 1], act.kind, conversation=act.conversation, model=act.model, place=act.place)
            for act, item in zip(body.acts, items, strict=True)
        ]
        await asyncio.to_thread(desk.write, acts)
        for act in acts:
            service.figures.feedback.labels(desk.offer.name, act.kind).inc()
        return bodies.Kept(kept=len(acts))

    @router.get("/feedback", tags=["people"], response_class=Response, responses={200: {"content": {"text/csv": {}}}})
    async def export(run: Annotated[str | None, Query()] = None) -> Response:
        """All likes and clicks as a table that `fathom data import` reads."""
        desk = service.desk(run)
        return Response(await asyncio.to_thread(_as_log, desk), media_type="text/csv")

    @router.get("/people", tags=["people"])
    async def people(
        q: Annotated[str, Query(max_length=200, description="What a name begins with.")] = "",
        k: Annotated[int, Query(ge=1, le=1_000)] = 20,
        run: Annotated[str | None, Query()] = None,
    ) -> bodies.People:
        """Names of test users."""
        return bodies.People(users=[name for name in service.desk(run).offer.asked if name.startswith(q)][:k])

    @router.get("/people/{user:path}", tags=["people"])
    async def person(user: Annotated[str, Path(max_length=500)], run: Annotated[str | None, Query()] = None) -> bodies.PersonTold:
        """What is known of somebody; of a test user also what was held out."""
        desk = service.desk(run)
        known = (await asyncio.to_thread(desk.people, [user]))[user]
        case, shown = desk.offer.asked.get(user), desk.live.now
        return bodies.PersonTold(
            user=user,
            history=[item_told(shown, item) for item in known.history],
            disliked=[item_told(shown, item) for item in sorted(known.disliked)],
            question=None if case is None else [item_told(shown, item) for item in case.history],
            came_next=None if case is None else item_told(shown, case.target),
        )

    return router


def _run_told(desk: Desk) -> bodies.RunTold:
    offer, catalog = desk.offer, desk.live.now.catalog
    models = [
        bodies.ModelTold(
            name=name,
            agent=name in offer.agents,
            hears_preferences=name in offer.hearing,
            rates=name in offer.raters,
            figure=offer.figures.get(name, ""),
        )
        for name in offer.models
    ]
    return bodies.RunTold(
        name=offer.name,
        method=offer.method,
        items=catalog.n_items - len(desk.live.now.removed),
        people=len(offer.people),
        default=offer.default,
        attributes=list(catalog.attributes),
        models=models,
    )


def _add(desk: Desk, item: bodies.NewItem) -> bodies.Added:
    try:
        found = desk.add(item)
    except (Conflict, DataError) as error:  # its name or its title is taken
        raise Refused(409, str(error), code="exists") from error
    except ConfigError as error:
        raise Refused(400, str(error), code="invalid_value", param="attributes") from error
    return bodies.Added(item=item_told(desk.live.now, found), models=sorted(desk.offer.growing))


def _as_log(desk: Desk) -> str:
    """What `fathom data import` reads: who, what, when."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["user_id", "item_id", "timestamp"])
    rows.writerows([act.person, act.item, int(act.at)] for act in desk.store.acts(desk.offer.name) if act.kind in ("like", "click"))
    return out.getvalue()
