"""The same people before and after: who gained, who lost, and the answers of those for whom most changed, side by side."""

from collections.abc import Sequence
from html import escape

import numpy as np

from fathom.metrics import Values
from fathom.records import Catalog
from fathom.reports.cards import FIRST
from fathom.reports.readings import Reading, worth
from fathom.reports.sections import meter

MOST = 10
"""People that are shown."""

Pair = tuple[Reading, Reading]
"""One case's answer before and after."""


def paired(before: Sequence[Reading], after: Sequence[Reading]) -> list[Pair]:
    """The answers to the cases that both were asked, in the order of `after`; a user may have several cases."""
    known = {(one.case.user, one.case.history, one.case.target): one for one in before}
    pairs = ((known.get((one.case.user, one.case.history, one.case.target)), one) for one in after)
    return [(earlier, later) for earlier, later in pairs if earlier is not None]


def by_change(pairs: Sequence[Pair], rose: Values) -> list[int]:
    """The places of the pairs that changed, most first: by what NDCG@10 `rose` (n,) or fell; of equal ones the farther move first."""
    changed = np.abs(rose)
    moved = np.array([abs(_reciprocal(after.place) - _reciprocal(before.place)) for before, after in pairs])
    order = np.lexsort((np.arange(len(pairs)), -moved, -changed.round(12)))
    return [int(place) for place in order if changed[place] > 0 or moved[place] > 0]


def gains(pairs: Sequence[Pair]) -> Values:
    """(n,) what each pair's NDCG@10 rose by."""
    return worth([after for _, after in pairs]) - worth([before for before, _ in pairs])


def changes(pairs: Sequence[Pair], names: tuple[str, str], catalog: Catalog, *, most: int = MOST) -> str:
    """How many were found by whom, and the `most` changed as pairs of cards; '' where nobody was asked twice.

    `names`: of the rows before and after.
    """
    if not pairs:
        return ""
    found = [(0 < before.place <= FIRST, 0 < after.place <= FIRST) for before, after in pairs]
    told = (
        ("both found", found.count((True, True))),
        (f"only {names[1]} found", found.count((False, True))),
        (f"only {names[0]} found", found.count((True, False))),
        ("neither found", found.count((False, False))),
    )
    rose, whole = gains(pairs), len(pairs)
    lines = "".join(meter(name, count / whole, f"{count:,}") for name, count in told)
    summary = (
        f"From {names[0]} to {names[1]}: NDCG@10 rose for {int((rose > 0).sum()):,}, fell for {int((rose < 0).sum()):,} and stayed for "
        f"{int((rose == 0).sum()):,} of {whole:,}; {rose.mean():+.4f} on average."
    )
    chosen = by_change(pairs, rose)[:most]
    shown = "".join(
        pair_view(pairs[place], names, catalog, key=f"changed-{number}", unfolded=number == 1)
        for number, place in enumerate(chosen, start=1)
    )
    head = f"<h3>The {len(chosen)} most changed</h3>" if chosen else ""
    return f'<p class="quiet">{escape(summary)}</p><div class="meters"><section><ul>{lines}</ul></section></div>{head}{shown}'


def pair_view(pair: Pair, names: tuple[str, str], catalog: Catalog, *, key: str, unfolded: bool = False) -> str:
    """Both answers to one case beside each other, under a line that says whose they are and how the place of what came next moved."""
    case = pair[1].case
    target = catalog.title(case.target) if case.target else "an open question"
    moved = " → ".join(_place_words(one.place) for one in pair)
    sides = "".join(
        f'<div><p class="label">{escape(name)}</p>{one.card(f"{key}-{side}")}</div>'
        for name, side, one in zip(names, ("before", "after"), pair, strict=True)
    )
    return (
        f'<details class="changed"{" open" if unfolded else ""}><summary><span>User {case.user}: {escape(target)}</span> '
        f'<b>{moved}</b></summary><div class="pair">{sides}</div></details>'
    )


def _place_words(place: int) -> str:
    return f"place {place}" if place else "not ranked"


def _reciprocal(place: int) -> float:
    return 1 / place if place else 0.0
