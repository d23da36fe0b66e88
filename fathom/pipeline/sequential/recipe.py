"""What a recipe of named models says: which ones, each with its own settings."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from fathom.data.time_windows import Mode
from fathom.errors import suggestion
from fathom.models.registry import MODELS, model_of
from fathom.pipeline.recipe import Recipe
from fathom.settings import Settings


def _written(value: object) -> object:
    """What stands behind a model's name: nothing at all means its defaults."""
    return {} if value is None else value


class Chosen(Settings):
    """The models that are named; one that is not named is not fitted."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.names:
            raise ValueError(f"models names none: write one or more of {', '.join(MODELS)}")
        return self

    @model_serializer(mode="wrap")
    def _named_alone(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}

    @property
    def names(self) -> tuple[str, ...]:
        """Which ones, in the order of tables; another one of the same model stands behind it."""
        order = list(MODELS)
        there = [name for name in type(self).model_fields if self.settings_of(name) is not None]
        return tuple(sorted(there, key=lambda name: order.index(model_of(name).kind)))

    def settings_of(self, name: str) -> Settings | None:
        """The settings of one model; None for one that is not named."""
        found: Settings | None = getattr(self, name)
        return found


def _field(name: str) -> Any:
    return (Annotated[model_of(name).settings_type() | None, BeforeValidator(_written)], None)


if TYPE_CHECKING:
    Models = Chosen
else:
    Models = create_model("Models", __base__=Chosen, **{name: _field(name) for name in MODELS})


def _with_others(value: object) -> object:
    """The models, those among them that are the same model once more, 'sasrec+_small', as fields of their own."""
    if not isinstance(value, Mapping):
        return value
    others = [name for name in value if isinstance(name, str) and name not in MODELS and _is_model(name)]
    if not others:
        return value
    return _models_with(tuple(others)).model_validate(value)


@cache
def _models_with(others: tuple[str, ...]) -> type[Chosen]:
    """The same names, the same class: so that recipes that say the same are the same."""
    return create_model("Models", __base__=Models, **{name: _field(name) for name in others})


def _is_model(name: str) -> bool:
    try:
        return bool(model_of(name))
    except KeyError:
        return False


class TimeWindowSettings(Settings):
    """Models are learned again and again as time goes on, and asked about what comes next each time."""

    hours: float = Field(default=24.0, gt=0)
    """How long a window is."""
    mode: Mode = "retrain"
    """Before each window, 'retrain' learns all that has ended, 'incremental' only what is new since the window before."""
    span: int = Field(default=0, ge=0)
    """Of 'retrain': so many windows, the latest, are learned from; 0: all."""
    most: int = Field(default=0, ge=0)
    """So many windows, the latest, are asked; 0: all."""
    least: int = Field(default=20, ge=1)
    """Windows with fewer sessions to ask about are not asked, for instance one in which the log ends: every window counts alike."""
    valid_share: float = Field(default=0.5, ge=0, lt=1)
    """Of each window's sessions, left aside for choosing settings; the others test."""

    @model_validator(mode="after")
    def _one_or_other(self) -> Self:
        if self.mode == "incremental" and self.span:
            raise ValueError(f"span {self.span} says how many windows are learned anew, but 'incremental' learns each once: leave one out")
        return self


class SequentialRecipe(Recipe):
    """Models that learn from logs alone, asked the same cases."""

    method: Literal["sequential"] = "sequential"
    """Which method it is a recipe of."""
    windows: TimeWindowSettings | None = None
    """Windows of time in the place of `split`; left out: models are learned once."""
    models: Annotated[SerializeAsAny[Models], BeforeValidator(_with_others)]
    """Name -> settings, for example 'item-knn: {neighbours: 100}'; a name alone takes the defaults. The same model once more with other
    settings has a word of your own behind an underscore: 'item-knn_near'."""

    mixed: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """Row -> two of the models, whose rankings it fuses with the weight that validation cases choose: 'hybrid: [sasrec+, text]'."""

    @model_validator(mode="after")
    def _mixes_can_be(self) -> Self:
        for row, parts in self.mixed.items():
            if row in self.models.names:
                raise ValueError(f"mixed.{row}: a model has this name")
            for name in parts:
                if name not in self.models.names:
                    raise ValueError(f"mixed.{row} names '{name}'{suggestion(name, self.models.names)}")
        if self.mixed and self.windows is not None:
            raise ValueError("mixed needs validation cases beside the models' own, which windows do not have: leave one of them out")
        return self

    @model_validator(mode="after")
    def _windows_can_be(self) -> Self:
        if self.windows is None:
            return self
        if self.split != type(self).model_fields["split"].default:  # the default may stand there, a dumped recipe has it
            raise ValueError(f"split '{self.split}' and windows both say what is asked: leave one of them out")
        fixed = [name for name in self.models.names if not model_of(name).goes_on]
        if self.windows.mode == "incremental" and fixed:
            able = ", ".join(name for name, model in MODELS.items() if model.goes_on)
            raise ValueError(f"windows.mode 'incremental' cannot be for {', '.join(fixed)}: write 'retrain', or only some of {able}")
        return self
