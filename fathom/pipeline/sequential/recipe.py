"""What a recipe of named models says: which ones, each with its own settings."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from fathom.models.registry import MODELS
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
        """Which ones, in the order of tables."""
        return tuple(name for name in MODELS if self.settings_of(name) is not None)

    def settings_of(self, name: str) -> Settings | None:
        """The settings of one model; None for one that is not named."""
        found: Settings | None = getattr(self, name)
        return found


_fields: dict[str, Any] = {
    name: (Annotated[model.settings_type() | None, BeforeValidator(_written)], None) for name, model in MODELS.items()
}

if TYPE_CHECKING:
    Models = Chosen
else:
    Models = create_model("Models", __base__=Chosen, **_fields)


class SequentialRecipe(Recipe):
    """Models that learn from logs alone, asked the same cases."""

    method: Literal["sequential"] = "sequential"
    """Which method it is a recipe of."""
    models: Models
    """Name -> settings, for example 'item-knn: {neighbours: 100}'; a name alone takes the defaults."""
