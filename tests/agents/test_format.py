"""The ten format checks: each has one minimal text that fails it and none of the texts of the others."""

import pytest
from worlds import asks, concludes, film_case, film_catalog

from fathom.agents.dialogue import Dialogue
from fathom.agents.format import CHECKS
from fathom.agents.protocol import BEGIN_ITEMS, BEGIN_PREF, END_ITEMS, END_PREF, ProtocolSettings, answer_lines, placeholders
from fathom.data.titles import TitleIndex
from fathom.records import Episode, Reply

FILMS = film_catalog()
TITLES = TitleIndex(FILMS)
LIST = tuple(range(20, 30))
GOOD = concludes(LIST, FILMS)
SHOWN = (8, 9, 20, 21)  # 'Virtual Assistant' and a title in another script are among them


def played(*texts: str, settings: ProtocolSettings | None = None) -> Episode:
    """The episode of a model that writes `texts`; each ends where one of the dialogue's stops ends it."""
    dialogue = Dialogue(film_case(), FILMS, TITLES, settings or ProtocolSettings())
    for text in texts:
        stop = next((stop for stop in dialogue.stops if text.endswith(stop)), None)
        if dialogue.hear(Reply(text, stop=stop)) is not None:
            dialogue.show(SHOWN)
    return dialogue.episode()


def answered(lines: str) -> str:
    return f"So.\n</think>\n<recommendation_list>\n{lines}</recommendation_list>"


@pytest.mark.parametrize("prompt", ["compact", "long"])
def test_a_plain_response_passes_every_check(prompt: str) -> None:
    assert played(asks("war"), asks("love"), GOOD, settings=ProtocolSettings(prompt=prompt)).faults == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "texts"),
    [
        ("markers", (f"{BEGIN_PREF}one {asks('two')}", GOOD)),
        ("markers", (asks("war"), f"{BEGIN_ITEMS}\n1. {FILMS.title(1)}\n{END_ITEMS}\n{GOOD}")),
        ("markers", (asks("war"), f"{BEGIN_ITEMS} {GOOD}")),
        ("calls", (GOOD,)),
        ("speaker", (asks("war", thought="Assistant: hm"), GOOD)),
        ("speaker", (asks("a good assistant"), GOOD)),
        ("thinking", (asks("war", thought="<think> again"), GOOD)),
        ("thinking", (asks("war"), f"Hm.</think>{GOOD}")),
        ("answer_tags", (asks("war"), f"<recommendation_list>{GOOD}")),
        ("conclusion", (asks("war"), concludes(LIST, FILMS, conclusion=" "))),
        ("answer_lines", (asks("war"), concludes(LIST[:9], FILMS))),
        ("answer_lines", (asks("war"), concludes((*LIST, 30), FILMS))),
        ("answer_lines", (asks("war"), concludes((*LIST[:9], LIST[0]), FILMS))),
        ("answer_lines", (asks("war"), GOOD.replace("3. ", "4. "))),
        ("answer_lines", (asks("war"), GOOD.replace("3. ", "- "))),
        ("answer_lines", (asks("war"), answered("1. " + ", ".join(FILMS.title(item) for item in LIST) + "\n"))),
        ("script", (asks("war", thought="卧"), GOOD)),
        ("script", (asks("war"), answered(answer_lines(LIST[:9], FILMS) + "10. 卧虎\n"))),
    ],
)
def test_one_fault_is_found_alone(fault: str, texts: tuple[str, ...]) -> None:
    assert played(*texts).faults == (fault,)


def test_a_marker_inside_the_answer_is_found() -> None:
    assert "answer_markers" in played(asks("war"), answered(answer_lines(LIST[:9], FILMS) + f"10. {BEGIN_PREF}\n")).faults
    words = answered(answer_lines(LIST[:9], FILMS) + "10. end_of_item_list\n")
    assert played(asks("war"), words).faults == ("answer_markers",)


def test_every_placeholder_of_the_long_prompt_fails_when_it_is_echoed() -> None:
    settings = ProtocolSettings(prompt="long")
    assert len(placeholders(settings)) >= 5
    for placeholder in placeholders(settings):
        assert placeholder in Dialogue(film_case(), FILMS, TITLES, settings).opening
        assert played(asks("war", thought=placeholder), GOOD, settings=settings).faults == ("echo",)


def test_text_of_the_environment_is_not_held_against_the_model() -> None:
    with_both = concludes((8, 9, *LIST[:8]), FILMS)  # names 'Virtual Assistant' and the title in another script
    assert played(asks("war"), with_both).faults == ()


def test_the_foreign_script_is_a_setting() -> None:
    greek = (asks("war", thought="Ω"), GOOD)
    assert played(*greek).faults == ()
    assert played(*greek, settings=ProtocolSettings(foreign_script="\u0370-\u03ff")).faults == ("script",)
    assert played(asks("war", thought="卧"), GOOD, settings=ProtocolSettings(foreign_script="")).faults == ()


def test_a_call_that_was_not_executed_is_a_fault() -> None:
    settings = ProtocolSettings(max_calls=1)
    assert "markers" in played(asks("one"), asks("two"), settings=settings).faults
    assert "markers" in played(asks("one"), f"half a call {END_PREF}").faults


def test_there_are_ten_checks() -> None:
    assert len(CHECKS) == 10
