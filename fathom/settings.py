"""The base of every settings class: frozen, explained, checked."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error, each field's docstring is its help text.

    What is written about a field whose default is settings themselves is laid over that default: who writes `fit: {patience: 3}` keeps the
    epochs and the learning rate that suit this fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        defaults = {name: field.default for name, field in cls.model_fields.items() if isinstance(field.default, Settings)}
        return {name: _laid_over(defaults[name], value) if name in defaults else value for name, value in given.items()}


def refuse_unheard(settings: Settings, choice: str, listeners: Mapping[str, tuple[str, ...]]) -> None:
    """Settings that say something to other choices than the chosen one are a `ValueError`: what is written is read.

    `choice` is the setting that chooses; `listeners` has, by setting, the choices that read it. The default may stand anywhere, a dumped
    recipe has it.
    """
    chosen = getattr(settings, choice)
    for name, reading in listeners.items():
        given = getattr(settings, name)
        if chosen not in reading and given != type(settings).model_fields[name].default:
            others = " or ".join(f"'{other}'" for other in reading)
            raise ValueError(f"{name} {given} says nothing to the {choice} '{chosen}', only to {others}: leave it out")


def _laid_over(default: Settings, written: Any) -> Any:
    """`written` with what `default` was given and `written` does not mention."""
    if not isinstance(written, Mapping):
        return written
    own = {name: getattr(default, name) for name in default.model_fields_set}
    both = {name: _laid_over(own[name], value) if isinstance(own.get(name), Settings) else value for name, value in written.items()}
    return own | both
