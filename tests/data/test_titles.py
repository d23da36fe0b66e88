"""Titles: one canonical form, unique display titles, exact resolution."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathom.data.titles import LONGEST, NO_TITLE, TitleIndex, canonical, display_titles, neutral, single_line
from fathom.errors import DataError
from fathom.records import Catalog

MARKERS = (
    "<think>",
    "</think>",
    "<recommendation_list>",
    "</recommendation_list>",
    "<|begin_of_preference|>",
    "<|end_of_preference|>",
    "<|begin_of_item_list|>",
    "<|end_of_item_list|>",
)


def index_of(*titles: str) -> TitleIndex:
    return TitleIndex(Catalog(names=tuple(str(n) for n in range(len(titles))), titles=titles))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Tom &amp; Jerry", "tom & jerry"),
        ("  Heat\u00a0 (1995)\n", "heat (1995)"),
        ("“Heat (1995)”", "heat (1995)"),
        ("Ｈｅａｔ", "heat"),  # full width
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("12. Heat", "12. heat"),
    ],
)
def test_canonical_form(written: str, meant: str) -> None:
    assert canonical(written) == meant


@pytest.mark.parametrize("line", ["1. Heat", "10) Heat", " 3.  'Heat' ", "Heat"])
def test_answer_line_loses_its_number(line: str) -> None:
    assert canonical(line, answer_line=True) == "heat"


@pytest.mark.parametrize("line", ["1984 (1956)", "2.5 Hours", "1.Heat", "1001. Nights"])
def test_only_a_list_number_is_taken_off(line: str) -> None:
    assert canonical(line, answer_line=True) == canonical(line)


def test_answer_line_loses_one_number_only() -> None:
    assert canonical("3. 24. Redemption", answer_line=True) == "24. redemption"


@pytest.mark.parametrize("marker", MARKERS)
def test_markers_are_neutralised(marker: str) -> None:
    (title,) = display_titles([f"The {marker} film"], [[]])
    escaped = marker.replace("<", "&lt;").replace(">", "&gt;")
    assert marker not in title
    assert not any(word in title for word in ("begin_of", "end_of", "recommendation_list"))
    assert display_titles([f"The {escaped} film"], [[]]) == (title,)


def test_a_heart_is_not_a_marker() -> None:
    assert neutral("I <3 you, 1 < 2 > 1") == "I <3 you, 1 < 2 > 1"


def test_shared_titles_are_told_apart_by_what_differs() -> None:
    hints = [["2013", "PS3"], ["2013", "PS4"], ["2013", "PS4"]]
    assert display_titles(["FIFA 14", "FIFA 14", "fifa  14"], hints) == ("FIFA 14 [PS3]", "FIFA 14 [PS4]", "fifa 14 [PS4] [#2]")


def test_an_addition_never_meets_a_title_that_was_there_before() -> None:
    titles = display_titles(["Emma", "Emma [#2]", "Emma", "Emma [1996]", "Emma"], [[], [], ["1996"], [], []])
    assert len({canonical(title) for title in titles}) == 5


def test_a_numbered_title_cannot_hide_behind_its_bare_one() -> None:
    titles = display_titles(["Emma", "2. Emma"], [[], []])
    index = index_of(*titles)
    assert [index.resolve(f"2. {title}") for title in titles] == [1, 2]


def test_missing_and_long_titles() -> None:
    missing, quotes, long = display_titles(["", ' "" ', "word " * 100], [[], [], []])
    assert missing == NO_TITLE
    assert quotes == f"{NO_TITLE} [#2]"
    assert len(long) <= LONGEST
    assert long.endswith("word...")


def test_a_line_names_an_item_exactly_or_none() -> None:
    index = index_of("Alien (1979)", "Aliens (1986)", "24. Redemption")
    assert index.resolve("1. alien (1979)") == 1
    assert index.resolve('2. "Aliens (1986)"') == 2
    assert index.resolve("24. Redemption") == index.resolve("3. 24. Redemption") == 3
    assert index.resolve("Alien") is None
    assert index.resolve("Alien (1979) and Aliens (1986)") is None
    assert index.resolve("") is None


def test_a_shared_bare_title_names_the_only_one_shown() -> None:
    index = index_of("FIFA 14 [PS3]", "FIFA 14 [PS4]", "Heat [1995]")
    assert index.resolve("1. FIFA 14") is None
    assert index.resolve("1. FIFA 14", shown={2, 3}) == 2
    assert index.resolve("1. FIFA 14", shown={1, 2}) is None
    assert index.resolve("Heat", shown={3}) is None, "not shared: the title has to be written as it is"


def test_equal_titles_are_refused() -> None:
    with pytest.raises(DataError, match="items 1 and 2 share one title"):
        index_of("Heat", "HEAT")


PIECES = ["a", "A", "ß", "1", ".", ")", " ", "\n", "[", "]", "#", "2", '"', "&amp;", "<think>", "\u2028", "é"]
words = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(words, st.lists(words, max_size=2)), min_size=1, max_size=8))
def test_display_titles_always_come_back(items: list[tuple[str, list[str]]]) -> None:
    titles = display_titles([title for title, _ in items], [hints for _, hints in items])
    index = index_of(*titles)
    for item, title in enumerate(titles, start=1):
        assert title.splitlines() == [title]
        assert index.resolve(title) == item
        assert index.resolve(f"{item}. {title}") == item


def test_single_line_is_stable_text() -> None:
    assert single_line("a\x00b\u2028c\r\nd") == "ab c d"


def test_titles_need_neither_torch_nor_polars() -> None:
    code = "import sys, fathom.data.titles; print('torch' in sys.modules, 'polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]
