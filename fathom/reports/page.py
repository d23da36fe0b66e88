"""One self-contained HTML page per run: no outside request, light and dark, narrow and wide, for the eye, the keyboard and the ear.

The page's own policy (Content-Security-Policy) forbids the browser to load anything: what is shown is in the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

from fathom.evaluation.results import Results
from fathom.files import write_text
from fathom.records import Catalog, Episode, Reasoning
from fathom.reports import sections
from fathom.reports.changes import changes, paired
from fathom.reports.frame import Links, framed, resource, section
from fathom.reports.over_time import over_time
from fathom.reports.readings import KINDS, Reading, kinds, spread
from fathom.reports.tables import SHOWN, comparison_words, metric_title, one_of, p_words

KEYS = (
    ("format_valid", "{:.1%}", "well-formed episodes"),
    ("turns", "{:.1f}", "retrievals per user"),
    ("tokens", "{:.0f}", "tokens written per user"),
)
"""Figures of the agent at the top of the page: metric, how it is written, what it is."""

BEHIND = {"retriever": "against its retriever alone", "r2ec-no-reason": "against no reasoning"}
"""Row that the page's own is compared with at the top -> in words."""


@dataclass(frozen=True, slots=True)
class PageData:
    """Everything a page shows."""

    title: str
    """Name of the run."""
    results: Results
    catalog: Catalog
    log: Sequence[sections.LogLine] = ()
    """The lines of `metrics.jsonl`, in order."""
    episodes: Sequence[Episode] = ()
    """Episodes of `agent`, whose profiles are shown."""
    agent: str = ""
    """The row that the page is about, such as 'agent-stage2'; '' where no agent was evaluated."""
    settings: str = ""
    """The recipe with every default filled in, as YAML."""
    notes: Sequence[str] = ()
    """What the reader should know before the numbers: what leaks, what was not run."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage of the run -> wall-clock seconds it took, in order."""
    reasonings: Sequence[Reasoning] = ()
    """Reasonings of `agent`, where it reasons instead of talking."""
    readings: Sequence[Reading] = ()
    """Its answers in the order of their cases: ten of them are shown."""
    before: Sequence[Reading] = ()
    """The answers of `earlier` to the same cases: those that changed most are shown side by side."""
    earlier: str = ""
    """The row that `agent` came from; '' where it came from none."""
    home: str = "#top"
    """Where the page's name leads."""
    elsewhere: Links = ()
    """Other pages about the run: words and address of each."""
    shown: Sequence[str] = SHOWN
    """The metrics of the table; the first one is what the page is about."""


def render(page: PageData) -> str:
    """The whole page as one HTML document. Every word that comes from data, models or settings is escaped."""
    results, main = page.results, page.shown[0]
    parts = {
        "Training": sections.training(page.log),
        "Behaviour": sections.reasoning(results.row(page.agent), page.reasonings)
        if page.reasonings
        else sections.behaviour(results.row(page.agent), page.episodes),
        "Changes": changes(paired(page.before, page.readings), (page.earlier, page.agent), page.catalog),
        "Answers": _reading(page),
    }
    parts = {name: inside for name, inside in parts.items() if inside}  # a comparison of runs has none of them
    inside = Template(resource("run.html")).substitute(
        title=escape(page.title),
        dataset=escape(f"{results.dataset.name} · {results.dataset.items:,} items · {results.dataset.users:,} users"),
        verdict=escape(sections.verdict(results, page.agent, metric=main)),
        keys=_keys(page),
        notes=_notes(page.notes),
        intervals=sections.intervals(results, metric=main, agent=page.agent),
        table=sections.figures_table(results, metrics=page.shown, agent=page.agent),
        over_time=over_time(results),
        comparisons=sections.comparisons(results, agent=page.agent),
        parts="".join(section(name, inside) for name, inside in parts.items()),
        facts=_facts(page),
        spending=sections.cost_chart(results, metric=main, agent=page.agent),
        cost=sections.cost_table(results),
        stages=sections.stage_times(page.stage_seconds),
        settings=escape(page.settings) or "none",
        command=escape(results.command),
    )
    links = [(name, f"#{name.lower()}") for name in ("Results", *parts, "Run")]
    return framed(page.title, inside, links=[*links, *page.elsewhere], home=page.home)


def write_page(path: Path, page: PageData) -> None:
    """Write the page, whole or not at all."""
    write_text(path, render(page))


def _keys(page: PageData) -> str:
    """The few figures at the top: quality, gain over the retriever, form, turns, time."""
    row = page.results.row(page.agent)
    if row is None:
        return ""
    main = page.shown[0]
    title = metric_title(main)
    figure = f"{row.metrics[main]:.4f}".removeprefix("0") if main in row.metrics else ""
    told = [(figure, title, _interval_words(main, row.low, row.high))] if figure else []
    for found in page.results.comparisons:
        if (found.a, found.metric) == (page.agent, main) and found.b in BEHIND and found.ratio is not None:
            gain = comparison_words(found, page.results).partition(f"{title} ")[2].partition(" %")[0]
            told.append((f"{gain} %", BEHIND[found.b], p_words(found.p)))
    for name, style, words in KEYS:
        if name in row.metrics:
            told.append((style.format(row.metrics[name]).replace("%", " %"), words, ""))
    asked = page.results.dataset.asked
    told.append((f"{row.seconds / row.users:.2f} s", f"per {one_of(asked)}", f"{row.users:,} {asked} asked"))
    return "".join(
        f"<div><dt>{escape(words)}</dt><dd>{escape(value)}</dd>{f'<dd class=more>{escape(more)}</dd>' if more else ''}</div>"
        for value, words, more in told
    )


def _notes(notes: Sequence[str]) -> str:
    """The first note in full, the others folded away."""
    lines = [f'<p class="note">{escape(note)}</p>' for note in notes]
    more = len(lines) - 1
    folded = f"<details><summary>{more} more {'note' if more == 1 else 'notes'}</summary>{''.join(lines[1:])}</details>" if more > 0 else ""
    return "".join(lines[:1]) + folded


def _interval_words(metric: str, low: Mapping[str, float], high: Mapping[str, float]) -> str:
    if metric not in low:
        return ""
    ends = [f"{side[metric]:.4f}".removeprefix("0") for side in (low, high)]
    return f"95 %: {ends[0]} to {ends[1]}"


def _reading(page: PageData) -> str:
    """The answers to read, with buttons that show one kind alone; nothing where there are none."""
    if not page.readings:
        return ""
    read = spread(len(page.readings))
    cards = "".join(page.readings[place].card(f"answer-{number}") for number, place in enumerate(read, start=1))
    there = kinds([page.readings[place] for place in read])
    buttons = "".join(
        f'<button type="button" data-show="{kind}" aria-pressed="{"true" if kind == "all" else "false"}">{KINDS[kind]} '
        f"<span>{len(there[kind])}</span></button>"
        for kind in ("all", "hit", "miss", "failed")
        if kind in there
    )
    how = f"{len(read)} of {len(page.readings):,} answers of {page.agent}, evenly spread over the cases; nobody picked them."
    return (
        f'<p class="quiet">{escape(how)} <span class="keys"><kbd>j</kbd> and <kbd>k</kbd> go from one to the next.</span></p>'
        f'<div class="filter" role="group" aria-label="Which answers are shown">{buttons}</div><div class="answers">{cards}</div>'
    )


def _facts(page: PageData) -> str:
    """Where the numbers come from: data, code, machine."""
    results = page.results
    data = results.dataset
    groups: tuple[tuple[str, dict[str, str]], ...] = (
        (
            "Data",
            {
                "data set": data.name,
                "split": data.split,
                "users": f"{data.users:,}",
                "items": f"{data.items:,}",
                "interactions": f"{data.interactions:,}",
                "fingerprint": data.fingerprint[:16],
            },
        ),
        ("Code", {"recipe": results.recipe, "seed": str(results.seed), "commit": results.commit[:10], **results.versions}),
        ("Machine", dict(results.machine)),
    )
    return "".join(
        f"<section><h3>{name}</h3><dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in facts.items())}</dl></section>"
        for name, facts in groups
    )
