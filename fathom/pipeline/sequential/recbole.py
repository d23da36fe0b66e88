"""A RecBole configuration becomes a recipe: what has a counterpart is taken over, the rest is told."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console

from fathom.errors import ConfigError, suggestion
from fathom.files import write_text
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.recipes import written

FIT = {
    "epochs": "fit.epochs",
    "learning_rate": "fit.learning_rate",
    "weight_decay": "fit.weight_decay",
    "stopping_step": "fit.patience",
    "eval_step": "fit.validate_every",
    "seed": "fit.seed",
}
SASREC = FIT | {
    "hidden_size": "model.width",
    "n_layers": "model.layers",
    "n_heads": "model.heads",
    "inner_size": "model.inner",
    "hidden_dropout_prob": "model.dropout",
    "MAX_ITEM_LIST_LENGTH": "model.length",
}
ROWS = FIT | {
    "hidden_size": "width",
    "n_layers": "layers",
    "n_heads": "heads",
    "inner_size": "inner",
    "hidden_dropout_prob": "dropout",
    "mask_ratio": "share",
    "MAX_ITEM_LIST_LENGTH": "length",
}
NAMES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Pop": ("popularity", {}),
    "ItemKNN": ("item-knn", {"k": "neighbours", "shrink": "shrink"}),
    "EASE": ("ease", {"reg_weight": "regularisation"}),
    "BPR": ("bpr", {"embedding_size": "factors", "learning_rate": "learning_rate", "epochs": "epochs", "seed": "seed"}),
    "GRU4Rec": (
        "gru4rec",
        FIT | {"hidden_size": "width", "num_layers": "layers", "dropout_prob": "embedding_dropout", "MAX_ITEM_LIST_LENGTH": "length"},
    ),
    "NARM": ("narm", FIT | {"embedding_size": "width", "MAX_ITEM_LIST_LENGTH": "length"}),
    "SASRec": ("sasrec+", SASREC),
    "BERT4Rec": ("bert4rec", ROWS),
    "AFM": ("afm", FIT | {"embedding_size": "width"}),
}
"""RecBole's model -> ours, and RecBole's setting -> ours."""

TOLD: Mapping[str, str] = {
    "train_batch_size": "a batch here holds whole histories, there one row for each prefix: the default stays",
    "eval_batch_size": "it changes no result",
    "topk": "NDCG, recall and MRR at 1, 5, 10 and 20 are always told",
    "metrics": "NDCG, recall and MRR at 1, 5, 10 and 20 are always told",
    "valid_metric": "weights are chosen by NDCG@10; fit.select names another one",
    "load_col": "columns are found by their names",
    "attn_dropout_prob": "one dropout stands for both",
    "gpu_id": "an accelerator that is there is used",
    "use_gpu": "an accelerator that is there is used",
    "worker": "it changes no result",
    "show_progress": "a bar is always shown",
    "state": "it changes no result",
    "checkpoint_dir": "checkpoints lie in the run's folder",
    "data_path": "source.name holds the whole path",
    "train_neg_sample_args": "the model's own loss says what is drawn",
    "reproducibility": "the same seed always gives the same bytes",
}
"""RecBole's setting -> why it is not taken over."""


@dataclass
class Found:
    """What became of a configuration."""

    recipe: dict[str, Any]
    taken: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def adopt(path: Path, *, to: Path) -> None:
    """`fathom adopt`: write the recipe that stands nearest to the RecBole configuration at `path`, and say what it does not say."""
    values, places = written(path, ())
    found = translated(values, where=lambda key: places.get((key,), str(path)))
    try:
        recipe = SequentialRecipe.model_validate(found.recipe)  # before anything is written
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']} (given: {one['input']!r})" for one in error.errors()]
        raise ConfigError(f"{path}: as a recipe it cannot be: {'; '.join(told)}") from error
    lines = [f"# From RecBole's {path.name}. Left out:", *(f"#   {line}" for line in found.left or ["nothing"])]
    write_text(to, "\n".join([*lines, yaml.safe_dump(found.recipe, sort_keys=False, allow_unicode=True)]))
    console = Console()
    for line in found.taken:
        console.print(f"  [green]taken[/]  {line}", highlight=False)
    for line in found.left:
        console.print(f"  [yellow]left[/]   {line}", highlight=False)
    console.print(f"{to}: {', '.join(recipe.models.names)}; now  fathom run {to}")


def translated(values: Mapping[str, Any], *, where: Callable[[str], str]) -> Found:
    """The recipe, and what was taken and left; a model or a value that has no counterpart is a `ConfigError`. `where` names places."""
    rest = dict(values)
    for key in ("model", "dataset"):
        if key not in rest:
            raise ConfigError(f"{where(key)}: a RecBole configuration names its {key}; write  {key}: ...  into it")
    model, dataset = str(rest.pop("model")), str(rest.pop("dataset"))
    if model not in NAMES:
        raise ConfigError(f"{where('model')}: model '{model}' has no counterpart here{suggestion(model, NAMES)}")
    name, settings = NAMES[model]
    folder = str(Path(str(rest.get("data_path", ""))) / dataset)
    found = Found({"method": "sequential", "name": f"{Path(dataset).name}-{name}", "source": {"name": folder}})
    found.taken += [f"model: {model} -> models.{name}", f"dataset: {dataset} -> source.name: {folder}"]
    loss = rest.pop("loss_type", "CE")
    if model == "SASRec" and loss != "CE":
        name = "sasrec"
        found.taken.append(f"loss_type: {loss} -> models.sasrec.loss: bpr")
    own: dict[str, Any] = {"loss": "bpr"} if name == "sasrec" else {}
    _data(rest, found, where)
    for key, value in rest.items():
        if key in settings:
            _put(own, settings[key], value)
            found.taken.append(f"{key}: {value} -> models.{name}.{settings[key]}")
        elif key != "data_path":
            found.left.append(f"{key}: {value} ({TOLD.get(key, 'it has no counterpart')})")
    found.recipe["models"] = {"popularity": None} | {name: own or None}
    return found


def _data(rest: dict[str, Any], found: Found, where: Callable[[str], str]) -> None:
    """Take what says which interactions and which cases there are out of `rest`."""
    source = found.recipe["source"]
    cores = [_lowest(rest.pop(key), key, where) for key in ("user_inter_num_interval", "item_inter_num_interval") if key in rest]
    if cores:
        source["core"] = max(cores)
        found.taken.append(f"user_inter_num_interval, item_inter_num_interval -> source.core: {max(cores)}")
    if "val_interval" in rest:
        interval = rest.pop("val_interval") or {}
        for column, text in interval.items():
            if column != "rating":
                raise ConfigError(f"{where('val_interval')}: val_interval of '{column}': only ratings can be filtered here")
            source["least_rating"] = float(_lowest(text, "val_interval", where))
            found.taken.append(f"val_interval: rating {text} -> source.least_rating: {source['least_rating']:g}")
    told = rest.pop("eval_args", None) or {}
    split, order = told.get("split"), told.get("order", "TO")
    if split is not None and "LS" not in split:
        if order != "TO":
            raise ConfigError(f"{where('eval_args')}: split {split} in the order {order} mixes past and future: write LS, or order: TO")
        found.recipe["split"] = "global-time"
        found.taken.append(f"eval_args.split: {split} -> split: global-time (one moment for everybody, in the place of one each)")
    else:
        found.taken.append("eval_args.split -> split: leave-one-out")
    if (mode := told.get("mode", "full")) not in ("full", {"valid": "full", "test": "full"}):
        found.left.append(f"eval_args.mode: {mode} (all items are always ranked: figures over drawn items say something else)")


def _lowest(text: object, key: str, where: Callable[[str], str]) -> int:
    """The lower end of an interval such as '[5,inf)'."""
    match = re.fullmatch(r"\s*[\[(]\s*(\d+)(?:\.0*)?\s*,\s*(?:inf|\d+)\s*[\])]\s*", str(text))
    if match is None:
        raise ConfigError(f"{where(key)}: {key} is '{text}', which is no interval such as '[5,inf)'")
    return int(match[1])


def _put(values: dict[str, Any], name: str, value: object) -> None:
    *above, last = name.split(".")
    for part in above:
        values = values.setdefault(part, {})
    values[last] = value
