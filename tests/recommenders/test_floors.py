"""Popularity, text and any scorer: seen items, short catalogues, strangers and empty histories."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fathom.contracts import Recommender
from fathom.errors import ConfigError, DataError, ModelError
from fathom.models.popularity import Popularity
from fathom.recommenders.ranked import Ranked
from fathom.recommenders.textual import TextRecommender, Weighting
from fathom.records import PAD, Case, Interactions, cases_of

VECTORS = np.array([[0, 0], [1, 0], [0.8, 0.6], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)


def log(*histories: list[int]) -> Interactions:
    """Interactions of the given histories."""
    return Interactions(
        users=tuple(map(str, range(len(histories)))),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
        items=np.array([item for history in histories for item in history], dtype=np.int64),
    )


class Successor:
    """Scores item i + 1 highest after item i; later ids less and less."""

    n_items = 5

    def score(self, cases: Sequence[Case]) -> torch.Tensor:
        last = torch.tensor([case.history[-1] if case.history else 0 for case in cases])
        scores = -((torch.arange(6) - last[:, None] - 1) % 6).float()
        scores[:, PAD] = -torch.inf
        return scores


def recommenders() -> dict[str, Recommender]:
    return {
        "popularity": Popularity.of(log([1, 2, 3], [2, 3], [3]), 5),
        "text": TextRecommender(VECTORS),
        "ranked": Ranked(Successor()),
    }


@pytest.mark.parametrize("name", recommenders())
def test_seen_items_do_not_come_back_unless_asked_for(name: str) -> None:
    cases = cases_of([[1, 2], [5], []])
    for row, case in zip(recommenders()[name].recommend(cases, 3).items, cases, strict=True):
        assert not set(row.tolist()) & set(case.history)
    with_history = recommenders()[name].recommend(cases, 5, exclude_history=False)
    assert [sorted(row) for row in with_history.items.tolist()] == [[1, 2, 3, 4, 5]] * 3


@pytest.mark.parametrize("name", recommenders())
def test_more_than_the_catalogue_ends_in_padding(name: str) -> None:
    ranking = recommenders()[name].recommend(cases_of([[1, 2]]), 7)
    assert sorted(ranking.items[0].tolist()) == [PAD] * 4 + [3, 4, 5]
    assert ranking.items[0, 3:].tolist() == [PAD] * 4
    assert np.isneginf(ranking.scores[0, 3:]).all()


@pytest.mark.parametrize("name", recommenders())
def test_nobody_asks_and_nobody_is_answered(name: str) -> None:
    assert recommenders()[name].recommend((), 3).items.shape == (0, 3)


@pytest.mark.parametrize("name", recommenders())
def test_batch_mates_change_nothing(name: str) -> None:
    cases = cases_of([[1], [2, 3], [], [4, 1]] * 200)
    together = recommenders()[name].recommend(cases, 3)
    for at in (0, 1, 2, 3, 700):
        alone = recommenders()[name].recommend(cases[at : at + 1], 3)
        assert alone.items.tolist() == together.items[at : at + 1].tolist()
        assert alone.scores.tolist() == together.scores[at : at + 1].tolist()


@pytest.mark.parametrize("name", recommenders())
def test_asking_for_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="k is 0"):
        recommenders()[name].recommend(cases_of([[1]]), 0)


def test_popularity_counts_and_gives_ties_to_the_smaller_id() -> None:
    ranking = recommenders()["popularity"].recommend(cases_of([[]]), 5)
    assert ranking.items.tolist() == [[3, 2, 1, 4, 5]]
    assert ranking.scores.tolist() == [[3.0, 2.0, 1.0, 0.0, 0.0]]


def test_popularity_refuses_items_from_another_catalogue() -> None:
    with pytest.raises(DataError, match="item ids 1 to 9, but the catalogue has 1 to 5"):
        Popularity.of(log([1, 9]), 5)


def test_text_weighs_the_newest_event_most() -> None:
    # half_life 1: after 1 then 3 the taste is (0.5, 1) / sqrt(1.25); item 2 has cosine (0.4 + 0.6) / 1.118 = 0.894,
    # item 5 has no text (0), item 4 has cosine -0.447.
    text = TextRecommender(VECTORS, half_life=1.0)
    ranking = text.recommend(cases_of([[1, 3]]), 3)
    assert ranking.items.tolist() == [[2, 5, 4]]
    np.testing.assert_allclose(ranking.scores, [[0.8944, 0.0, -0.4472]], atol=1e-4)
    np.testing.assert_allclose(text.score(cases_of([[1, 3]]))[0, 1:4], [0.4472, 0.8944, 0.8944], atol=1e-4)


def test_text_reads_only_the_recent_events() -> None:
    near = TextRecommender(VECTORS, half_life=100.0, recent=1).users(cases_of([[1, 1, 1, 3]]))
    np.testing.assert_allclose(near, [[0.0, 1.0]])


def test_text_refuses_vectors_that_are_not_finite() -> None:
    broken = VECTORS.copy()
    broken[2, 0] = np.nan
    with pytest.raises(ModelError, match="item 2 is not finite"):
        TextRecommender(broken)
    with pytest.raises(ConfigError, match="half_life 0"):
        TextRecommender(VECTORS, half_life=0)


@pytest.mark.parametrize(
    ("weighting", "weights"),
    [
        ("decay", [0.25, 0.5, 1.0]),
        ("constant", [1.0, 1.0, 1.0]),
        ("linear", [1 / 3, 2 / 3, 1.0]),
        ("quadratic", [1 / 9, 4 / 9, 1.0]),
        ("last", [0.0, 0.0, 1.0]),
    ],
)
def test_a_taste_is_the_weighted_mean_of_its_texts(weighting: Weighting, weights: list[float]) -> None:
    text = TextRecommender(VECTORS, weighting=weighting, half_life=1.0)
    mean = sum(weight * text.vectors[item] for weight, item in zip(weights, (1, 3, 2), strict=True))
    assert torch.allclose(text.users(cases_of([[1, 3, 2]]))[0], mean / mean.norm(), atol=1e-6)


def test_a_free_text_asks_alone_or_beside_a_taste() -> None:
    text = TextRecommender(VECTORS)
    query = VECTORS[[2]] * 3.0
    case = cases_of([[1, 4]])
    alone = text.asked(query, case, 3, weight=1.0)
    assert alone.items[0, 0] == 2
    assert text.asked(query, case, 3, weight=0.0).items.tolist() == text.recommend(case, 3).items.tolist()
    taste = text.users(case)[0] + torch.from_numpy(VECTORS[2]) / np.linalg.norm(VECTORS[2])
    scores = text.vectors @ taste
    scores[[0, 1, 4]] = -torch.inf
    assert text.asked(query, case, 1, weight=0.5).items[0, 0] == int(scores.argmax())
    with pytest.raises(ConfigError, match=r"weight is 1\.5: write 0 for the taste alone"):
        text.asked(query, case, 1, weight=1.5)
