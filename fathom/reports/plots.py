"""Small charts as inline SVG, drawn here so that a page needs no plotting package and follows the reader's light or dark theme.

Colours are classes (`line`, `mark`, `grid`), which the page's style sheet fills in. Every chart is an image with a spoken label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

MOST_POINTS = 240
"""A longer curve is thinned to this many points: more would not be seen."""

LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 10.0, 22.0
"""Room around the drawing for the numbers of the axes."""


def line_chart(
    points: Sequence[Point],
    *,
    label: str,
    width: float = 320.0,
    height: float = 150.0,
    smooth: bool = True,
    scale: tuple[float, float] | None = None,
) -> str:
    """A curve over steps: the raw values faint, their running mean strong, the last value marked. `points` are (step, value).

    `scale`: the lowest and highest value that it has room for, so that several charts can be read side by side; None: its own.
    """
    kept = _thinned(sorted(points))
    xs, ys = [x for x, _ in kept], [y for _, y in kept]
    ticks = nice_ticks(*(scale or (min(ys), max(ys))))
    across = _Axis(min(xs), max(xs), LEFT, width - RIGHT)
    upward = _Axis(min(ticks[0], *ys), max(ticks[-1], *ys), height - BOTTOM, TOP)
    means = _running_mean(ys, window=max(1, len(ys) // 12)) if smooth and len(ys) >= 24 else ys
    raw = f'<path class="raw" d="{_path(xs, ys, across, upward)}"/>' if means is not ys else ""
    data = " ".join(f"{across(x):.1f}|{upward(y):.1f}|{short(x)}|{short(y)}" for x, y in kept)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(_spoken(label, kept))}" '
        f'data-points="{escape(data)}">{_frame(ticks, upward, width)}{_ends(xs, across, height)}{raw}'
        f'<path class="line" d="{_path(xs, means, across, upward)}"/>'
        f'<circle class="mark" cx="{across(xs[-1]):.1f}" cy="{upward(means[-1]):.1f}" r="3"/></svg>'
    )


def column_chart(columns: Sequence[tuple[str, float]], *, label: str, width: float = 320.0, height: float = 150.0) -> str:
    """Upright columns over named places: histograms and profiles. Values are not negative; each column says its value on hover."""
    top = max((value for _, value in columns), default=0.0) or 1.0
    ticks = nice_ticks(0.0, top)
    upward = _Axis(0.0, max(ticks[-1], top), height - BOTTOM, TOP)
    step = (width - LEFT - RIGHT) / max(len(columns), 1)
    wide = min(step * 0.72, 46.0)
    every = max(1, math.ceil(len(columns) / 10))
    drawn = []
    for number, (name, value) in enumerate(columns):
        middle = LEFT + (number + 0.5) * step
        drawn.append(
            f'<rect class="column" x="{middle - wide / 2:.1f}" y="{upward(value):.1f}" width="{wide:.1f}" '
            f'height="{max(upward(0.0) - upward(value), 0.0):.1f}" rx="2"><title>{escape(name)}: {short(value)}</title></rect>'
        )
        if number % every == 0:
            drawn.append(f'<text class="tick" x="{middle:.1f}" y="{height - 6:g}" text-anchor="middle">{escape(name)}</text>')
    told = "; ".join(f"{name}: {short(value)}" for name, value in columns)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(f"{label}. {told}")}">'
        f"{_frame(ticks, upward, width)}{''.join(drawn)}</svg>"
    )


@dataclass(frozen=True, slots=True)
class Dot:
    """A named point of a scatter chart."""

    name: str
    x: float
    y: float
    strong: bool = False
    """Whether it is what the chart is about."""


def scatter_chart(dots: Sequence[Dot], *, label: str, x: str, y: str, width: float = 760.0, height: float = 340.0) -> str:
    """Named points over a logarithmic x axis, whose values are positive; `x` and `y` say what the axes are.

    A name stands beside its point where there is room, that of a strong one always; all are told on hover.
    """
    powers = range(math.floor(math.log10(min(dot.x for dot in dots))), math.ceil(math.log10(max(dot.x for dot in dots))) + 1)
    ticks = nice_ticks(0.0, max(dot.y for dot in dots))
    across = _Axis(powers[0], max(powers[-1], powers[0] + 1), LEFT + 8, width - RIGHT - 8)
    upward = _Axis(0.0, ticks[-1], height - BOTTOM - 14, TOP + 14)
    grid = "".join(
        f'<text class="tick" x="{across(power):.1f}" y="{height - BOTTOM:g}" text-anchor="middle">{_power(power)}</text>'
        for power in powers
    )
    taken: list[_Box] = []
    for dot in dots:
        left, middle = across(math.log10(dot.x)), upward(dot.y)
        taken.append(_Box(left - 5, middle - 5, left + 5, middle + 5))
    drawn = []
    for dot in sorted(dots, key=lambda dot: (not dot.strong, -dot.y)):
        left, middle, wide = across(math.log10(dot.x)), upward(dot.y), 6.2 * len(dot.name)
        places = ((left + 9, middle + 4), (left - 9 - wide, middle + 4), (left - wide / 2, middle - 9), (left - wide / 2, middle + 17))
        boxes = [(_Box(start, base - 10, start + wide, base + 3), start, base) for start, base in places]
        inside = [one for one in boxes if one[0].inside(LEFT, 0.0, width, height)]
        free = next(
            (one for one in inside if not any(one[0].meets(other) for other in taken)), inside[0] if dot.strong and inside else None
        )
        kind = " strong" if dot.strong else ""
        told = f"<title>{escape(dot.name)}: {y} {short(dot.y)}, {x} {short(dot.x)}</title>"
        drawn.append(f'<circle class="point{kind}" cx="{left:.1f}" cy="{middle:.1f}" r="{5 if dot.strong else 4}">{told}</circle>')
        if free is not None:
            taken.append(free[0])
            drawn.append(f'<text class="named{kind}" x="{free[1]:.1f}" y="{free[2]:.1f}">{escape(dot.name)}</text>')
    told = "; ".join(f"{dot.name}: {short(dot.y)} at {short(dot.x)}" for dot in dots)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(f"{label}. {told}")}">'
        f'{_frame(ticks, upward, width)}{grid}<text class="tick" x="{LEFT:g}" y="{TOP:g}">{escape(y)}</text>'
        f'<text class="tick" x="{width - RIGHT:g}" y="{height - 4:g}" text-anchor="end">{escape(x)}</text>{"".join(drawn)}</svg>'
    )


def interval_mark(mean: float, low: float, high: float, *, top: float, reference: float | None = None, strong: bool = False) -> str:
    """A dot with its interval on a line from 0 to `top`, and a dashed line at `reference`; decoration beside a number, so not spoken."""
    along = _Axis(0.0, top or 1.0, 4.0, 296.0)
    dashed = (
        "" if reference is None else f'<line class="reference" x1="{along(reference):.1f}" x2="{along(reference):.1f}" y1="0" y2="24"/>'
    )
    return (
        '<svg class="interval" viewBox="0 0 300 24" preserveAspectRatio="none" aria-hidden="true">'
        f'<line class="track" x1="4" x2="296" y1="12" y2="12"/>{dashed}'
        f'<line class="{"whisker strong" if strong else "whisker"}" x1="{along(low):.1f}" x2="{along(high):.1f}" y1="12" y2="12"/>'
        f'<line class="{"dot strong" if strong else "dot"}" x1="{along(mean):.1f}" x2="{along(mean):.1f}" y1="12" y2="12"/></svg>'
    )


def nice_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Two to five round numbers that reach from at most `low` to at least `high`.

    >>> nice_ticks(0.0, 0.93)
    [0.0, 0.5, 1.0]
    >>> nice_ticks(2.0, 2.0)
    [1.5, 2.0, 2.5]
    """
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
        room = abs(low) / 4 or 1.0
        low, high = low - room, high + room
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(
        size * factor for factor in (1, 2, 2.5, 5, 10, 20) if math.ceil(high / (size * factor)) - math.floor(low / (size * factor)) < most
    )
    return [round(number * step, 12) for number in range(math.floor(low / step), math.ceil(high / step) + 1)]


def short(value: float) -> str:
    """A number as one reads it on an axis.

    >>> [short(value) for value in (0.0, 0.16384, 12.0, 1532.4, 2500000.0, 0.00003)]
    ['0', '0.1638', '12', '1,532', '2.5M', '3e-05']
    """
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1000:
        return f"{value:,.0f}"
    if size != 0 and size < 1e-3:
        return f"{value:.2g}"
    return f"{value:.4g}"


class _Axis:
    """Maps values to places in the drawing; a range of no width maps to the middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = 0.5 if self.high == self.low else (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle of the drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        """Whether they share a place."""
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom

    def inside(self, left: float, top: float, right: float, bottom: float) -> bool:
        """Whether all of it is within these bounds."""
        return left <= self.left and top <= self.top and self.right <= right and self.bottom <= bottom


def _power(power: int) -> str:
    """Ten to this power, as it is read on an axis.

    >>> [_power(power) for power in (-2, 0, 4)]
    ['0.01', '1', '10,000']
    """
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"


def _frame(ticks: Sequence[float], upward: _Axis, width: float) -> str:
    """Grid lines and their numbers."""
    return "".join(
        f'<line class="grid" x1="{LEFT:g}" x2="{width - RIGHT:g}" y1="{upward(tick):.1f}" y2="{upward(tick):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6:g}" y="{upward(tick) + 3.5:.1f}" text-anchor="end">{short(tick)}</text>'
        for tick in ticks
    )


def _ends(xs: Sequence[float], across: _Axis, height: float) -> str:
    """The first and the last step below the curve."""
    if xs[0] == xs[-1]:
        return ""
    return "".join(
        f'<text class="tick" x="{across(x):.1f}" y="{height - 6:g}" text-anchor="{anchor}">{short(x)}</text>'
        for x, anchor in ((xs[0], "start"), (xs[-1], "end"))
    )


def _path(xs: Sequence[float], ys: Sequence[float], across: _Axis, upward: _Axis) -> str:
    return "M" + " L".join(f"{across(x):.1f} {upward(y):.1f}" for x, y in zip(xs, ys, strict=True))


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most `MOST_POINTS` of the points, evenly spread, the last among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    return [points[round(number * (len(points) - 1) / (MOST_POINTS - 1))] for number in range(MOST_POINTS)]


def _running_mean(values: Sequence[float], *, window: int) -> list[float]:
    """The mean of each value and its neighbours, `window` on either side."""
    near = [values[max(0, place - window) : place + window + 1] for place in range(len(values))]
    return [sum(part) / len(part) for part in near]


def _spoken(label: str, points: Sequence[Point]) -> str:
    """The curve in words, for people who hear the page."""
    ys = [y for _, y in points]
    return f"{label}: from {short(ys[0])} to {short(ys[-1])} over {len(points)} points, lowest {short(min(ys))}, highest {short(max(ys))}"
