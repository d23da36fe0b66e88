"""Turn by turn: filters hold, nothing comes twice, each move changes what it is about, nothing to go on is one question (C1 to C9)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import film_catalog

from fathom.conversation.assistant import QUESTION, Assistant
from fathom.conversation.shelves import Shelves
from fathom.conversation.state import Answer, Span, State, Turn, load, save
from fathom.errors import DataError
from fathom.items.embed import item_vectors
from fathom.items.encoders import HashingEncoder
from fathom.records import Utterance

FILMS = film_catalog(60)
PRICES = tuple((f"${item % 40 + 1}.50",) if item % 5 else () for item in range(60))
CATALOG = replace(FILMS, attributes={**FILMS.attributes, "price": PRICES})
ENCODER = HashingEncoder()
SHELVES = Shelves(CATALOG, ENCODER, item_vectors(CATALOG, ENCODER, None), counts=np.arange(61)[::-1].copy())
ASSISTANT = Assistant(SHELVES)


def talked(*said: str, state: State | None = None, assistant: Assistant = ASSISTANT) -> tuple[State, Answer]:
    """The conversation after all of it, and the last answer."""
    state, answer = state or State(), Answer("")
    for words in said:
        state, answer = assistant.reply(state, words)
    return state, answer


def genre(item: int) -> str:
    return CATALOG.attributes["genres"][item - 1][0]


def year(item: int) -> int:
    return int(CATALOG.attributes["year"][item - 1][0])


def test_filters_hold_over_turns_and_a_new_value_replaces_the_old_one() -> None:
    state, answer = talked("a comedy", "not before 1990")
    assert answer.items
    assert all(genre(item) == "Comedy" and year(item) >= 1990 for item in answer.items)
    _, answer = talked("rather a drama", state=state)
    assert all(genre(item) == "Drama" and year(item) >= 1990 for item in answer.items)
    state, answer = talked("no drama", state=state)
    assert all(genre(item) == "Comedy" for item in answer.items)
    assert state.now.wishes.barred == {"genres": ("Drama",)}
    _, answer = talked("cheaper than $10")
    prices = [CATALOG.attributes["price"][item - 1] for item in answer.items]
    assert all(price and float(price[0][1:]) <= 10 for price in prices), "what has no price is not known to be cheap"


def test_a_swap_changes_one_place_and_no_wish() -> None:
    state, before = talked("a comedy")
    after_state, after = talked("swap the second one", state=state)
    assert after.items[:1] + after.items[2:] == before.items[:1] + before.items[2:]
    assert after.items[1] not in before.items
    assert genre(after.items[1]) == "Comedy"
    assert after_state.now.wishes == state.now.wishes


def test_each_move_changes_what_it_is_about() -> None:
    state, _ = talked("a comedy after 1970")
    wishes = state.now.wishes
    more, _ = talked("more like Doom Eternal", state=state)
    assert replace(more.now.wishes, likes=()) == replace(wishes, likes=())
    less, _ = talked("less romance", state=state)
    assert replace(less.now.wishes, barred={}) == replace(wishes, barred={})
    later, _ = talked("until 1990", state=state)
    assert replace(later.now.wishes, years=wishes.years) == wishes
    assert later.now.wishes.years == Span(None, 1990)


def test_more_like_something_moves_what_is_like_it_up() -> None:
    titles = [f"Space Pirates {item}" if 20 < item < 30 else title for item, title in enumerate(CATALOG.titles, start=1)]
    catalog = replace(CATALOG, titles=tuple(titles))
    shelves = Shelves(catalog, ENCODER, item_vectors(catalog, ENCODER, None))
    _, answer = talked("I loved Space Pirates 25", assistant=Assistant(shelves))
    assert set(answer.items) <= set(range(21, 30)) - {25}
    _, answer = talked("space pirates, please", assistant=Assistant(shelves))
    assert set(answer.items) <= set(range(21, 30))
    _, answer = talked("a comedy", "I hate Space Pirates 23", assistant=Assistant(shelves))
    assert not set(answer.items) & set(range(21, 30))


def test_nothing_to_go_on_is_one_question_and_then_what_many_like() -> None:
    state, answer = talked("hello")
    assert (answer.text, answer.asks, answer.items) == (QUESTION, True, ())
    state, answer = talked("I don't know", state=state)
    assert not answer.asks
    assert answer.items == (1, 2, 3, 4, 5)
    _, answer = talked("hm", state=State(history=(17, 18)))
    assert answer.items, "somebody who is known is not asked"


def test_a_profile_draws_what_is_shown_towards_it() -> None:
    titles = [f"Space Pirates {item}" if 20 < item < 30 else title for item, title in enumerate(CATALOG.titles, start=1)]
    shelves = Shelves(replace(CATALOG, titles=tuple(titles)), ENCODER, item_vectors(replace(CATALOG, titles=tuple(titles)), ENCODER, None))
    history = (21, 22, 23)
    for said in ("something good", "a film after 1960"):
        known = Assistant(shelves).reply(State(history=history), said)[1].items
        stranger = Assistant(shelves).reply(Assistant(shelves).reply(State(), "hello")[0], said)[1].items
        near = set(range(24, 30))
        assert len(near & set(known)) > len(near & set(stranger))
        assert not set(history) & set(known)


def test_what_cannot_be_at_once_is_one_question_and_changes_nothing() -> None:
    state, _ = talked("a comedy after 1990")
    asked, answer = talked("between 2000 and 1980", state=state)
    assert answer.asks
    assert answer.text == "Nothing is from 2000 on and until 1980 at once: which of them do you mean?"
    assert asked.now.wishes == state.now.wishes
    _, answer = talked("a war film before 1950")
    assert answer.asks
    assert answer.text.startswith("Nothing new is left that is War.")


def test_undo_is_as_if_nothing_had_been_said_and_start_again_forgets_wishes_alone() -> None:
    state, _ = talked("a comedy", state=State(history=(17,)))
    back, answer = talked("more like Doom Eternal", "undo", state=state)
    assert back == state
    assert answer.items == state.now.listed
    again, answer = talked("start again", state=state)
    assert again.now.wishes.empty
    assert again.history == (17,)
    assert answer.items
    nothing, answer = talked("undo")
    assert (nothing, answer.text) == (State(), "There is nothing to take back.")


def test_reasons_are_grounded() -> None:
    _, answer = talked("a comedy from the 90s", "I loved Doom Eternal")
    for item, reason in zip(answer.items, answer.reasons, strict=True):
        assert reason == f"near to Doom Eternal, Comedy, from {year(item)}"


def test_what_is_taken_is_not_offered_again() -> None:
    state, answer = talked("a comedy")
    taken = answer.items[1]
    state, answer = talked("I'll take the second one", state=state)
    assert answer.text == f"Enjoy {CATALOG.title(taken)}!"
    assert state.now.accepted == (taken,)
    assert taken in state.now.wishes.likes


def test_a_better_order_is_taken_from_whoever_gives_one() -> None:
    asked: list[tuple[Sequence[Utterance], Sequence[int]]] = []

    def order(script: Sequence[Utterance], items: Sequence[int], scores: Sequence[float]) -> Sequence[int]:
        asked.append((script, items))
        assert list(scores) == sorted(scores, reverse=True)
        return items[::-1][:7]

    _, plain = talked("a comedy")
    _, better = talked("a comedy", assistant=Assistant(SHELVES, order=order))
    assert asked[0][1][:5] == list(plain.items)
    assert better.items == tuple(asked[0][1][::-1][:5])
    assert asked[0][0] == [Utterance("seeker", "a comedy", ())]


def test_a_transcript_goes_into_a_file_and_on_from_there(tmp_path: Path) -> None:
    state, _ = talked("a comedy under $30", "more like Doom", "swap the first one", state=State(history=(18, 19)))
    save(state, tmp_path / "talk.json")
    again = load(tmp_path / "talk.json")
    assert again == state
    assert ASSISTANT.reply(again, "rather a drama") == ASSISTANT.reply(state, "rather a drama")
    assert ASSISTANT.reply(again, "undo") == ASSISTANT.reply(state, "undo")
    (tmp_path / "talk.json").write_text('{"history": ["x"]}')
    with pytest.raises(DataError, match=r"talk\.json: not a conversation as Fathom writes it \(history\.0"):
        load(tmp_path / "talk.json")
    with pytest.raises(DataError, match="there is no such file"):
        load(tmp_path / "none.json")


MOVES = st.sampled_from(
    [
        *("a comedy", "no war", "more like Doom Eternal", "less drama", "not before 1975", "under $25", "swap the first one", "undo"),
        *("seen it", "start again", "I hate Emma", "anything", "I'll take number 2", "rather a romance", "give me 3", "the 80s", ""),
    ]
)


@settings(max_examples=60, deadline=None)
@given(said=st.lists(MOVES, min_size=1, max_size=8), history=st.lists(st.integers(1, 60), max_size=4, unique=True))
def test_whatever_is_said_filters_hold_and_nothing_comes_twice(said: list[str], history: list[int]) -> None:
    state = State(history=tuple(history))
    for words in said:
        before = state
        state, answer = ASSISTANT.reply(state, words)
        if words == "undo" or not answer.items:
            continue
        wishes, new = state.now.wishes, [item for item in answer.items if item not in before.now.listed or not words.startswith("swap")]
        allowed = SHELVES.allowed(wishes)
        assert all(allowed[item] for item in new)
        fresh = before.now.shown if words != "start again" else ()
        assert not set(new) & {*history, *fresh, *state.now.seen, *wishes.dislikes, *wishes.likes}
        assert len(set(answer.items)) == len(answer.items) == len(answer.reasons)
        assert isinstance(state.turns[-1], Turn)
