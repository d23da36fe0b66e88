"""Rows of several runs beside each other."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from fathom.errors import ConfigError, DataError, suggestion
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Row
from fathom.evaluation.rows import make_comparisons
from fathom.pipeline.deeprec.endpoint import ENDPOINT
from fathom.pipeline.judge import results_of, show
from fathom.pipeline.methods import opened, table_of
from fathom.reports.tables import is_oracle


def compare_folders(folders: Sequence[Path], *, metric: str) -> None:
    """`fathom compare`: all rows of the runs in one table, and the best one tested against every other on the users they share."""
    console = Console()
    evaluations: dict[str, Evaluation] = {}
    rows: list[Row] = []
    found = results_of(folders[0])
    data = found.dataset
    alike = len({folder.name for folder in folders}) < len(folders)
    for folder in folders:
        found = results_of(folder)
        if found.dataset.fingerprint != data.fingerprint:
            raise DataError(
                f"{folder} is about other data ('{found.dataset.name}', {found.dataset.fingerprint[:12]}) than {folders[0]} "
                f"('{data.name}', {data.fingerprint[:12]}): only runs on the same data can be compared"
            )
        weights = table_of(opened(folder)).weights()
        prefix = f"{folder if alike else folder.name}/" if len(folders) > 1 else ""
        for row in found.rows:
            name = row.model if is_oracle(row.model) else prefix + row.model  # of the same data there is one oracle
            if name not in evaluations:
                rows.append(row.model_copy(update={"model": name}))
                evaluations[name] = replace(Evaluation.load(folder / "ranks" / f"{row.model}.parquet"), weights=weights)
    if metric not in rows[0].metrics:
        raise ConfigError(f"--metric {metric}: the rows have no such figure{suggestion(metric, rows[0].metrics)}")
    rows.sort(key=lambda row: is_oracle(row.model))
    # An endpoint is asked fewer users than the others, so it is shown and not tested here.
    tested = [row for row in rows if not is_oracle(row.model) and row.model.rpartition("/")[2] != ENDPOINT]
    values = {row.model: row.metrics[metric] for row in tested}
    best, *ordered = sorted(values, key=lambda name: -values[name])
    try:
        comparisons = make_comparisons(evaluations, [(best, other) for other in ordered], metrics=(metric,), seed=found.seed)
    except DataError as error:
        raise DataError(f"{error}; only runs with the same data, split and test users can be compared") from error
    together = found.model_copy(update={"rows": rows, "comparisons": comparisons})
    show(together, console, (metric, *(name for name in ("ndcg@10", "recall@10", "mrr") if name != metric)))
