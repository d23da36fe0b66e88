"""A recipe: YAML plus `--set key.path=value` becomes frozen settings; every error names file, line and the nearest key."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fathom.errors import ConfigError, suggestion
from fathom.settings import Settings

SettingsType = TypeVar("SettingsType", bound=Settings)
KeyPath = tuple[str, ...]


def load(path: Path, kind: type[SettingsType], *, overrides: Sequence[str] = ()) -> SettingsType:
    """The settings of class `kind` written in the YAML file `path`, after `overrides` such as 'stage2.steps=10'.

    Raises `ConfigError` with file, line and the nearest known key for anything unknown, missing or out of range.
    """
    values, places = written(path, overrides)
    return _checked(path, values, places, kind)


def load_one_of(path: Path, kinds: Mapping[str, type[SettingsType]], *, key: str, overrides: Sequence[str] = ()) -> SettingsType:
    """The same for the class that the recipe names under `key`; for the first of `kinds`, if it names none."""
    values, places = written(path, overrides)
    name = str(values.get(key, next(iter(kinds))))
    if name not in kinds:
        raise ConfigError(f"{places.get((key,), path)}: {key} is '{name}'{suggestion(name, list(kinds))}")
    return _checked(path, values, places, kinds[name])


def from_words(words: Sequence[str], kind: type[SettingsType], *, option: str) -> SettingsType:
    """The settings of class `kind` from words such as 'k=200', each of which stood behind `option` on the command line."""
    values: dict[str, object] = {}
    places = {_override(values, word, option=option): f"{option} {word}" for word in words}
    return _checked(Path(option), values, places, kind)


def dump(settings: Settings) -> str:
    """The settings as YAML, defaults written out; reading it back gives equal settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def written(path: Path, overrides: Sequence[str]) -> tuple[dict[str, object], dict[KeyPath, str]]:
    """What the file and the overrides say, and where each key was written; a `ConfigError` where they cannot be read.

    Needs no class of settings, so that a mistyped name is told before anything is imported that takes seconds.
    """
    values, lines = _read(path)
    places = {keys: f"{path} line {line}" for keys, line in lines.items()}
    for override in overrides:
        at = _override(values, override)
        places = {keys: place for keys, place in places.items() if keys[: len(at)] != at}  # what the file says below it is gone
        places[at] = f"--set {override}"
    return values, places


def _checked(path: Path, values: Mapping[str, object], places: Mapping[KeyPath, str], kind: type[SettingsType]) -> SettingsType:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, places, kind, detail) for detail in error.errors())) from error


def _read(path: Path) -> tuple[dict[str, object], dict[KeyPath, int]]:
    """The mapping in a YAML file, and for each key path the line on which it stands."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = sorted(str(other) for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"{path}: there is no such recipe{suggestion(str(path), near)}") from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: not a text file in UTF-8; a recipe is a YAML file") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of 'key: value' lines, found {type(values).__name__}")
    lines: dict[KeyPath, int] = {}
    _note_lines(path, node, (), lines)
    return cast(dict[str, object], _apart(values)), lines


def _apart(value: object) -> object:
    """The same, so that what an anchor shares in the file is each one's own: a change of one must not change the others."""
    if isinstance(value, dict):
        return {key: _apart(inner) for key, inner in value.items()}
    return [_apart(inner) for inner in value] if isinstance(value, list) else value


def _note_lines(path: Path, node: yaml.MappingNode, above: KeyPath, lines: dict[KeyPath, int]) -> None:
    for key, value in node.value:
        here = (*above, str(key.value))
        line = key.start_mark.line + 1
        if here in lines:
            raise ConfigError(f"{path} line {line}: '{'.'.join(here)}' is set a second time, first on line {lines[here]}; keep one")
        lines[here] = line
        if isinstance(value, yaml.MappingNode):
            _note_lines(path, value, here, lines)


def _override(values: dict[str, object], override: str, *, option: str = "--set") -> KeyPath:
    """Put one 'a.b=value' into the nested mapping; the value is read as YAML, never evaluated. Returns where it went."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{option} {override}: expected key.path=value, for example --set stage2.steps=10")
    inner: object = values
    for key in keys[:-1]:
        inner = cast(dict[str, object], inner).setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{option} {override}: '{key}' holds a single value, so nothing can be set below it")
    try:
        cast(dict[str, object], inner)[keys[-1]] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{option} {override}: the value is not valid YAML; put it in quotes") from error
    return tuple(keys)


def _explain(path: Path, places: Mapping[KeyPath, str], kind: type[Settings], detail: ErrorDetails) -> str:
    """One line for one thing that is wrong: where it was written, key, what was given, what to write."""
    keys = tuple(str(part) for part in detail["loc"])
    place = next((places[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in places), str(path))
    name = ".".join(keys)
    if detail["type"] == "extra_forbidden":
        known = fields_below(kind, keys[:-1])
        return f"{place}: unknown setting '{name}'{suggestion(keys[-1], known)}"
    if detail["type"] == "missing":
        return f"{place}: the setting '{name}' is missing"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{place}: {name or 'recipe'}: {message} (given: {detail['input']!r})" if keys else f"{place}: {message}"


def fields_below(kind: type[BaseModel], keys: KeyPath) -> list[str]:
    """The field names of the settings class that stands at `keys` below `kind`; a union's members all count."""
    kinds: list[type[BaseModel]] = [kind]
    for key in keys:
        inner = [member for each in kinds if key in each.model_fields for member in _models_in(each.model_fields[key].annotation)]
        kinds = inner or kinds
    return [name for each in kinds for name in each.model_fields]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
