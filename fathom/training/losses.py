"""Losses as sums over tokens, so that the caller decides what to divide by and no result depends on how a batch was cut."""

import torch
from torch import Tensor


def policy_loss(
    logprobs_B_T: Tensor,
    old_logprobs_B_T: Tensor,
    advantages_B: Tensor,
    *,
    mask_B_T: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
) -> Tensor:
    """The clipped policy loss, summed over the policy's own tokens (PPO, arXiv:1707.06347; wider upper bound: DAPO, arXiv:2503.14476).

        - sum over tokens of  min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A),   ratio = exp(logprob - old logprob)

    Divide by the number of sampled tokens of the whole optimiser batch. Tokens outside `mask_B_T` take no part: neither
    their value nor their gradient reaches the sum, whatever the model says there.

    >>> one = torch.zeros(1, 1)
    >>> policy_loss(one, one, torch.tensor([2.0]), mask_B_T=torch.ones(1, 1))
    tensor(-2.)
    """
    inside_B_T = mask_B_T.bool()
    # Masked before the exponential: an environment token that the model finds impossible would give inf, and 0 * inf is NaN.
    change_B_T = torch.where(inside_B_T, logprobs_B_T - old_logprobs_B_T, 0.0)
    ratio_B_T = change_B_T.exp()
    gain_B_T = torch.minimum(ratio_B_T * advantages_B[:, None], ratio_B_T.clamp(1 - clip_low, 1 + clip_high) * advantages_B[:, None])
    return -torch.where(inside_B_T, gain_B_T, 0.0).sum()
