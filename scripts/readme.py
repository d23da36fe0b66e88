"""Write the measured figures anew from the committed results: `python scripts/readme.py`.

README.md gets one table of all data sets; docs/measured.md the whole table and every comparison of each run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fathom.evaluation.results import Results, read
from fathom.files import write_text
from fathom.reports.tables import NOTHING, p_words, percent, readme_table, relative

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
MEASURED = ROOT / "docs" / "measured.md"
BEGIN = "<!-- results:begin (written by `make readme` from benchmarks/results/, never by hand) -->"
END = "<!-- results:end -->"
METRIC = "ndcg@10"


class Overview(NamedTuple):
    """One table of the README: the runs of one method."""

    serves: str
    """The row that every run of it has."""
    reference: str
    """The row that others are compared with: what reasoning must beat to be worth its tokens."""
    footnote: str


OVERVIEWS = (
    Overview(
        "agent",
        "retriever",
        """DeepRec. Full ranking of the whole catalogue, the same users in every row of a column, seen items excluded. In brackets the
difference from `retriever`, the agent's own tool, by paired bootstrap over users. `-scored` orders all that the agent has
retrieved by its own likelihoods and its retriever's, instead of letting it write its list. Intervals, costs, every comparison
and the controls: [docs/measured.md](docs/measured.md).""",
    ),
    Overview(
        "r2ec",
        "r2ec-no-reason",
        """R²ec, in the same way; in brackets the difference from `r2ec-no-reason`, the same model continued without reasoning. Both it and
`r2ec`, which serves, have read whole histories; `r2ec-warm` and `r2ec-recpo` have not read the ends that are held out for reasoning.
One run each. Most of what `r2ec` gains it gains by having learned to reason: read out without a word the same weights have .2008 on
ML-1M and .0617 on Games, where the words add 2.9 % ([docs/lab-notes.md](docs/lab-notes.md)).""",
    ),
    Overview(
        "gsasrec",
        "sasrec+",
        """Named models, each with settings that a search of five minutes found, or with those that it began from; in brackets the
difference from `sasrec+`. What each is: [docs/sequential.md](docs/sequential.md).""",
    ),
)


def committed() -> dict[str, Results]:
    """Run -> its results, in the order of their names; controls last."""
    paths = sorted(RESULTS.glob("*.json"), key=lambda path: (path.stem.startswith("control-"), path.stem))
    return {path.stem: read(path) for path in paths}


def overview(runs: Mapping[str, Results], table: Overview) -> str:
    """Models as rows, runs as columns: NDCG@10, and how far from the reference it is where that was tested."""
    shown = {name: results for name, results in runs.items() if not name.startswith("control-") and results.row(table.serves)}
    longest = max(shown.values(), key=lambda results: len(results.rows))
    models = dict.fromkeys(row.model for results in (longest, *shown.values()) for row in results.rows)
    heads = [f"{name}<br>{results.rows[0].users:,} users, {results.dataset.items:,} items" for name, results in shown.items()]
    lines = ["| " + " | ".join(["NDCG@10", *heads]) + " |", "|:--" + "|:--" * len(heads) + "|"]
    lines += [
        "| " + " | ".join([model, *(_cell(results, model, table.reference) for results in shown.values())]) + " |" for model in models
    ]
    return "\n".join(lines)


def _cell(results: Results, model: str, reference: str) -> str:
    row = results.row(model)
    if row is None or METRIC not in row.metrics:
        return NOTHING
    value = f"{row.metrics[METRIC]:.4f}"
    for told in results.comparisons:
        if (told.a, told.b, told.metric) == (model, reference, METRIC):
            shares = relative(told, results)
            return value if shares is None else f"{value} ({percent(shares[0])}, {p_words(told.p)})"
    return value


def measured(runs: Mapping[str, Results]) -> str:
    """The page of whole tables."""
    parts = [
        "# Measured\n\nWritten by `make readme` from [benchmarks/results/](../benchmarks/results), never by hand: every run with its\n"
        "command, its commit and its machine. [lab-notes.md](lab-notes.md) says what led there.\n"
    ]
    for name, results in runs.items():
        machine = f"Machine: {results.machine['processor']}, {results.machine['cores']} cores, GPU: {results.machine['gpu']}."
        heading = f"## {name}: {results.dataset.users:,} users, {results.dataset.items:,} items"
        parts.append(f"{heading}\n\n{readme_table(results).rstrip()}\n{machine}\n")
    return "\n".join(parts)


def renewed(readme: str, runs: Mapping[str, Results]) -> str:
    """The README with what stands between its two marks replaced."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n\n".join(f"{overview(runs, table)}\n\n{table.footnote}" for table in OVERVIEWS)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


if __name__ == "__main__":
    found = committed()
    write_text(README, renewed(README.read_text(encoding="utf-8"), found))
    write_text(MEASURED, measured(found))
