"""`fathom tune`: every named model of a recipe is given the same time to find its settings, by its validation figures alone."""

import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from zlib import crc32

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from fathom.data.splits import first_events
from fathom.errors import ConfigError, MissingExtraError, ModelError, suggestion
from fathom.evaluation.results import commit
from fathom.files import read_json, write_json, write_text
from fathom.models.model import AnyModel, TrainingData
from fathom.models.registry import model_of
from fathom.models.searching import Range
from fathom.pipeline.launch import end_with_parent
from fathom.pipeline.methods import METHODS, recipe_at
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.sequential.workshop import SequentialWorkshop
from fathom.pipeline.stages import perform, written_under
from fathom.recipes import dump, written
from fathom.records import Interactions
from fathom.settings import Settings
from fathom.training.run import Run, progress
from fathom.training.sequential import figures

FIGURE = "ndcg@10"
"""What is searched for, on the recipe's validation cases."""

STARTUP = 2
"""After so many trials, the recipe's own among them, what is tried follows from them: there are few, and most are known to be good."""

EARLIER = 2
"""A trial that is worse at one of its validations than half of so many earlier ones, or more, were at theirs is stopped there."""


def tune_file(
    path: Path,
    *,
    minutes: float,
    models: Sequence[str],
    out: Path | None,
    overrides: Sequence[str],
    command: str,
    users: int = 0,
    processes: int = 1,
) -> None:
    """Search the settings of each model for `minutes`, in `out` or runs/<name>-tuned; writes tuned.yaml, a recipe with the best.

    The first trial is the recipe's own settings, so nothing gets worse. With `users` trials learn from so many people's histories, of those
    who are asked first; `processes` search as many models side by side, each by its share of the cores. Trials that have ended are kept:
    the same command goes on, and one that was killed within a trial goes on with that trial. More minutes than before add to what was
    spent.
    """
    recipe = recipe_at(path, overrides=overrides)
    if not isinstance(recipe, SequentialRecipe):
        raise ConfigError(f"{path}: method '{recipe.method}' has no named models to tune: write method: sequential")
    if recipe.windows is not None:
        raise ConfigError(f"{path}: what is learned again and again is not tuned; leave windows out and put it back after")
    for name in models:
        if name not in recipe.models.names:
            raise ConfigError(f"--model {name}: the recipe has no such model{suggestion(name, list(recipe.models.names))}")
    if minutes and any(model_of(name).searched for name in models or recipe.models.names):
        _optuna()  # before the first trial, which does without, has taken its time
    folder, console = out or Path("runs") / f"{recipe.name}-tuned", Console()
    run = Run(folder)
    write_text(folder / "recipe.yaml", dump(recipe))
    stages = METHODS[recipe.method].stages(recipe)
    work = SequentialWorkshop(recipe, run)
    perform(stages, work, recipe, run, until=stages[0].name, console=Console(quiet=True))
    columns = ("model", "trials", "minutes", f"{FIGURE} as written", "best", "settings")
    table = Table(*columns, title=f"{recipe.name}: {len(work.valid_cases):,} validation cases", title_justify="left", header_style="bold")
    searches = {name: Search(work, name, users=users) for name in models or recipe.models.names}
    if processes == 1:
        for search in searches.values():
            search.go_on(minutes)
    else:
        _side_by_side(folder, list(searches), minutes=minutes, users=users, processes=processes)
        searches = {name: Search(work, name, users=users) for name in searches}
    for name, search in searches.items():
        best, first = search.best, search.trials[0]
        spent = f"{search.spent / 60:.1f}"
        table.add_row(name, str(len(search.trials)), spent, _figure(first["value"]), _figure(best["value"]), _words(best["settings"]))
    console.print(table)
    told = f"{minutes:g} minutes a model" + (f" on the histories of {users:,} users" if users else "")
    made = f"{date.today().isoformat()}, commit {commit()[:10]}, {told} by {FIGURE} on validation cases"
    chosen = {name: search.best["settings"] for name, search in searches.items()}
    text = yaml.safe_dump(_tuned(path, overrides, chosen), sort_keys=False, allow_unicode=True)
    write_text(folder / "tuned.yaml", f"# {path.name}, tuned by  {command}\n# ({made})\n{text}")
    console.print(f"recipe: {folder / 'tuned.yaml'}; its test figures:  fathom run {folder / 'tuned.yaml'}")


def _side_by_side(folder: Path, names: Sequence[str], *, minutes: float, users: int, processes: int) -> None:
    """The searches of these models, gone on with until their time is over, each in one of several processes."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=(os.getpid(), threads))
    with pool, progress("models", len(names)) as advance:
        for one in as_completed([pool.submit(_search, folder, name, minutes, users) for name in names]):
            one.result()
            advance(1)


def _begin(parent: int, threads: int) -> None:
    """What a further process does first."""
    threading.Thread(target=end_with_parent, args=(parent,), daemon=True).start()
    os.environ["RANK"] = "1"  # its bars would overwrite the others'
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # numpy's too, which were counted at its import


def _search(folder: Path, name: str, minutes: float, users: int) -> None:
    """One model's search, in a process of its own."""
    recipe = recipe_at(folder / "recipe.yaml")
    assert isinstance(recipe, SequentialRecipe)
    Search(SequentialWorkshop(recipe, Run(folder)), name, users=users).go_on(minutes)


class _Behind(Exception):
    """A trial is worse than half of those before it were at this point."""


class _Watched(Run):
    """A trial's log, which ends the trial when it falls behind."""

    def __init__(self, folder: Path, before: Sequence[Mapping[str, float]]) -> None:
        """`before`: of each earlier trial what its validations said, by epoch."""
        super().__init__(folder)
        self._before = before

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """As any log, but of a validation the figure is compared."""
        super().log(stage, step, values)
        if FIGURE in values:
            known = [curve[epoch] for curve in self._before if (epoch := str(int(values["epoch"]))) in curve]
            if len(known) >= EARLIER and values[FIGURE] < median(known):
                raise _Behind


class Search:
    """The trials of one model."""

    def __init__(self, work: SequentialWorkshop, name: str, *, users: int) -> None:
        settings = work.recipe.models.settings_of(name)
        assert settings is not None
        self._work, self._name, self._users = work, name, users
        self._kind: type[AnyModel] = model_of(name)
        self._own: Settings = settings
        self._space = self._kind.worth_searching(settings)
        self._folder = work.run.folder / name
        self.trials: list[dict[str, Any]] = self._read()

    @property
    def spent(self) -> float:
        """Seconds of all trials that have ended."""
        return float(sum(trial["seconds"] for trial in self.trials))

    @property
    def best(self) -> dict[str, Any]:
        """The trial of the highest figure, of several the first."""
        return max(self.trials, key=lambda trial: -math.inf if trial["value"] is None else trial["value"])

    def go_on(self, minutes: float) -> None:
        """Try settings until the time is over; a trial that has begun in time is ended."""
        if not self.trials:
            self._try({})
        while self._space and self.spent < 60 * minutes:
            self._try(self._next())

    def _try(self, settings: Mapping[str, Any]) -> None:
        """One trial: fit, judge on the validation cases, write down."""
        values = self._own.model_dump(mode="json")
        _put(values, settings)
        mark = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        stage, work, began = f"{self._name}@{mark}", self._work, time.perf_counter()
        run = _Watched(self._folder, [trial["curve"] for trial in self.trials])
        data = TrainingData(self._log(), work.valid_cases, work.catalog, run, stage)
        value: float | None = None
        stopped = False
        try:
            model = self._kind.fit(data, self._kind.settings_type().model_validate(values))
            value = figures(model, work.valid_cases)[FIGURE]
        except _Behind:
            stopped = True
        except ModelError as error:  # a learning rate that breaks a model is an answer, too
            self._say(f"[yellow]{error}[/]")
        told = [line for line in run.metrics(stage) if f"{stage}/{FIGURE}" in line]
        curve = {str(int(line[f"{stage}/epoch"])): line[f"{stage}/{FIGURE}"] for line in told}
        value = max(curve.values()) if stopped else value
        seconds = round(time.perf_counter() - began, 1)
        self.trials.append({"settings": dict(settings), "value": value, "stopped": stopped, "seconds": seconds, "curve": curve})
        write_json(self._folder / "trials.json", {"asked": self._asked(), "trials": self.trials})
        run.checkpoint(stage).clear()
        early = "stopped early, " if stopped else ""
        self._say(f"{_figure(value)} [dim]({early}{seconds:.0f} s; best {_figure(self.best['value'])})[/]  {_words(settings)}")

    def _say(self, words: str) -> None:
        Console().print(f"  {self._name} {len(self.trials)}: {words}", highlight=False)

    def _log(self) -> Interactions:
        """What trials learn from."""
        log = self._work.split.train
        if not self._users or self._users >= log.n_users:
            return log
        asked = np.zeros(log.n_users, dtype=bool)
        asked[[case.user for case in self._work.valid_cases if case.user >= 0]] = True
        luck = np.random.default_rng(self._work.recipe.seed).random(log.n_users)
        chosen = np.zeros(log.n_users, dtype=bool)
        chosen[np.lexsort((luck, ~asked))[: self._users]] = True
        return first_events(log, np.where(chosen, np.diff(log.offsets), 0))

    def _next(self) -> dict[str, Any]:
        """The settings that the trials so far make worth trying: the same trials, the same settings."""
        optuna = _optuna()
        space = {name: _distribution(optuna, what) for name, what in self._space.items()}
        # A new study each time, told what is known: what is tried next follows from the trials, not from how often one was interrupted.
        luck = crc32(f"{self._work.recipe.seed} {self._name} {len(self.trials)}".encode())
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=luck, n_startup_trials=STARTUP))
        for trial in self.trials:
            params = trial["settings"] or self._own_params()
            if all(_inside(params[name], what) for name, what in self._space.items()):
                broke = {"state": optuna.trial.TrialState.FAIL} if trial["value"] is None else {"value": trial["value"]}
                study.add_trial(optuna.trial.create_trial(params=params, distributions=space, **broke))
        asked: dict[str, Any] = study.ask(space).params
        return asked

    def _own_params(self) -> dict[str, Any]:
        """What the recipe itself says of the settings that are searched."""
        values = self._own.model_dump(mode="json")
        return {name: written_under(values, name) for name in self._space}

    def _asked(self) -> dict[str, Any]:
        """What the trials' figures depend on beside their settings."""
        recipe = self._work.recipe.model_dump(mode="json")
        asked = {name: recipe[name] for name in ("world", "source", "sessions", "split", "valid_users", "seed")}
        return asked | {"users": self._users, "own": self._own.model_dump(mode="json")}

    def _read(self) -> list[dict[str, Any]]:
        """The trials of earlier calls; those that were asked something else are a `ConfigError`."""
        file = self._folder / "trials.json"
        if not file.is_file():
            return []
        found = read_json(file)
        if not isinstance(found, dict) or found.get("asked") != self._asked():
            raise ConfigError(f"{file}: these trials were made with another recipe; name another folder by --out, or remove the file")
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


def _inside(value: object, what: Range | tuple[float | str, ...]) -> bool:
    """Whether the search could have come upon the value."""
    if isinstance(what, tuple):
        return value in what
    return isinstance(value, int | float) and what.low <= value <= what.high


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
    tuned: dict[str, Any] = values
    for name, settings in chosen.items():
        tuned["models"][name] = tuned["models"][name] or {}
        _put(tuned["models"][name], settings)
        tuned["models"][name] = tuned["models"][name] or None
    return tuned


def _words(settings: Mapping[str, Any]) -> str:
    told = [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items()]
    return ", ".join(told) or "the recipe's own"


def _figure(value: float | None) -> str:
    return "broke" if value is None else f"{value:.4f}"
