"""Figures of an agent, each worked by hand on a handful of episodes."""

from collections.abc import Sequence

import pytest

from fathom.errors import DataError
from fathom.evaluation.agent import agent_figures, answer_ranks, endings, faults, fused, ndcg_by_turns
from fathom.records import Case, Ending, Episode, Tape, Turn


def episode(
    target: int,
    shown: Sequence[Sequence[int]],
    answer: Sequence[int | None] = (),
    *,
    scored: Sequence[int] = (),
    preferences: Sequence[str] = (),
    faults: Sequence[str] = (),
    ending: Ending = Ending.ANSWERED,
    tape: Tape | None = None,
) -> Episode:
    wishes = list(preferences) or [f"wish {number}" for number in range(len(shown))]
    turns = tuple(Turn("why", wish, tuple(items)) for wish, items in zip(wishes, shown, strict=True))
    lines = tuple(str(item) for item in answer)
    return Episode(Case(0, (), target), turns, "so", lines, tuple(answer), tuple(scored), tuple(faults), ending, "", tape, 2.0)


def test_a_line_that_names_nothing_keeps_its_place():
    found = answer_ranks([episode(7, [[7, 8]], [None, 8, 7]), episode(7, [[7, 8]], [7, 7])])
    assert found.tolist() == [3, 1]


def test_an_unreadable_answer_is_a_miss_though_its_lines_were_kept():
    lost = episode(7, [[7]], [7], ending=Ending.TOO_LONG)
    assert answer_ranks([lost]).tolist() == [0]
    assert answer_ranks([episode(7, [[7]], [], scored=[8, 7], ending=Ending.UNREADABLE)], "scored").tolist() == [2]


def test_figures_worked_by_hand():
    tape = Tape(tokens=tuple(range(10)), sampled=(False,) * 4 + (True,) * 6, logprobs=(0.0,) * 10, prompt=4)
    first = episode(7, [[1, 7], [2, 3]], [7, 2, None, 9], preferences=["Sad films", "sad FILMS"], tape=tape)
    second = episode(5, [[1, 2]], [1, 1], faults=["answer_lines", "echo"], tape=tape)
    third = episode(4, [], [], faults=["calls", "echo"], ending=Ending.BAD_CALL)
    figures = agent_figures([first, second, third])
    assert figures["format_valid"] == pytest.approx(1 / 3)
    assert figures["invalid_items"] == pytest.approx(1 / 6)  # six lines were written, one names nothing
    assert figures["duplicate_items"] == pytest.approx(1 / 6)
    assert figures["off_list"] == pytest.approx(1 / 6)  # item 9 was never shown
    assert figures["turns"] == pytest.approx(1.0)
    assert figures["distinct_preferences"] == pytest.approx(2 / 3)  # three calls, one said again in other letters
    assert (figures["tokens"], figures["context_tokens"]) == (6.0, 10.0)
    assert figures["recall_ceiling"] == pytest.approx(1 / 3)
    assert figures["strict_ndcg@10"] == pytest.approx(1 / 3)
    assert figures["seconds_per_user"] == 2.0
    assert figures["ending/answered"] == pytest.approx(2 / 3)
    assert figures["ending/bad_call"] == pytest.approx(1 / 3)
    assert figures["fault/echo"] == pytest.approx(2 / 3)


def test_endings_and_faults_are_counted():
    lost = episode(1, [], ending=Ending.TOO_LONG, faults=["echo"])
    assert endings([lost, lost, episode(1, [])]) == {Ending.ANSWERED: 1 / 3, Ending.TOO_LONG: 2 / 3}
    assert list(faults([lost, episode(1, [], faults=["calls", "echo"])])) == ["echo", "calls"]


def test_turn_profile_of_the_scored_finish_keeps_the_order_and_hides_what_was_not_shown_yet():
    one = episode(7, [[1, 2], [7, 3]], scored=[1, 7, 2, 3])
    # after one call only 1 and 2 are known: a miss. After two the target is second: 1/log2(3)
    assert ndcg_by_turns([one], "scored") == {1: 0.0, 2: pytest.approx(0.6309298)}


def test_turn_profile_of_the_written_finish_fuses_the_lists():
    one = episode(7, [[1, 2], [7, 3]], [7])
    # 1/61 for items 1 and 7, the smaller id first: the target is second
    assert ndcg_by_turns([one]) == {1: 0.0, 2: pytest.approx(0.6309298)}


def test_an_episode_that_stopped_early_keeps_its_list_in_later_turns():
    short, long = episode(1, [[1]]), episode(2, [[1], [2]])
    assert ndcg_by_turns([short, long])[2] == pytest.approx((1 + 0.6309298) / 2)


def test_fusion_prefers_what_several_lists_hold():
    # 9: 1/63 + 1/61 = .03227; 4: 1/61 = .01639; 5, 6: 1/62
    assert fused([[4, 5, 9], [9, 6]]) == [9, 4, 5, 6]
    assert fused([]) == []


def test_no_episodes_no_figures():
    with pytest.raises(DataError, match="no episodes"):
        agent_figures([])
