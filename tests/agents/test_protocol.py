"""The protocol's text, byte for byte, and what its settings refuse."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from worlds import film_catalog

from fathom.agents.protocol import (
    MARKERS,
    ProtocolSettings,
    answer_block,
    answer_body,
    answer_lines,
    byte_length,
    elapsed,
    history_lines,
    item_block,
    opening,
    preference_block,
    reminder,
)
from fathom.data.titles import TitleIndex
from fathom.errors import ConfigError
from fathom.records import Case, Catalog

FILMS = film_catalog()
GOLDEN = Path(__file__).parent / "golden"
DAY = 86_400
# Doom, Emma [2020] four days later, Dr. Strangelove at once and without a rating.
CASE = Case(user=0, history=(1, 4, 5), target=9, ratings=(4.0, 3.5, float("nan")), times=(0, 4 * DAY, 4 * DAY + 30))


def whole(settings: ProtocolSettings) -> str:
    """Prompt, one call, its list, an empty list and an answer: everything the protocol writes."""
    return (
        opening(CASE, FILMS, settings)
        + "They like the sea.\n"
        + preference_block(["romance", "2000s"])
        + item_block((9, 7, 6), FILMS, settings)
        + preference_block(["nothing <think>"])
        + item_block((), FILMS, settings)
        + "So.\n"
        + answer_block((9, 7), FILMS)
    )


@pytest.mark.parametrize("prompt", ["compact", "long"])
@pytest.mark.parametrize("rich", [False, True])
def test_the_protocol_is_written_byte_for_byte(prompt: str, rich: bool) -> None:
    settings = ProtocolSettings(prompt=prompt, history_ratings=rich, history_times=rich, item_attributes=None if rich else False)  # type: ignore[arg-type]
    golden = GOLDEN / f"{prompt}{'-rich' if rich else ''}.txt"
    assert whole(settings) == golden.read_text(encoding="utf-8")


def test_the_compact_prompt_is_the_history_and_nothing_else() -> None:
    assert opening(CASE, FILMS, ProtocolSettings()) == "User:\nDoom\nEmma [2020]\nDr. Strangelove\nAssistant:\n<think>\n"


def test_a_reminder_is_the_end_of_the_prompt_again() -> None:
    settings = ProtocolSettings(reminded=2, constrained=True)
    assert reminder(CASE, FILMS, settings) == "\nUser:\nEmma [2020]\nDr. Strangelove\n"
    assert opening(CASE, FILMS, settings).endswith("Emma [2020]\nDr. Strangelove\nAssistant:\n<think>\n")
    assert reminder(Case(0, (), 9), FILMS, settings) == "\nUser:\n"


def test_the_first_title_behind_a_reminder_has_no_number() -> None:
    plain, reminded = ProtocolSettings(answer_length=2), ProtocolSettings(answer_length=2, reminded=2, constrained=True)
    assert answer_body([1, 2, 3], FILMS, plain) == "\n" + answer_lines([1, 2], FILMS)
    assert answer_body([1, 2], FILMS, reminded) == f"{FILMS.title(1)}\n2. {FILMS.title(2)}\n"


@pytest.mark.parametrize("settings", [{"constrained": False}, {"constrained": True, "prompt": "long"}])
def test_only_small_models_under_constraint_are_reminded(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="reminded is 3, but"):
        ProtocolSettings(reminded=3, **settings)  # type: ignore[arg-type]


def test_every_title_finds_its_way_back_from_an_answer() -> None:
    titles = TitleIndex(FILMS)
    items = range(1, FILMS.n_items + 1)
    assert [titles.resolve(line) for line in answer_lines(items, FILMS).splitlines()] == list(items)


def test_catalogue_text_holds_no_marker() -> None:
    films = Catalog(("a",), ("Film",), {"tag": (("<think>\nnow", MARKERS[4]),)})
    lines = "".join(history_lines(Case(0, (1,), 0), films, ProtocolSettings(item_attributes=True)))
    assert not any(marker in lines for marker in MARKERS)
    assert lines.count("\n") == 2


def test_long_attribute_lines_are_cut_but_categories_never() -> None:
    films = Catalog(("a",), ("Film",), {"genres": (("g" * 800,),), "plot": (("p" * 800,),)})
    _, genres, plot = history_lines(Case(0, (1,), 0), films, ProtocolSettings(prompt="long"))[0].splitlines()
    assert genres == "  - genres: " + "g" * 800
    assert plot == "  - plot: " + "p" * 750 + "..."
    assert "plot" not in item_block((1,), films, ProtocolSettings(prompt="long"))


def test_a_prompt_that_is_too_long_loses_its_oldest_events_whole() -> None:
    fits = "User:\n  later: 3 days\nEmma [2020]\n  3.5/5\nDr. Strangelove\nAssistant:\n<think>\n"
    for room, expected in ((len(fits), fits), (len(fits) - 1, "User:\nDr. Strangelove\nAssistant:\n<think>\n")):
        settings = ProtocolSettings(history_ratings=True, history_times=True, prompt_tokens=room)
        assert opening(CASE, FILMS, settings, count=byte_length) == expected


def test_a_prompt_that_cannot_fit_says_how_many_tokens_it_needs() -> None:
    settings = ProtocolSettings(prompt="long", prompt_tokens=100)
    with pytest.raises(ConfigError, match=r"prompt_tokens is 100, but the 'long' prompt takes \d+ tokens without any history"):
        opening(CASE, FILMS, settings, count=byte_length)


def test_the_history_keeps_its_latest_events() -> None:
    assert history_lines(CASE, FILMS, ProtocolSettings(history_length=2)) == ["Emma [2020]\n", "Dr. Strangelove\n"]


@pytest.mark.parametrize(
    ("seconds", "mark"),
    [(-5, ""), (59, ""), (60, "1 minute"), (3 * DAY - 1, "1 day"), (3 * DAY, "3 days"), (10**9, "2 years")],
)
def test_elapsed_time_is_told_in_few_marks(seconds: int, mark: str) -> None:
    assert elapsed(seconds) == mark


def test_unknown_times_and_missing_ratings_are_left_out() -> None:
    settings = ProtocolSettings(history_ratings=True, history_times=True)
    assert history_lines(Case(0, (1, 4), 5, times=(-1, 4 * DAY)), FILMS, settings) == ["Doom\n", "Emma [2020]\n"]


def test_settings_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValidationError, match="write a smaller prompt_tokens"):
        ProtocolSettings(prompt_tokens=1_000, trajectory_tokens=1_000)
    with pytest.raises(ValidationError, match="not the inside of a character class"):
        ProtocolSettings(foreign_script="z-a")
