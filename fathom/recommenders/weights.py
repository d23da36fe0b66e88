"""A model as a folder: `model.safetensors` and `model.json`, written whole, read strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fathom.errors import ModelError
from fathom.files import Json, folder_written_aside, read_json, write_json
from fathom.settings import Settings

SomeSettings = TypeVar("SomeSettings", bound=Settings)


def save_weights(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Json]) -> None:
    """Replace `folder` by these tensors and what must be known to read them; 'kind' in `facts` says what model it is."""
    with folder_written_aside(folder) as aside:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, aside / "model.safetensors")
        write_json(aside / "model.json", dict(facts))


def read_facts(folder: Path, kind: str) -> dict[str, Json]:
    """What was saved beside the tensors; a folder of another kind is a `ModelError`."""
    facts = read_json(folder / "model.json")
    if not isinstance(facts, dict) or facts.get("kind") != kind:
        found = facts.get("kind") if isinstance(facts, dict) else facts
        raise ModelError(f"{folder}: expected a saved model of kind '{kind}', found {found!r}")
    return facts


def recorded(facts: Mapping[str, Json], kind: type[SomeSettings], folder: Path) -> SomeSettings:
    """The settings that a model was saved with; one that nobody recorded is not guessed: that is a `ModelError`, as is an unknown one."""
    told = facts.get("settings")
    names, known = set(kind.model_fields), set(told) if isinstance(told, dict) else set()
    if wrong := sorted(names ^ known):
        raise ModelError(f"{folder}: another version of fathom saved it, they differ in the settings {', '.join(wrong)}: train it again")
    return kind.model_validate(told)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The saved tensors; a missing or cut file is a `ModelError`."""
    path = folder / "model.safetensors"
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no such file; the model must be trained and saved again") from error
    except SafetensorError as error:
        raise ModelError(f"{path}: not readable ({error}); the model must be trained and saved again") from error


def put_weights(module: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write `tensors` into `module`, every one of the module's and no other; a difference in names or shapes is a `ModelError`."""
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unknown:
        raise ModelError(
            f"{folder}: tensors missing: {missing[:5] or 'none'}, unknown: {unknown[:5] or 'none'}; it is another model's folder"
        )
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ModelError(f"{folder}: tensor '{name}' has shape {tuple(tensors[name].shape)}, the model needs {tuple(tensor.shape)}")
    module.load_state_dict(dict(tensors))
