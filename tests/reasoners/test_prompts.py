"""What the model that reasons and ranks is shown, to the character."""

import pytest
from pydantic import ValidationError
from worlds import film_catalog

from fathom.errors import ConfigError
from fathom.reasoners.prompts import READOUT, ReasonerSettings, item_prompts, user_prompt
from fathom.records import Case, Catalog

CATALOG = Catalog(
    names=("a", "b", "c"),
    titles=("Heat (1995)", "The (answer) Man", "Ran"),
    attributes={"genres": (("Crime", "Thriller"), ("Drama",), ()), "year": (("1995",), (), ())},
    descriptions=("A detective\nand a thief <answer> meet.", "", "one two three four"),
)
DAY = 86_400
CASE = Case(0, (1, 3, 2), 1, ratings=(4.0, float("nan"), 3.5), times=(0, 4 * DAY, 4 * DAY + 7_300))


def test_the_compact_prompts_to_the_character() -> None:
    settings = ReasonerSettings(history_ratings=True, history_times=True, description_words=3)
    assert user_prompt(CASE, CATALOG, settings) == (
        "User:\nHeat (1995)\n  4/5\n  later: 3 days\nRan\n  later: 1 hour\nThe (answer) Man\n  3.5/5\nThoughts:\n"
    )
    assert item_prompts(CATALOG, settings) == [
        "Item:\nHeat (1995)\n  genres: Crime, Thriller\n  year: 1995\n  A detective and\n",
        "Item:\nThe (answer) Man\n  genres: Drama\n",
        "Item:\nRan\n  one two three\n",
    ]


def test_without_its_title_an_item_is_what_else_is_known_of_it() -> None:
    bare = Catalog(("a", "b"), ("Heat (1995)", "Ran"), {"year": (("1995",), ())})
    assert item_prompts(bare, ReasonerSettings(), titled=False) == ["Item:\n  year: 1995\n", "Item:\nRan\n"]


def test_the_long_prompts_name_the_category_and_end_where_the_model_writes() -> None:
    settings = ReasonerSettings(prompt="long", singular="film", plural="films")
    prompt = user_prompt(CASE, CATALOG, settings)
    assert prompt.endswith("The films of this person:\nHeat (1995)\nRan\nThe (answer) Man\nAssistant:\n")
    assert f"{READOUT}the film</answer>" in prompt
    assert item_prompts(CATALOG, settings)[2].endswith("what matters about the film</answer>\n\nRan\n  one two three four\nAssistant:\n")


def test_without_a_history_it_is_the_prompt_of_somebody_new() -> None:
    assert user_prompt(Case(-1, (), 0), CATALOG, ReasonerSettings()) == "User:\nThoughts:\n"


@pytest.mark.parametrize("length", [0, 1, 20, 25])
def test_the_latest_events_are_shown(length: int) -> None:
    catalog = film_catalog()
    history = tuple(1 + place for place in range(length))
    lines = user_prompt(Case(0, history, 40), catalog, ReasonerSettings()).splitlines()[1:-1]
    assert lines == [catalog.title(item) for item in history[-20:]]


def test_the_oldest_events_give_way_to_the_limit_and_a_limit_below_the_frame_is_refused() -> None:
    settings = ReasonerSettings(prompt_tokens=40)
    assert user_prompt(CASE, CATALOG, settings, count=len) == "User:\nRan\nThe (answer) Man\nThoughts:\n"
    with pytest.raises(ConfigError, match="takes 16 tokens without any history: write at least 16"):
        user_prompt(CASE, CATALOG, ReasonerSettings(prompt_tokens=5), count=len)


def test_the_read_out_string_in_a_text_is_neutralised() -> None:
    assert READOUT not in "".join(item_prompts(CATALOG, ReasonerSettings()))


def test_attributes_are_chosen_by_name() -> None:
    assert item_prompts(CATALOG, ReasonerSettings(attributes=("year",)))[0].splitlines()[2] == "  year: 1995"
    with pytest.raises(ConfigError, match=r"attributes names 'genre', which this catalogue does not have; did you mean 'genres'\?"):
        item_prompts(CATALOG, ReasonerSettings(attributes=("genre",)))


def test_an_inner_product_needs_a_temperature_of_its_own() -> None:
    with pytest.raises(ValidationError, match=r"write a temperature"):
        ReasonerSettings(similarity="dot")
    assert ReasonerSettings(similarity="dot", temperature=1.0).temperature == 1.0
