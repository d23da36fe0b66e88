"""Advantages against numbers worked by hand, and the invariances that wrong ones break."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fathom.training.advantages import ADVANTAGES, centred, group_mean, group_norm, groups_that_differ, leave_one_out, reinforce_baseline

GROUPS = torch.tensor([0, 0, 0, 1, 1])
REWARDS = torch.tensor([1.0, 0.0, -1.0, 3.0, 1.0])
LENGTHS = torch.tensor([1, 1, 2, 3, 1])

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
every_rule = pytest.mark.parametrize("rule", ADVANTAGES.values(), ids=ADVANTAGES)


def test_reinforce_baseline_is_the_number_worked_by_hand() -> None:
    # Centred: 1, 0, -1 | 1, -1. Tokens 1, 1, 2, 3, 1 (8 in all): mean = (1 + 0 - 2 + 3 - 1) / 8 = 0.125.
    # Squares about the mean: 0.765625, 0.015625, 2 * 1.265625, 3 * 0.765625, 1.265625 -> sum 6.875 -> variance 0.859375.
    spread = 0.859375**0.5
    expected = torch.tensor([0.875, -0.125, -1.125, 0.875, -1.125]) / spread
    torch.testing.assert_close(reinforce_baseline(REWARDS, GROUPS, LENGTHS), expected)


def test_group_norm_is_the_number_worked_by_hand() -> None:
    # Standard deviations (n - 1): of 1, 0, -1 it is 1; of 3, 1 it is sqrt(2).
    expected = torch.tensor([1 / 1.0001, 0.0, -1 / 1.0001, 1 / (2**0.5 + 1e-4), -1 / (2**0.5 + 1e-4)])
    torch.testing.assert_close(group_norm(REWARDS, GROUPS, LENGTHS), expected)


def test_group_mean_is_the_number_worked_by_hand() -> None:
    torch.testing.assert_close(group_mean(REWARDS, GROUPS, LENGTHS), torch.tensor([1.0, 0.0, -1.0, 1.0, -1.0]))


def test_leave_one_out_is_the_number_worked_by_hand() -> None:
    # 1 - mean(0, -1) = 1.5; 0 - mean(1, -1) = 0; -1 - mean(1, 0) = -1.5; 3 - 1 = 2; 1 - 3 = -2.
    torch.testing.assert_close(leave_one_out(REWARDS, GROUPS, LENGTHS), torch.tensor([1.5, 0.0, -1.5, 2.0, -2.0]))


@pytest.mark.parametrize("rule", [group_norm, group_mean, leave_one_out])
def test_group_sums_are_zero_without_whitening(rule: Rule) -> None:
    advantages = rule(REWARDS, GROUPS, LENGTHS)
    assert advantages[:3].sum().abs() < 1e-6
    assert advantages[3:].sum().abs() < 1e-6


def test_group_sums_are_zero_before_whitening() -> None:
    assert centred(REWARDS, GROUPS)[GROUPS == 0].sum().abs() < 1e-6
    assert centred(REWARDS, GROUPS)[GROUPS == 1].sum().abs() < 1e-6


def test_whitened_advantages_have_mean_zero_and_spread_one_over_the_tokens() -> None:
    tokens = reinforce_baseline(REWARDS, GROUPS, LENGTHS).repeat_interleave(LENGTHS)
    assert tokens.mean().abs() < 1e-6
    assert abs(tokens.std(correction=0) - 1) < 1e-6


def test_three_times_the_rewards_are_the_same_advantages() -> None:
    torch.testing.assert_close(reinforce_baseline(3 * REWARDS, GROUPS, LENGTHS), reinforce_baseline(REWARDS, GROUPS, LENGTHS))


@every_rule
def test_the_order_of_episodes_does_not_matter(rule: Rule) -> None:
    order = torch.tensor([4, 1, 3, 0, 2])
    torch.testing.assert_close(rule(REWARDS[order], GROUPS[order], LENGTHS[order]), rule(REWARDS, GROUPS, LENGTHS)[order])


@every_rule
def test_a_missing_episode_shrinks_its_group(rule: Rule) -> None:
    rewards = torch.tensor([1.0, 0.0, float("nan"), 3.0, 1.0])
    advantages = rule(rewards, GROUPS, LENGTHS)
    kept = torch.tensor([0, 1, 3, 4])
    assert advantages[2] == 0
    torch.testing.assert_close(advantages[kept], rule(rewards[kept], GROUPS[kept], LENGTHS[kept]))


@every_rule
@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_equal_rewards_teach_nothing_not_even_their_rounding(rule: Rule, size: int) -> None:
    groups = torch.arange(50).repeat_interleave(size)
    rewards = torch.rand(50, generator=torch.Generator().manual_seed(size)).repeat_interleave(size)
    assert rule(rewards, groups, torch.ones_like(groups)).tolist() == [0.0] * 50 * size
    assert groups_that_differ(rewards, groups) == 0.0


@every_rule
def test_an_episode_without_siblings_teaches_nothing(rule: Rule) -> None:
    assert rule(torch.tensor([5.0]), torch.tensor([7]), torch.tensor([3])).tolist() == [0.0]


def test_a_batch_without_any_judged_episode_teaches_nothing() -> None:
    assert reinforce_baseline(torch.full((5,), float("nan")), GROUPS, LENGTHS).tolist() == [0.0] * 5


def test_centred_rewards_are_cut_at_ten() -> None:
    # Centred: 60, -60 and 1, -1; cut: 10, -10, 1, -1. Equal lengths: mean 0, variance (100 + 100 + 1 + 1) / 4 = 50.5.
    advantages = reinforce_baseline(torch.tensor([120.0, 0.0, 2.0, 0.0]), torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.long))
    torch.testing.assert_close(advantages, torch.tensor([10.0, -10.0, 1.0, -1.0]) / 50.5**0.5)


def test_groups_that_differ_are_counted() -> None:
    assert groups_that_differ(torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([3, 3, 5, 5])) == 0.5
