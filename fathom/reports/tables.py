"""Results as tables: for the README and for a paper; `reports.terminal` prints them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fathom.errors import ConfigError, suggestion
from fathom.evaluation.results import Difference, Results, Row

SHOWN = ("ndcg@10", "recall@10", "mrr")
"""The metrics that a table shows unless told otherwise; the first one also gets its interval, strict column and share of the oracle."""

ERRORS = frozenset(("rmse", "mae"))
"""Metrics of which less is better."""

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


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table in words, in full and as short as a terminal needs it."""

    title: str
    cells: tuple[str, ...]
    compared: bool = False
    """Whether its values are a metric whose best is marked."""
    short_title: str = ""
    """On a terminal; '' where it is the title."""
    short_cells: tuple[str, ...] = ()
    """On a terminal; empty where they are the cells."""
    essential: bool = True
    """Whether a narrow terminal shows it in the first table."""
    lowest: bool = False
    """Whether the lowest value is the best."""


def columns(results: Results, metrics: Sequence[str] = SHOWN) -> list[Column]:
    """Models as rows; `metrics` with the interval of the first, strict and oracle columns where they apply."""
    rows = results.rows
    known = sorted({name for row in rows for name in row.metrics})
    for name in metrics:
        if name not in known:
            raise ConfigError(f"no row has the metric '{name}'{suggestion(name, known)}")
    main, others = metrics[0], metrics[1:]
    made = [Column("model", tuple(row.model for row in rows)), _metric_column(rows, main)]
    if any(main in row.low for row in rows):
        spans = tuple(_interval(row, main, 4) for row in rows)
        shorter = tuple(shortened(_interval(row, main, 3)) for row in rows)
        made.append(Column("95 % interval", spans, short_title="interval", short_cells=shorter))
    if any(f"strict_{main}" in row.metrics for row in rows):
        strict = _metric_column(rows, f"strict_{main}", essential=False)
        made.append(replace(strict, compared=False))
    oracle = results.row(ORACLE)
    if oracle is not None and oracle.metrics.get(main, 0.0) > 0:
        made.append(Column("of oracle", tuple(_share(row.metrics.get(main), oracle.metrics[main]) for row in rows)))
    made += [_metric_column(rows, name, essential=name == others[0]) for name in others]
    if any("turns" in row.metrics for row in rows):
        made.append(Column("turns", tuple(_plain(row, "turns", ".1f") for row in rows)))
        made.append(Column("format valid", tuple(_plain(row, "format_valid", ".1%") for row in rows), short_title="valid"))
    milliseconds = tuple(f"{1000 * row.seconds / row.users:,.1f}" for row in rows)
    made.append(Column(f"ms / {one_of(results.dataset.asked)}", milliseconds, essential=False))
    if len({row.users for row in rows}) > 1:
        made.append(Column(results.dataset.asked, tuple(f"{row.users:,}" for row in rows), essential=False))
    return made


def grid(results: Results, metrics: Sequence[str] = SHOWN) -> Grid:
    """The words of the table, in full."""
    made = columns(results, metrics)
    return Grid(
        header=tuple(column.title for column in made),
        rows=tuple(zip(*(column.cells for column in made), strict=True)),
        best=frozenset((row, number) for number, column in enumerate(made) for row in best_rows(column, results)),
    )


def is_oracle(model: str) -> bool:
    """Whether the row called `model` knows the world's own distribution, or a part of it.

    >>> [is_oracle(name) for name in ("oracle", "oracle-blind", "agent-stage2")]
    [True, True, False]
    """
    return model.startswith(ORACLE)


def best_rows(column: Column, results: Results) -> frozenset[int]:
    """The rows with the best value of a column that is compared; the oracle's is never one of them."""
    values = {
        number: float(cell)
        for number, cell in enumerate(column.cells)
        if column.compared and cell != NOTHING and not is_oracle(results.rows[number].model)
    }
    best = min(values.values(), default=0.0) if column.lowest else max(values.values(), default=0.0)
    return frozenset(number for number, value in values.items() if value == best)


def readme_table(results: Results, metrics: Sequence[str] = SHOWN) -> str:
    """The table in Markdown, with the comparisons in words and the command below: what README.md shows, never edited by hand."""
    words = grid(results, metrics)
    lines = ["| " + " | ".join(words.header) + " |", "|:--" + "|--:" * (len(words.header) - 1) + "|"]
    for number, row in enumerate(words.rows):
        cells = [f"**{cell}**" if (number, column) in words.best else cell for column, cell in enumerate(row)]
        lines.append("| " + " | ".join([cells[0].replace("|", "\\|"), *cells[1:]]) + " |")
    lines += ["", caption(results)]
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
    shares = relative(told, results)
    if shares is None:
        return f"{name} {told.difference:+.4f}, {p_words(told.p)}"
    share, low, high = shares
    span = "" if low is None or high is None else f" [{percent(low)}, {percent(high)}]"
    return f"{name} {percent(share)}{span}, {p_words(told.p)}"


def metric_title(name: str) -> str:
    """The name of a metric as people write it; what stands before a slash says of which cases.

    >>> [metric_title(name) for name in ("ndcg@10", "strict_mrr", "rare/recall@5", "format_valid", "bleu-4")]
    ['NDCG@10', 'strict MRR', 'rare Recall@5', 'format valid', 'BLEU-4']
    """
    group, slash, rest = name.rpartition("/")
    word, at, cutoff = rest.removeprefix("strict_").partition("@")
    told = {"ndcg": "NDCG", "mrr": "MRR", "recall": "Recall", "rmse": "RMSE", "mae": "MAE", "auc": "AUC"}.get(word, word.replace("_", " "))
    told = told.upper() if word.startswith(("bleu-", "rouge-")) else told
    return (f"{group} " if slash else "") + ("strict " if rest.startswith("strict_") else "") + told + at + cutoff


def is_better(told: Difference) -> bool:
    """Whether `a` has the better mean of the two; what stands before a slash says of which cases, and changes nothing."""
    return (told.difference < 0) == _is_error(told.metric) and told.difference != 0


def p_words(p: float) -> str:
    """A p-value in words.

    >>> p_words(0.0213), p_words(0.0002), p_words(1.0)
    ('p = .02', 'p < .001', 'p = 1')
    """
    if p < 0.001:
        return "p < .001"
    told = f"{p:.3f}" if p < 0.01 else f"{p:.2f}"
    return "p = 1" if told == "1.00" else f"p = {told.removeprefix('0')}"


def shortened(text: str) -> str:
    """Numbers below one without their leading zero.

    >>> shortened("0.1240–0.1360"), shortened("10.5")
    ('.1240–.1360', '10.5')
    """
    return re.sub(r"(?<![\d.])0\.", ".", text)


def relative(told: Difference, results: Results) -> tuple[float, float | None, float | None] | None:
    """The difference and the ends of its interval as shares of the mean of `b`; None where that is 0."""
    row = results.row(told.b)
    reference = row.metrics.get(told.metric, 0.0) if row is not None else 0.0
    if told.ratio is None or reference <= 0:
        return None
    low, high = (None if end is None else end / reference for end in (told.low, told.high))
    return told.ratio - 1, low, high


def percent(share: float) -> str:
    """A share as a signed percentage.

    >>> percent(0.0312), percent(-0.041)
    ('+3.1 %', '−4.1 %')
    """
    return f"{100 * share:+.1f} %".replace("-", "−")


def _is_error(metric: str) -> bool:
    """Whether less of the metric is better."""
    return metric.rpartition("/")[2] in ERRORS


def _metric_column(rows: Sequence[Row], name: str, *, essential: bool = True) -> Column:
    cells = tuple(f"{row.metrics[name]:.4f}" if name in row.metrics else NOTHING for row in rows)
    shorter = tuple(map(shortened, cells))
    return Column(metric_title(name), cells, compared=True, short_cells=shorter, essential=essential, lowest=_is_error(name))


def _plain(row: Row, name: str, style: str) -> str:
    return format(row.metrics[name], style).replace("%", " %") if name in row.metrics else NOTHING


def _interval(row: Row, name: str, digits: int) -> str:
    return f"{row.low[name]:.{digits}f}–{row.high[name]:.{digits}f}" if name in row.low else NOTHING


def _share(value: float | None, best: float) -> str:
    return NOTHING if value is None else f"{100 * value / best:.0f} %"


def one_of(asked: str) -> str:
    """The singular.

    >>> one_of("turns")
    'turn'
    """
    return asked.removesuffix("s")


def _asked(results: Results) -> str:
    counts = sorted({row.users for row in results.rows})
    if not counts:
        return "nobody asked"
    return f"{counts[0]:,}{f' to {counts[-1]:,}' if len(counts) > 1 else ''} {results.dataset.asked} asked"


def caption(results: Results) -> str:
    """How the numbers came about, in whole sentences; what `strict` means where the column is there."""
    asked = _asked(results)
    told = f"{asked[0].upper()}{asked[1:]}, {results.dataset.ranked}. Split: {results.dataset.split.rstrip('.')}. "
    told += "95 % intervals and tests by paired bootstrap over users."
    if any("strict" in name for row in results.rows for name in row.metrics):
        told += " An unreadable answer falls back to the retriever's list; in the strict column it counts as a miss."
    return told


def _latex_row(cells: Sequence[str], bold: frozenset[int] | set[int] = frozenset()) -> str:
    escaped = [cell.replace("\\", r"\textbackslash ").replace("%", r"\%").replace("_", r"\_").replace("&", r"\&") for cell in cells]
    dashes = [cell.replace("–", "--") for cell in escaped]
    return " & ".join(rf"\textbf{{{cell}}}" if column in bold else cell for column, cell in enumerate(dashes)) + r" \\"
