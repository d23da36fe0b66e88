"""`fathom explore`: all runs below some folders, to look through in a browser."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from fathom.errors import ConfigError, DataError, FathomError, MissingExtraError, suggestion
from fathom.evaluation.results import Results, read
from fathom.files import Json
from fathom.pipeline.judge import page_of, results_of
from fathom.pipeline.methods import opened, recipe_at, table_of
from fathom.pipeline.side_by_side import SIDE
from fathom.pipeline.stages import stage_seconds
from fathom.pipeline.table import Table
from fathom.reports import library
from fathom.reports.changes import paired
from fathom.reports.library import DIRECTIONS, RunTold
from fathom.reports.page import render
from fathom.reports.readings import KINDS, Reading
from fathom.training.run import Run

try:
    import uvicorn

    from fathom.serving.explorer import explorer_app
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "fastapi", "serve") from error

DEPTH = 4
"""So deep below a given folder runs are looked for."""

OPEN = 4
"""Runs whose answers are kept in memory."""


def explore_folders(folders: Sequence[Path], *, host: str, port: int) -> None:
    """Serve the explorer until the process is told to end."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: there is no such folder; name one that holds runs, such as runs/")
    shelf = Library(folders)
    console = Console(highlight=False)
    console.print(f"{library.how_many(len(shelf.found()))}: http://{host}:{port}   (Ctrl+C ends)")
    uvicorn.run(explorer_app(shelf), host=host, port=port, log_level="warning", ws="none")


@dataclass
class _Opened:
    """A run whose table was asked for, as it was written then."""

    table: Table
    results: Results
    written: float
    readings: dict[str, Sequence[Reading]] = field(default_factory=dict)


class Library:
    """The runs below some folders. What is read once is kept until it is written anew."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._opened: OrderedDict[Path, _Opened] = OrderedDict()
        self._told: dict[Path, RunTold] = {}
        self._lock = threading.Lock()

    def found(self) -> dict[str, Path]:
        """Name -> folder of every run that is there now."""
        named: dict[str, Path] = {}
        for root in self._folders:
            for folder in _runs_below(root, DEPTH):
                inner = folder.relative_to(root).as_posix()
                name = root.resolve().name if inner == "." else inner
                named[name if name not in named else folder.as_posix()] = folder
        return named

    # Pages --------------------------------------------------------------------------------------------------------------------------

    def overview(self) -> str:
        """All runs."""
        place = ", ".join(map(str, self._folders))
        with self._lock:
            return library.overview([self._line(name, folder) for name, folder in self.found().items()], place=place)

    def run(self, name: str) -> str:
        """One run; also one that is not finished."""
        with self._lock:
            folder = self._folder(name)
            line = self._line(name, folder)
            if line.trouble:
                raise DataError(line.trouble)
            if line.results is None:
                settings = (folder / "recipe.yaml").read_text(encoding="utf-8")
                return library.unfinished(line, _log(folder), settings)
            if not (folder / "stages.json").is_file():  # a sweep: a comparison of runs, itself without a table to ask
                return _as_written(folder)
            there = self._open(folder)
            return render(replace(page_of(there.table, there.results), home="./", elsewhere=library.elsewhere(name)))

    def answers(self, name: str, row: str, kind: str, user: str, page: str) -> str:
        """What a row answered, one kind of it, ten at a time."""
        with self._lock:
            there = self._open(self._folder(name))
            rows = _rows(there)
            row = _chosen(row or _usual(there, rows), rows, "row")
            kind = _chosen(kind or "all", KINDS, "kind")
            return library.answers(name, row, rows, self._readings(there, row), kind=kind, user=user.strip(), page=_number(page))

    def changes(self, name: str, before: str, after: str, kind: str, user: str, page: str) -> str:
        """What changed for whom from one row to another."""
        with self._lock:
            there = self._open(self._folder(name))
            rows = _rows(there)
            after = _chosen(after or _usual(there, rows), rows, "after")
            lived = [row for row in there.table.life if row in rows and row != after]
            before = _chosen(before or next(iter([*lived, *(row for row in reversed(rows) if row != after), after])), rows, "before")
            kind = _chosen(kind or "all", DIRECTIONS, "kind")
            pairs = paired(self._readings(there, before), self._readings(there, after))
            catalog = there.table.work.catalog
            return library.changed(name, (before, after), rows, pairs, catalog, kind=kind, user=user.strip(), page=_number(page))

    # What is behind them ------------------------------------------------------------------------------------------------------------

    def _folder(self, name: str) -> Path:
        """By its name alone: nothing else of this machine can be asked for."""
        found = self.found()
        if name not in found:
            raise DataError(f"there is no run '{name}' here{suggestion(name, found)}")
        return found[name]

    def _line(self, name: str, folder: Path) -> RunTold:
        changed = _written(folder)
        kept = self._told.get(folder)
        if kept is None or (kept.name, kept.changed) != (name, changed):
            kept = self._told[folder] = _told(name, folder, changed)
        return kept

    def _open(self, folder: Path) -> _Opened:
        written = _written(folder)
        there = self._opened.get(folder)
        if there is None or there.written != written:
            results = results_of(folder)
            there = self._opened[folder] = _Opened(table_of(opened(folder)), results, written)
        self._opened.move_to_end(folder)
        while len(self._opened) > OPEN:
            self._opened.popitem(last=False)
        return there

    def _readings(self, there: _Opened, row: str) -> Sequence[Reading]:
        if row not in there.readings:
            there.readings[row] = there.table.readings(row)
        return there.readings[row]


def _runs_below(root: Path, depth: int) -> Iterator[Path]:
    """Folders of runs, in the order of their names; what a run keeps in its own folder is none of them."""
    if (root / "recipe.yaml").is_file():
        yield root
        return
    if (root / "results.json").is_file():
        yield root
    if depth:
        try:
            inner = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
        except OSError:  # not ours to read
            return
        for name in inner:
            yield from _runs_below(root / name, depth - 1)


def _written(folder: Path) -> float:
    """When the table, or what is done, was last written; 0 where there is neither."""
    names = ("results.json", "stages.json", "recipe.yaml")
    return max((path.stat().st_mtime for path in (folder / name for name in names) if path.is_file()), default=0.0)


def _told(name: str, folder: Path, changed: float) -> RunTold:
    method, results, seconds, trouble = "", None, dict[str, float](), ""
    try:
        if (folder / "recipe.yaml").is_file():
            method = recipe_at(folder / "recipe.yaml").method
            seconds = stage_seconds(folder)
        else:
            method = "sweep"
        if (folder / "results.json").is_file():
            results = read(folder / "results.json")
    except FathomError as error:  # of an older version, or not whole: the others are shown all the same
        trouble = str(error)
    return RunTold(name, method, changed, results, seconds, trouble)


def _log(folder: Path) -> list[dict[str, Json]]:
    """What a run under way has logged, with what its trainings side by side have."""
    lines = Run(folder).log_lines()
    there = {str(line["stage"]) for line in lines}
    beside = [line for path in sorted((folder / SIDE).glob("*/recipe.yaml")) for line in Run(path.parent).log_lines()]
    return lines + [line for line in beside if str(line["stage"]) not in there]


def _as_written(folder: Path) -> str:
    if not (folder / "report.html").is_file():
        raise DataError(f"{folder} holds a table and no page")
    return (folder / "report.html").read_text(encoding="utf-8")


def _rows(there: _Opened) -> list[str]:
    """The rows whose answers the folder holds."""
    rows = [row.model for row in there.results.rows if (there.table.work.folder("ranks") / f"{row.model}.parquet").is_file()]
    if not rows:
        raise DataError("this run ranks nothing, so there are no answers to read")
    return rows


def _usual(there: _Opened, rows: Sequence[str]) -> str:
    """The row that the run is about."""
    return next((name for name in reversed(there.table.headlines) if name in rows), rows[-1])


def _chosen(name: str, known: Sequence[str] | Mapping[str, str], what: str) -> str:
    if name not in known:
        raise DataError(f"{what}: there is no '{name}'{suggestion(name, known)}")
    return name


def _number(page: str) -> int:
    return int(page) if page.isascii() and page.isdigit() and 0 < len(page) < 7 and int(page) else 1
