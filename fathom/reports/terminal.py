"""Results on a terminal of any width: numbers are never cut, what does not fit goes into another table below."""

from collections.abc import Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fathom.evaluation.results import Difference, Results
from fathom.reports.tables import (
    SHOWN,
    Column,
    best_rows,
    caption,
    columns,
    is_better,
    is_oracle,
    metric_title,
    p_words,
    relative,
    shortened,
)

LIKELY = 0.05
"""A difference with a smaller p is shown bright."""

FOLDED = 20
"""Columns of a console that folding the names of two models can save."""


class ResultsTable:
    """The rows as one table where the console is wide enough, otherwise the essential columns first and the others in a second one."""

    def __init__(self, results: Results, metrics: Sequence[str] = SHOWN) -> None:
        self._results = results
        self._columns = columns(results, metrics)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich calls this with the width there is."""
        facts = self._results.dataset
        yield Text(f"{facts.name}: {facts.users:,} users, {facts.items:,} items, {facts.interactions:,} interactions", style="italic")
        for part in self._parts(console, options):
            yield self._table(part)
            yield Text()
        yield Text(caption(self._results), style="dim italic")

    def _parts(self, console: Console, options: ConsoleOptions) -> list[list[Column]]:
        """The columns behind the model's name, in as many tables as the width asks for, the essential ones first."""
        rest = self._columns[1:]
        if not self._fits(rest, console, options):
            rest = sorted(rest, key=lambda column: not column.essential)
        parts: list[list[Column]] = []
        for column in rest:
            if parts and self._fits([*parts[-1], column], console, options):
                parts[-1].append(column)
            else:
                parts.append([column])
        return parts

    def _fits(self, part: Sequence[Column], console: Console, options: ConsoleOptions) -> bool:
        return _width(self._table(part), console, options) <= options.max_width

    def _table(self, part: Sequence[Column]) -> Table:
        shown = [self._columns[0], *part]
        table = _plain_table()
        for number, column in enumerate(shown):
            # Only the name may break, and only where not even one number beside it has room.
            table.add_column(
                Text(column.short_title or column.title), justify="right" if number else "left", no_wrap=number > 0, overflow="fold"
            )
        best = [best_rows(column, self._results) for column in shown]
        cells = [column.short_cells or column.cells for column in shown]
        for number, row in enumerate(self._results.rows):
            words = [Text(cells[at][number], style="bold green" if number in best[at] else "") for at in range(len(shown))]
            table.add_row(*words, style="dim" if is_oracle(row.model) else "")
        return table


class ComparisonTable:
    """The paired tests in the order given, a table for each metric; those without any difference are counted and left out."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich calls this with the width there is."""
        told = [one for one in self._results.comparisons if one.difference or one.p < 1]
        for metric in dict.fromkeys(one.metric for one in told):
            yield Text(f"{metric_title(metric)} compared, differences in % of the second", style="italic")
            group = [one for one in told if one.metric == metric]
            table = self._table(group)
            room = _width(table, console, options) <= options.max_width + FOLDED
            yield table if room else self._table(group, intervals=False)
            yield Text()
        if same := len(self._results.comparisons) - len(told):
            yield Text(f"{same} more {'comparison shows' if same == 1 else 'comparisons show'} no difference at all.", style="dim italic")

    def _table(self, group: Sequence[Difference], *, intervals: bool = True) -> Table:
        table = _plain_table()
        for number, name in enumerate(("model", "against", "difference", *(["interval"] if intervals else []), "p")):
            table.add_column(name, justify="right" if number > 1 else "left", no_wrap=number > 1, overflow="fold")
        for told in group:
            shares = relative(told, self._results)
            span = "" if shares is None or shares[1] is None or shares[2] is None else f"{_signed(shares[1])} to {_signed(shares[2])}"
            change = f"{shortened(f'{told.difference:.4f}')} in all" if shares is None else _signed(shares[0])
            style = ("bold green" if is_better(told) else "bold red") if told.p < LIKELY else "dim"
            words = p_words(told.p).removeprefix("p ").removeprefix("= ")
            cells = [Text(told.a), Text(told.b), Text(change, style=style), *([Text(span)] if intervals else []), Text(words)]
            table.add_row(*cells, style="" if told.p < LIKELY else "dim")
        return table


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    """Columns of the console that `table` needs so that nothing in it breaks."""
    return Measurement.get(console, options.update(width=10_000), table).maximum


def _plain_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False, header_style="bold")


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
