"""Prompts are data: a YAML file of blocks with slots, and of strategies that put blocks one after the other.

A file of one's own needs no code; what it says that cannot be is told with its line.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Self

from pydantic import Field, model_validator

from fathom.errors import ConfigError, suggestion
from fathom.recipes import load
from fathom.settings import Settings

FAMILIES: Mapping[str, frozenset[str]] = {
    "ranking": frozenset(
        ("history", "earlier", "latest", "lines", "candidates", "count", "candidate", "first", "second", "first_label", "second_label")
    ),
    "rating": frozenset(("history", "candidate", "lowest", "best", "examples", "title", "given")),
    "conversation": frozenset(("dialogue", "candidates", "count")),
    "describing": frozenset(("title", "about", "history")),
    "next": frozenset(("history", "earlier", "latest", "lines", "count", "intent")),
}
"""Family -> what a case can fill in, beside the words of the domain."""


class Words(Settings):
    """What things of a catalogue are called, and what people do with them."""

    singular: str = Field(default="item", min_length=1)
    """One of them: film."""
    plural: str = Field(default="items", min_length=1)
    """Several: films."""
    took: str = Field(default="took", min_length=1)
    """What somebody did with them: watched."""
    take: str = Field(default="take", min_length=1)
    """What somebody may do next: watch."""


class Prompts(Settings):
    """A file of prompts."""

    family: str
    """What they are for: a name of `FAMILIES`."""
    version: int = Field(ge=1)
    """Goes up by one when a word changes."""
    blocks: dict[str, str]
    """Name -> text with slots, '${history}'; a dollar sign is '$$'."""
    instead: dict[str, str] = Field(default_factory=dict)
    """Block -> the block that stands in its place where the case has nothing for one of its slots; one without is left out."""
    strategies: dict[str, tuple[str, ...]]
    """Name -> its blocks, in order."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.family not in FAMILIES:
            raise ValueError(f"family '{self.family}'{suggestion(self.family, FAMILIES)}")
        known = FAMILIES[self.family] | set(Words.model_fields)
        for name, text in self.blocks.items():
            template = Template(text)
            if not template.is_valid():
                raise ValueError(f"block '{name}' has a '$' that begins no slot: write ${{slot}}, or $$ for a dollar sign")
            for slot in template.get_identifiers():
                if slot not in known:
                    raise ValueError(f"block '{name}' has the slot ${{{slot}}}{suggestion(slot, known)}")
        places = [(f"strategy '{name}'", blocks) for name, blocks in self.strategies.items()]
        places += [(f"instead of '{name}'", (name, other)) for name, other in self.instead.items()]
        for where, blocks in places:
            for block in blocks:
                if block not in self.blocks:
                    raise ValueError(f"{where} names the block '{block}'{suggestion(block, self.blocks)}")
        return self

    @property
    def label(self) -> str:
        """What is written beside results: 'ranking, version 1'."""
        return f"{self.family}, version {self.version}"

    def slots(self, strategy: str) -> frozenset[str]:
        """What a strategy says; an unknown one is a `ConfigError`."""
        if strategy not in self.strategies:
            raise ConfigError(f"strategy '{strategy}'{suggestion(strategy, self.strategies)}")
        return frozenset(slot for block in self.strategies[strategy] for slot in Template(self.blocks[block]).get_identifiers())

    def render(self, strategy: str, words: Words, slots: Mapping[str, str], *, needs: Sequence[str] = ()) -> str:
        """The prompt of a case: `slots` is what it has; what is '' it has nothing for.

        An unknown strategy, or one without a slot that it `needs`, is a `ConfigError`.
        """
        asked = self.slots(strategy)
        if missing := [slot for slot in needs if slot not in asked]:
            raise ConfigError(f"strategy '{strategy}' says nothing of ${{{missing[0]}}}: one of its blocks must")
        told = {"singular": words.singular, "plural": words.plural, "took": words.took, "take": words.take}
        filled = {**told, **slots}
        written = [self._of(block, filled) for block in self.strategies[strategy]]
        return "\n\n".join(text for text in written if text)

    def _of(self, block: str, slots: Mapping[str, str]) -> str:
        template = Template(self.blocks[block])
        if all(slots[slot] for slot in template.get_identifiers()):
            return template.substitute(slots)
        return self._of(self.instead[block], slots) if block in self.instead else ""


def prompts_of(source: str, family: str) -> Prompts:
    """The prompts of this name that come with Fathom, or of a file; those of another family are a `ConfigError`."""
    own = Path(str(files("fathom.prompting").joinpath("prompts", f"{source}.yaml")))
    path = own if own.is_file() else Path(source)
    if not path.is_file():
        names = [other.stem for other in own.parent.glob("*.yaml")]
        raise ConfigError(f"prompts '{source}': no file, and none that comes with Fathom{suggestion(source, names)}")
    found = load(path, Prompts)
    if found.family != family:
        raise ConfigError(f"{path}: prompts of the family '{found.family}', but '{family}' is asked for")
    return found


def numbered(lines: Sequence[str]) -> str:
    """A list as people write it.

    >>> numbered(["Heat", "Alien"])
    '1. Heat\\n2. Alien'
    """
    return "\n".join(f"{place}. {line}" for place, line in enumerate(lines, start=1))
