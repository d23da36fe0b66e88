"""The desks of all runs behind one door: who is asked, what is asked together, what is refused."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from fathom.conversation.state import ANY, NOTHING, Span, Wishes
from fathom.errors import suggestion
from fathom.records import Episode, Turn
from fathom.serving.bodies import Filters, Item, Listed, Recommended, TurnItem, TurnTold, Whom
from fathom.serving.desk import Answered, Asked, Desk
from fathom.serving.figures import Figures
from fathom.serving.limits import Limits
from fathom.serving.live import Shown
from fathom.serving.offer import Offer
from fathom.serving.refusals import Refused
from fathom.serving.store.store import Store
from fathom.serving.together import Busy, Together

NEAREST = 20_000
"""Titles among which a nearest one is looked for: more would take seconds."""


@dataclass(frozen=True, slots=True)
class Who:
    """A question's desk and model, and whose it is."""

    desk: Desk
    model: str
    user: str | None
    history: tuple[int, ...]


class Service:
    """All runs that are served."""

    def __init__(self, offers: Sequence[Offer], store: Store, limits: Limits) -> None:
        self.store = store
        self.limits = limits
        self.figures = Figures()
        self.desks = {offer.name: Desk(offer, store) for offer in offers}
        self._together: dict[tuple[str, str], Together[Asked, Answered]] = {}

    # Who and what -------------------------------------------------------------------------------------------------------------------

    def desk(self, run: str | None) -> Desk:
        """Of the run of that name; the first one for None."""
        if run is None:
            return next(iter(self.desks.values()))
        if run not in self.desks:
            raise Refused(404, f"no run '{run}' is served here{suggestion(run, self.desks)}", code="no_such_run", param="run")
        return self.desks[run]

    def who(self, body: Whom) -> Who:
        """Whom a body asks, and about whom."""
        desk = self.desk(body.run)
        model = body.model or desk.offer.default
        if model not in desk.offer.models:
            told = f"the run '{desk.offer.name}' has no model '{model}'{suggestion(model, desk.offer.models)}"
            raise Refused(404, told, code="no_such_model", param="model")
        if body.user is not None and body.history is not None:
            raise Refused(
                400, "user and history: send one of them, somebody known by name or what was taken", code="invalid_value", param="user"
            )
        return Who(desk, model, body.user, self.items(desk, body.history or (), "history", most=self.limits.history_length))

    def items(self, desk: Desk, words: Sequence[str], param: str, *, most: int) -> tuple[int, ...]:
        """The items of these names or titles; an unknown one is refused with the nearest title."""
        if len(words) > most:
            raise Refused(400, f"{param}: {len(words)} items, and at most {most} are read: send the latest", code="too_long", param=param)
        shown = desk.live.now
        if any(shown.item(word) is None for word in words):
            shown = desk.live.refresh()  # another replica may have been told of it
        found = []
        for place, word in enumerate(words):
            item = shown.item(word)
            if item is None:
                near = suggestion(word, shown.catalog.titles[:NEAREST])
                told = f"'{word}' is no item of this catalogue{near if near.startswith('; did') else ''}"
                raise Refused(404, told, code="no_such_item", param=f"{param}.{place}" if len(words) > 1 else param)
            found.append(item)
        return tuple(found)

    def wishes(self, desk: Desk, filters: Filters | None) -> Wishes:
        """The filters as the shelves read them."""
        if filters is None:
            return NOTHING
        known = desk.live.now.catalog.attributes
        for side, values in (("wanted", filters.wanted), ("barred", filters.barred)):
            for name in values:
                if name not in known:
                    told = f"filters.{side}: the catalogue has no attribute '{name}'{suggestion(name, known)}"
                    raise Refused(400, told, code="invalid_value", param=f"filters.{side}.{name}")
        wanted, barred = ({name: tuple(values) for name, values in one.items()} for one in (filters.wanted, filters.barred))
        return Wishes(wanted=wanted, barred=barred, years=_span(filters.years, "years"), price=_span(filters.price, "price"))

    def at_most(self, k: int) -> int:
        """`k`, if so many may be asked for."""
        if k > self.limits.k:
            raise Refused(400, f"k: {k} is more than the {self.limits.k} that one request may ask for", code="too_many", param="k")
        return k

    def words(self, text: str, param: str) -> str:
        """The text, if it is not too long."""
        if len(text) > self.limits.words:
            told = f"{param}: {len(text)} characters, and at most {self.limits.words} are read"
            raise Refused(400, told, code="too_long", param=param)
        return text

    # Answers ------------------------------------------------------------------------------------------------------------------------

    async def ask(self, who: Who, asked: Asked) -> Answered:
        """What the model answers, in one batch with whatever else is asked now."""
        run, model = who.desk.offer.name, who.model
        together = self._of(who.desk, model)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self.limits.seconds):
                [answer] = await together.answer([replace(asked, history=asked.history or who.history, user=who.user)])
        except Busy as error:
            told = f"{self.limits.waiting} requests to {model} wait already: come again in a second"
            raise Refused(429, told, code="busy", headers={"Retry-After": "1"}) from error
        except TimeoutError as error:
            told = f"no answer within {self.limits.seconds:g} seconds"
            raise Refused(503, told, code="timeout", headers={"Retry-After": str(round(time.perf_counter() - began) + 1)}) from error
        finally:
            self.figures.waiting.labels(run, model).set(together.waiting)
        return answer

    def _of(self, desk: Desk, model: str) -> Together[Asked, Answered]:
        run = desk.offer.name
        if (run, model) not in self._together:
            self._together[run, model] = Together(
                partial(self._answer, desk, model), at_once=self.limits.at_once, waiting=self.limits.waiting
            )
        return self._together[run, model]

    def _answer(self, desk: Desk, model: str, asked: Sequence[Asked]) -> Sequence[Answered]:
        run = desk.offer.name
        self.figures.batch.labels(run, model).observe(len(asked))
        answers = desk.answer(model, asked)
        for answer in answers:
            if answer.episode is not None:
                self.figures.episodes.labels(run, model, answer.episode.ending).inc()
        return answers


def item_told(shown: Shown, item: int) -> Item:
    """The item as it is shown."""
    catalog = shown.catalog
    return Item(id=catalog.names[item - 1], title=catalog.title(item), about=list(catalog.values(item)))


def listed_told(shown: Shown, items: Sequence[int], *, scores: Sequence[float] = (), reasons: Sequence[str] = ()) -> list[Listed]:
    """A list as it is shown."""
    return [
        Listed(
            **item_told(shown, item).model_dump(),
            score=scores[place] if scores else None,
            reason=reasons[place] if reasons else None,
        )
        for place, item in enumerate(items)
    ]


def turn_told(shown: Shown, number: int, turn: Turn, before: set[int]) -> TurnTold:
    """A turn as it is shown; what was removed since is left out."""
    items = [TurnItem(**item_told(shown, item).model_dump(), new=item not in before) for item in turn.shown if item not in shown.removed]
    return TurnTold(number=number, thought=turn.thought, preference=turn.preference, items=items)


def turns_told(shown: Shown, episode: Episode | None) -> list[TurnTold]:
    """All turns of an episode; none where nobody thought aloud."""
    before: set[int] = set()
    told = []
    for number, turn in enumerate(episode.turns if episode else (), start=1):
        told.append(turn_told(shown, number, turn, before))
        before |= set(turn.shown)
    return told


def recommended(who: Who, answer: Answered, *, explain: bool, seconds: float) -> Recommended:
    """The answer as it is shown."""
    shown = who.desk.live.now
    listed = listed_told(shown, answer.items, scores=answer.scores, reasons=answer.reasons)
    if answer.episode is not None:
        first = who.desk.first_seen(answer.episode)
        for place, item in enumerate(answer.items):
            listed[place].turn, listed[place].preference = first.get(item, (None, None))
    return Recommended(
        run=who.desk.offer.name,
        model=who.model,
        items=listed,
        turns=turns_told(shown, answer.episode) if explain else [],
        conclusion=answer.episode.conclusion if explain and answer.episode else "",
        seconds=seconds,
    )


def _span(bounds: Sequence[float | None] | None, name: str) -> Span:
    if bounds is None:
        return ANY
    span = Span(*bounds)
    if span.empty:
        raise Refused(
            400, f"filters.{name}: from {span.low:g} to {span.high:g} holds nothing", code="invalid_value", param=f"filters.{name}"
        )
    return span
