import itertools

import numpy as np
import pytest

from fathom.language import likelihood
from fathom.language.likelihood import CatalogLikelihood
from fathom.language.policy import LocalPolicy
from fathom.recommenders.language import LanguageRecommender
from fathom.records import PAD, Case, Catalog

WORDS = ("red", "blue", "The Matrix", "of", "moon", "Heat", "2", "Al", "ien", "é")
NAMES = tuple(" ".join(words) for words in itertools.chain(itertools.permutations(WORDS, 2), itertools.permutations(WORDS[:5], 3)))
PROMPTS = ("User:\nHeat (1995)\n", "User:\nAlien (1979)\nThe Matrix\n", "User:\n")


def brute_force(policy: LocalPolicy, prompt: str, forbidden: set[int]) -> list[tuple[float, int]]:
    """Every allowed title scored alone, best first, equals by id."""
    scores = policy.converse([prompt], temperature=0.0, seeds=[0]).score([0], [[name + "\n" for name in NAMES]])[0]
    return sorted((-float(score), item) for item, score in enumerate(scores, start=1) if item not in forbidden)


@pytest.mark.parametrize(("k", "opened"), [(1, 16), (10, 1), (10, 16), (60, 3)])
def test_the_best_titles_are_those_of_scoring_the_whole_catalogue(
    policy: LocalPolicy, monkeypatch: pytest.MonkeyPatch, k: int, opened: int
) -> None:
    monkeypatch.setattr(likelihood, "OPENED", opened)
    exclude: list[set[int]] = [{3, 50, 117}, set(), set(range(1, 40))]
    ranking = CatalogLikelihood(policy, NAMES, batch_size=2).top(PROMPTS, k, exclude=exclude)
    for row, prompt in enumerate(PROMPTS):
        expected = brute_force(policy, prompt, exclude[row])[:k]
        assert ranking.items[row].tolist() == [item for _, item in expected]
        assert ranking.scores[row].tolist() == pytest.approx([-score for score, _ in expected], abs=1e-4)


def test_most_beginnings_stay_closed_when_few_titles_are_asked_for(policy: LocalPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "OPENED", 1)
    grown = 0
    original = likelihood.Branches.grow

    def counting(self: likelihood.Branches, rows: list[int], parents: list[int], tokens: list[int]) -> object:
        nonlocal grown
        grown += len(tokens)
        return original(self, rows, parents, tokens)

    monkeypatch.setattr(likelihood.Branches, "grow", counting)
    ranker = CatalogLikelihood(policy, NAMES)
    ranker.top(PROMPTS[:1], 1, exclude=[()])
    inside = int((ranker._trie.item == PAD).sum()) - 1
    assert grown < inside


def test_a_short_catalogue_ends_in_padding(policy: LocalPolicy) -> None:
    ranking = CatalogLikelihood(policy, NAMES[:3]).top(PROMPTS[:1], 5, exclude=[{2}])
    assert sorted(ranking.items[0, :2].tolist()) == [1, 3]
    assert ranking.items[0, 2:].tolist() == [PAD] * 3
    assert np.isneginf(ranking.scores[0, 2:]).all()


def test_the_recommender_leaves_the_history_out_when_asked_to(policy: LocalPolicy) -> None:
    catalog = Catalog(names=NAMES, titles=NAMES)
    recommender = LanguageRecommender(
        policy, catalog, lambda case: "User:\n" + "".join(catalog.title(item) + "\n" for item in case.history)
    )
    cases = [Case(user=0, history=(5, 9), target=1), Case(user=1, history=(7,), target=2)]
    free = recommender.recommend(cases, len(NAMES), exclude_history=False)
    kept = recommender.recommend(cases, len(NAMES))
    for row, case in enumerate(cases):
        assert sorted(free.items[row].tolist()) == list(range(1, len(NAMES) + 1))
        remaining = [item for item in free.items[row].tolist() if item not in case.history]
        assert kept.items[row, : len(remaining)].tolist() == remaining
