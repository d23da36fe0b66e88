"""Answers are sorted into kinds, and of the same cases before and after the most changed are found."""

import re

import pytest

from fathom.records import Case, Catalog, Episode
from fathom.reports.changes import by_change, changes, gains, paired
from fathom.reports.plots import Dot, scatter_chart
from fathom.reports.readings import Reading, kinds, of_episode, of_list, spread, worth


def listed(catalog: Catalog, place: int, *, user: int = 0, target: int = 2) -> Reading:
    """A list of all films but two, with the target wherever it stands."""
    return of_list(Case(user, (6,), target), [2, 3, 4], catalog, place)


def test_every_kind_holds_its_own_and_empty_kinds_are_left_out(catalog: Catalog, episodes: list[Episode]) -> None:
    readings = [of_episode(one, catalog, place) for one, place in zip(episodes, (1, 0), strict=True)]
    assert kinds(readings) == {"all": [0, 1], "hit": [0], "failed": [1], "faulty": [1], "long": [0]}
    silent = [listed(catalog, place) for place in (1, 0, 10, 11)]
    assert kinds(silent) == {"all": [0, 1, 2, 3], "hit": [0, 2], "miss": [1, 3]}
    assert kinds([]) == {"all": []}


def test_the_longest_tenth_comes_longest_first(catalog: Catalog) -> None:
    lengths = [5, 1, 9, *range(10, 28)]
    readings = [Reading(Case(0, (), 1), 0, "miss", lambda key: key, written=length) for length in lengths]
    assert kinds(readings)["long"] == [20, 19, 18]  # a tenth of 21, rounded up


def test_worth_is_ndcg_at_ten(catalog: Catalog) -> None:
    assert worth([listed(catalog, place) for place in (1, 3, 10, 11, 0)]) == pytest.approx([1, 0.5, 0.28906, 0, 0], abs=1e-5)


def test_answers_to_read_are_spread_over_all() -> None:
    assert spread(20, 4) == [0, 5, 10, 15]
    assert spread(3, 4) == [0, 1, 2]


def test_only_cases_that_both_were_asked_are_compared(catalog: Catalog) -> None:
    before = [listed(catalog, 1, user=user) for user in (1, 2, 3)]
    after = [listed(catalog, 2, user=user) for user in (3, 4, 1)] + [listed(catalog, 2, user=2, target=4)]
    assert [later.case.user for _, later in paired(before, after)] == [3, 1]


def test_the_most_changed_come_first_and_who_did_not_change_never(catalog: Catalog) -> None:
    moves = [(1, 1), (0, 1), (2, 1), (1, 0), (11, 0), (0, 0), (30, 20)]  # change of NDCG@10: 0, 1, .37, -1, 0, 0, 0
    pairs = [(listed(catalog, before), listed(catalog, after)) for before, after in moves]
    assert by_change(pairs, gains(pairs)) == [1, 3, 2, 4, 6]


def test_the_summary_counts_gains_and_losses(catalog: Catalog) -> None:
    pairs = [
        (listed(catalog, before, user=user), listed(catalog, after, user=user))
        for user, (before, after) in enumerate([(0, 1), (1, 3), (0, 0)])
    ]
    told = changes(pairs, ("old <b>", "new"), catalog)
    assert "rose for 1, fell for 1 and stayed for 1 of 3; +0.1667 on average" in told
    assert "The 2 most changed" in told
    assert told.index("not ranked → place 1") < told.index("place 1 → place 3")
    assert "<b>:" not in told
    assert "old &lt;b&gt;" in told
    assert changes([], ("old", "new"), catalog) == ""


def test_a_hostile_title_in_a_list_stays_text(catalog: Catalog) -> None:
    card = listed(catalog, 2, target=3).card("one")
    assert "<script" not in card
    assert "&lt;script&gt;" in card
    assert 'id="one"' in card


def test_names_in_a_scatter_chart_do_not_lie_on_each_other() -> None:
    dots = [Dot(f"model-{number}", 1 + number % 3 / 50, 0.1 + number / 200, strong=number == 3) for number in range(12)]
    drawn = scatter_chart(dots, label="all", x="ms", y="NDCG@10")
    assert drawn.count("<circle") == drawn.count("<title>") == 12
    names = [
        (float(x), float(y), 6.2 * len(name))
        for x, y, name in re.findall(r'<text class="named[^"]*" x="([\d.]+)" y="([\d.]+)">([^<]+)<', drawn)
    ]
    assert any("strong" in one for one in re.findall(r'<text class="named[^"]*"', drawn)), "what it is about is named first"
    for number, (x, y, wide) in enumerate(names):
        for other, above, width in names[number + 1 :]:
            assert x + wide <= other or other + width <= x or abs(y - above) >= 13


def test_a_scatter_chart_of_equal_points_can_be_drawn() -> None:
    drawn = scatter_chart([Dot("a", 1.0, 0.0), Dot("b", 1.0, 0.0)], label="flat", x="ms", y="RMSE")
    assert "nan" not in drawn.lower()
