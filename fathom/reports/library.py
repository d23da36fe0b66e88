"""Many runs to look through: all of them in one table, one that is not finished, its answers kind by kind, what changed for whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from urllib.parse import urlencode

from fathom.evaluation.results import Results, Row
from fathom.records import Catalog
from fathom.reports import sections
from fathom.reports.changes import Pair, by_change, changes, gains, pair_view
from fathom.reports.frame import framed, scroller, section
from fathom.reports.plots import interval_mark
from fathom.reports.readings import KINDS, Reading, kinds, worth
from fathom.reports.tables import ERRORS, is_oracle, metric_title

MAIN = ("ndcg@10", "rmse", "mae")
"""What a run is known by: the first of these that its rows have."""

AT_ONCE = 10
"""Answers on one page."""

DIRECTIONS: Mapping[str, str] = {"all": "All", "gained": "Gained", "lost": "Lost"}
"""Kind of changes -> what people read on its button."""


@dataclass(frozen=True, slots=True)
class RunTold:
    """A run as the table of all runs has it."""

    name: str
    """Its folder, below the one that is looked through."""
    method: str = ""
    changed: float = 0.0
    """When something of it was last written, in seconds since 1970."""
    results: Results | None = None
    """None: it is not finished."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage that is done -> seconds that it took."""
    trouble: str = ""
    """Why it cannot be shown; '' where it can."""

    @property
    def metric(self) -> str:
        """What it is known by; '' where its rows have nothing of the kind."""
        rows = self.results.rows if self.results else ()
        return next((name for name in MAIN if any(name in row.metrics for row in rows)), "")

    @property
    def best(self) -> Row | None:
        """Its best row by that."""
        if self.results is None or not self.metric:
            return None
        rows = [row for row in self.results.rows if self.metric in row.metrics and not is_oracle(row.model)]
        return min(rows, key=lambda row: row.metrics[self.metric] * (1 if self.metric in ERRORS else -1), default=None)


def address(path: str, **query: object) -> str:
    """A link within the explorer.

    >>> address("answers", run="a b", kind="hit")
    'answers?run=a+b&kind=hit'
    """
    return f"{path}?{urlencode(query)}"


def how_many(runs: int) -> str:
    """Runs in words.

    >>> how_many(1), how_many(1200)
    ('1 run', '1,200 runs')
    """
    return f"{runs:,} run{'' if runs == 1 else 's'}"


def overview(runs: Sequence[RunTold], *, place: str) -> str:
    """All runs, the latest first, and every row of those that are finished."""
    finished = [run for run in runs if run.results is not None]
    head = _head(("run", "method", "data", "best row", "metric", "value", "95 % interval", "users", "took", "last written"))
    latest = sorted(runs, key=lambda run: -run.changed)
    table = scroller("All runs", f'<table class="sortable words">{head}<tbody>{"".join(map(_line, latest))}</tbody></table>')
    told = f"{how_many(len(runs))} in {place}, {len(finished)} of them finished. Click a heading to sort."
    if not runs:
        told = f"There is no run in {place} yet: 'fathom run recipes/demo.yaml' makes one. Reload this page when it has begun."
    opening = f'<header class="opening"><h1>Runs</h1><p class="quiet">{escape(told)}</p></header>'
    rows = section("Every row", _every_row(finished)) if finished else ""
    return framed("Runs", f"{opening}{table if runs else ''}{rows}", links=[("Every row", "#every-row")] if rows else [], home="./")


def unfinished(run: RunTold, log: Sequence[sections.LogLine], settings: str) -> str:
    """A run that has no table yet: what is done, and its curves as far as they go."""
    done = ", ".join(run.seconds) or "nothing"
    opening = (
        f'<header class="opening"><p class="overline">{escape(run.method)}</p><h1>{escape(run.name)}</h1>'
        f'<p class="verdict">Not finished. Done: {escape(done)}.</p>'
        '<p class="quiet">The same ‘fathom run’ command goes on with it; reload this page to see how far it is.</p></header>'
    )
    curves = sections.training(log)
    parts = {"Training": curves, "Time": sections.stage_times(run.seconds), "Settings": f'<pre tabindex="0">{escape(settings)}</pre>'}
    inside = "".join(section(name, one) for name, one in parts.items() if one)
    links = [(name, f"#{name.lower()}") for name, one in parts.items() if one]
    return framed(run.name, opening + inside, links=links, home="./")


def answers(run: str, row: str, rows: Sequence[str], readings: Sequence[Reading], *, kind: str, user: str, page: int) -> str:
    """The answers of one row, ten at a time, of one kind or of one user.

    `rows`: those whose answers there are; `kind`: one of `KINDS`; `page` counts from 1.
    """
    there = kinds(readings)
    chosen = there.get(kind, [])
    if user:
        chosen = [place for place in chosen if str(readings[place].case.user) == user]
    shown, pages = _page_of(chosen, page)
    cards = "".join(readings[place].card(f"answer-{place + 1}") for place in shown)
    buttons = "".join(
        _button(f"{KINDS[name]} <span>{len(places):,}</span>", address("answers", run=run, row=row, kind=name), pressed=name == kind)
        for name, places in there.items()
    )
    mean = f"NDCG@10 {worth([readings[place] for place in chosen]).mean():.4f}. " if chosen else ""
    told = f"{len(chosen):,} of {len(readings):,} answers. {mean}" if chosen else "None of this kind."
    opening = _opening(run, f"Answers of {row}", told + "j and k go from one to the next.")
    form = _form("answers", run, {"row": (rows, row)}, kind=kind, user=user)
    moves = _moves("answers", page, pages, run=run, row=row, kind=kind, user=user)
    filters = f'<div class="filter" role="group" aria-label="Which answers are shown">{buttons}</div>'
    return framed(
        f"{run}: answers", f'{opening}{form}{filters}<div class="answers">{cards}</div>{moves}', links=_links(run), home="./", forms=True
    )


def changed(
    run: str, names: tuple[str, str], rows: Sequence[str], pairs: Sequence[Pair], catalog: Catalog, *, kind: str, user: str, page: int
) -> str:
    """The same users' answers of two rows side by side, the most changed first.

    `kind`: one of `DIRECTIONS`; `page` counts from 1.
    """
    rose = gains(pairs)
    moved = by_change(pairs, rose)
    wanted = {
        "all": [*moved, *sorted(set(range(len(pairs))) - set(moved))],
        "gained": [place for place in moved if rose[place] > 0],
        "lost": [place for place in moved if rose[place] < 0],
    }
    chosen = wanted[kind]
    if user:
        chosen = [place for place in chosen if str(pairs[place][1].case.user) == user]
    shown, pages = _page_of(chosen, page)
    inside = "".join(pair_view(pairs[place], names, catalog, key=f"case-{place + 1}", unfolded=place == shown[0]) for place in shown)
    buttons = "".join(
        _button(
            f"{DIRECTIONS[name]} <span>{len(places):,}</span>",
            address("changes", run=run, before=names[0], after=names[1], kind=name),
            pressed=name == kind,
        )
        for name, places in wanted.items()
    )
    form = _form("changes", run, {"before": (rows, names[0]), "after": (rows, names[1])}, kind=kind, user=user)
    summary = changes(pairs, names, catalog, most=0)
    moves = _moves("changes", page, pages, run=run, before=names[0], after=names[1], kind=kind, user=user)
    filters = f'<div class="filter" role="group" aria-label="Which changes are shown">{buttons}</div>'
    told = f"From {names[0]} to {names[1]}"
    nothing = "" if shown else '<p class="quiet">Nobody.</p>'
    return framed(
        f"{run}: changes",
        f"{_opening(run, told, '')}{form}{summary}{filters}{inside}{nothing}{moves}",
        links=_links(run),
        home="./",
        forms=True,
    )


def refusal(message: str) -> str:
    """A page that says what is wrong."""
    return framed(
        "Fathom", f'<header class="opening"><h1>Not here</h1><p class="verdict">{escape(message)}</p></header>', links=[], home="./"
    )


def elsewhere(run: str) -> list[tuple[str, str]]:
    """The explorer's other pages about a run."""
    return [("All answers", address("answers", run=run)), ("All changes", address("changes", run=run))]


def _links(run: str) -> list[tuple[str, str]]:
    return [("Overview", address("run", run=run)), *elsewhere(run)]


def _opening(run: str, title: str, told: str) -> str:
    return (
        f'<header class="opening"><p class="overline">{escape(run)}</p><h1>{escape(title)}</h1>'
        f"{f'<p class=quiet>{escape(told)}</p>' if told else ''}</header>"
    )


def _line(run: RunTold) -> str:
    link = f'<a href="{escape(address("run", run=run.name))}">{escape(run.name)}</a>'
    when = datetime.fromtimestamp(run.changed, UTC).strftime("%Y-%m-%d %H:%M") if run.changed else ""
    spent = sum(run.seconds.values())
    took = f'<td data-value="{spent:.1f}">{sections.duration(spent)}</td>' if spent else "<td></td>"
    best = run.best
    if run.trouble:
        cells = f'<td class="wrong" colspan="6">{escape(run.trouble)}</td>'
    elif run.results is None:
        cells = f'<td class="quiet" colspan="6">not finished, {len(run.seconds)} stages done</td>'
    elif best is None:
        cells = f'<td>{escape(run.results.dataset.name)}</td><td class="quiet" colspan="5">no row with a metric that is known here</td>'
    else:
        cells = (
            f"<td>{escape(run.results.dataset.name)}</td><td>{escape(best.model)}</td><td>{metric_title(run.metric)}</td>"
            f"<td>{best.metrics[run.metric]:.4f}</td><td>{_interval(best, run.metric)}</td><td>{best.users:,}</td>"
        )
    return f'<tr><th scope="row">{link}</th><td>{escape(run.method)}</td>{cells}{took}<td>{when}</td></tr>'


def _every_row(runs: Sequence[RunTold]) -> str:
    """Rows of all runs that have a common measure, by data set; what is better stands first."""
    told: dict[tuple[str, str], list[tuple[RunTold, Row]]] = {}
    for run in runs:
        if run.results is not None and run.metric:
            data = run.results.dataset
            for row in run.results.rows:
                if run.metric in row.metrics:
                    told.setdefault((f"{data.name}, {data.users:,} users, {data.items:,} items", run.metric), []).append((run, row))
    tables = []
    for (place, metric), rows in told.items():
        rows.sort(key=lambda one: one[1].metrics[metric] * (1 if metric in ERRORS else -1))
        top = max(max(row.high.get(metric, 0.0), row.metrics[metric]) for _, row in rows) * 1.04
        head = _head(("row", "run", metric_title(metric), "95 % interval", "on one scale", "users", "ms each"))
        body = "".join(
            f'<tr><th scope="row">{escape(row.model)}</th><td><a href="{escape(address("run", run=run.name))}">{escape(run.name)}</a></td>'
            f"<td>{row.metrics[metric]:.4f}</td><td>{_interval(row, metric)}</td>"
            f'<td class="drawn" data-value="{row.metrics[metric]}">{_mark(row, metric, top)}</td>'
            f"<td>{row.users:,}</td><td>{1000 * row.seconds / row.users:,.1f}</td></tr>"
            for run, row in rows
        )
        table = scroller(f"Rows on {place}", f'<table class="sortable">{head}<tbody>{body}</tbody></table>')
        tables.append(f"<h3>{escape(place)}</h3>{table}")
    return "".join(tables) or '<p class="quiet">None.</p>'


def _head(names: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _mark(row: Row, metric: str, top: float) -> str:
    mean = row.metrics[metric]
    return interval_mark(mean, row.low.get(metric, mean), row.high.get(metric, mean), top=top)


def _interval(row: Row, metric: str) -> str:
    return f"{row.low[metric]:.4f} to {row.high[metric]:.4f}" if metric in row.low else ""


def _page_of(chosen: Sequence[int], page: int) -> tuple[Sequence[int], int]:
    """The places on a page, and how many pages there are."""
    return chosen[(page - 1) * AT_ONCE : page * AT_ONCE], max(1, -(-len(chosen) // AT_ONCE))


def _button(words: str, link: str, *, pressed: bool) -> str:
    return f'<a class="button" href="{escape(link)}"{" aria-current=true" if pressed else ""}>{words}</a>'


def _moves(path: str, page: int, pages: int, **query: str) -> str:
    if pages == 1:
        return ""
    earlier = _button("Earlier", address(path, **query, page=page - 1), pressed=False) if page > 1 else ""
    later = _button("Later", address(path, **query, page=page + 1), pressed=False) if page < pages else ""
    return f'<div class="filter">{earlier}<span class="quiet">Page {page:,} of {pages:,}</span>{later}</div>'


def _form(path: str, run: str, selects: Mapping[str, tuple[Sequence[str], str]], *, kind: str, user: str) -> str:
    fields = "".join(
        f'<label>{name}<select name="{name}">{"".join(_option(one, chosen=one == now) for one in names)}</select></label>'
        for name, (names, now) in selects.items()
    )
    return (
        f'<form class="choose" method="get" action="{path}"><input type="hidden" name="run" value="{escape(run)}">'
        f'<input type="hidden" name="kind" value="{escape(kind)}">{fields}'
        f'<label>user<input name="user" inputmode="numeric" size="8" value="{escape(user)}" placeholder="everybody"></label>'
        '<button type="submit">Show</button></form>'
    )


def _option(name: str, *, chosen: bool) -> str:
    return f"<option{' selected' if chosen else ''}>{escape(name)}</option>"
