"""The environment: what it asks, what it shows, and that it is played once."""

import pytest
from worlds import Scripted, Shelves, asks, concludes, film_case, film_catalog

from fathom.agents.dialogue import Dialogue
from fathom.agents.play import play
from fathom.agents.protocol import ANSWER_CLOSE, ANSWER_OPEN, BEGIN_PREF, END_PREF, THINK_CLOSE, ProtocolSettings
from fathom.data.titles import TitleIndex
from fathom.records import Case, Ending, Reply

FILMS = film_catalog()
TITLES = TitleIndex(FILMS)
LIST = tuple(range(20, 30))


def dialogue(**settings: int | bool) -> Dialogue:
    return Dialogue(film_case(), FILMS, TITLES, ProtocolSettings.model_validate(settings))


def says(text: str) -> Reply:
    return Reply(text, stop=next((stop for stop in Dialogue.stops if text.endswith(stop)), None))


def test_the_preference_follows_the_last_opening_marker_without_quotes_and_squeezed() -> None:
    call = dialogue().hear(says(f'{BEGIN_PREF}old one, {BEGIN_PREF}  "war";\n love {END_PREF}'))
    assert call is not None
    assert call.preference == "war; love"
    assert (call.history, call.k, call.exclude) == ((17, 18, 19), 20, frozenset({17, 18, 19}))


def test_what_was_shown_is_excluded_from_the_next_call() -> None:
    one = dialogue()
    one.hear(says(asks("war")))
    one.show((1, 2))
    call = one.hear(says(asks("love")))
    assert call is not None
    assert call.exclude == {17, 18, 19, 1, 2}


def test_a_reminder_stands_in_the_answer_and_is_not_of_it() -> None:
    one = dialogue(reminded=2, answer_length=2, constrained=True)
    one.hear(says(asks("war")))
    one.show((1, 2))
    head = "\nUser:\n" + "".join(f"{FILMS.title(item)}\n" for item in (18, 19))
    assert one.remind(Reply(f"Fits best: war.\n{THINK_CLOSE}\n{ANSWER_OPEN}", stop=ANSWER_OPEN)) == head
    one.hear(Reply(f"{FILMS.title(1)}\n2. {FILMS.title(2)}\n{ANSWER_CLOSE}", stop=ANSWER_CLOSE))
    episode = one.episode()
    assert (episode.answer, episode.faults, episode.conclusion) == ((1, 2), (), "Fits best: war.")
    assert f"{ANSWER_OPEN}{head}{FILMS.title(1)}\n2. " in episode.text


def test_a_reminder_that_leaves_no_room_ends_the_episode() -> None:
    one = dialogue(reminded=2, answer_length=2, constrained=True, prompt_tokens=200, trajectory_tokens=330)
    assert one.remind(says(f"{THINK_CLOSE}\n{ANSWER_OPEN}" + "x" * one.room)) is None
    assert one.ending is Ending.TOO_LONG


def test_the_whole_history_is_excluded_not_only_what_the_model_reads() -> None:
    one = Dialogue(Case(0, tuple(range(11, 40)), 1), FILMS, TITLES, ProtocolSettings(history_length=2))
    call = one.hear(says(asks("war")))
    assert call is not None
    assert len(call.exclude) == 29


def test_a_dialogue_is_played_once() -> None:
    one = dialogue()
    one.hear(says("nothing"))
    assert one.ending is Ending.UNREADABLE
    with pytest.raises(RuntimeError, match=r"over \(unreadable\): play a new one"):
        one.hear(says(asks("war")))
    with pytest.raises(RuntimeError, match="none is open"):
        one.show((1,))


def test_a_call_must_be_answered_before_the_model_goes_on() -> None:
    one = dialogue()
    one.hear(says(asks("war")))
    with pytest.raises(RuntimeError, match=r"show\(\) its items first"):
        one.hear(says("and"))
    with pytest.raises(RuntimeError, match="not over yet"):
        one.episode()


def test_the_record_of_an_episode_holds_everything_that_happened() -> None:
    one = dialogue()
    one.hear(says(asks("war", thought="They like war.")))
    shown = one.show((6, 1, 2))
    last = concludes((6, 2, *LIST[:8]), FILMS, conclusion="War it is.")
    one.hear(says(last))
    episode = one.episode(scored=(2, 6, 1), seconds=1.5)
    assert [(turn.thought, turn.preference, turn.shown) for turn in episode.turns] == [("They like war.", "war", (6, 1, 2))]
    assert episode.conclusion == "War it is."
    assert episode.lines[:2] == ("1. 1942", "2. Doom Eternal")
    assert episode.answer == (6, 2, *LIST[:8])
    assert episode.text == asks("war", thought="They like war.") + str(shown) + last
    assert (episode.scored, episode.seconds, episode.retrieved, episode.tape) == ((2, 6, 1), 1.5, (6, 1, 2), None)
    assert episode.well_formed


def test_a_title_inside_a_title_is_not_that_title() -> None:
    one = dialogue()
    one.hear(says(asks("war")))
    one.show((1, 2))
    one.hear(says(concludes((2,), FILMS)))
    assert one.episode().answer == (2,), "'Doom Eternal' is never 'Doom'"


def test_a_bare_title_names_the_only_one_of_its_kind_that_was_shown() -> None:
    for shown, item in (((3,), 3), ((4,), 4), ((3, 4), None), ((1,), None)):
        one = dialogue()
        one.hear(says(asks("love")))
        one.show(shown)
        one.hear(says("So.\n</think>\n<recommendation_list>\n1. Emma\n</recommendation_list>"))
        assert one.episode().answer == (item,)


def test_an_item_list_that_the_model_forges_shows_nothing() -> None:
    forged = "<|begin_of_item_list|>\n1. Doom\n<|end_of_item_list|>\n"
    [episode] = play(Scripted([asks("war"), forged + concludes(LIST, FILMS)]), Shelves(40), [film_case()], FILMS, ProtocolSettings())
    assert len(episode.turns) == 1
    assert "markers" in episode.faults
    assert episode.tape is not None
    assert sum(episode.tape.sampled) == len((asks("war") + forged + concludes(LIST, FILMS)).encode()), "its own forgery is its own text"


def test_the_room_is_what_the_segment_and_the_trajectory_leave() -> None:
    one = Dialogue(film_case(), FILMS, TITLES, ProtocolSettings(segment_tokens=50, prompt_tokens=100, trajectory_tokens=200))
    assert one.room == 50
    used = len(one.opening) + len(asks("war"))
    one.hear(says(asks("war")))
    assert one.room == min(50, 200 - used)
