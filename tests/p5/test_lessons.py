"""What is learned from: as many lessons of each task as asked for, and nothing of what is held out (checklist P4, P7)."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fathom.data.splits import SPLITS
from fathom.errors import ConfigError, DataError
from fathom.p5.features import feature_words, spoken
from fathom.p5.lessons import LessonPlan, batch_of
from fathom.p5.lexicon import train_lexicon
from fathom.p5.moments import Moments
from fathom.p5.network import IGNORED
from fathom.p5.sentences import Sentences, SentenceSettings
from fathom.p5.templates import families_of
from fathom.records import Interactions
from tests.texttotext import N_ITEMS, catalogue, named, ring

FAMILIES = ("rating", "sequential", "explanation", "review", "direct", "continuation")


def plan_of(
    log: Interactions, families: tuple[str, ...] = FAMILIES, *, candidates: int = 5, sampling: dict[str, dict[str, float]] | None = None
) -> LessonPlan:
    moments = Moments(log)
    sentences = Sentences(catalogue(), named("one-token"), log.users, moments.scale, SentenceSettings(latest=4))
    return LessonPlan(
        families_of(families), moments, sentences, sampling=sampling or {}, candidates=candidates, candidate_titles=min(candidates, 3)
    )


def test_as_many_lessons_as_the_paper_draws() -> None:
    """Of 40 people with 10 events each: 5, 5 and 10 of each person, 1 of each event; a continuation of each stretch of 4 events."""
    plan = plan_of(ring())
    assert plan.counts == {
        "rating stars": 400,
        "rating stars-right": 400,
        "rating liked": 400,
        "sequential next": 200,
        "sequential candidates": 200,
        "sequential taken": 400,
        "explanation explanation": 400,
        "review headline": 400,
        "review review-stars": 400,
        "direct candidates": 200,
        "direct taken": 400,
        "continuation next": 600,
    }
    drawn = plan.texts(np.random.default_rng(0))
    assert len(drawn) == sum(plan.counts.values())
    assert sum(family == "review" for family, *_ in drawn) == 800


def test_sampling_says_how_many_lessons_there_are() -> None:
    plan = plan_of(ring(), ("rating", "sequential"), sampling={"rating": {"stars": 0.25, "liked": 0}, "sequential": {"taken": 1}})
    assert plan.counts["rating stars"] == 100
    assert plan.counts["rating liked"] == 0
    assert plan.counts["sequential taken"] == 40
    drawn = [len([1 for family, *_ in plan.texts(np.random.default_rng(seed)) if family == "rating"]) for seed in range(5)]
    assert all(abs(count - 500) < 50 for count in drawn), drawn


def test_the_same_seed_draws_the_same_lessons() -> None:
    plan = plan_of(ring())
    assert plan.texts(np.random.default_rng(3)) == plan.texts(np.random.default_rng(3))
    assert plan.texts(np.random.default_rng(3)) != plan.texts(np.random.default_rng(4))


def test_no_lesson_pairs_a_person_with_what_is_held_out() -> None:
    """P4: whatever the validation and test items of everybody are, the lessons are the same to the letter."""
    log = ring()
    places = np.concatenate([log.offsets[1:] - 1, log.offsets[1:] - 2])
    items, ratings = log.items.copy(), log.ratings
    assert ratings is not None
    other_ratings = ratings.copy()
    items[places] = (items[places] + 7) % N_ITEMS + 1
    other_ratings[places] = 6 - other_ratings[places]
    trains = [SPLITS["leave-one-out"](one).train for one in (log, replace(log, items=items, ratings=other_ratings))]
    first, second = (plan_of(train).texts(np.random.default_rng(0)) for train in trains)
    assert first == second


def test_held_out_items_are_negatives_like_any_other() -> None:
    """Whoever avoided them would mark them: of 10 items that a person has not taken in training, each is drawn as often."""
    log = ring(people=1, events=12)
    train = SPLITS["leave-one-out"](log).train
    plan = plan_of(train, ("direct",), sampling={"direct": {"taken": 4000, "candidates": 0}})
    held = set(log.items[-2:].tolist())
    wrong = [text for _, _, text, answer in plan.texts(np.random.default_rng(0)) if answer == "no"]
    counts = {item: sum(f"‹item_{item}›" in text.split() or f"Thing {item} " in text for text in wrong) for item in range(1, N_ITEMS + 1)}
    free = [item for item in range(1, N_ITEMS + 1) if item not in set(train.items.tolist())]
    assert held < set(free)
    expected = len(wrong) / len(free)
    assert all(abs(counts[item] - expected) < 5 * math.sqrt(expected) for item in free), counts
    assert all(counts[item] == 0 for item in set(train.items.tolist()))


def test_half_of_the_verdicts_are_against() -> None:
    plan = plan_of(ring(), ("direct", "rating"), sampling={"direct": {"candidates": 0}, "rating": {"stars": 0, "liked": 0}})
    answers = [answer for *_, answer in plan.texts(np.random.default_rng(0))]
    assert set(answers) == {"yes", "no"}
    assert 0.4 < answers.count("yes") / len(answers) < 0.6


def test_candidates_hold_the_answer_once_anywhere() -> None:
    plan = plan_of(ring(), ("sequential",), sampling={"sequential": {"next": 0, "taken": 0}})
    places = []
    for _, _, text, answer in plan.texts(np.random.default_rng(0)):
        choice = [word for word in text.split() if word.startswith("‹")]
        assert choice.count(answer) == 1
        places.append(choice.index(answer) / len(choice))
    assert 0.3 < np.mean(places) < 0.7


def test_held_out_wordings_are_never_drawn() -> None:
    texts = [text for _, _, text, _ in plan_of(ring()).texts(np.random.default_rng(0))]
    assert not any(text.startswith(("guess the stars", "seen with", "the items of somebody")) for text in texts)


def test_events_without_words_are_counted_and_left_out() -> None:
    log = ring()
    review = log.columns["review"]
    values = review.values.copy()
    values[:30] = np.nan
    told = dict(log.columns) | {"review": type(review)(values, review.names)}
    plan = plan_of(replace(log, columns=told), ("explanation", "review"))
    assert plan.counts["explanation explanation"] == 370
    assert plan.counts["explanation explanation unsaid"] == 30
    assert plan.counts["review headline unsaid"] == 30


def test_a_log_that_says_nothing_of_what_is_asked_is_refused() -> None:
    bare = replace(ring(), columns={})
    with pytest.raises(DataError, match="nothing can be learned"):
        plan_of(bare, ("explanation",))
    with pytest.raises(ConfigError, match="candidates is 50"):
        plan_of(ring(), candidates=50)


def test_candidates_that_do_not_fit_are_refused() -> None:
    plan = plan_of(ring(), ("sequential",))
    lexicon = train_lexicon([one.source for one in plan.texts(np.random.default_rng(0))], 300, added=named("one-token").added)
    with pytest.raises(ConfigError, match=r"longest is 16.*write longest: "):
        plan.lessons(lexicon, np.random.default_rng(0), longest=16)


def test_people_of_one_event_are_asked_nothing_of_a_history() -> None:
    log = Interactions(("a", "b"), np.array([0, 1, 4]), np.array([1, 2, 3, 4]))
    plan = plan_of(log, ("sequential",))
    assert plan.counts["sequential next"] == 5
    assert all("1001" not in text.split() for _, _, text, _ in plan.texts(np.random.default_rng(0)))


def test_targets_end_with_the_end_and_are_ignored_behind_it() -> None:
    plan = plan_of(ring(), ("continuation",))
    lexicon = train_lexicon([text for _, _, text, _ in plan.texts(np.random.default_rng(0))], 300, added=named("one-token").added)
    lessons = plan.lessons(lexicon, np.random.default_rng(0), longest=99)[:40]
    batch = batch_of(lessons, lexicon, longest=99)
    for lesson, row in zip(lessons, batch.targets.tolist(), strict=True):
        assert tuple(row[: len(lesson.target)]) == lesson.target
        assert lesson.target[-1] == lexicon.end
        assert set(row[len(lesson.target) :]) <= {IGNORED}


def test_features_are_common_words_of_reviews_and_explanations_are_their_sentences() -> None:
    reviews = ["the cable is short and stiff .", "a cable with a warm sound .", "it hums . the sound is warm .", "i like it very much ."]
    features = feature_words(reviews, widest=0.6)
    assert features == ("cable", "sound", "warm")
    said = spoken("Not bad at all really. The sound of it is warm! It hums.", features)
    assert (said.feature, said.explanation) == ("sound", "The sound of it is warm!")
    assert spoken("It hums.", features).explanation == ""
