"""The parts of a run's page that show numbers: intervals, the table, training curves, behaviour, cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from fathom.evaluation.results import Difference, Results, Row
from fathom.files import Json
from fathom.records import Episode, Reasoning
from fathom.reports.episode import ENDINGS
from fathom.reports.frame import scroller
from fathom.reports.plots import Dot, column_chart, interval_mark, line_chart, scatter_chart, short
from fathom.reports.tables import ORACLE, SHOWN, comparison_words, grid, is_better, is_oracle, metric_title, one_of

LogLine = Mapping[str, Json]
"""One line of `metrics.jsonl`: 'stage', 'step', and '<stage>/<name>' -> value; None where it was not finite."""

SIGNIFICANT = 0.05

AT_ONCE = 9
"""Curves of a stage that are seen at once; the rest unfolds."""

EXPLAINED: Mapping[str, str] = {
    "loss": "what the training lowers",
    "learning_rate": "size of the optimiser's steps",
    "gradient_norm": "length of the gradient before it is clipped",
    "total": "all rewards together, weighted",
    "well_formed": "share of episodes that pass every format check",
    "turns": "retrievals per episode",
    "written_tokens": "tokens the model writes per episode",
    "tokens": "tokens of a whole episode, prompt and item lists included",
    "answered": "share of episodes that end with an answer",
    "target_retrieved": "share of episodes in which the target was shown",
    "off_list": "share of answer lines never shown before",
    "repeated_lines": "share of answer lines that name an item again",
    "play_seconds": "time to play the batch",
    "failed": "share of the episodes that the retriever failed",
    "entropy": "how undecided the model is, in nats per token",
    "kl": "distance from where this stage started, in nats per token",
    "format": "paid for the form: negative for any fault",
    "invocation": "paid for calls after the first",
    "diversity": "paid for preferences that differ",
    "hit": "paid for the target in the list",
    "rank": "paid for the target's place in the list",
    "point": "paid for a list of items like the target",
    "ndcg": "NDCG@10 of the written list: watched, never trained on",
    "invalid_lines": "share of answer lines that name no item",
    "clipped": "share of tokens whose update was cut",
    "reward_spread": "standard deviation of the rewards in a batch",
    "groups_that_differ": "share of users whose episodes earned different rewards: only they teach",
    "seconds": "time since the stage began",
    "ndcg@10": "on the validation cases",
    "recall@10": "on the validation cases",
    "reward": "of greedy conversations on the validation cases: decides which weights are kept",
    "format_valid": "share of greedy conversations that pass every check, on the validation cases",
    "recall_ceiling": "share of validation cases whose target was shown",
}
"""The last part of a logged name -> what it means."""

FOREMOST = ("total", "ndcg@10", "reward", "heldout", "turns", "well_formed", "loss", "entropy", "written_tokens", "kl")
"""Which curves come first; a name matches by its last part or by a part on the way."""

UNSEEN = ("epoch", "step")
"""Logged counters that are no curves."""


def intervals(results: Results, *, metric: str = SHOWN[0], agent: str = "") -> str:
    """Every row as a dot with its interval on one common scale; the oracle is a dashed line through all of them."""
    rows = [row for row in results.rows if metric in row.metrics]
    top = max((max(row.high.get(metric, 0.0), row.metrics[metric]) for row in rows), default=1.0) * 1.04
    oracle = results.row(ORACLE)
    reference = oracle.metrics.get(metric) if oracle is not None else None
    lines = []
    for row in rows:
        mean = row.metrics[metric]
        mark = interval_mark(
            mean, row.low.get(metric, mean), row.high.get(metric, mean), top=top, reference=reference, strong=row.model == agent
        )
        kind = ' class="agent"' if row.model == agent else ' class="oracle"' if row.model == ORACLE else ""
        lines.append(f'<li{kind}><span class="name">{escape(row.model)}</span>{mark}<span class="number">{_bare(mean)}</span></li>')
    note = f"Dots are means over {results.dataset.asked}, bars 95 % intervals"
    note += "; the dashed line is the oracle." if reference is not None else "."
    return f'<figure class="intervals"><ul>{"".join(lines)}</ul><figcaption>{escape(metric_title(metric))}. {note}</figcaption></figure>'


def figures_table(results: Results, *, metrics: Sequence[str] = SHOWN, agent: str = "") -> str:
    """The full table, scrollable on narrow screens."""
    words = grid(results, metrics)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in words.header)
    body = []
    for number, row in enumerate(words.rows):
        cells = [
            f"<td{' class=best' if (number, column) in words.best else ''}>{escape(cell)}</td>" for column, cell in enumerate(row) if column
        ]
        kind = ' class="agent"' if row[0] == agent else ' class="oracle"' if row[0] == ORACLE else ""
        body.append(f'<tr{kind}><th scope="row">{escape(row[0])}</th>{"".join(cells)}</tr>')
    return scroller(
        "Figures of every model", f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    )


def comparisons(results: Results, *, agent: str = "") -> str:
    """Every paired test in words, those that chance does not explain marked; tests that are not about `agent` are folded away."""
    about = [told for told in results.comparisons if not agent or told.a in (agent, f"{agent}-scored") or told.b == agent]
    others = [told for told in results.comparisons if told not in about]
    if not about:
        about, others = others, []
    if not about:
        return ""
    rest = f"<details><summary>{len(others)} more</summary>{_tests(others, results)}</details>" if others else ""
    return f"<h3>Paired tests</h3>{_tests(about, results)}{rest}"


def verdict(results: Results, agent: str, *, metric: str = SHOWN[0]) -> str:
    """What the run found, in plain sentences: better, worse, or not told apart; the scored finish after the written one."""
    told = [_verdict(results, row, agent, metric) for name in (agent, f"{agent}-scored") if (row := results.row(name)) is not None]
    return " ".join(told) or "No agent was evaluated in this run."


def _verdict(results: Results, row: Row, agent: str, main: str) -> str:
    """One row's figure and how the paired tests came out."""
    found: dict[str, list[str]] = {"better than": [], "not told apart from": [], "worse than": []}
    for told in results.comparisons:
        if told.a == row.model and told.metric == main:
            kind = "not told apart from" if told.p >= SIGNIFICANT else "better than" if is_better(told) else "worse than"
            found[kind].append(told.b)
    who = row.model if row.model == agent else "Its scored finish"
    reached = f"{who} reaches {metric_title(main)} {_bare(row.metrics[main])}" if main in row.metrics else f"{who} has no {main}"
    oracle = results.row(ORACLE)
    if oracle is not None and main in row.metrics and oracle.metrics.get(main, 0.0) > 0:
        reached += f", {100 * row.metrics[main] / oracle.metrics[main]:.0f} % of what can be reached"
    parts = [f"{kind} {_joined(names)}" for kind, names in found.items() if names]
    return f"{reached}: {'; '.join(parts)}." if parts else f"{reached}; no paired test was made."


def training(log: Sequence[LogLine]) -> str:
    """Curves of everything that was logged, stage by stage; what matters most first, the rest folded away.

    Of a stage that was done again and again, as `name@...`, the last time is shown.
    """
    last = {str(line["stage"]).partition("@")[0]: str(line["stage"]) for line in log}
    stages: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in log:
        if str(line["stage"]) not in last.values():
            continue
        curves = stages.setdefault(str(line["stage"]), {})
        for name, value in line.items():
            if name not in ("stage", "step") and isinstance(value, int | float):
                curves.setdefault(name.removeprefix(f"{line['stage']}/"), []).append((float(str(line["step"])), float(value)))
    return "".join(_stage(stage, curves) for stage, curves in stages.items())


def behaviour(row: Row | None, episodes: Sequence[Episode]) -> str:
    """How the agent explores: turns, length, what each further turn is worth, how episodes end, what goes wrong."""
    if not episodes:
        return ""
    turns = Counter(len(episode.turns) for episode in episodes)
    charts = [
        _chart(
            "Turns",
            "retrievals per episode, share",
            column_chart(_shares(turns, len(episodes)), label="Share of episodes by number of turns"),
        )
    ]
    by_turn = _along("ndcg@10/turns=", row.metrics if row is not None else {})
    if by_turn:
        told = "NDCG@10 of the list that the first t retrievals give"
        charts.append(_chart("Worth of a turn", told, line_chart(by_turn, label=told, smooth=False)))
    lengths = [sum(episode.tape.sampled) for episode in episodes if episode.tape is not None]
    if lengths:
        charts.append(
            _chart("Length", "tokens the model wrote, share of episodes", column_chart(_histogram(lengths), label="Tokens per episode"))
        )
    ended = Counter(ENDINGS[episode.ending] for episode in episodes)
    faults = Counter(name for episode in episodes for name in episode.faults)
    lists = _meters("How episodes end", ended, len(episodes))
    lists += _meters("Format checks that fail", faults, len(episodes)) if faults else ""
    return f'<div class="charts">{"".join(charts)}</div><div class="meters">{lists}</div>'


def reasoning(row: Row | None, reasonings: Sequence[Reasoning]) -> str:
    """How the model reasons: how long, what each further token is worth, how often it is cut off."""
    lengths = [one.written for one in reasonings]
    charts = [_chart("Length", "tokens the model wrote, share of users", column_chart(_histogram(lengths), label="Tokens per reasoning"))]
    curve = _along("ndcg@10/tokens=", row.metrics if row is not None else {})
    if len(curve) > 1:
        told = "NDCG@10 where the model is read out after at most so many tokens"
        charts.append(_chart("Worth of a token", told, line_chart(curve, label=told, smooth=False)))
    ended = Counter("read out because its tokens had run out" if one.forced else "ended by itself" for one in reasonings)
    return f'<div class="charts">{"".join(charts)}</div><div class="meters">{_meters("How reasonings end", ended, len(reasonings))}</div>'


def cost_chart(results: Results, *, metric: str = SHOWN[0], agent: str = "") -> str:
    """Every row's `metric` against the milliseconds of an answer; nothing where fewer than two have both."""
    dots = [
        Dot(row.model, 1000 * row.seconds / row.users, row.metrics[metric], strong=row.model == agent)
        for row in results.rows
        if metric in row.metrics and row.seconds > 0 and row.metrics[metric] >= 0 and not is_oracle(row.model)
    ]
    if len(dots) < 2:
        return ""
    name, each = metric_title(metric), one_of(results.dataset.asked)
    drawing = scatter_chart(dots, label=f"{name} against what answers cost", x=f"milliseconds per {each}", y=name)
    return f'<figure class="wide"><figcaption>{escape(name)} against milliseconds per {escape(each)}</figcaption>{drawing}</figure>'


def cost_table(results: Results) -> str:
    """What each model's answers cost; alone: how long a person waits when nobody else is served, where that was measured."""
    each = one_of(results.dataset.asked)
    names = ("model", "seconds", f"ms / {each}", "ms alone", f"tokens / {each}", f"context / {each}", "peak MB")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(row.model)}</th><td>{row.seconds:,.1f}</td><td>{1000 * row.seconds / row.users:,.1f}</td>'
        f"<td>{_optional(row, 'latency_seconds', 1000)}</td>"
        f"<td>{_optional(row, 'tokens')}</td><td>{_optional(row, 'context_tokens')}</td><td>{row.peak_mb:,.0f}</td></tr>"
        for row in results.rows
    )
    return scroller("Cost of every model", f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def stage_times(seconds: Mapping[str, float]) -> str:
    """How long each stage of the run took, as bars; nothing where no times are known."""
    whole = sum(seconds.values())
    if not whole:
        return ""
    lines = "".join(meter(stage, spent / whole, duration(spent)) for stage, spent in seconds.items())
    return f'<div class="meters"><section><h3>What the run cost: {duration(whole)}</h3><ul>{lines}</ul></section></div>'


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(4.24), duration(312), duration(9000)
    ('4.2 s', '5.2 min', '2.5 h')
    """
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _tests(told: Sequence[Difference], results: Results) -> str:
    kinds = ["plain" if one.p >= SIGNIFICANT else "better" if is_better(one) else "worse" for one in told]
    lines = [f'<li class="{kind}">{escape(comparison_words(one, results))}</li>' for kind, one in zip(kinds, told, strict=True)]
    return f'<ul class="tests">{"".join(lines)}</ul>'


def _stage(stage: str, curves: Mapping[str, list[tuple[float, float]]]) -> str:
    """One stage: a grid of small charts, and in words what was logged only once."""
    ordered = sorted((name for name in curves if name not in UNSEEN), key=lambda name: (_importance(name), name))
    names = [name for name in ordered if len(curves[name]) > 1]
    once = ", ".join(f"{_spoken(name)} {short(curves[name][0][1])}" for name in ordered if name not in names)
    drawn = [
        _chart(
            _spoken(name),
            EXPLAINED.get(name.rpartition("/")[2], ""),
            line_chart(curves[name], label=f"{stage}: {name}"),
            value=short(curves[name][-1][1]),
        )
        for name in names
    ]
    rest = len(drawn) - AT_ONCE
    folded = f'<details><summary>{rest} more</summary><div class="charts">{"".join(drawn[AT_ONCE:])}</div></details>' if rest > 0 else ""
    told = f'<p class="quiet">Once: {escape(once)}.</p>' if once else ""
    return f'<h3>{escape(stage)}</h3><div class="charts">{"".join(drawn[:AT_ONCE])}</div>{folded}{told}'


def _spoken(name: str) -> str:
    """A logged name as a title."""
    return name.replace("_", " ").replace("/", " · ")


def _importance(name: str) -> int:
    parts = name.split("/")
    return next((place for place, word in enumerate(FOREMOST) if word in parts), len(FOREMOST))


def _chart(title: str, told: str, drawing: str, *, value: str = "") -> str:
    last = f'<span class="last">{escape(value)}</span>' if value else ""
    note = f"<small>{escape(told)}</small>" if told else ""
    return f'<figure class="small"><figcaption><span><b>{escape(title)}</b>{note}</span>{last}</figcaption>{drawing}</figure>'


def _along(prefix: str, metrics: Mapping[str, float]) -> list[tuple[float, float]]:
    """The figures whose names are `prefix` and a number, by that number."""
    return sorted((float(name.removeprefix(prefix)), value) for name, value in metrics.items() if name.startswith(prefix))


def _shares(counted: Mapping[int, int], whole: int) -> list[tuple[str, float]]:
    return [(str(number), counted.get(number, 0) / whole) for number in range(min(counted), max(counted) + 1)]


def _histogram(values: Sequence[int], places: int = 16) -> list[tuple[str, float]]:
    """Shares of values in equally wide places, named by where each begins."""
    low, high = min(values), max(values)
    wide = max(1, -(-(high - low + 1) // places))
    counted = Counter((value - low) // wide for value in values)
    return [(f"{low + place * wide:,}", counted[place] / len(values)) for place in range((high - low) // wide + 1)]


def _meters(title: str, counted: Counter[str], whole: int) -> str:
    """Shares as horizontal bars, most frequent first."""
    lines = "".join(meter(name, count / whole, f"{100 * count / whole:.1f} %") for name, count in counted.most_common())
    return f"<section><h3>{escape(title)}</h3><ul>{lines}</ul></section>"


def meter(name: str, share: float, told: str) -> str:
    """A share as a horizontal bar between its name and what is told of it."""
    return (
        f'<li><span class="name">{escape(name)}</span><span class="bar"><i style="width:{100 * share:.1f}%"></i></span>'
        f'<span class="number">{told}</span></li>'
    )


def _optional(row: Row, name: str, times: float = 1) -> str:
    return f"{times * row.metrics[name]:,.0f}" if name in row.metrics else "–"


def _bare(value: float) -> str:
    """A share as a decimal without its leading zero, as tables of figures are read."""
    return f"{value:.4f}".removeprefix("0") if 0 <= value < 1 else f"{value:.4g}"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
