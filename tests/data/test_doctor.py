"""The check: figures worked by hand, and a warning for every planted fault."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from fathom.data.dataset import Dataset
from fathom.data.doctor import QUANTILES, check, render
from fathom.data.sources import from_frames
from fathom.records import Catalog


def planted(**columns: list[object]) -> Dataset:
    return from_frames(pl.DataFrame(columns), repeats=True)


def test_the_figures_of_a_small_log() -> None:
    # u: a 10 (4), b 20 (5), c 20 (none); v: a 30 (3)
    figures = check(
        planted(
            user=["u", "u", "u", "v"], item=["a", "b", "c", "a"], time=[10, 20, 20, 30], rating=[4, 5, None, 3], title=["A", "B", "C", "A"]
        )
    )
    assert (figures.users, figures.items, figures.interactions) == (2, 3, 4)
    assert figures.density == pytest.approx(4 / 6)
    assert (figures.first, figures.last, figures.known_times) == (10, 30, 1.0)
    assert (figures.rated, figures.mean_rating) == (0.75, 4.0)
    assert (figures.lengths[0], figures.lengths[QUANTILES.index(0.5)], figures.lengths[-1]) == (1, 2, 3)
    assert (figures.popularity[0], figures.popularity[-1]) == (1, 2)
    assert (figures.ties, figures.tied_ends) == (1, 1)
    assert figures.cold_items == 1.0
    assert figures.cold_targets == 0.5, "nobody but u took c"
    assert figures.untitled == 0


def test_unknown_times_are_no_ties() -> None:
    figures = check(planted(user=["u", "u", "u", "v"], item=["a", "b", "c", "a"], time=[None, None, 7, 7], position=[1, 2, 3, 1]))
    assert (figures.ties, figures.known_times) == (0, 0.5)
    assert any("50.0% of interactions have no time" in warning for warning in figures.warnings)


def test_planted_faults_are_warned_of() -> None:
    dataset = planted(user=["u", "u", "u", "v"], item=["a", "b", "a", "a"], time=[1, 1, 1, 1])
    titles = ("R&amp;D", "Plan <think>")
    figures = check(replace(dataset, catalog=Catalog(names=dataset.catalog.names, titles=titles)))
    assert (figures.entities, figures.markers, figures.repeats) == (1, 1, 1)
    words = " ".join(figures.warnings)
    for expected in (
        "for 1 users the order of rows",
        "1 titles hold HTML entities",
        "1 titles hold protocol markers",
        "1 interactions repeat an item",
    ):
        assert expected in words


def test_titles_told_apart_by_an_addition_are_counted() -> None:
    dataset = planted(user=["u", "u", "v"], item=["a", "b", "c"], title=["Emma", "Emma", "Heat"])
    assert check(dataset).duplicate_titles == 2


def chains(order: np.ndarray) -> Dataset:
    """200 users who walk ten steps along a ring of 2,000 items whose ids are given by `order`."""
    starts = np.random.default_rng(0).integers(0, 2000, size=200)
    walks = (starts[:, None] + np.arange(10)) % 2000
    users = np.repeat(np.arange(200), 10)
    return planted(user=[f"u{user:03}" for user in users.tolist()], item=order[walks.ravel()].tolist())


def test_ids_that_lie_near_their_neighbours_are_a_leak() -> None:
    told = check(chains(np.arange(2000)))
    hidden = check(chains(np.random.default_rng(1).permutation(2000)))
    assert told.id_nearness > 20
    assert hidden.id_nearness == pytest.approx(1.0, abs=0.4)
    assert any("ids leak: neighbours in a history" in warning for warning in told.warnings)
    assert not any("ids leak" in warning for warning in hidden.warnings)


def test_ids_by_first_appearance_are_a_leak() -> None:
    figures = check(planted(user=["u"] * 5 + ["v"] * 5, item=[1, 2, 3, 4, 5, 3, 6, 7, 8, 9]))
    assert figures.id_order == pytest.approx(1.0)
    assert any("numbered largely by first appearance" in warning for warning in figures.warnings)


def test_the_rendering_says_every_figure() -> None:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(render(check(planted(user=["u", "u", "v"], item=["a", "b", "a"], time=[0, 86_400, 5]))))
    text = captured.get()
    for expected in ("interactions", "1970-01-01 to 1970-01-02", "density", "history length", "item popularity", "HTML entities", "!"):
        assert expected in text
