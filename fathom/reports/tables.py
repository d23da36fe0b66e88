"""Results as tables: for the terminal, for the README, for a paper, and as TREC runs for other people's tools."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from fathom.errors import ConfigError, suggestion
from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Difference, Results, Row
from fathom.files import write_text
from fathom.records import PAD, Catalog

SHOWN = ("ndcg@10", "recall@10", "mrr")
"""The metrics that a table shows unless told otherwise; the first one also gets its interval, strict column and share of the oracle."""

ORACLE = "oracle"
"""The row that knows the true distribution of the built-in world: never called the best, since it is not a model."""

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as words: what every style of rendering starts from."""

    header: tuple[str, ...]
    """The first column names the model."""
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]]
    """(row, column) of the best value of each metric among the rows that are not the oracle."""


def grid(results: Results, metrics: Sequence[str] = SHOWN) -> Grid:
    """The words of the table: models as rows, `metrics` with the interval of the first, strict and oracle columns where they apply."""
    known = sorted({name for row in results.rows for name in row.metrics})
    for name in metrics:
        if name not in known:
            raise ConfigError(f"no row has the metric '{name}'{suggestion(name, known)}")
    main = metrics[0]
    columns: list[tuple[str, list[str], bool]] = [("model", [row.model for row in results.rows], False)]
    columns.append((metric_title(main), [_number(row, main) for row in results.rows], True))
    if any(main in row.low for row in results.rows):
        columns.append(("95 % interval", [_interval(row, main) for row in results.rows], False))
    if any(f"strict_{main}" in row.metrics for row in results.rows):
        columns.append((f"strict {metric_title(main)}", [_number(row, f"strict_{main}") for row in results.rows], False))
    oracle = results.row(ORACLE)
    if oracle is not None and oracle.metrics.get(main, 0.0) > 0:
        columns.append(("of oracle", [_share(row.metrics.get(main), oracle.metrics[main]) for row in results.rows], False))
    columns += [(metric_title(name), [_number(row, name) for row in results.rows], True) for name in metrics[1:]]
    if any("turns" in row.metrics for row in results.rows):
        columns.append(("turns", [_plain(row, "turns", ".1f") for row in results.rows], False))
        columns.append(("format valid", [_plain(row, "format_valid", ".1%") for row in results.rows], False))
    columns.append(("ms / user", [f"{1000 * row.seconds / row.users:,.1f}" for row in results.rows], False))
    if len({row.users for row in results.rows}) > 1:
        columns.append(("users", [f"{row.users:,}" for row in results.rows], False))
    candidates = [number for number, row in enumerate(results.rows) if row.model != ORACLE]
    return Grid(
        header=tuple(title for title, _, _ in columns),
        rows=tuple(zip(*(cells for _, cells, _ in columns), strict=True)),
        best=frozenset(
            (number, column)
            for column, (_, cells, compared) in enumerate(columns)
            if compared
            for number in candidates
            if cells[number] != NOTHING
            and float(cells[number]) == max(float(cells[other]) for other in candidates if cells[other] != NOTHING)
        ),
    )


def terminal_table(results: Results, metrics: Sequence[str] = SHOWN) -> Table:
    """The table for a terminal, best values in bold."""
    words = grid(results, metrics)
    title = f"{results.dataset.name}: {results.dataset.items:,} items, {_asked(results)}"
    table = Table(title=Text(title), caption=Text(_caption(results)), title_justify="left", caption_justify="left", header_style="bold")
    for column, name in enumerate(words.header):
        table.add_column(Text(name), justify="left" if column == 0 else "right", no_wrap=column == 0)
    for number, row in enumerate(words.rows):
        cells = [Text(cell, style="bold green" if (number, column) in words.best else "") for column, cell in enumerate(row)]
        table.add_row(*cells, style="dim" if results.rows[number].model == ORACLE else "")
    return table


def readme_table(results: Results, metrics: Sequence[str] = SHOWN) -> str:
    """The table in Markdown, with the comparisons in words and the command below: what README.md shows, never edited by hand."""
    words = grid(results, metrics)
    lines = ["| " + " | ".join(words.header) + " |", "|:--" + "|--:" * (len(words.header) - 1) + "|"]
    for number, row in enumerate(words.rows):
        cells = [f"**{cell}**" if (number, column) in words.best else cell for column, cell in enumerate(row)]
        lines.append("| " + " | ".join([cells[0].replace("|", "\\|"), *cells[1:]]) + " |")
    lines += ["", _caption(results)]
    if results.comparisons:
        lines += ["", *(f"- {line}" for line in comparison_lines(results))]
    return "\n".join([*lines, "", f"`{results.command}`, commit `{results.commit[:10]}`, seed {results.seed}.", ""])


def latex_table(results: Results, metrics: Sequence[str] = SHOWN) -> str:
    """The table as a LaTeX `tabular` in the style of booktabs, best values in bold."""
    words = grid(results, metrics)
    lines = [r"\begin{tabular}{l" + "r" * (len(words.header) - 1) + "}", r"\toprule", _latex_row(words.header), r"\midrule"]
    for number, row in enumerate(words.rows):
        lines.append(_latex_row([*row], {column for column in range(len(row)) if (number, column) in words.best}))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def comparison_lines(results: Results) -> list[str]:
    """The paired tests in words, such as 'agent-stage2 vs retriever: NDCG@10 +3.1 % [+1.0 %, +5.1 %], p = .02'."""
    return [comparison_words(told, results) for told in results.comparisons]


def comparison_words(told: Difference, results: Results) -> str:
    """One comparison in words; its interval is that of the difference, divided by the mean of `b`."""
    name = f"{told.a} vs {told.b}: {metric_title(told.metric)}"
    row = results.row(told.b)
    reference = row.metrics.get(told.metric, 0.0) if row is not None else 0.0
    if told.ratio is None or reference <= 0:
        return f"{name} {told.difference:+.4f}, {p_words(told.p)}"
    span = (
        f" [{_percent(told.low / reference)}, {_percent(told.high / reference)}]" if told.low is not None and told.high is not None else ""
    )
    return f"{name} {_percent(told.ratio - 1)}{span}, {p_words(told.p)}"


def write_trec_run(path: Path, evaluation: Evaluation, catalog: Catalog, *, users: Sequence[str], tag: str) -> None:
    """Write the kept heads of all lists as a TREC run, `user Q0 item rank score tag`, under the names of the outside world.

    The score falls by one a place, since tools that read such runs sort by it.
    """
    lines = []
    for user, items in zip(evaluation.users.tolist(), evaluation.items.tolist(), strict=True):
        known = [item for item in items if item != PAD]
        lines += [
            f"{users[user]} Q0 {catalog.names[item - 1]} {place} {len(known) - place + 1} {tag}"
            for place, item in enumerate(known, start=1)
        ]
    write_text(path, "\n".join([*lines, ""]))


def metric_title(name: str) -> str:
    """The name of a metric as people write it; what stands before a slash says of which cases.

    >>> [metric_title(name) for name in ("ndcg@10", "strict_mrr", "rare/recall@5", "format_valid")]
    ['NDCG@10', 'strict MRR', 'rare Recall@5', 'format valid']
    """
    group, slash, rest = name.rpartition("/")
    word, at, cutoff = rest.removeprefix("strict_").partition("@")
    told = {"ndcg": "NDCG", "mrr": "MRR", "recall": "Recall"}.get(word, word.replace("_", " "))
    return (f"{group} " if slash else "") + ("strict " if rest.startswith("strict_") else "") + told + at + cutoff


def p_words(p: float) -> str:
    """A p-value in words.

    >>> p_words(0.0213), p_words(0.0002), p_words(1.0)
    ('p = .02', 'p < .001', 'p = 1')
    """
    if p < 0.001:
        return "p < .001"
    told = f"{p:.3f}" if p < 0.01 else f"{p:.2f}"
    return "p = 1" if told == "1.00" else f"p = {told.removeprefix('0')}"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %".replace("-", "−")


def _number(row: Row, name: str) -> str:
    return f"{row.metrics[name]:.4f}" if name in row.metrics else NOTHING


def _plain(row: Row, name: str, style: str) -> str:
    return format(row.metrics[name], style).replace("%", " %") if name in row.metrics else NOTHING


def _interval(row: Row, name: str) -> str:
    return f"{row.low[name]:.4f}–{row.high[name]:.4f}" if name in row.low else NOTHING


def _share(value: float | None, best: float) -> str:
    return NOTHING if value is None else f"{100 * value / best:.0f} %"


def _asked(results: Results) -> str:
    asked = sorted({row.users for row in results.rows})
    return f"{asked[0]:,} users asked" if len(asked) == 1 else f"{asked[0]:,} to {asked[-1]:,} users asked" if asked else "nobody asked"


def _caption(results: Results) -> str:
    """How the numbers came about, in one sentence; what `strict` means where the column is there."""
    told = f"Full ranking, split {results.dataset.split}, {_asked(results)}; intervals and tests by paired bootstrap over users."
    if any("strict" in name for row in results.rows for name in row.metrics):
        told += " An unreadable answer falls back to the retriever's list; in the strict column it counts as a miss."
    return told


def _latex_row(cells: Sequence[str], bold: frozenset[int] | set[int] = frozenset()) -> str:
    escaped = [cell.replace("\\", r"\textbackslash ").replace("%", r"\%").replace("_", r"\_").replace("&", r"\&") for cell in cells]
    dashes = [cell.replace("–", "--") for cell in escaped]
    return " & ".join(rf"\textbf{{{cell}}}" if column in bold else cell for column, cell in enumerate(dashes)) + r" \\"
