"""A recipe's filters, in their order."""

from datetime import date, timedelta

import polars as pl

from fathom.data.sources import from_frames
from fathom.pipeline.groundwork import filtered
from fathom.pipeline.recipe import SourceSettings

YEAR = [(person, item, 300 + person) for person in range(3) for item in "ab"]
"""Of three people two interactions each in 2023, beside three long before."""
BEFORE = [(person, item, 10 + person) for person in range(3) for item in "cde"]
ONCE = [(3, "a", 310), (0, "f", 311)]
"""Somebody, and something, of a single interaction."""


def test_a_core_of_the_whole_log_asks_for_none_inside_the_window() -> None:
    rows = [
        {"user": f"u{person}", "item": item, "time": str(date(2022, 12, 1) + timedelta(days=day - 1 if day > 100 else day - 366))}
        for person, item, day in [*YEAR, *BEFORE, *ONCE]
    ]
    whole = from_frames(pl.DataFrame(rows))
    window = {"end": "2023-12-01", "months": 12, "least_items": 1}
    laid = filtered(whole, SourceSettings.model_validate({"name": "log", "window": window | {"core": 3}}))
    assert (laid.interactions.users, laid.catalog.names) == (("u0", "u1", "u2"), ("a", "b"))
    assert laid.interactions.n_events == 6
    inside = filtered(whole, SourceSettings.model_validate({"name": "log", "window": window, "core": 2}))
    assert "u3" not in inside.interactions.users
    alone = filtered(whole, SourceSettings.model_validate({"name": "log", "window": window}))
    assert alone.interactions.users == ("u0", "u1", "u2", "u3")
    assert alone.catalog.names == ("a", "b", "f")
