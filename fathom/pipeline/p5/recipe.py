"""What a recipe of P5 says: which named models stand beside it, what all its rows have in common, and in what each differs."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from fathom.errors import suggestion
from fathom.p5.templates import Template, families_of, family_of
from fathom.p5.training import P5Training
from fathom.p5.writing import WritingSettings
from fathom.pipeline.recipe import SourceSettings
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.recipes import fields_below

ELSEWHERE = "other-domain"
"""The family of templates that know things by what is said of them alone."""


class P5Recipe(SequentialRecipe):
    """Text-to-text models that are trained on all tasks at once, asked the same cases as named models."""

    method: Literal["p5"] = "p5"  # type: ignore[assignment]
    """Which method it is a recipe of."""
    encoder: str = "minilm"
    """Makes the vectors of item texts from which 'semantic' ids are learned."""
    p5: P5Training = P5Training()
    """What all rows have in common."""
    rows: dict[str, dict[str, Any] | None] = Field(default_factory=lambda: dict[str, dict[str, Any] | None](p5=None))
    """Row -> what is different in it: 'p5-random: {identifiers: {scheme: random}}'. Left out: one row, 'p5', with nothing different."""
    ranks_by: str = "continuation-1"
    """The template by which rows rank the catalogue: one that asks for what is next."""
    asked: tuple[str, ...] = ()
    """Other templates that every row is asked about the test cases; figures stand behind their names."""
    elsewhere: SourceSettings | None = None
    """Another catalogue, whose test events are asked by the templates of `elsewhere_asked`: nothing of it is trained on."""
    elsewhere_asked: tuple[str, ...] = ()
    """Templates that know things by what is said of them alone, such as those of 'other-domain'."""
    negatives: int = Field(default=99, ge=1)
    """Of templates that offer candidates: how many there are beside the answer, drawn once for each test case and stored."""
    writing: WritingSettings = WritingSettings()
    """How explanations are written."""
    headlines: WritingSettings = WritingSettings(shortest=1, longest=16)
    """How headlines are."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.windows is not None:
            raise ValueError("windows of time and P5 do not go together: leave windows out")
        if not self.rows:
            raise ValueError("rows has none: write one, 'p5: {}', or leave it out")
        for name in self.rows:
            if name in (*self.models.names, *self.mixed):
                raise ValueError(f"rows.{name}: a model has this name")
        known = [families_of(sources) for sources in dict.fromkeys(row.templates for row in self.trainings.values())]
        for families in known:
            there = {name: one for family in families.values() for name, one in family.templates.items()}
            for field, asked in (("ranks_by", (self.ranks_by,)), ("asked", self.asked)):
                for name in asked:
                    if name not in there:
                        raise ValueError(f"{field} names '{name}', which no family of templates has{suggestion(name, there)}")
            if there[self.ranks_by].asks != "next":
                raise ValueError(f"ranks_by '{self.ranks_by}' asks for {there[self.ranks_by].asks}: write a template that asks for next")
        if (self.elsewhere is None) != (not self.elsewhere_asked):
            raise ValueError("elsewhere and elsewhere_asked go together: write both or none of them")
        others = family_of(ELSEWHERE).templates
        for name in self.elsewhere_asked:
            if name not in others:
                raise ValueError(f"elsewhere_asked names '{name}'{suggestion(name, others)}")
        return self

    @cached_property
    def trainings(self) -> Mapping[str, P5Training]:
        """Row -> its settings: what is common, and what it says otherwise."""
        common, found = self.p5.model_dump(mode="json"), {}
        for name, row in self.rows.items():
            try:
                found[name] = P5Training.model_validate(_over(common, row or {}))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                *above, last = map(str, first["loc"])
                where = ".".join(("rows", name, *above, last))
                if first["type"] == "extra_forbidden":
                    raise ValueError(f"unknown setting '{where}'{suggestion(last, fields_below(P5Training, tuple(above)))}") from error
                raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
        return found

    @cached_property
    def templates(self) -> Mapping[str, Template]:
        """Every template that a row knows, and those of other domains, by name."""
        sources = dict.fromkeys(source for row in self.trainings.values() for source in (*row.templates, ELSEWHERE))
        return {name: one for source in sources for name, one in family_of(source).templates.items()}


def _over(common: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says, laid over what is common."""
    both = {
        name: _over(common[name], value) if isinstance(common.get(name), Mapping) and isinstance(value, Mapping) else value
        for name, value in row.items()
    }
    return {**common, **both}
