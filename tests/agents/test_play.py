"""Play: batches by turn, tapes made of the very tokens, named endings, three finishes."""

from collections.abc import Sequence

import numpy as np
import pytest
from worlds import Scripted, ScriptedConversation, Shelves, asks, concludes, film_case, film_catalog, opens_list

from fathom.agents.play import play, row_seed
from fathom.agents.protocol import ANSWER_OPEN, BEGIN_ITEMS, BEGIN_PREF, END_PREF, ProtocolSettings
from fathom.agents.remote_retrieval import RetrievalError
from fathom.records import Call, Ending, Turn

FILMS = film_catalog()
SETTINGS = ProtocolSettings(items_per_call=5)
LIST = tuple(range(20, 30))


def calls_then_list(number: int) -> list[str]:
    return [asks(f"wish {turn}") for turn in range(number)] + [concludes(LIST, FILMS)]


@pytest.mark.parametrize(
    ("calls", "ending", "executed"),
    [
        (0, Ending.ANSWERED, 0),
        (1, Ending.ANSWERED, 1),
        (3, Ending.ANSWERED, 3),
        (8, Ending.ANSWERED, 8),
        (9, Ending.TOO_MANY_CALLS, 8),
    ],
)
def test_calls_are_counted_and_the_ninth_ends_the_episode(calls: int, ending: Ending, executed: int) -> None:
    [episode] = play(Scripted(calls_then_list(calls)), Shelves(40), [film_case()], FILMS, SETTINGS)
    assert (episode.ending, len(episode.turns)) == (ending, executed)
    assert episode.well_formed == (ending is Ending.ANSWERED and calls > 0)


@pytest.mark.parametrize(
    ("script", "ending"),
    [
        ([f"a call without a beginning {END_PREF}"], Ending.BAD_CALL),
        ([asks(' "" ')], Ending.EMPTY_PREFERENCE),
        (["I stop here."], Ending.UNREADABLE),
        (["</think>\n<recommendation_list>\n\n</recommendation_list>"], Ending.UNREADABLE),
        (["a list that was never opened </recommendation_list>"], Ending.UNREADABLE),
        (["word " * 1000], Ending.TOO_LONG),
    ],
)
def test_every_other_way_to_end_has_its_name(script: list[str], ending: Ending) -> None:
    [episode] = play(Scripted(script), Shelves(40), [film_case()], FILMS, SETTINGS)
    assert episode.ending is ending
    assert not episode.well_formed
    assert episode.answer == ()


@pytest.mark.parametrize(
    ("written", "kept"),
    [("war; love; War; love; war; love; war", "war; love; War;"), (f"war; love\nSo.\n{BEGIN_PREF}war", "war; love\n")],
    ids=["says a phrase again", "begins another line"],
)
def test_under_constraint_a_preference_that_is_lost_is_closed(written: str, kept: str) -> None:
    script = [f"So.\n{BEGIN_PREF}{written}", opens_list(concludes(LIST, FILMS))]
    settings = SETTINGS.model_copy(update={"constrained": True, "answer_length": 5})
    [episode] = play(Scripted(script), Shelves(40), [film_case()], FILMS, settings, finish="scored")
    assert episode.well_formed
    assert [turn.preference for turn in episode.turns] == ["war; love"]
    assert f"{BEGIN_PREF}{kept}{END_PREF}\n{BEGIN_ITEMS}" in episode.text
    assert episode.tape is not None
    words = bytes(token for token, own in zip(episode.tape.tokens, episode.tape.sampled, strict=True) if own).decode()
    assert words.startswith(f"So.\n{BEGIN_PREF}{kept}"), "the closing marker is the environment's"
    assert END_PREF not in words
    [free] = play(Scripted(script), Shelves(40), [film_case()], FILMS, SETTINGS, finish="scored")
    assert free.ending is Ending.UNREADABLE


def test_a_list_that_fills_the_trajectory_ends_it_before_it_is_shown() -> None:
    settings = ProtocolSettings(items_per_call=20, prompt_tokens=200, trajectory_tokens=400)
    [episode] = play(Scripted(calls_then_list(3)), Shelves(40), [film_case()], FILMS, settings)
    assert episode.ending is Ending.TOO_LONG
    assert episode.tape is not None
    assert len(episode.tape.tokens) <= 400


class Broken:
    """A retriever that does not answer the second time."""

    def __init__(self) -> None:
        self.shelves = Shelves(40)

    def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        if self.shelves.asked:
            raise RetrievalError("no answer")
        return self.shelves.retrieve(calls)

    weigh = Shelves.weigh


def test_a_retriever_that_does_not_answer_ends_only_the_episodes_that_asked() -> None:
    scripts = {17: calls_then_list(1), 18: calls_then_list(2)}
    policy = Scripted(lambda prompt, seed: scripts[18 if "Film 18" in prompt else 17])
    cases = [film_case(history=(17,)), film_case(history=(18,))]
    first, second = play(policy, Broken(), cases, FILMS, SETTINGS)
    assert first.ending is Ending.ANSWERED
    assert (second.ending, len(second.turns)) == (Ending.RETRIEVAL_FAILED, 1)


def test_a_retriever_that_cannot_say_how_sure_it_is_has_failed() -> None:
    class Silent(Shelves):
        def weigh(self, histories: Sequence[Sequence[int]], items: Sequence[Sequence[int]]) -> list[np.ndarray]:
            raise RetrievalError("no answer")

    settings = SETTINGS.model_copy(update={"listed": 1.0})
    [episode] = play(Scripted(calls_then_list(1)), Silent(40), [film_case()], FILMS, settings)
    assert (episode.ending, episode.turns) == (Ending.RETRIEVAL_FAILED, ())
    [unasked] = play(Scripted(calls_then_list(1)), Silent(40), [film_case()], FILMS, SETTINGS)
    assert unasked.ending is Ending.ANSWERED, "nobody asks where it does not count"


def test_a_bug_in_the_retriever_is_not_swallowed() -> None:
    class Buggy:
        def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play(Scripted(calls_then_list(1)), Buggy(), [film_case()], FILMS, SETTINGS)


@pytest.mark.parametrize("finish", ["written", "scored", "both"])
def test_the_tape_is_what_the_model_read_and_wrote(finish: str) -> None:
    policy = Scripted(calls_then_list(2))
    [episode] = play(policy, Shelves(40), [film_case()], FILMS, SETTINGS, finish=finish)  # type: ignore[arg-type]
    tape = episode.tape
    assert tape is not None
    seen = policy.conversations[0].tokens[0]
    assert list(tape.tokens[: len(seen)]) == seen
    assert policy.decode(tape.tokens[tape.prompt :]) == episode.text
    own = policy.decode([token for token, sampled in zip(tape.tokens, tape.sampled, strict=True) if sampled])
    written = "".join(calls_then_list(2))
    assert own == (written if finish != "scored" else written[: written.index(ANSWER_OPEN) + len(ANSWER_OPEN)])
    assert own.count(END_PREF) == 2, "the closing marker of a preference is the model's own"
    assert not any(tape.sampled[: tape.prompt])
    assert all((logprob != 0.0) == sampled for logprob, sampled in zip(tape.logprobs, tape.sampled, strict=True))


class Spilling(Scripted):
    """A policy whose last token of every reply was put in the place of one that spilled past the stop string."""

    def converse(self, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int]) -> ScriptedConversation:
        conversation = super().converse(prompts, temperature=temperature, seeds=seeds)
        conversation.spill = 1
        return conversation


def test_what_replaces_a_spilled_token_is_not_the_models_own() -> None:
    [episode] = play(Spilling(calls_then_list(1)), Shelves(40), [film_case()], FILMS, SETTINGS)
    assert episode.tape is not None
    own = [chr(token) for token, sampled in zip(episode.tape.tokens, episode.tape.sampled, strict=True) if sampled]
    assert "".join(own) == "".join(text[:-1] for text in calls_then_list(1))
    assert all((logprob != 0.0) == sampled for logprob, sampled in zip(episode.tape.logprobs, episode.tape.sampled, strict=True))


def by_seed(prompt: str, seed: int) -> list[str]:
    """A conversation that depends on the seed: one to three calls, some of them unreadable at the end."""
    calls = [asks(f"wish {seed % 97} {turn}") for turn in range(1 + seed % 3)]
    return [*calls, "nothing" if seed % 5 == 0 else concludes(LIST, FILMS)]


@pytest.mark.parametrize("finish", ["written", "scored", "both"])
def test_the_batch_size_changes_nothing(finish: str) -> None:
    cases = [film_case(history=(17 + place,)) for place in range(7)]
    played = [
        [
            (episode.turns, episode.answer, episode.scored, episode.text, episode.tape)
            for episode in play(Scripted(by_seed), Shelves(40), cases, FILMS, SETTINGS, seed=3, batch_size=size, finish=finish)  # type: ignore[arg-type]
        ]
        for size in (1, 3, 64)
    ]
    assert played[0] == played[1] == played[2]
    assert len({row_seed(3, place) for place in range(7)} | {row_seed(4, place) for place in range(7)}) == 14


def test_the_retriever_is_asked_once_a_turn_for_all_who_still_go_on() -> None:
    shelves = Shelves(40)
    scripts = {17: calls_then_list(1), 18: calls_then_list(3)}
    policy = Scripted(lambda prompt, seed: scripts[18 if "Film 18" in prompt else 17])
    play(policy, shelves, [film_case(history=(17,)), film_case(history=(18,))], FILMS, SETTINGS)
    assert [len(calls) for calls in shelves.asked] == [2, 1, 1]


def test_nothing_comes_back_twice_and_nothing_from_the_history() -> None:
    [episode] = play(Scripted(calls_then_list(8)), Shelves(40), [film_case()], FILMS, ProtocolSettings(items_per_call=4))
    shown = [item for turn in episode.turns for item in turn.shown]
    assert len(shown) == len(set(shown)) == 32
    assert not set(shown) & set(episode.case.history)


def test_without_exclusion_the_plain_order_comes_back() -> None:
    settings = ProtocolSettings(items_per_call=5, exclude_history=False, exclude_shown=False)
    shelves = Shelves(40)
    [episode] = play(Scripted([asks("same"), asks("same"), concludes(LIST, FILMS)]), shelves, [film_case()], FILMS, settings)
    assert episode.turns[0].shown == episode.turns[1].shown
    assert {call.exclude for calls in shelves.asked for call in calls} == {frozenset()}


def test_a_shelf_that_runs_empty_is_told_in_a_well_formed_list() -> None:
    settings = ProtocolSettings(items_per_call=40)
    [episode] = play(Scripted(calls_then_list(2)), Shelves(40), [film_case()], FILMS, settings)
    assert [len(turn.shown) for turn in episode.turns] == [37, 0]
    assert "\n1. none found\n" in episode.text
    assert episode.well_formed


def test_the_scored_finish_orders_what_was_retrieved_by_likelihood() -> None:
    policy = Scripted(calls_then_list(2), likes=lambda text: float(len(text) % 7))
    [episode] = play(policy, Shelves(40), [film_case()], FILMS, SETTINGS, finish="scored")
    lengths = {item: len(f"\n1. {FILMS.title(item)}\n") % 7 for item in episode.retrieved}
    assert list(episode.scored) == sorted(episode.retrieved, key=lambda item: -lengths[item]), "ties keep the order of retrieval"
    assert episode.answer == episode.scored[:10]
    assert episode.well_formed
    assert episode.ending is Ending.ANSWERED


def test_what_the_retriever_says_counts_beside_the_likelihood() -> None:
    def order(listed: float, likes: dict[int, float]) -> tuple[int, ...]:
        by_line = {f"\n1. {FILMS.title(item)}\n": value for item, value in likes.items()}
        policy = Scripted(calls_then_list(1), likes=lambda text: by_line.get(text, -9.0))
        settings = SETTINGS.model_copy(update={"items_per_call": 2, "listed": listed})
        [episode] = play(policy, Shelves(40), [film_case()], FILMS, settings, finish="scored")
        return episode.scored

    small, large = sorted(order(0.0, {}))
    apart = (large - small) / 100  # the shelves say a hundredth of a nat less of each further item
    assert order(1.0, {small: -1.0, large: -1.0 + 0.99 * apart}) == (small, large)
    assert order(1.0, {small: -1.0, large: -1.0 + 1.01 * apart}) == (large, small)
    assert order(2.0, {small: -1.0, large: -1.0 + 1.99 * apart}) == (small, large)
    assert order(0.0, {small: -1.0, large: -0.999}) == (large, small)


def test_scoring_first_does_not_change_what_is_written() -> None:
    shelves = Shelves(40)
    [written] = play(Scripted(calls_then_list(2)), shelves, [film_case()], FILMS, SETTINGS)
    [both] = play(Scripted(calls_then_list(2)), shelves, [film_case()], FILMS, SETTINGS, finish="both")
    [scored] = play(Scripted(calls_then_list(2)), shelves, [film_case()], FILMS, SETTINGS, finish="scored")
    assert (both.text, both.answer, both.tape) == (written.text, written.answer, written.tape)
    assert both.scored == scored.scored
    assert written.scored == ()


def test_an_episode_that_never_opened_its_list_is_still_scored() -> None:
    asked: list[str] = []
    policy = Scripted([asks("a wish"), "and nothing more"], likes=lambda text: asked.append(text) or 0.0)  # type: ignore[func-returns-value]
    [episode] = play(policy, Shelves(40), [film_case()], FILMS, SETTINGS, finish="scored")
    assert episode.ending is Ending.UNREADABLE
    assert episode.scored == episode.retrieved
    assert all(text.startswith("\n</think>\n<recommendation_list>\n1. ") for text in asked)


def test_without_any_retrieval_there_is_nothing_to_score() -> None:
    [scored] = play(Scripted(calls_then_list(0)), Shelves(40), [film_case()], FILMS, SETTINGS, finish="scored")
    assert (scored.scored, scored.answer, scored.ending) == ((), (), Ending.UNREADABLE)


def test_seconds_add_up_and_progress_is_told() -> None:
    finished: list[int] = []
    cases = [film_case(history=(17 + place,)) for place in range(5)]
    episodes = play(Scripted(by_seed), Shelves(40), cases, FILMS, SETTINGS, batch_size=2, progress=finished.append)
    assert sum(finished) == 5
    assert all(episode.seconds > 0 for episode in episodes)


class Listening:
    """Keeps what it hears, and goes away from some cases after so many turns."""

    def __init__(self, patience: dict[int, int] | None = None) -> None:
        self.heard: list[tuple[int, str]] = []
        self.patience = patience or {}

    def turn(self, place: int, turn: Turn) -> None:
        self.heard.append((place, turn.preference))

    def gone(self, place: int) -> bool:
        return place in self.patience and len([one for one, _ in self.heard if one == place]) >= self.patience[place]


@pytest.mark.parametrize("batch_size", [1, 2, 0])
def test_a_listener_hears_every_turn_in_its_order(batch_size: int) -> None:
    policy = Scripted(lambda prompt, seed: calls_then_list(3 if "Film 18" in prompt else 1))
    cases = [film_case(history=(17,)), film_case(history=(18,)), film_case(history=(17,))]
    listening = Listening()
    heard = play(policy, Shelves(40), cases, FILMS, SETTINGS, batch_size=batch_size, listener=listening)
    alone = play(policy, Shelves(40), cases, FILMS, SETTINGS)
    assert [one.text for one in heard] == [one.text for one in alone], "listening changes nothing"
    for place, episode in enumerate(heard):
        assert [wish for one, wish in listening.heard if one == place] == [turn.preference for turn in episode.turns]


def test_a_conversation_that_nobody_waits_for_is_left() -> None:
    policy = Scripted(calls_then_list(5))
    first, second = play(policy, Shelves(40), [film_case(), film_case()], FILMS, SETTINGS, listener=Listening({0: 2}))
    assert (first.ending, len(first.turns), first.answer) == (Ending.ABANDONED, 2, ())
    assert (second.ending, len(second.turns)) == (Ending.ANSWERED, 5)
    assert policy.conversations[0].scripts[0], "nothing more was written for it"
