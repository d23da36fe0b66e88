"""What a reasoning is worth by where the true item ends up behind it (R²ec, arXiv:2505.16994, section 3.3 and appendix F).

Rank and probability of the true item become a reward, the rewards of one person's trajectories become advantages, and the best of them
teach the item match. Tensors (R,) have one entry per trajectory; `groups` says by number whose it is.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from fathom.training.advantages import centred, leave_one_out

SMALLEST_SPREAD = 1e-6
"""Below this standard deviation the rewards of a person's trajectories count as equal: nothing is learned from them."""


def target_gains(
    logits: Tensor, targets: Tensor, *, depth: int, ties: Literal["pessimistic", "expected"] = "pessimistic"
) -> tuple[Tensor, Tensor, Tensor]:
    """(R,) each: NDCG of the target's rank, its probability, its pessimistic rank; `logits` (R, N + 1) float32, -inf where not allowed.

    NDCG is 1 / log2(rank + 1) up to rank min(depth, N), 0 beyond.

    >>> target_gains(torch.tensor([[-torch.inf, 2.0, 1.0, 1.0]]), torch.tensor([2]), depth=1000)[2]
    tensor([3])
    """
    own = logits.gather(1, targets[:, None])
    above = (logits > own).sum(dim=1)
    beside = (logits == own).sum(dim=1) - 1
    items = logits.shape[1] - 1
    ranks = torch.arange(items + 1, device=logits.device)
    gain = torch.where((ranks >= 1) & (ranks <= min(depth, items)), 1 / torch.log2(ranks.float() + 1), 0.0)
    pessimistic = 1 + above + beside
    if ties == "pessimistic":
        gains = gain[pessimistic]
    else:
        total = gain.double().cumsum(0)
        gains = ((total[pessimistic] - total[above]) / (beside + 1)).float()
    return gains, logits.softmax(dim=1).gather(1, targets[:, None]).squeeze(1), pessimistic


def grpo(rewards: Tensor, groups: Tensor) -> Tensor:
    """(R,) rewards minus their group's mean over its standard deviation (of the sample); 0 where that is next to nothing.

    >>> grpo(torch.tensor([2.0, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 1]))
    tensor([ 0.7071, -0.7071,  0.0000,  0.0000])
    """
    spread = _spread(rewards, groups)
    return torch.where(spread < SMALLEST_SPREAD, 0.0, centred(rewards, groups) / spread.clamp_min(SMALLEST_SPREAD))


def rloo(rewards: Tensor, groups: Tensor) -> Tensor:
    """(R,) rewards minus the mean of the others of their group (arXiv:2402.14740); 0 where they all are equal but for rounding.

    >>> rloo(torch.tensor([3.0, 0.0, 0.0, 0.1, 0.1, 0.1]), torch.tensor([0, 0, 0, 1, 1, 1]))
    tensor([ 3.0000, -1.5000, -1.5000,  0.0000,  0.0000,  0.0000])
    """
    return torch.where(_spread(rewards, groups) < SMALLEST_SPREAD, 0.0, leave_one_out(rewards, groups, torch.ones_like(groups)))


def _spread(rewards: Tensor, groups: Tensor) -> Tensor:
    """(R,) the standard deviation, of the sample, of each reward's group."""
    squares = centred(rewards, groups) ** 2
    sums = torch.zeros(int(groups.max()) + 1).index_add(0, groups, squares)
    return (sums / (torch.bincount(groups) - 1).clamp(min=1)).sqrt()[groups]


def winners(advantages: Tensor, groups: Tensor, count: int) -> Tensor:
    """(R,) whether a trajectory is among the `count` best of its group and better than nothing, ties to the first.

    None of a group whose advantages are all 0 is; one below the mean would teach that the true item is the wrong answer.
    """
    won = torch.zeros(len(advantages), dtype=torch.bool)
    for group in groups.unique().tolist():
        mine = (groups == group).nonzero().squeeze(1)
        won[mine[torch.argsort(advantages[mine], descending=True, stable=True)[:count]]] = True
    return won & (advantages > 0)


ADVANTAGES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"grpo": grpo, "rloo": rloo}
