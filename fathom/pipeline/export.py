"""A finished run for other people's tools and for a paper."""

from pathlib import Path

from rich.console import Console

from fathom.evaluation.evaluate import Evaluation
from fathom.files import write_text
from fathom.pipeline.judge import results_of
from fathom.pipeline.methods import opened
from fathom.reports.tables import latex_table, readme_table
from fathom.reports.trec import write_qrels, write_run


def export_folder(folder: Path, *, to: Path) -> None:
    """`fathom export`: each row's lists as a TREC run, what was relevant as qrels, and the table for Markdown and LaTeX."""
    work, results = opened(folder), results_of(folder)
    users = work.dataset.interactions.users
    files = {row.model: work.folder("ranks") / f"{row.model}.parquet" for row in results.rows}
    kept = {name: Evaluation.load(file) for name, file in files.items() if file.is_file()}  # what another run lent has no lists here
    for name, evaluation in kept.items():
        write_run(to / f"{name}.run", evaluation, work.catalog, users=users, tag=name)
    widest = max(kept.values(), key=lambda evaluation: len(evaluation.users))  # an endpoint is asked fewer users than the others
    write_qrels(to / "qrels.txt", widest, work.catalog, users=users)
    write_text(to / "table.md", readme_table(results))
    write_text(to / "table.tex", latex_table(results))
    Console().print(f"in {to}: qrels.txt, table.md, table.tex, {', '.join(f'{name}.run' for name in kept)}", highlight=False)
