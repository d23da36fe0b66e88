"""Traces: what is learned from which of them, and that nothing else is."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from worlds import Shelves, film_case, film_catalog

from fathom.agents.protocol import (
    ANSWER_OPEN,
    BEGIN_ITEMS,
    BEGIN_PREF,
    END_ITEMS,
    END_PREF,
    MARKERS,
    ProtocolSettings,
    opening,
    reminder,
)
from fathom.errors import DataError
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import PAD, Case, Ranking
from fathom.training.preferences import NEUTRAL, PreferenceSettings
from fathom.training.questions import ranks, select_cases
from fathom.training.traces import Trace, TraceSettings, build_traces, fused

CATALOG = film_catalog()
PROTOCOL = ProtocolSettings(answer_length=3, items_per_call=6)
CASES = tuple(film_case(history=(17 + place % 5, 25 + place % 7, 35), target=1 + place % 12) for place in range(60))
TOKENIZER = train_tokenizer([title + "\n" for title in CATALOG.titles] * 20, 500, markers=MARKERS)
POLICY = LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=512, seed=1), TOKENIZER)


def traces(settings: TraceSettings | None = None, *, cases: tuple[Case, ...] = CASES, seed: int = 5) -> list[Trace]:
    settings = settings or TraceSettings()
    retrieve, preferences = Shelves(CATALOG.n_items), PreferenceSettings()
    return build_traces(POLICY, cases, CATALOG, retrieve=retrieve, settings=settings, preferences=preferences, protocol=PROTOCOL, seed=seed)


def text(trace: Trace) -> str:
    return POLICY.decode(trace.tokens.tolist())


def weighted(trace: Trace) -> list[tuple[float, str]]:
    """The runs of equal weight: the weight and the text."""
    pairs = zip(trace.weights.tolist(), trace.tokens.tolist(), strict=True)
    return [(weight, POLICY.decode([token for _, token in run])) for weight, run in groupby(pairs, key=lambda pair: pair[0])]


def answers(some: list[Trace]) -> list[Trace]:
    return [trace for trace in some if ANSWER_OPEN in text(trace)]


def hindsights(some: list[Trace]) -> list[Trace]:
    return [trace for trace in some if ANSWER_OPEN not in text(trace)]


def test_every_trace_is_a_well_formed_conversation() -> None:
    some = traces()
    assert answers(some)
    assert hindsights(some)
    assert all(trace.episode.well_formed for trace in some)


def test_tokens_are_those_of_the_conversation() -> None:
    for trace in answers(traces()):
        assert text(trace) == opening(trace.episode.case, CATALOG, PROTOCOL) + trace.episode.text
    for trace in hindsights(traces()):
        assert (opening(trace.episode.case, CATALOG, PROTOCOL) + trace.episode.text).startswith(text(trace))


def test_what_the_environment_wrote_is_only_read() -> None:
    for trace in traces():
        learned = "".join(words for weight, words in weighted(trace) if weight > 0)
        assert BEGIN_ITEMS not in learned
        assert END_ITEMS not in learned
        assert "User:" not in learned


def test_hindsight_teaches_preferences_and_nothing_else() -> None:
    for trace in hindsights(traces()):
        assert text(trace).endswith(END_PREF)
        learned = [words for weight, words in weighted(trace) if weight > 0]
        assert learned == [turn.preference + END_PREF for turn in trace.episode.turns][: len(learned)]
        assert len(learned) >= 2


def test_hindsight_asks_only_while_the_target_has_not_been_shown() -> None:
    for trace in hindsights(traces()):
        calls = text(trace).count(BEGIN_PREF)
        assert all(trace.episode.case.target not in turn.shown for turn in trace.episode.turns[: calls - 1])


def test_answers_teach_everything_but_preferences() -> None:
    for trace in answers(traces()):
        learned = "".join(words for weight, words in weighted(trace) if weight > 0)
        assert f"{BEGIN_PREF}Shown" in learned or f"{BEGIN_PREF}Fits" in learned, "what stands between the markers is left out"


def test_wishes_before_an_answer_do_not_know_the_target() -> None:
    others = tuple(replace(case, target=13 + case.target % 3) for case in CASES)
    settings = TraceSettings(hindsight=0.01, missed=1.0)
    for one, other in zip(answers(traces(settings)), answers(traces(settings, cases=others)), strict=True):
        assert one.episode.turns == other.episode.turns


def test_a_target_that_was_found_stands_first_and_the_first_has_its_place() -> None:
    settings = TraceSettings(target_weight=3.0, rest_weight=0.1, displaced=5.0, missed=1.0)
    found = missed = 0
    for trace in answers(traces(settings)):
        answer = [item for item in trace.episode.answer if item is not None]
        order = fused([turn.shown for turn in trace.episode.turns], settings.later_lists)
        opened = trace.tokens.tolist().index(POLICY.encode(ANSWER_OPEN)[0])
        ends = [place for place in range(opened + 2, len(trace.tokens)) if POLICY.decode([int(trace.tokens[place])]).endswith("\n")]
        by_line = trace.weights[ends].tolist()
        if trace.episode.case.target in order:
            found += 1
            place = min(order.index(trace.episode.case.target), len(answer) - 1)
            assert answer[0] == trace.episode.case.target
            assert answer[place] == (order[0] if place else answer[0])
            assert all(answer[other] == order[other] for other in range(1, len(answer)) if other != place)
            expected = [0.1] * len(answer)
            expected[place] = 0.1 * 5.0
            assert np.allclose(by_line, [3.0, *expected[1:]])
        else:
            missed += 1
            assert answer == order[: len(answer)]
            assert np.allclose(by_line, [0.1] * len(answer))
    assert found
    assert missed


PERSON = (17, 25, 35, 4, 9, 2, 30)
REMINDED = PROTOCOL.model_copy(update={"constrained": True, "reminded": 3, "history_ratings": True, "history_times": True})


def sequels(protocol: ProtocolSettings = REMINDED) -> list[Trace]:
    """Traces of one person's last four events, and of one event of another: all of them sequels but a few."""
    times, ratings = tuple(range(0, 700_000, 100_000)), (1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0)
    one = [Case(0, PERSON[:end], PERSON[end], ratings=ratings[:end], times=times[:end]) for end in range(3, 7)]
    other = Case(1, PERSON[:3], 40, ratings=ratings[:3], times=times[:3])
    settings = TraceSettings(hindsight=0.001, sequels=0.998, sequel_weight=0.7)
    shelves, preferences = Shelves(CATALOG.n_items), PreferenceSettings()
    return build_traces(
        POLICY, [*one, other], CATALOG, retrieve=shelves, settings=settings, preferences=preferences, protocol=protocol, seed=5
    )


def test_a_sequel_goes_on_behind_the_reminder_with_all_that_followed() -> None:
    some = sequels()
    assert [trace.episode.case.history for trace in some] == [PERSON[:3], PERSON[:4], PERSON[:5], PERSON[:6], PERSON[:3]]
    for trace, followed in zip(some, (PERSON[3:], PERSON[4:], PERSON[5:], PERSON[6:], (40,)), strict=True):
        conversation, taught = text(trace).split(reminder(trace.episode.case, CATALOG, REMINDED))
        assert conversation.endswith(ANSWER_OPEN)
        assert [line for line in taught.splitlines() if not line.startswith("  ")] == [CATALOG.title(item) for item in followed]
        assert weighted(trace)[-1] == (pytest.approx(0.7), taught)
        assert taught.startswith(CATALOG.title(followed[0]))
    titles = [CATALOG.title(item) for item in PERSON[3:]]
    pause = "  later: 1 day\n"
    told = f"{titles[0]}\n  4/5\n{pause}{titles[1]}\n  5/5\n{pause}{titles[2]}\n  1/5\n{titles[3]}\n"
    assert text(some[0]).endswith(told)


def test_what_stands_before_a_sequel_teaches_what_an_answer_trace_teaches_there() -> None:
    for trace in sequels():
        learned = "".join(words for weight, words in weighted(trace)[:-1] if weight > 0)
        assert "Lately" in learned
        assert BEGIN_ITEMS not in learned
        assert BEGIN_PREF in learned
        assert not any(turn.preference in learned for turn in trace.episode.turns)


class Backwards:
    """A teacher who would recommend the film of the target's number plus 4, plus 3, ... plus 1, and then the target."""

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        assert exclude_history
        items = np.array([[case.target + ahead for ahead in (4, 3, 2, 1, 0)] + [PAD] for case in cases], dtype=np.int64)
        return Ranking(items, np.zeros(items.shape, dtype=np.float32))


def taught(*, constrained: bool, **settings: object) -> list[Trace]:
    return answers(
        build_traces(
            POLICY,
            CASES,
            CATALOG,
            retrieve=Shelves(CATALOG.n_items),
            settings=TraceSettings(calls=(1.0,), target_weight=3.0, rest_weight=0.5).model_copy(update=settings),
            preferences=PreferenceSettings(),
            protocol=PROTOCOL.model_copy(update={"constrained": constrained}),
            seed=5,
            teacher=Backwards(),
        )
    )


def test_a_teacher_orders_the_answer_whatever_was_found() -> None:
    some = taught(constrained=True, promoted=0.0)
    assert some
    for trace in some:
        target = trace.episode.case.target
        assert trace.episode.answer == (target + 4, target + 3, target + 2)
    assert len(some) == sum(np.random.default_rng([5, index]).random() >= TraceSettings().hindsight for index in range(len(CASES)))


def test_a_target_that_the_teacher_knows_stands_first_and_the_others_move_down() -> None:
    for trace in taught(constrained=True):
        target = trace.episode.case.target
        assert trace.episode.answer == (target, target + 4, target + 3)
        assert {weight for weight, words in weighted(trace) if f"{CATALOG.title(target)}\n" in words} >= {3.0}


def test_under_constraint_a_target_that_was_missed_stands_first_too() -> None:
    cases = tuple(replace(case, target=40) for case in CASES)  # far beyond what the shelves show
    settings, protocol = TraceSettings(missed=1.0, target_weight=3.0), PROTOCOL.model_copy(update={"constrained": True})
    shelves, preferences = Shelves(CATALOG.n_items), PreferenceSettings()
    some = build_traces(POLICY, cases, CATALOG, retrieve=shelves, settings=settings, preferences=preferences, protocol=protocol, seed=5)
    missed = [trace for trace in answers(some) if all(40 not in turn.shown for turn in trace.episode.turns)]
    assert missed
    for trace in missed:
        order = fused([turn.shown for turn in trace.episode.turns], settings.later_lists)
        assert trace.episode.answer == (40, *order[:2])
        assert {weight for weight, words in weighted(trace) if f"{CATALOG.title(40)}\n" in words} >= {3.0}


def test_who_may_write_a_title_twice_learns_an_exchange() -> None:
    for trace in taught(constrained=False):
        target = trace.episode.case.target
        assert trace.episode.answer == (target, target + 3, target + 4)


def test_the_first_wish_is_for_nothing_in_particular() -> None:
    assert all(trace.episode.turns[0].preference in NEUTRAL for trace in traces())
    some = traces(TraceSettings(neutral_first=0.0))
    assert all(trace.episode.turns[0].preference not in NEUTRAL for trace in some)


def test_no_wish_is_repeated() -> None:
    for trace in traces():
        preferences = [turn.preference.casefold() for turn in trace.episode.turns]
        assert len(set(preferences)) == len(preferences)


def test_calls_are_as_many_as_asked_for() -> None:
    some = answers(traces(TraceSettings(calls=(0.0, 1.0), missed=1.0)))
    assert {len(trace.episode.turns) for trace in some} == {2}


def test_the_same_seed_gives_the_same_traces() -> None:
    for one, other in zip(traces(), traces(), strict=True):
        assert np.array_equal(one.tokens, other.tokens)
        assert np.array_equal(one.weights, other.weights)
    assert [text(trace) for trace in traces(seed=6)] != [text(trace) for trace in traces()]


def test_missed_targets_are_kept_as_often_as_asked_for() -> None:
    def missed(share: float) -> int:
        some = answers(traces(TraceSettings(missed=share)))
        return sum(trace.episode.case.target not in trace.episode.answer for trace in some)

    assert missed(0.0) == 0
    assert 0 < missed(0.5) < missed(1.0)


def test_cases_that_cannot_become_traces_are_told() -> None:
    class Nothing:
        def retrieve(self, calls: list[object]) -> list[tuple[int, ...]]:
            return [() for _ in calls]

    with pytest.raises(DataError, match="none of 60 cases became a trace"):
        build_traces(
            POLICY,
            CASES,
            CATALOG,
            retrieve=Nothing(),  # type: ignore[arg-type]
            settings=TraceSettings(),
            preferences=PreferenceSettings(),
            protocol=PROTOCOL,
            seed=1,
        )


def test_fused_lists_prefer_the_first_call() -> None:
    # 1/(10+1) = .0909, 1/(10+2) = .0833; later ones half: .0455, .0417.
    assert fused([[7, 8], [9, 6]], 0.5) == [7, 8, 9, 6]
    assert fused([[7, 8], [8, 6]], 1.0) == [8, 7, 6]


class ById:
    """Recommends the smallest ids that are not in the history."""

    def recommend(self, cases: list[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        rows = [[item for item in range(1, 41) if not exclude_history or item not in case.history][:k] for case in cases]
        return Ranking(np.array(rows, dtype=np.int64), np.zeros((len(rows), len(rows[0])), dtype=np.float32))


def test_selected_cases_are_those_the_recommender_ranks_high_enough() -> None:
    cases = [Case(user=place, history=(1, 2), target=3 + place) for place in range(30)]
    first, second = select_cases(cases, ById(), hardest=10, parts=2, seed=4)
    # Items 1 and 2 are left out, so target t has rank t - 2: users 0..9 have rank 1..10.
    assert sorted(case.user for case in (*first, *second)) == list(range(10))
    assert not set(first) & set(second)
    assert (first, second) == tuple(select_cases(cases, ById(), hardest=10, parts=2, seed=4))
    assert (first, second) != tuple(select_cases(cases, ById(), hardest=10, parts=2, seed=5))


def test_ranks_tell_a_retriever_that_has_seen_its_targets() -> None:
    seen = [Case(user=0, history=(40,), target=target) for target in (1, 2, 3)]
    unseen = [Case(user=0, history=(40,), target=target) for target in (11, 25, 39)]
    assert ranks(seen, ById(), 30).tolist() == [1, 2, 3]
    assert ranks(unseen, ById(), 30).tolist() == [11, 25, 0]
