from collections.abc import Sequence

import numpy as np
import pytest

from fathom.errors import ConfigError
from fathom.metrics import ndcg, ranks_of
from fathom.recommenders.mix import How, Mix, choose_weight, fuse, shortlist
from fathom.records import PAD, Case, Ranking


class Fixed:
    """Recommends the same list to everybody."""

    def __init__(self, items: list[int], scores: list[float]) -> None:
        self.items, self.scores = items, scores
        self.asked = 0

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        self.asked += 1
        items = (self.items + [PAD] * k)[:k]
        scores = (self.scores + [-np.inf] * k)[:k]
        return Ranking(np.asarray([items] * len(cases), dtype=np.int64), np.asarray([scores] * len(cases), dtype=np.float32))


CASES = (Case(user=0, history=(), target=4), Case(user=1, history=(), target=4))


def test_reciprocal_ranks_are_added_by_weight() -> None:
    # 1: 0.5/61; 2: 0.5/62 + 0.5/61; 4: 0.5/62; 3: 0.5/63 -> 2, 1, 4, 3
    mix = Mix([Fixed([1, 2, 3], [9, 8, 7]), Fixed([2, 4], [0.2, 0.1])], [0.5, 0.5], depth=3)
    ranking = mix.recommend(CASES, 5)
    assert ranking.items.tolist() == [[2, 1, 4, 3, PAD]] * 2
    assert ranking.scores[0, 0] == pytest.approx(0.5 / 62 + 0.5 / 61)


def test_a_shortlist_is_dealt_out_in_turns_and_ordered_by_reciprocal_ranks() -> None:
    # In turns 1, 4, 2, 3; earned 1/61, 1/61, 1/62, 1/63 + 1/62.
    assert shortlist([[1, 2, 3], [4, 3, 5]], seen=(), size=4) == (3, 1, 4, 2)
    assert shortlist([[1, 2, 3], [4, 3, 5]], seen=(3,), size=4) == (1, 4, 2, 5)
    assert shortlist([[1, 2, 3], [4, 3, 5]], seen=(1, 4), size=9) == (3, 2, 5), "as many as there are"


def test_scores_are_standardised_so_that_units_do_not_matter() -> None:
    # [3, 2, 1] -> [sqrt 1.5, 0, -sqrt 1.5]; the second list is the first in other units, turned around.
    first, second = Fixed([1, 2, 3], [3, 2, 1]), Fixed([3, 2, 1], [300, 200, 100])
    assert Mix([first, second], [2, 1], how="score", depth=3).recommend(CASES, 3).items[0].tolist() == [1, 2, 3]
    even = Mix([first, second], [1, 1], how="score", depth=3).recommend(CASES, 3)
    assert even.items[0].tolist() == [1, 2, 3], "ties go to the smaller id"
    assert even.scores[0].tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_what_a_list_lacks_gets_its_last_score() -> None:
    # Item 9 is missing in the first list: -sqrt 1.5 there, 0 in the second, which has no spread.
    ranking = Mix([Fixed([1, 2, 3], [3, 2, 1]), Fixed([9], [5.0])], [1, 1], how="score", depth=3).recommend(CASES, 4)
    assert ranking.items[0].tolist() == [1, 2, 3, 9]
    assert ranking.scores[0].tolist() == pytest.approx([1.5**0.5, 0, -(1.5**0.5), -(1.5**0.5)])


def test_no_row_depends_on_its_batch_mates() -> None:
    generator = np.random.default_rng(0)
    items = np.stack([generator.permutation(np.arange(1, 40))[:12] for _ in range(30)])
    lists = [Ranking(np.roll(items, shift, axis=0), -np.sort(generator.random((30, 12))).astype(np.float32)) for shift in (0, 1)]
    for how in ("reciprocal_rank", "score"):
        whole = fuse(lists, (0.3, 0.7), 10, how=how)
        for row in range(30):
            alone = fuse([Ranking(part.items[row : row + 1], part.scores[row : row + 1]) for part in lists], (0.3, 0.7), 10, how=how)
            assert alone.items[0].tolist() == whole.items[row].tolist()


def test_validation_chooses_the_weight_that_lifts_the_target_and_asks_each_part_once() -> None:
    first, second = Fixed([1, 2, 4], [3, 2, 1]), Fixed([4, 2, 1], [3, 2, 1])
    assert choose_weight((first, second), CASES) == 0.6, "the smallest weight that puts 4 first"
    assert (first.asked, second.asked) == (1, 1)
    assert choose_weight((second, first), CASES) == 0.0


class Seen:
    """Ranks 200 items by how much each is wanted, seen through noise of its own."""

    def __init__(self, noise: float, seed: int) -> None:
        self.noise, self.seed = noise, seed

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        scores = np.stack([np.random.default_rng([self.seed, case.user]).normal(scale=self.noise, size=200) for case in cases])
        scores[np.arange(len(cases)), [case.target - 1 for case in cases]] += 3
        order = np.argsort(-scores, axis=1)[:, :k]
        return Ranking(order + 1, np.take_along_axis(scores, order, axis=1).astype(np.float32))


@pytest.mark.parametrize("how", ["reciprocal_rank", "score"])
@pytest.mark.parametrize("noises", [(1.0, 1.0), (1.0, 1.5), (1.0, 20.0)])
def test_what_two_see_apart_is_never_worse_together_than_what_the_better_one_sees(how: How, noises: tuple[float, float]) -> None:
    cases = [Case(user, (), user % 200 + 1) for user in range(1200)]
    parts = (Seen(noises[0], 1), Seen(noises[1], 2))
    weight = choose_weight(parts, cases[:600], how=how)
    targets = np.array([case.target for case in cases[600:]])
    alone = [ndcg(ranks_of(part.recommend(cases[600:], 100), targets), 10).mean() for part in parts]
    mixed = ndcg(ranks_of(Mix(parts, (1 - weight, weight), how=how).recommend(cases[600:], 100), targets), 10).mean()
    assert mixed > max(alone) - 0.005
    if noises[1] < 2:
        assert mixed > max(alone) + 0.05, "two views that miss different things see more together"


def test_weights_that_make_no_mix_are_refused() -> None:
    part = Fixed([1], [1.0])
    with pytest.raises(ConfigError, match="1 recommenders and 2 weights"):
        Mix([part], [1, 1])
    with pytest.raises(ConfigError, match="none may be negative"):
        Mix([part, part], [1, -1])
