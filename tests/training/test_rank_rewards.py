"""Rewards from ranks, advantages from rewards, and who wins: worked by hand, and against double precision."""

import math

import numpy as np
import pytest
import torch
from reasoning import tiny_head

from fathom.training.rank_rewards import ADVANTAGES, target_gains, winners


def test_rewards_by_hand() -> None:
    nothing = -torch.inf
    logits = torch.tensor([[nothing, 3.0, 2.0, 1.0, 0.0]]).expand(4, 5)
    gains, probabilities, ranks = target_gains(logits, torch.tensor([1, 2, 3, 4]), depth=3)
    assert gains.tolist() == pytest.approx([1.0, 1 / math.log2(3), 0.5, 0.0])
    assert ranks.tolist() == [1, 2, 3, 4]
    assert float(probabilities.sum()) == pytest.approx(1.0)
    assert target_gains(logits[:1], torch.tensor([4]), depth=1000)[0].tolist() == pytest.approx([1 / math.log2(5)])


def test_ties_by_either_rule() -> None:
    logits = torch.tensor([[-torch.inf, *[1.0] * 6, 0.0]])
    pessimistic, _, rank = target_gains(logits, torch.tensor([3]), depth=1000)
    expected, _, _ = target_gains(logits, torch.tensor([3]), depth=1000, ties="expected")
    assert int(rank) == 6
    assert float(pessimistic) == pytest.approx(1 / math.log2(7))
    assert float(expected) == pytest.approx(np.mean([1 / math.log2(place + 1) for place in range(1, 7)]))


def test_ranks_equal_those_of_double_precision() -> None:
    head = tiny_head()
    people = torch.nn.functional.normalize(torch.randn(50, head.table.shape[1], generator=torch.Generator().manual_seed(0)), dim=1)
    targets = torch.arange(50) % 40 + 1
    _, _, ranks = target_gains(head.logits(people), targets, depth=1000)
    exact = people.double() @ head.table[1:].double().T
    own = exact.gather(1, targets[:, None] - 1)
    assert ranks.tolist() == (1 + (exact > own).sum(dim=1)).tolist()


@pytest.mark.parametrize("size", range(2, 9))
def test_advantages_by_their_definitions(size: int) -> None:
    rewards = torch.rand(3 * size, generator=torch.Generator().manual_seed(size))
    groups = torch.arange(3 * size) // size
    standard, one_out = ADVANTAGES["grpo"](rewards, groups), ADVANTAGES["rloo"](rewards, groups)
    for group in range(3):
        mine = rewards[groups == group].double()
        assert torch.allclose(standard[groups == group].double(), (mine - mine.mean()) / mine.std(), atol=1e-4)
        others = torch.stack([(mine.sum() - reward) / (size - 1) for reward in mine])
        assert torch.allclose(one_out[groups == group].double(), mine - others, atol=1e-6)
        assert float(one_out[groups == group].sum()) == pytest.approx(0.0, abs=1e-5)


def test_whoever_is_below_the_mean_wins_nothing() -> None:
    groups = torch.arange(8) // 4
    advantages = torch.tensor([-1.0, 0.5, 0.9, -0.4, 0.0, 0.0, 0.0, 0.0])
    assert winners(advantages, groups, 1).nonzero().squeeze(1).tolist() == [2]
    assert winners(advantages, groups, 3).nonzero().squeeze(1).tolist() == [1, 2]
