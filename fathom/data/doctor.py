"""What a dataset is like and what is wrong with it: counts, quantiles, ties, titles, cold items, leaks."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text
from scipy.stats import spearmanr

from fathom.data.dataset import Dataset
from fathom.data.filters import owners
from fathom.data.titles import canonical, neutral
from fathom.records import Catalog, Interactions, Ints

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
"""At which shares history lengths and popularities are given."""

COLD = 10
"""An item with fewer interactions than this is cold."""

_NEAR = 0.01


@dataclass(frozen=True, slots=True)
class Check:
    """Figures of one dataset, and in `warnings` what its user should know before measuring on it."""

    name: str
    users: int
    items: int
    interactions: int
    density: float
    """Share of all (user, item) pairs that are interactions."""
    first: int
    """Seconds since 1970 of the first known time; -1: no time is known."""
    last: int
    known_times: float
    """Share of interactions whose time is known."""
    rated: float
    """Share of interactions with a rating."""
    mean_rating: float
    """Mean of the known ratings; NaN where there are none."""
    lengths: tuple[float, ...]
    """Interactions per user at `QUANTILES`."""
    popularity: tuple[float, ...]
    """Interactions per item at `QUANTILES`."""
    head: float
    """Share of interactions on the most popular tenth of the items."""
    ties: int
    """Interactions that share their second with the one before, of the same user."""
    tied_ends: int
    """Users whose last two interactions share their second: the order of rows, not time, chose the last."""
    repeats: int
    """Interactions with an item that the user had taken before."""
    duplicate_titles: int
    """Items whose title only an addition in brackets tells apart, or nothing at all."""
    entities: int
    """Titles that hold an HTML entity."""
    markers: int
    """Titles that hold a protocol marker or a line break."""
    untitled: int
    """Items whose title is their outside id."""
    cold_items: float
    """Share of items with fewer than `COLD` interactions."""
    cold_targets: float
    """Share of users whose last item nobody else took: leave-one-out asks for it, nothing can be learned of it."""
    id_order: float
    """Rank correlation of item ids with the order of first appearance, user by user; 1: ids are numbered by it."""
    id_nearness: float
    """How much more often than by chance neighbours in a history have ids within 1 % of each other; 1: ids tell nothing."""
    warnings: tuple[str, ...] = ()


def check(dataset: Dataset) -> Check:
    """The figures of `dataset`; deterministic."""
    log, catalog = dataset.interactions, dataset.catalog
    lengths, popularity = np.diff(log.offsets), np.bincount(log.items, minlength=catalog.n_items + 1)[1:]
    times = log.times[log.times >= 0] if log.times is not None else np.empty(0, dtype=np.int64)
    ratings = log.ratings[~np.isnan(log.ratings)] if log.ratings is not None else np.empty(0, dtype=np.float32)
    ties, tied_ends = _ties(log)
    tops = np.sort(popularity)[::-1][: max(1, catalog.n_items // 10)]
    figures = Check(
        name=dataset.name,
        users=log.n_users,
        items=catalog.n_items,
        interactions=log.n_events,
        density=log.n_events / max(1, log.n_users * catalog.n_items),
        first=int(times.min()) if len(times) else -1,
        last=int(times.max()) if len(times) else -1,
        known_times=len(times) / max(1, log.n_events),
        rated=len(ratings) / max(1, log.n_events),
        mean_rating=float(ratings.mean(dtype=np.float64)) if len(ratings) else float("nan"),
        lengths=_quantiles(lengths),
        popularity=_quantiles(popularity),
        head=float(tops.sum() / max(1, log.n_events)),
        ties=ties,
        tied_ends=tied_ends,
        repeats=_repeats(log, catalog.n_items),
        duplicate_titles=_duplicates(catalog.titles),
        entities=sum(html.unescape(title) != title for title in catalog.titles),
        markers=sum(neutral(title) != title or len(title.splitlines()) != 1 for title in catalog.titles),
        untitled=sum(title == name for title, name in zip(catalog.titles, catalog.names, strict=True)),
        cold_items=float((popularity < COLD).mean()) if len(popularity) else 0.0,
        cold_targets=_cold_targets(log, popularity),
        id_order=_id_order(log),
        id_nearness=_id_nearness(log, catalog),
    )
    return _with_warnings(figures)


def render(figures: Check) -> Group:
    """`figures` for the terminal: one table of figures, one of quantiles, the warnings below."""
    counts = Grid(title=figures.name, show_header=False, title_justify="left")
    for label, value in _rows(figures):
        counts.add_row(label, value)
    spread = Grid(title="per user and per item", title_justify="left")
    spread.add_column("quantile")
    for share in QUANTILES:
        spread.add_column(f"{share:.0%}", justify="right")
    spread.add_row("history length", *(f"{value:,.0f}" for value in figures.lengths))
    spread.add_row("item popularity", *(f"{value:,.0f}" for value in figures.popularity))
    warnings = [Text(f"! {warning}", style="yellow") for warning in figures.warnings] or [Text("nothing to warn of", style="green")]
    return Group(counts, spread, *warnings)


def _rows(figures: Check) -> list[tuple[str, str]]:
    return [
        ("users", f"{figures.users:,}"),
        ("items", f"{figures.items:,}"),
        ("interactions", f"{figures.interactions:,}"),
        ("density", f"{figures.density:.4%}"),
        ("times known", f"{figures.known_times:.1%}" + (f", {_day(figures.first)} to {_day(figures.last)}" if figures.first >= 0 else "")),
        ("ratings known", f"{figures.rated:.1%}" + (f", mean {figures.mean_rating:.2f}" if figures.rated else "")),
        ("on the top tenth of items", f"{figures.head:.1%}"),
        ("time ties", f"{figures.ties:,} interactions; the last two of {figures.tied_ends:,} users"),
        ("repeated (user, item) pairs", f"{figures.repeats:,}"),
        ("duplicate titles", f"{figures.duplicate_titles:,}"),
        ("titles with HTML entities", f"{figures.entities:,}"),
        ("titles with markers or line breaks", f"{figures.markers:,}"),
        ("items without a title", f"{figures.untitled:,}"),
        (f"items with fewer than {COLD} interactions", f"{figures.cold_items:.1%}"),
        ("last items that nobody else took", f"{figures.cold_targets:.1%} of users"),
        ("ids along first appearance", f"{figures.id_order:+.2f} (rank correlation)"),
        ("near ids among neighbours", f"{figures.id_nearness:.1f} times chance"),
    ]


def _with_warnings(figures: Check) -> Check:
    told = [
        (
            figures.tied_ends,
            f"for {figures.tied_ends:,} users the order of rows, not time, chose the last item: leave-one-out depends on it",
        ),
        (figures.known_times == 0, "no time is known: a split at one point in time is not possible"),
        (0 < figures.known_times < 1, f"{1 - figures.known_times:.1%} of interactions have no time: a global-time split leaves them out"),
        (figures.repeats, f"{figures.repeats:,} interactions repeat an item: with seen items excluded, such a target can never be found"),
        (figures.entities, f"{figures.entities:,} titles hold HTML entities: unescape them"),
        (
            figures.markers,
            f"{figures.markers:,} titles hold protocol markers or line breaks: build them with fathom.data.titles.display_titles",
        ),
        (figures.untitled, f"{figures.untitled:,} items have no title: a language model can tell nothing from an id"),
        (
            figures.cold_targets > 0.01,
            f"{figures.cold_targets:.1%} of the last items were taken by nobody else: only their text can find them",
        ),
        (figures.id_order > 0.5, "ids leak: they are numbered largely by first appearance; import with --renumber SEED"),
        (
            figures.id_nearness > 1.5,
            f"ids leak: neighbours in a history have near ids {figures.id_nearness:.1f} times as often as by chance",
        ),
    ]
    return replace(figures, warnings=tuple(words for holds, words in told if holds))


def _quantiles(values: Ints) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, QUANTILES)) if len(values) else (0.0,) * len(QUANTILES)


def _neighbours(log: Interactions) -> npt.NDArray[np.int64]:
    """The positions of events that have one of the same user before them."""
    owner = owners(log)
    return np.flatnonzero(owner[1:] == owner[:-1]) + 1


def _ties(log: Interactions) -> tuple[int, int]:
    if log.times is None:
        return 0, 0
    later = _neighbours(log)
    tied = np.zeros(log.n_events, dtype=bool)
    tied[later] = (log.times[later] == log.times[later - 1]) & (log.times[later] >= 0)
    ends = log.offsets[1:][np.diff(log.offsets) > 0] - 1
    return int(tied.sum()), int(tied[ends].sum())


def _repeats(log: Interactions, n_items: int) -> int:
    return log.n_events - len(np.unique(owners(log) * (n_items + 1) + log.items))


def _duplicates(titles: Sequence[str]) -> int:
    """Titles that are equal to another once the additions in brackets are taken off."""
    bare = [canonical(title).split(" [")[0] for title in titles]
    counts: dict[str, int] = {}
    for form in bare:
        counts[form] = counts.get(form, 0) + 1
    return sum(counts[form] > 1 for form in bare)


def _cold_targets(log: Interactions, popularity: Ints) -> float:
    ends = log.offsets[1:][np.diff(log.offsets) > 0] - 1
    return float((popularity[log.items[ends] - 1] == 1).mean()) if len(ends) else 0.0


def _id_order(log: Interactions) -> float:
    """Rank correlation of id and first appearance, the users one after another; 0 below three items."""
    items, first = np.unique(log.items, return_index=True)
    return float(spearmanr(items, first).statistic) if len(items) > 2 else 0.0


def _id_nearness(log: Interactions, catalog: Catalog) -> float:
    """Observed share of near ids among neighbours over its expectation for two independent draws by popularity."""
    later = _neighbours(log)
    if not len(later):
        return 1.0
    reach = max(1, int(catalog.n_items * _NEAR))
    observed = float((np.abs(log.items[later] - log.items[later - 1]) <= reach).mean())
    share = np.bincount(log.items, minlength=catalog.n_items + 1)[1:] / log.n_events
    total = np.concatenate([[0.0], np.cumsum(share)])
    low = np.maximum(np.arange(catalog.n_items) - reach, 0)
    high = np.minimum(np.arange(catalog.n_items) + reach + 1, catalog.n_items)
    expected = float((share * (total[high] - total[low] - share)).sum())  # a neighbour is another item
    return observed / expected if expected > 0 else 1.0


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
