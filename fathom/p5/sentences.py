"""A template and an event of somebody become a question and its answer."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from fathom.p5.identifiers import Identifiers
from fathom.p5.lexicon import plain
from fathom.p5.templates import Template, filled, slots_of
from fathom.prompting.prompts import Words
from fathom.records import Case, Catalog
from fathom.settings import Settings

SEPARATORS = (" , ", " -> ")
"""Between the events of a history; one is drawn for each lesson, the first one stands where the model is asked."""

NOTHING = "nothing"
"""Stands for a history without an event."""


class SentenceSettings(Settings):
    """What sentences say of a case."""

    history_length: int = Field(default=20, ge=1)
    """The latest events that `${history}`, `${titles}` and `${rated}` name, and the most that `${earlier}` does."""
    latest: int = Field(default=20, ge=1)
    """Events that `${latest}` names; those before them are `${earlier}`."""
    title_words: int = Field(default=12, ge=1)
    """Longer titles are cut where they are said; an id that is a title is not."""
    review_words: int = Field(default=100, ge=1)
    """Longer reviews are cut where they are read."""
    liked: float = 4.0
    """As many stars and more are a like."""
    words: Words = Words()
    """What things are called, and what people do with them."""


@dataclass(frozen=True, slots=True)
class Moment:
    """An event of somebody, and all that is known of it."""

    case: Case
    """What came before; its target is the event's item."""
    stars: float = math.nan
    """The rating; NaN where there is none."""
    review: str = ""
    headline: str = ""
    feature: str = ""
    """What the explanation is about; '' where nothing is known."""
    explanation: str = ""
    """A sentence of the review."""


def can_say(template: Template, moment: Moment) -> bool:
    """Whether the event has all that the template needs: stars, a review, a headline, a feature, a sentence."""
    needed = template.needed
    if "stars" in needed and math.isnan(moment.stars):
        return False
    return all(getattr(moment, fact) for fact in needed - {"stars"})


@dataclass(frozen=True, slots=True)
class Draw:
    """What a question says that the event does not fix."""

    candidates: tuple[int, ...] = ()
    """Among which the answer is."""
    right: bool = True
    """Whether the item or the stars that the question proposes are the event's own: what the verdict is about."""
    item: int = 0
    """The item that is proposed; 0: the event's own."""
    stars: float = math.nan
    """The stars that are proposed; NaN: the event's own."""
    separator: str = SEPARATORS[0]


class Sentences:
    """Says cases in words."""

    def __init__(
        self, catalog: Catalog, identifiers: Identifiers, people: Sequence[str], scale: Sequence[float], settings: SentenceSettings
    ) -> None:
        """`people`: the outside names of the users; `scale`: every rating there is, the worst first."""
        self.settings = settings
        self.scale = tuple(scale)
        self.catalog = catalog
        self.ids = identifiers.texts
        self.people = people
        whole = [plain(title) for title in catalog.titles]
        cut = [" ".join(title.split()[: settings.title_words]) for title in whole]
        counts = Counter(cut)
        self.titles = [short if counts[short] == 1 else title for short, title in zip(cut, whole, strict=True)]
        """What items are called where a title is said: no two alike, so that one can be an answer; item i is entry i - 1."""

    def say(self, template: Template, moment: Moment, draw: Draw) -> tuple[str, str]:
        """Question and whole answer."""
        source, target = (self._filled(text, template, moment, draw) for text in (template.source, template.target))
        return source, target

    def ask(self, template: Template, moment: Moment, draw: Draw) -> tuple[str, str]:
        """Question, and what of the answer is given; the event's own item and what was said of it stay unsaid unless the source says it."""
        source, given = (self._filled(text, template, moment, draw) for text in (template.source, template.given))
        return source, given

    def stars(self, rating: float) -> str:
        """A rating as it is written."""
        return f"{rating:g}"

    def _filled(self, text: str, template: Template, moment: Moment, draw: Draw) -> str:
        stars = moment.stars if math.isnan(draw.stars) else draw.stars
        said = Said(self, replace(moment, stars=stars), draw.item or moment.case.target, draw, template)
        slots = {slot: _FILLED[slot](said) for slot in slots_of(text) if slot in _FILLED}
        return filled(text, slots, self.settings.words)


@dataclass(frozen=True, slots=True)
class Said:
    """What slots are filled from."""

    sentences: Sentences
    moment: Moment
    item: int
    draw: Draw
    template: Template

    @property
    def latest(self) -> tuple[int, ...]:
        """The events that `${history}` names."""
        return self.moment.case.history[-self.sentences.settings.history_length :]

    def named(self, items: Sequence[int], separator: str = "", *, nothing: str = NOTHING) -> str:
        """The ids of items."""
        return (separator or self.draw.separator).join([self.sentences.ids[item - 1] for item in items]) or nothing

    def titled(self, items: Sequence[int], separator: str = "") -> str:
        """The titles of items."""
        return (separator or self.draw.separator).join([self.sentences.titles[item - 1] for item in items]) or NOTHING

    def user(self) -> str:
        """The number of a person, of four digits or more; a stranger has none."""
        user = self.moment.case.user
        return str(user + 1001) if user >= 0 else "unknown"

    def name(self) -> str:
        """The outside name; the number where it is empty."""
        user = self.moment.case.user
        return (plain(self.sentences.people[user]) if 0 <= user < len(self.sentences.people) else "") or self.user()

    def attribute(self, name: str) -> str:
        """The first value of an attribute."""
        column = self.sentences.catalog.attributes.get(name)
        values = column[self.item - 1] if column is not None else ()
        return plain(values[0]) if values and plain(values[0]) else f"unknown {name}"

    def past(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The earlier and the latest part of the history."""
        settings, history = self.sentences.settings, self.moment.case.history
        first = max(0, len(history) - settings.latest)
        return history[max(0, first - settings.history_length) : first], history[first:]

    def rated(self) -> str:
        """The latest rated events with their stars."""
        case, sentences = self.moment.case, self.sentences
        pairs = [
            f"{sentences.ids[item - 1]} {sentences.stars(given)}"
            for item, given in zip(case.history, case.ratings, strict=False)
            if not math.isnan(given)
        ]
        return self.draw.separator.join(pairs[-sentences.settings.history_length :]) or NOTHING

    def verdict(self) -> str:
        """The word for or against what is proposed."""
        yes, no = self.template.verdicts
        right = self.moment.stars >= self.sentences.settings.liked if self.template.asks == "liked" else self.draw.right
        return yes if right else no


_FILLED: Mapping[str, Callable[[Said], str]] = {
    "user": Said.user,
    "name": Said.name,
    "item": lambda said: said.sentences.ids[said.item - 1],
    "title": lambda said: said.sentences.titles[said.item - 1],
    "brand": lambda said: said.attribute("brand"),
    "category": lambda said: said.attribute("category"),
    "price": lambda said: said.attribute("price"),
    "history": lambda said: said.named(said.latest),
    "titles": lambda said: said.titled(said.latest),
    "earlier": lambda said: said.named(said.past()[0], " "),
    "latest": lambda said: said.named(said.past()[1], " ", nothing=""),
    "rated": Said.rated,
    "candidates": lambda said: said.named(said.draw.candidates, " , "),
    "candidate_titles": lambda said: said.titled(said.draw.candidates, " , "),
    "choices": lambda said: " , ".join(map(said.sentences.stars, said.sentences.scale)),
    "stars": lambda said: said.sentences.stars(said.moment.stars),
    "verdict": Said.verdict,
    "feature": lambda said: plain(said.moment.feature),
    "headline": lambda said: plain(said.moment.headline),
    "explanation": lambda said: plain(said.moment.explanation),
    "review": lambda said: " ".join(plain(said.moment.review).split()[: said.sentences.settings.review_words]),
}
"""Slot -> how it is filled."""
