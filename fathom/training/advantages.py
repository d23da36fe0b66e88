"""How much better than expected each episode was: rewards become advantages.

Every function takes one entry per episode of the *global* batch, in any order, and returns one advantage per episode:

- `rewards_B` float32; NaN marks an episode that was not judged (its retriever failed). It shrinks its group and gets 0.
- `groups_B` int64: episodes with the same number were played for the same prompt. Membership is told, never inferred from order.
- `lengths_B` int64: how many tokens the policy itself wrote.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Advantage = Callable[[Tensor, Tensor, Tensor], Tensor]

REWARD_LIMIT = 10.0
"""Centred rewards beyond this are cut (the released DeepRec code does the same)."""
SMALLEST_SPREAD = 1e-8
"""Below this standard deviation there is nothing to learn from a batch: all advantages are 0."""
GROUP_SPREAD_FLOOR = 1e-4
"""Added to a group's standard deviation before dividing by it, as in TRL."""


def centred(rewards_B: Tensor, groups_B: Tensor) -> Tensor:
    """(B,) each reward minus the mean of its own group; NaN where the reward is NaN.

    In float64: there the mean of equal float32 rewards is that reward, so that equal ones are exactly 0 and no rounding is learned from.
    """
    exact_B = rewards_B.double()
    mean_B, _ = _group_mean_and_size(exact_B, groups_B)
    return (exact_B - mean_B).to(rewards_B.dtype)


def reinforce_baseline(rewards_B: Tensor, groups_B: Tensor, lengths_B: Tensor) -> Tensor:
    """REINFORCE++-baseline (arXiv:2501.03262): centre on the prompt's own episodes, whiten over all tokens of the global batch.

    Whitening divides by the standard deviation, so the scale of the rewards does not matter. It also moves the mean:
    siblings with equal rewards can end off zero when other episodes differ in length.

    >>> reinforce_baseline(torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), torch.tensor([10, 10]))
    tensor([ 1., -1.])
    """
    advantages_B = centred(rewards_B, groups_B).clamp(-REWARD_LIMIT, REWARD_LIMIT)
    judged_B = ~advantages_B.isnan()
    advantages_B = advantages_B.nan_to_num(0.0)
    weights_B = lengths_B * judged_B
    share_B = weights_B / weights_B.sum().clamp(min=1)  # every token counts once
    mean = (share_B * advantages_B).sum()
    spread = (share_B * (advantages_B - mean) ** 2).sum().sqrt()
    if spread < SMALLEST_SPREAD:
        return torch.zeros_like(advantages_B)
    return torch.where(judged_B, (advantages_B - mean) / spread, 0.0)


def group_norm(rewards_B: Tensor, groups_B: Tensor, lengths_B: Tensor) -> Tensor:
    """GRPO (arXiv:2402.03300): centre on the group, divide by the group's standard deviation (unbiased, plus 1e-4).

    >>> group_norm(torch.tensor([2.0, 0.0]), torch.tensor([0, 0]), torch.tensor([1, 1])).round(decimals=3)
    tensor([ 0.7070, -0.7070])
    """
    del lengths_B
    advantages_B = centred(rewards_B, groups_B)
    variance_B, size_B = _group_mean_and_size(advantages_B**2, groups_B)
    spread_B = (variance_B * size_B / (size_B - 1).clamp(min=1)).sqrt()
    return (advantages_B / (spread_B + GROUP_SPREAD_FLOOR)).nan_to_num(0.0)


def group_mean(rewards_B: Tensor, groups_B: Tensor, lengths_B: Tensor) -> Tensor:
    """Dr. GRPO (arXiv:2503.20783): centre on the group and leave the scale alone.

    >>> group_mean(torch.tensor([2.0, 0.0]), torch.tensor([0, 0]), torch.tensor([1, 1]))
    tensor([ 1., -1.])
    """
    del lengths_B
    return centred(rewards_B, groups_B).nan_to_num(0.0)


def leave_one_out(rewards_B: Tensor, groups_B: Tensor, lengths_B: Tensor) -> Tensor:
    """RLOO (arXiv:2402.14740): the reward minus the mean of the *other* episodes of its group; 0 for an episode without siblings.

    >>> leave_one_out(torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1]))
    tensor([ 3.0000, -1.5000, -1.5000])
    """
    del lengths_B
    _, size_B = _group_mean_and_size(rewards_B, groups_B)
    # r - (sum - r) / (n - 1)  =  (r - mean) * n / (n - 1)
    return (centred(rewards_B, groups_B) * size_B / (size_B - 1).clamp(min=1)).nan_to_num(0.0)


def groups_that_differ(rewards_B: Tensor, groups_B: Tensor) -> float:
    """The share of groups in which at least two rewards differ: only those teach anything."""
    spread_B, _ = _group_mean_and_size(centred(rewards_B, groups_B).abs(), groups_B)
    return len(torch.unique(groups_B[spread_B > 0])) / max(len(torch.unique(groups_B)), 1)


def _group_mean_and_size(values_B: Tensor, groups_B: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) mean and (B,) number of the values that are not NaN in each episode's group."""
    names, index_B = torch.unique(groups_B, return_inverse=True)
    known_B = (~values_B.isnan()).to(values_B.dtype)
    sums = torch.zeros(len(names), dtype=values_B.dtype, device=values_B.device).index_add(0, index_B, values_B.nan_to_num(0.0))
    sizes = torch.zeros_like(sums).index_add(0, index_B, known_B)
    return (sums / sizes.clamp(min=1))[index_B], sizes[index_B]


ADVANTAGES: Mapping[str, Advantage] = {rule.__name__: rule for rule in (reinforce_baseline, group_norm, group_mean, leave_one_out)}
