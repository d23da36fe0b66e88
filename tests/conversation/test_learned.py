"""Signals are weighed by conversations: a planted weight is found, the slope is that of the loss, scrambled answers teach nothing."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from worlds import Scripted, film_catalog

from fathom.conversation import learned
from fathom.conversation.asked import OrderSettings, PromptedOrder
from fathom.conversation.learned import Question, learned_weights, question_of
from fathom.conversation.likely import lines_of
from fathom.conversation.replay import Heard, Listener, standing_after
from fathom.conversation.requests import Language
from fathom.conversation.shelves import Shelves
from fathom.conversation.state import START
from fathom.errors import DataError
from fathom.items.embed import item_vectors
from fathom.items.encoders import HashingEncoder
from fathom.models.item_knn import ItemKNN, ItemKNNSettings
from fathom.prompting.prompts import Words
from fathom.records import Case, Interactions, Utterance

CATALOG = film_catalog(40)
ENCODER = HashingEncoder()
# Two people took films 1 and 2, one took 1 and 3.
LOG = Interactions(("a", "b", "c"), np.array([0, 2, 4, 6]), np.array([1, 2, 1, 2, 1, 3]))
TAKEN = ItemKNN.of(LOG, 40, ItemKNNSettings(shrink=0.0))
SHELVES = Shelves(CATALOG, ENCODER, item_vectors(CATALOG, ENCODER, None), np.arange(41)[::-1].copy(), taken=TAKEN)


def asked(weights: np.ndarray, *, count: int = 400, items: int = 30, scrambled: bool = False) -> list[Question]:
    """Questions about drawn signals, answered by softmax(signals w)."""
    rng, found = np.random.default_rng(5), []
    for _ in range(count):
        signals = rng.normal(size=(items, len(weights))).astype(np.float32)
        chances = np.exp(signals @ weights)
        right = int(rng.integers(items)) if scrambled else int(rng.choice(items, p=chances / chances.sum()))
        found.append(Question(signals, (right,)))
    return found


def test_planted_weights_are_found_and_scrambled_answers_teach_nothing() -> None:
    planted = np.array([1.5, -0.7, 0.0])
    names = ("near", "far", "noise")
    found = learned_weights(asked(planted), names)
    assert np.allclose([found[name] for name in names], planted, atol=0.25)
    scrambled = learned_weights(asked(planted, scrambled=True), names)
    assert np.abs(list(scrambled.values())).max() < 0.2


def test_the_slope_is_that_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {}
    monkeypatch.setattr(learned, "minimize", lambda loss, start, **_: kept.update(loss=loss) or type("Found", (), {"x": start}))
    signals = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
    learned_weights([Question(signals, (0, 3)), Question(signals[:4], (2,))], ("a", "b"))
    away = check_grad(lambda w: kept["loss"](w)[0], lambda w: kept["loss"](w)[1], np.array([0.3, -0.4]), epsilon=1e-3)
    assert away < 1e-3


def test_a_question_is_among_what_nobody_has_named() -> None:
    unnamed = np.array([False, True, False, True, True])
    question = question_of({"a": np.array([0.0, 1.0, 2.0, 3.0, 4.0])}, ("a", "b"), unnamed, (3, 4))
    assert question.signals.tolist() == [[1, 0], [3, 0], [4, 0]]
    assert question.right == (1, 2)


def test_without_conversations_there_is_nothing_to_learn() -> None:
    with pytest.raises(DataError, match="fewer folds leave more of them"):
        learned_weights([], ("a",))


def test_what_goes_together_is_told_by_hand() -> None:
    signals = SHELVES.signals(START.wishes, (1,), ("taken",))
    # c_12 / sqrt(c_1 c_2) = 2 / sqrt(3 * 2), c_13 / sqrt(3 * 1)
    assert signals["taken"][2] == pytest.approx(np.log1p(20 * 2 / np.sqrt(6)))
    assert signals["taken"][3] == pytest.approx(np.log1p(20 / np.sqrt(3)))
    assert not signals["taken"][4:].any()
    assert SHELVES.companions([2, 3, 9], [4, 1]) == [1, 1, None]


def test_a_listener_knows_what_the_seeker_asked_for_and_what_was_named() -> None:
    said = [
        Utterance("seeker", "Hi! I want a comedy, not before 1990. I liked Tom & Jerry", (1,)),
        Utterance("recommender", "Then take these", (2, 3)),
        Utterance("seeker", "I have seen the second one", ()),
    ]
    now = standing_after(said, Language(CATALOG))
    assert now.wishes.wanted == {"genres": ("Comedy",)}
    assert now.wishes.years.low == 1990
    assert (now.listed, now.shown, now.seen) == ((2, 3), (2, 3), (3,))


def test_nothing_named_is_named_again_and_filters_hold_where_they_are_kept_to() -> None:
    now = standing_after([Utterance("seeker", "a comedy", ())], Language(CATALOG))
    cases = [Case(0, (1, 2), 5), Case(1, (1, 2), 5)]
    listener = Listener({(0, (1, 2)): Heard(now, SHELVES), (1, (1, 2)): Heard(now, SHELVES, filtered=False)}, Heard(START, SHELVES))
    rows = listener.recommend([*cases, Case(7, (), 5)], 40).items
    genres = CATALOG.attributes["genres"]
    assert all("Comedy" in genres[item - 1] for item in rows[0] if item)
    assert not {1, 2} & set(rows[0].tolist()) | {1, 2} & set(rows[1].tolist())
    assert (rows[1] > 0).sum() == 38
    assert (rows[2] > 0).all(), "of somebody who has said nothing, everything can be recommended"
    alone = listener.recommend(cases[1:], 40).items
    assert alone.tolist() == rows[1:2].tolist()


def test_a_language_model_that_is_asked_puts_what_was_found_in_order() -> None:
    wants = CATALOG.title(7)
    policy = Scripted(lambda prompt, seed: [f"1. {wants}\n2. Something else"] if "Seeker: hello" in prompt else ["Well"])
    order = PromptedOrder(policy, CATALOG, OrderSettings(words=Words(singular="film", plural="films"), shown=4))
    said = [Utterance("seeker", "hello", ()), Utterance("recommender", "You may like:", (20,)), Utterance("seeker", "no", ())]
    assert order(said, [5, 6, 7, 8, 9], [5.0, 4, 3, 2, 1]) == (7, 5, 6, 8, 9)
    [put, lost] = order.put([said, []], [[5, 6, 7, 8, 9], [1, 2]])
    assert put.prompt == (
        f"A seeker and a recommender talk about films:\nSeeker: hello\nRecommender: You may like: ({CATALOG.title(20)})\nSeeker: no\n\n"
        f"The recommender can name these 4 films next:\n1. {CATALOG.title(5)}\n2. {CATALOG.title(6)}\n3. {CATALOG.title(7)}\n"
        f"4. {CATALOG.title(8)}\n\nPut them in order, beginning with the one that fits best what the seeker has said.\n"
        "Write the list and nothing else: one film a line, numbered from 1 to 4, each title exactly as it stands above."
    )
    assert not put.unreadable
    assert (lost.items, lost.unreadable) == ((1, 2), True)
    assert lost.prompt.startswith("A seeker wants films, and has said nothing yet.")


def test_a_language_model_reads_a_title_before_what_is_said_with_it_and_each_once() -> None:
    said = [Utterance("seeker", "Hello", (4,)), Utterance("recommender", "See these", (4, 5, 5)), Utterance("recommender", "Do!", (5,))]
    assert lines_of(said, CATALOG) == ["Seeker: Hello\n", f"> {CATALOG.title(5)}\n", "Recommender: See these\n", "Recommender: Do!\n"]
