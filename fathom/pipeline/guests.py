"""Rows of other runs, which were asked the very same cases, beside a run's own."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from fathom.errors import ConfigError, DataError, suggestion
from fathom.evaluation.evaluate import Evaluation, paired
from fathom.evaluation.results import Row, read
from fathom.files import read_json, write_json
from fathom.reports.tables import is_oracle

GUESTS = "guests"
"""Their folder within the run's."""


def invite(folder: Path, other: Path, *, names: Sequence[str] = ()) -> list[str]:
    """Take rows of the finished run in `other` into the run in `folder`: `names`, or all that it does not have itself; returns which.

    `other` may also be the results.json of a run that is not at hand: its rows come with their intervals, but without the rank of each
    person they cannot be compared by a paired test. Another data set, other cases or an unknown name is an error, and nothing is taken.
    """
    alone = other.is_file()
    own, found = read(folder / "results.json"), read(other if alone else other / "results.json")
    if own.dataset.fingerprint != found.dataset.fingerprint:
        raise DataError(f"{other} is about other data ('{found.dataset.name}') than {folder} ('{own.dataset.name}')")
    theirs = {row.model: row for row in found.rows if own.row(row.model) is None and not is_oracle(row.model)}
    for name in names:
        if name not in theirs:
            raise ConfigError(f"--row {name}: {other} has no such row, or {folder} has it itself{suggestion(name, list(theirs))}")
    taken = list(names or theirs)
    asked = Evaluation.load(folder / "ranks" / f"{own.rows[0].model}.parquet")
    if alone and (own.dataset.split, own.seed) != (found.dataset.split, found.seed):
        raise DataError(
            f"{other} was asked other cases than {folder}: '{found.dataset.split}', seed {found.seed}, "
            f"against '{own.dataset.split}', seed {own.seed}"
        )
    for name in () if alone else taken:
        paired({str(folder): asked, f"{other}/{name}": Evaluation.load(_ranks(other, name))})
    rows = {row.model: row for row in guests(folder)[0]} | {name: theirs[name] for name in taken}
    (folder / GUESTS).mkdir(exist_ok=True)
    for name in taken:
        (folder / GUESTS / f"{name}.parquet").unlink(missing_ok=True)
        if not alone:
            shutil.copyfile(_ranks(other, name), folder / GUESTS / f"{name}.parquet")
    write_json(folder / GUESTS / "rows.json", [row.model_dump(mode="json") for row in rows.values()])
    return taken


def guests(folder: Path) -> tuple[list[Row], dict[str, Evaluation]]:
    """The rows that were taken into the run in `folder`, and what they were asked."""
    path = folder / GUESTS / "rows.json"
    kept = read_json(path) if path.is_file() else []
    if not isinstance(kept, list):
        raise DataError(f"{path}: expected a list of rows; remove the folder and invite them again")
    try:
        rows = [Row.model_validate(row) for row in kept]
    except ValidationError as error:
        raise DataError(
            f"{path}: not rows as Fathom writes them ({error.errors()[0]['msg']}); remove the folder and invite them again"
        ) from error
    ranks = {row.model: folder / GUESTS / f"{row.model}.parquet" for row in rows}
    return rows, {name: Evaluation.load(path) for name, path in ranks.items() if path.is_file()}


def _ranks(folder: Path, name: str) -> Path:
    """Where the run in `folder` keeps the ranks of its row, or of a guest of its own."""
    own = folder / "ranks" / f"{name}.parquet"
    return own if own.is_file() else folder / GUESTS / f"{name}.parquet"
