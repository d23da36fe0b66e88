"""Templates are data: a question and an answer with slots, in a YAML file. A file of one's own needs no code, nor does a new family."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template as Slotted
from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from fathom.errors import ConfigError, suggestion
from fathom.prompting.prompts import Words
from fathom.recipes import load
from fathom.settings import Settings

Asks = Literal["next", "candidates", "taken", "stars", "stars-right", "liked", "explanation", "headline", "review-stars"]
"""What a template can ask for."""

ANSWERS: Mapping[Asks, frozenset[str]] = {
    "next": frozenset({"item", "title"}),
    "candidates": frozenset({"item", "title"}),
    "taken": frozenset({"verdict"}),
    "stars": frozenset({"stars"}),
    "stars-right": frozenset({"verdict"}),
    "liked": frozenset({"verdict"}),
    "explanation": frozenset({"explanation"}),
    "headline": frozenset({"headline"}),
    "review-stars": frozenset({"stars"}),
}
"""What is asked for -> the slots that can hold the answer."""

_PAST = frozenset({"history", "titles", "earlier", "latest", "rated"})
_PERSON = frozenset({"user", "name"})
_THING = frozenset({"item", "title", "brand", "category", "price"})

SLOTS: Mapping[Asks, frozenset[str]] = {
    "next": _PERSON | _PAST,
    "candidates": _PERSON | _PAST | {"candidates", "candidate_titles"},
    "taken": _PERSON | _PAST | _THING,
    "stars": _PERSON | _PAST | _THING | {"choices"},
    "stars-right": _PERSON | _PAST | _THING | {"stars"},
    "liked": _PERSON | _PAST | _THING,
    "explanation": _PERSON | _THING | {"stars", "headline", "feature"},
    "headline": _PERSON | _THING | {"stars", "review"},
    "review-stars": _PERSON | _THING | {"review"},
}
"""What is asked for -> the slots that its question may have: none that holds the answer, or that it was taken from."""

NEEDS: Mapping[Asks, frozenset[str]] = {
    "candidates": frozenset({"candidates", "candidate_titles"}),
    "taken": _THING,
    "stars": _THING,
    "stars-right": frozenset({"stars"}),
    "liked": _THING,
    "explanation": _THING,
    "headline": frozenset({"review"}),
    "review-stars": frozenset({"review"}),
}
"""What is asked for -> slots of which its question must have one, else nobody could answer."""

DOMAIN = frozenset(Words.model_fields)
"""Slots that every case fills alike."""


class Template(Settings):
    """One wording of one task."""

    asks: Asks
    """What is wanted."""
    source: str = Field(min_length=1)
    """The question, with slots: '${history}'."""
    target: str = Field(min_length=1)
    """The answer, with slots; what stands before the answer's own slot is given when the model is asked."""
    verdicts: tuple[str, str] = ("yes", "no")
    """Of a verdict: the words for it and against it."""
    held_out: bool = False
    """Never trained on: asked to see what another wording does."""

    @field_validator("verdicts", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        if isinstance(value, list | tuple) and any(isinstance(word, bool) for word in value):
            raise ValueError("YAML takes a bare yes or no for true or false: write them in quotes, ['yes', 'no']")
        return value

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        answers, allowed = ANSWERS[self.asks], SLOTS[self.asks]
        for part, text in (("source", self.source), ("target", self.target)):
            if not Slotted(text).is_valid():
                raise ValueError(f"{part} has a '$' that begins no slot: write ${{slot}}, or $$ for a dollar sign")
        known = frozenset().union(*SLOTS.values(), *ANSWERS.values()) | DOMAIN
        source, target = slots_of(self.source), slots_of(self.target)
        for slot in (*source, *target):
            if slot not in known:
                raise ValueError(f"there is no slot ${{{slot}}}{suggestion(slot, known)}")
        for slot in source:
            if slot not in allowed | DOMAIN:
                raise ValueError(f"source has ${{{slot}}}, which what asks for {self.asks} cannot know: it may have {_listed(allowed)}")
        given = set(source) | (set(target) & (_PAST | DOMAIN))
        if self.asks in NEEDS and not given & NEEDS[self.asks]:
            raise ValueError(f"what asks for {self.asks} must say {_listed(NEEDS[self.asks], 'or')} in its source")
        asked = [slot for slot in target if slot in answers]
        if len(asked) != 1:
            raise ValueError(f"target must hold {_listed(answers, 'or')} once, to say what asks for {self.asks}; it holds {len(asked)}")
        others = _PAST | DOMAIN | ({"stars"} if self.asks == "explanation" else set())
        for slot in target:
            if slot not in answers and slot not in others:
                raise ValueError(f"target has ${{{slot}}} beside its answer ${{{asked[0]}}}: only what came before may stand there")
        if self.verdicts[0] == self.verdicts[1] or not all(word.strip() and " " not in word for word in self.verdicts):
            raise ValueError(f"verdicts {list(self.verdicts)} must be two different words")
        if self.asks != "explanation" and not self.target.rstrip().endswith(f"${{{asked[0]}}}"):
            raise ValueError(f"target must end with its answer ${{{asked[0]}}}")
        return self

    @property
    def answer(self) -> str:
        """The slot of the target that holds the answer."""
        return next(slot for slot in slots_of(self.target) if slot in ANSWERS[self.asks])

    @property
    def slots(self) -> frozenset[str]:
        """Every slot of question and answer, without the words of the domain."""
        return frozenset((*slots_of(self.source), *slots_of(self.target))) - DOMAIN

    @property
    def needed(self) -> frozenset[str]:
        """What must be known of an event beside its item, that the template can be said of it."""
        rated = {"stars"} if self.asks in ("liked", "stars-right") else set()
        return (self.slots & {"stars", "review", "headline", "feature", "explanation"}) | rated

    @property
    def given(self) -> str:
        """What of the target stands before the answer, which the model is given; of an explanation nothing."""
        return "" if self.asks == "explanation" else self.target.partition(f"${{{self.answer}}}")[0].rstrip()


class Family(Settings):
    """Templates of one kind, sampled and reported together."""

    family: str = Field(min_length=1)
    """What it is called in recipes, logs and tables."""
    version: int = Field(ge=1)
    """Goes up by one when a word changes."""
    templates: dict[str, Template] = Field(min_length=1)
    """Name -> template."""

    def asking(self, asks: Asks, *, held_out: bool = False) -> dict[str, Template]:
        """Its templates that ask for this, those that are trained on or those that are not."""
        return {name: one for name, one in self.templates.items() if one.asks == asks and one.held_out == held_out}

    def asked(self, *, held_out: bool = False) -> tuple[Asks, ...]:
        """What its templates ask for, in the order of `ANSWERS`."""
        return tuple(asks for asks in get_args(Asks) if self.asking(asks, held_out=held_out))


def filled(text: str, slots: Mapping[str, str], words: Words) -> str:
    """`text` with its slots filled, as words with one space between them; a slot that nobody filled is a `ConfigError`."""
    told = {"singular": words.singular, "plural": words.plural, "took": words.took, "take": words.take}
    try:
        return " ".join(Slotted(text).substitute({**told, **slots}).split())
    except KeyError as error:
        raise ConfigError(f"nothing fills the slot ${{{error.args[0]}}} of '{text}'") from error


def family_of(source: str) -> Family:
    """The family of this name that comes with Fathom, or of a file."""
    own = Path(str(files("fathom.p5").joinpath("templates", f"{source}.yaml")))
    path = own if own.is_file() else Path(source)
    if not path.is_file():
        raise ConfigError(f"templates '{source}': no file, and none that comes with Fathom{suggestion(source, own_families())}")
    return load(path, Family)


def families_of(sources: Sequence[str]) -> dict[str, Family]:
    """Family name -> family, of several sources; a family or a template that comes twice is a `ConfigError`."""
    found: dict[str, Family] = {}
    owner: dict[str, str] = {}
    for source in sources:
        family = family_of(source)
        if family.family in found:
            raise ConfigError(f"templates '{source}': there is a family '{family.family}' already; name it otherwise")
        for name in family.templates:
            if name in owner:
                raise ConfigError(f"templates '{source}': '{name}' is a template of '{owner[name]}' already; name it otherwise")
            owner[name] = family.family
        found[family.family] = family
    return found


def own_families() -> list[str]:
    """The names of the families that come with Fathom."""
    return sorted(Path(str(path)).stem for path in files("fathom.p5").joinpath("templates").iterdir() if path.name.endswith(".yaml"))


def slots_of(text: str) -> tuple[str, ...]:
    """The slots of a text in their order."""
    return tuple(Slotted(text).get_identifiers())


def _listed(slots: frozenset[str], joined: str = "and") -> str:
    named = [f"${{{slot}}}" for slot in sorted(slots)]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} {joined} {named[-1]}"
