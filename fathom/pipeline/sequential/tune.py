"""`fathom tune`: every named model of a recipe is given the same time to find its settings, by its validation figures alone."""

import copy
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from fathom.errors import ConfigError, MissingExtraError, ModelError, suggestion
from fathom.evaluation.results import commit
from fathom.files import read_json, write_json, write_text
from fathom.models.model import AnyModel, TrainingData
from fathom.models.registry import MODELS
from fathom.models.searching import Range
from fathom.pipeline.methods import METHODS, recipe_at
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.stages import perform
from fathom.recipes import dump, written
from fathom.settings import Settings
from fathom.training.run import Run
from fathom.training.sequential import figures

FIGURE = "ndcg@10"
"""What is searched for, on the recipe's validation cases."""


def tune_file(path: Path, *, minutes: float, models: Sequence[str], out: Path | None, overrides: Sequence[str], command: str) -> None:
    """Search the settings of each model for `minutes`, in `out` or runs/<name>-tuned; writes tuned.yaml, a recipe with the best.

    The first trial is the recipe's own settings, so nothing gets worse. Trials that have ended are kept: the same command goes on, and one
    that was killed within a trial goes on with that trial. More minutes than before add to what was spent.
    """
    recipe = recipe_at(path, overrides=overrides)
    if not isinstance(recipe, SequentialRecipe):
        raise ConfigError(f"{path}: method '{recipe.method}' has no named models to tune: write method: sequential")
    if recipe.windows is not None:
        raise ConfigError(f"{path}: what is learned again and again is not tuned; leave windows out and put it back after")
    for name in models:
        if name not in recipe.models.names:
            raise ConfigError(f"--model {name}: the recipe has no such model{suggestion(name, list(recipe.models.names))}")
    folder, console = out or Path("runs") / f"{recipe.name}-tuned", Console()
    run = Run(folder)
    write_text(folder / "recipe.yaml", dump(recipe))
    method = METHODS[recipe.method]
    stages = method.stages(recipe)
    work = SequentialWorkshop(recipe, run)
    perform(stages, work, recipe, run, until=stages[0].name, console=Console(quiet=True))
    columns = ("model", "trials", "minutes", f"{FIGURE} as written", "best", "settings")
    table = Table(*columns, title=f"{recipe.name}: {len(work.valid_cases):,} validation cases", title_justify="left", header_style="bold")
    chosen: dict[str, Mapping[str, Any]] = {}
    for name in models or recipe.models.names:
        search = Search(work, name, minutes=minutes, console=console)
        search.go_on()
        best, first = search.best, search.trials[0]
        chosen[name] = best["settings"]
        spent = f"{search.spent / 60:.1f}"
        table.add_row(name, str(len(search.trials)), spent, _figure(first["value"]), _figure(best["value"]), _words(best["settings"]))
    console.print(table)
    made = f"{date.today().isoformat()}, commit {commit()[:10]}, {minutes:g} minutes a model by {FIGURE} on validation cases"
    text = yaml.safe_dump(_tuned(path, overrides, chosen), sort_keys=False, allow_unicode=True)
    write_text(folder / "tuned.yaml", f"# {path.name}, tuned by  {command}\n# ({made})\n{text}")
    console.print(f"recipe: {folder / 'tuned.yaml'}; its test figures:  fathom run {folder / 'tuned.yaml'}")


class Search:
    """The trials of one model."""

    def __init__(self, work: SequentialWorkshop, name: str, *, minutes: float, console: Console) -> None:
        settings = work.recipe.models.settings_of(name)
        assert settings is not None
        self._work, self._name, self._console = work, name, console
        self._kind: type[AnyModel] = MODELS[name]
        self._own: Settings = settings
        self._budget = minutes * 60
        self._file = work.run.folder / name / "trials.json"
        self.trials: list[dict[str, Any]] = self._read()

    @property
    def spent(self) -> float:
        """Seconds of all trials that have ended."""
        return float(sum(trial["seconds"] for trial in self.trials))

    @property
    def best(self) -> dict[str, Any]:
        """The trial of the highest figure, of several the first."""
        return max(self.trials, key=lambda trial: -math.inf if trial["value"] is None else trial["value"])

    def go_on(self) -> None:
        """Try settings until the time is over; a trial that has begun in time is ended."""
        if not self.trials:
            self._try({})
        while self._kind.searched and self.spent < self._budget:
            self._try(self._next())

    def _try(self, settings: Mapping[str, Any]) -> None:
        """One trial: fit, judge on the validation cases, write down."""
        values = self._own.model_dump(mode="json")
        _put(values, settings)
        mark = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        stage, work, began = f"{self._name}@{mark}", self._work, time.perf_counter()
        data = TrainingData(work.split.train, work.valid_cases, work.catalog, work.run, stage)
        value: float | None = None
        try:
            model = self._kind.fit(data, self._kind.settings_type().model_validate(values))
            value = figures(model, work.valid_cases)[FIGURE]
        except ModelError as error:  # a learning rate that breaks a model is an answer, too
            self._console.print(f"  [yellow]{self._name}: {error}[/]", highlight=False)
        seconds = round(time.perf_counter() - began, 1)
        self.trials.append({"settings": dict(settings), "value": value, "seconds": seconds})
        write_json(self._file, {"asked": self._asked(), "trials": self.trials})
        work.run.checkpoint(stage).clear()
        told = f"{_figure(value)} [dim]({seconds:.0f} s; best {_figure(self.best['value'])})[/]  {_words(settings)}"
        self._console.print(f"  {self._name} {len(self.trials)}: {told}", highlight=False)

    def _next(self) -> dict[str, Any]:
        """The settings that the trials so far make worth trying: the same trials, the same settings."""
        optuna = _optuna()
        space = {name: _distribution(optuna, what) for name, what in self._kind.searched.items()}
        # A new study each time, told what is known: what is tried next follows from the trials, not from how often one was interrupted.
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=self._work.recipe.seed + len(self.trials))
        )
        for trial in self.trials:
            if trial["settings"]:
                broke = {"state": optuna.trial.TrialState.FAIL} if trial["value"] is None else {"value": trial["value"]}
                study.add_trial(optuna.trial.create_trial(params=trial["settings"], distributions=space, **broke))
        asked: dict[str, Any] = study.ask(space).params
        return asked

    def _asked(self) -> dict[str, Any]:
        """What the trials' figures depend on beside their settings."""
        recipe = self._work.recipe.model_dump(mode="json")
        asked = {name: recipe[name] for name in ("world", "source", "sessions", "split", "valid_users", "seed")}
        return asked | {"own": self._own.model_dump(mode="json")}

    def _read(self) -> list[dict[str, Any]]:
        """The trials of earlier calls; those that were asked something else are a `ConfigError`."""
        if not self._file.is_file():
            return []
        found = read_json(self._file)
        if not isinstance(found, dict) or found.get("asked") != self._asked():
            raise ConfigError(f"{self._file}: these trials were made with another recipe; name another folder by --out, or remove the file")
        trials: list[dict[str, Any]] = found["trials"]  # type: ignore[assignment]
        return trials


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError("optuna", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, what: Range | tuple[float | str, ...]) -> Any:
    if isinstance(what, tuple):
        return optuna.distributions.CategoricalDistribution(what)
    if isinstance(what.low, int) and isinstance(what.high, int):
        return optuna.distributions.IntDistribution(what.low, what.high, log=what.log)
    return optuna.distributions.FloatDistribution(what.low, what.high, log=what.log)


def _put(values: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Write dotted `settings` into nested `values`."""
    for name, value in settings.items():
        *above, last = name.split(".")
        inner = values
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value


def _tuned(path: Path, overrides: Sequence[str], chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the recipe's file says, with the chosen settings of each model."""
    values, _ = written(path, overrides)
    tuned: dict[str, Any] = copy.deepcopy(values)  # models that share settings in the file have their own now
    for name, settings in chosen.items():
        tuned["models"][name] = json.loads(json.dumps(tuned["models"][name] or {}))
        _put(tuned["models"][name], settings)
        tuned["models"][name] = tuned["models"][name] or None
    return tuned


def _words(settings: Mapping[str, Any]) -> str:
    told = [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items()]
    return ", ".join(told) or "the recipe's own"


def _figure(value: float | None) -> str:
    return "broke" if value is None else f"{value:.4f}"
