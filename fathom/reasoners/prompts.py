"""How a person and an item are put before the model that reasons and ranks (R²ec, arXiv:2505.16994, section 5 of its notes in our words).

Both end in the same read-out string, behind which the model's hidden state stands for the person or for the item. It is appended as
tokens of its own and never searched for, so no title can move it. `long` explains the task to language models that have never seen
it; `compact` explains nothing, for small models that learn it from the log.
"""

from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.agents.protocol import ProtocolSettings, history_lines
from fathom.data.titles import single_line
from fathom.errors import ConfigError, suggestion
from fathom.language.prompt import Count, within
from fathom.records import Case, Catalog
from fathom.settings import Settings

READOUT = "<answer>"
"""Ends the reasoning; behind it the model is read out. Ordinary tokens: any tokenizer will do."""

HISTORY_SLOT = "\0"
"""Stands where the events come, while there are none yet: no title holds it."""

THOUGHTS = "Thoughts:\n"
"""Ends the compact prompt of a person: what follows is no event. One token, where the tokenizer is trained with it."""

PERHAPS = "Maybe: "
"""Stands before each title that is named: as bare lines they would read as a history that goes on. One token, as above."""

READ_TOKEN = "<|read|>"
"""The dedicated token of `readout: token`, behind `READOUT`; a tokenizer must know it as one token."""


class ReasonerSettings(Settings):
    """What the model is shown, how long it reasons, how it is read out."""

    prompt: Literal["compact", "long"] = "compact"
    """`compact` shows the history alone, for small models that learn the task from the log; `long` explains it in words."""
    singular: str = Field(default="item", min_length=1)
    """What one thing of the catalogue is called in the long prompt."""
    plural: str = Field(default="items", min_length=1)
    """What several of them are called."""
    history_length: int = Field(default=20, ge=1)
    """The latest events of the history that the model reads."""
    history_ratings: bool = False
    """Each rated event of the history is followed by a line such as '  4/5'."""
    best_rating: float = Field(default=5.0, gt=0)
    """What a rating is out of: the 5 of '4/5'."""
    history_times: bool = False
    """A line such as '  later: 3 days' stands where at least a minute passed between two events."""
    attributes: tuple[str, ...] | None = None
    """Attributes of the item that its prompt names, in this order; left out: all that the catalogue has. None of them may say anything
    about what happened after the training cut, such as an average rating or a number of buyers."""
    description_words: int = Field(default=100, ge=0)
    """Words of an item's description that its prompt keeps."""
    reasoning_tokens: int = Field(default=512, ge=0)
    """Tokens the model may reason; then it is read out, whatever it was about to say. 0: it does not reason."""
    titles: int = Field(default=0, ge=0)
    """A reasoning names so many titles of the catalogue, none of the history and none twice, and says nothing else: a small model cannot
    lose its way. 0: it writes freely."""
    prompt_tokens: int = Field(default=2_048, ge=1)
    """Tokens of the person's prompt; the oldest events are left out, whole, until it fits."""
    item_tokens: int = Field(default=768, ge=1)
    """Tokens of an item's prompt; what is longer loses its end, never the read-out."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """How person and item are compared: the released code's cosine, or the paper's inner product."""
    temperature: float = Field(default=0.05, gt=0)
    """Similarities are divided by it before the softmax over items; for `dot` write one of your own."""
    readout: Literal["last", "residual", "mean", "token"] = "last"
    """Whose hidden state stands for person and item: the read-out string's last token, as in the paper; the sum of it and the prompt's
    last token, so that a reasoning adds to what was known before it (of an item: as before); the mean over reasoning and read-out (of an
    item: over its whole prompt); or a dedicated token behind it."""
    beside: bool = False
    """A person is served, and rewarded, by the sum of two read-outs, one right behind the prompt and one behind the reasoning, each of unit
    length for cosine: a reasoning adds to what would be ranked without it. Each is learned by itself."""
    items: Literal["encoded", "learned"] = "encoded"
    """Item vectors: the model's own of the items' prompts, so that new items need no training, or a table of weights (a classifier)."""

    @model_validator(mode="after")
    def _a_temperature_for_dot(self) -> Self:
        if self.similarity == "dot" and "temperature" not in self.model_fields_set:
            raise ValueError("similarity is dot, whose scale nobody can foresee: write a temperature, 1.0 for the paper's softmax")
        return self


def user_prompt(case: Case, catalog: Catalog, settings: ReasonerSettings, *, count: Count | None = None) -> str:
    """The prompt of a person, ending where the reasoning begins. Without a history it is that of somebody new.

    With `count` the oldest events are left out, whole, until at most `prompt_tokens` remain; a prompt that is too long without
    any event is a `ConfigError`.
    """
    before, behind = frame(settings)
    events = event_lines(case, catalog, settings, latest=settings.history_length)
    return within(events, lambda kept: before + "".join(kept) + behind, name=settings.prompt, most=settings.prompt_tokens, count=count)


def event_lines(case: Case, catalog: Catalog, settings: ReasonerSettings, *, latest: int | None = None) -> list[str]:
    """The `latest` events of the case (None: all), oldest first, laid out as in the agents' histories: one pretraining serves both."""
    laid_out = ProtocolSettings(
        history_length=max(1, len(case.history)) if latest is None else latest,
        history_ratings=settings.history_ratings,
        best_rating=settings.best_rating,
        history_times=settings.history_times,
    )
    return history_lines(case, catalog, laid_out)


@cache
def frame(settings: ReasonerSettings) -> tuple[str, str]:
    """What stands before a person's events and behind them."""
    before, _, behind = _filled(settings, "user", history=HISTORY_SLOT).partition(HISTORY_SLOT)
    return before, behind


def naming(title: str) -> str:
    """The line of a reasoning that names a title.

    >>> naming("Heat (1995)")
    'Maybe: Heat (1995)\\n'
    """
    return f"{PERHAPS}{title}\n"


def item_prompts(catalog: Catalog, settings: ReasonerSettings, *, titled: bool = True) -> list[str]:
    """The prompt of each item, in the order of the ids 1..N: its title, one line an attribute that it has, its description.

    Without `titled` an item about which anything else is known keeps its title back.
    """
    names = list(catalog.attributes) if settings.attributes is None else list(settings.attributes)
    for name in names:
        if name not in catalog.attributes:
            raise ConfigError(f"attributes names '{name}', which this catalogue does not have{suggestion(name, list(catalog.attributes))}")
    prompts = []
    for item in range(1, catalog.n_items + 1):
        lines = [
            f"  {single_line(name)}: {single_line(', '.join(values))}" for name in names if (values := catalog.attributes[name][item - 1])
        ]
        words = catalog.descriptions[item - 1].split()[: settings.description_words] if catalog.descriptions else []
        lines += [f"  {text}" for text in [single_line(" ".join(words))] if text]
        if titled or not lines:
            lines.insert(0, catalog.title(item))
        prompts.append(_filled(settings, "item", item="".join(f"{line}\n" for line in lines)))
    return prompts


@cache
def _template(name: str) -> Template:
    text = files("fathom.reasoners").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8")
    return Template(text.removesuffix("\n") if name.startswith("compact") else text)


def _filled(settings: ReasonerSettings, whose: str, **slots: str) -> str:
    told = {"singular": settings.singular, "plural": settings.plural, "readout": READOUT}
    return _template(f"{settings.prompt}_{whose}").substitute(told, **slots)
