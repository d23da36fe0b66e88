"""What people say becomes moves, by rules (C1, C2)."""

import pytest
from worlds import film_catalog

from fathom.conversation.requests import Language, Request, read_request
from fathom.conversation.state import Span

CATALOG = film_catalog(40)
LANGUAGE = Language(CATALOG)
LISTED = (1, 2, 3)
DOOM, ETERNAL, EMMA, EMMA_2020, STRANGELOVE, NINETEEN_42, AMELIE, MISSION = 1, 2, 3, 4, 5, 6, 15, 14
COMEDY, DRAMA, WAR, ROMANCE = (("genres", value) for value in ("Comedy", "Drama", "War", "Romance"))

SAID = {
    "a comedy from the 90s": Request(wanted=(COMEDY,), years=Span(1990, 1999)),
    "comedies": Request(wanted=(COMEDY,)),
    "something funny": Request(wanted=(COMEDY,)),
    "a war drama": Request(wanted=(WAR, DRAMA)),
    "no comedies": Request(barred=(COMEDY,)),
    "less war, more drama": Request(wanted=(DRAMA,), barred=(WAR,)),
    "a romance without war": Request(wanted=(ROMANCE,), barred=(WAR,)),
    "anything but a comedy": Request(barred=(COMEDY,)),
    "I don't want a drama but a comedy": Request(wanted=(COMEDY,), barred=(DRAMA,)),
    "not before 2000": Request(years=Span(2000, None)),
    "before 1980": Request(years=Span(None, 1979)),
    "older than 1970": Request(years=Span(None, 1969)),
    "after 1990": Request(years=Span(1991, None)),
    "newer than 2005": Request(years=Span(2006, None)),
    "not after 1985": Request(years=Span(None, 1985)),
    "since 2001": Request(years=Span(2001, None)),
    "from 1999 on": Request(years=Span(1999, None)),
    "until 1960": Request(years=Span(None, 1960)),
    "between 1980 and 1990": Request(years=Span(1980, 1990)),
    "from 1980 to 1990": Request(years=Span(1980, 1990)),
    "in 1994": Request(years=Span(1994, 1994)),
    "the 1950s": Request(years=Span(1950, 1959)),
    "from the eighties": Request(years=Span(1980, 1989)),
    "the 2010s": Request(years=Span(2010, 2019)),
    "under $20": Request(price=Span(None, 20)),
    "cheaper than 15.50 euros": Request(price=Span(None, 15.5)),
    "at least 5 dollars and at most 10 dollars": Request(price=Span(5, 10)),
    "over $30": Request(price=Span(30, None)),
    "more like Mission: Impossible": Request(likes=(MISSION,)),
    "I loved Doom Eternal!": Request(likes=(ETERNAL,)),
    "I like Doom and Emma": Request(likes=(DOOM, EMMA)),
    "similar to amélie": Request(likes=(AMELIE,)),
    "Dr Strangelove was great": Request(likes=(STRANGELOVE,)),
    "Emma (2020)": Request(likes=(EMMA_2020,)),
    "I didn't like Emma (2020)": Request(dislikes=(EMMA_2020,)),
    "I hate Doom": Request(dislikes=(DOOM,)),
    "I'm tired of Doom Eternal": Request(dislikes=(ETERNAL,)),
    "I've already seen Amélie": Request(seen=(AMELIE,)),
    "seen it": Request(seen=LISTED),
    "I haven't seen 1942": Request(likes=(NINETEEN_42,)),
    "swap Doom": Request(swaps=(DOOM,)),
    "replace the second one": Request(swaps=(ETERNAL,)),
    "something else instead of #3": Request(swaps=(EMMA,)),
    "change the last one": Request(swaps=(EMMA,)),
    "I'll watch Tom & Jerry": Request(accepted=(11,)),
    "I'll take number 1": Request(accepted=(DOOM,)),
    "undo": Request(undo=True),
    "Please take that back.": Request(undo=True),
    "never mind": Request(undo=True),
    "start again": Request(restart=True),
    "Let's start over, with a romance": Request(restart=True, wanted=(ROMANCE,)),
    "give me three comedies": Request(count=3, wanted=(COMEDY,)),
    "space pirates in love": Request(words="space pirates"),
    "hello": Request(),
    "Hi there, can you recommend me a movie, please?": Request(),
    "": Request(),
}


@pytest.mark.parametrize("said", SAID)
def test_what_is_said_is_what_is_meant(said: str) -> None:
    assert read_request(said, LANGUAGE, LISTED) == SAID[said]


@pytest.mark.parametrize("said", ["doom and gloom", "what a day", "heat or eat", "emma said so"])
def test_a_word_that_is_a_title_too_is_none_unless_it_is_spelt_so(said: str) -> None:
    assert read_request(said, LANGUAGE).likes == ()
    assert read_request('"doom"', LANGUAGE).likes == (DOOM,)


def test_what_is_not_on_the_list_cannot_be_swapped_but_is_not_wanted_either() -> None:
    assert read_request("swap Amélie", LANGUAGE, LISTED) == Request(dislikes=(AMELIE,))
    assert read_request("replace the fifth one", LANGUAGE, LISTED).swaps == ()


def test_long_titles_come_before_short_ones_inside_them() -> None:
    assert read_request("I like Doom Eternal", LANGUAGE).likes == (ETERNAL,)
    assert read_request("I like What's Up, Doc? and 10 Things I Hate About You", LANGUAGE).likes == (10, 13)
