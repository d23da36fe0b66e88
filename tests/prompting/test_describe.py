"""What is said about items and people is read, counted and kept to what is known of them."""

import pytest
from worlds import Scripted, film_catalog

from fathom.prompting.describe import Described, Describer, DescriberSettings, read_description
from fathom.prompting.prompts import Words, prompts_of
from fathom.records import Case

CATALOG = film_catalog(6)
FILMS = Words(singular="film", plural="films", took="watched", take="watch")


def test_the_words_are_these() -> None:
    slots = {"title": "Heat", "about": "genres: Crime", "history": "1. Heat"}
    assert prompts_of("describing", "describing").render("item", FILMS, slots) == (
        "This is a film: Heat\n\nWhat is known of it: genres: Crime\n\n"
        "Say in one sentence what it is and who would watch it, then give five to eight short tags: kind, theme, mood, time.\n"
        "Answer by two lines and nothing else:\nSummary: one sentence\nTags: tag, tag, tag"
    )
    assert prompts_of("describing", "describing").render("person", FILMS, slots) == (
        "A person watched these films, the oldest first:\n1. Heat\n\n"
        "Say in one sentence what this person likes in films, then give five to eight short tags of what to look for: "
        "kind, theme, mood, time.\nAnswer by two lines and nothing else:\nSummary: one sentence\nTags: tag, tag, tag"
    )


@pytest.mark.parametrize(
    ("reply", "summary", "tags"),
    [
        ("Summary: A heist.\nTags: crime, slow", "A heist.", ("crime", "slow")),
        ("**Summary:** A heist.\n**Tags:** Crime; SLOW; crime.", "A heist.", ("crime", "slow")),
        ("<think>Tags: wrong</think>\nSummary - A heist.\ntags: #crime, #slow", "A heist.", ("crime", "slow")),
        ("Sure!\n- Tags: crime", "", ("crime",)),
        ("A heist goes wrong.", "", ()),
        ("Tags: " + ", ".join(f"t{n}" for n in range(40)), "", tuple(f"t{n}" for n in range(12))),
        ("", "", ()),
    ],
)
def test_an_answer_is_read(reply: str, summary: str, tags: tuple[str, ...]) -> None:
    assert read_description(reply) == (summary, tags)


def test_everything_is_asked_about_once_and_what_it_costs_is_told() -> None:
    policy = Scripted(lambda prompt, seed: ["Summary: Good.\nTags: x"] if CATALOG.title(2) in prompt else ["Well"])
    describer = Describer(policy, CATALOG, DescriberSettings(words=FILMS))
    told = describer.items([1, 2, 3])
    assert [(one.of, one.summary, one.tags, one.tally["unreadable"]) for one in told] == [
        (1, "", (), 1),
        (2, "Good.", ("x",), 0),
        (3, "", (), 1),
    ]
    assert told[1].text == "Good. x"
    assert told[1].tally["written"] == len("Summary: Good.\nTags: x")
    assert describer.items([2]) == told[1:2], "nobody depends on who else is asked about"
    people = describer.people([Case(7, (1, 2), 5), Case(8, (3,), 5)])
    assert [(one.of, one.summary) for one in people] == [(7, "Good."), (8, "")]
    assert isinstance(people[0], Described)
    assert CATALOG.title(5) not in people[0].prompt, "what came next is not told"
