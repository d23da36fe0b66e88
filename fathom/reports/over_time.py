"""How well each model did in each window of time, where a run has windows."""

import re
from html import escape

from fathom.evaluation.results import Results
from fathom.reports.plots import line_chart
from fathom.reports.tables import SHOWN, metric_title

WINDOW = re.compile(r"(\d{4}-\d\d-\d\d(?: \d\d:\d\d)?)/")
"""Before the name of a metric: when the window begins that it is about."""


def over_time(results: Results, *, metric: str = SHOWN[0]) -> str:
    """A small curve for each model, all on one scale; nothing where the rows tell of no windows."""
    curves: dict[str, dict[str, float]] = {}
    for row in results.rows:
        for name, value in row.metrics.items():
            if (found := WINDOW.match(name)) is not None and name[found.end() :] == metric:
                curves.setdefault(row.model, {})[found[1]] = value
    if not curves:
        return ""
    names = sorted({name for curve in curves.values() for name in curve})
    values = [value for curve in curves.values() for value in curve.values()]
    scale = (min(values), max(values))
    charts = []
    for model, curve in curves.items():
        points = [(float(number), curve[name]) for number, name in enumerate(names, start=1) if name in curve]
        label = f"{metric_title(metric)} of {model} in each window"
        charts.append(
            f'<figure class="small"><figcaption><span><b>{escape(model)}</b></span>'
            f'<span class="last">{sum(curve.values()) / len(curve):.4f}</span></figcaption>'
            f"{line_chart(points, label=label, smooth=False, scale=scale)}</figure>"
        )
    told = f"{metric_title(metric)} in each of {len(names)} windows, {names[0]} to {names[-1]}; a model's figure above is their mean."
    return f'<h3>Over time</h3><p class="quiet">{escape(told)}</p><div class="charts">{"".join(charts)}</div>'
