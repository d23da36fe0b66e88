"""The policy loss: numbers by hand, finite differences, and nothing from tokens that the policy did not write."""

import torch
from torch import Tensor
from torch.testing import assert_close

from fathom.training.losses import policy_loss


def batch(rows: int = 4, tokens: int = 5, vocabulary: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(rows, tokens, vocabulary, generator=generator, dtype=torch.float64)
    ids = torch.randint(vocabulary, (rows, tokens), generator=generator)
    old = logprobs(logits, ids) + 0.3 * torch.randn(rows, tokens, generator=generator, dtype=torch.float64)
    advantages = torch.randn(rows, generator=generator, dtype=torch.float64)
    mask = torch.rand(rows, tokens, generator=generator) < 0.6
    return logits, ids, old, advantages, mask


def logprobs(logits: Tensor, ids: Tensor) -> Tensor:
    return torch.log_softmax(logits, dim=-1).gather(-1, ids[..., None])[..., 0]


def test_policy_loss_is_the_number_worked_by_hand() -> None:
    # Ratios 1.5, 1.1, 0.5, 0.5 with advantages 1, 1 | -1, -1, the last one masked:
    # min(1.5, 1.28) = 1.28; 1.1; min(-0.5, -0.8) = -0.8; sum 1.58.
    ratio = torch.tensor([[1.5, 1.1], [0.5, 0.5]])
    loss = policy_loss(ratio.log(), torch.zeros(2, 2), torch.tensor([1.0, -1.0]), mask_B_T=torch.tensor([[1, 1], [1, 0]]))
    assert_close(loss, torch.tensor(-1.58))


def test_policy_loss_gradient_agrees_with_finite_differences() -> None:
    logits, ids, old, advantages, mask = batch()

    def loss(values: Tensor) -> Tensor:
        return policy_loss(logprobs(values, ids), old, advantages, mask_B_T=mask)

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


def test_masked_tokens_get_no_gradient() -> None:
    logits, ids, old, advantages, mask = batch()
    logits.requires_grad_()
    policy_loss(logprobs(logits, ids), old, advantages, mask_B_T=mask).backward()
    assert logits.grad is not None
    assert torch.all(logits.grad[~mask] == 0)
    assert torch.any(logits.grad[mask] != 0)


def test_logits_of_environment_tokens_do_not_matter() -> None:
    logits, ids, old, advantages, mask = batch()
    before = policy_loss(logprobs(logits, ids), old, advantages, mask_B_T=mask)
    logits[~mask] = float("-inf")  # the model finds these tokens impossible, and even then
    assert_close(policy_loss(logprobs(logits, ids), old, advantages, mask_B_T=mask), before)


def test_micro_batches_do_not_change_the_gradient() -> None:
    logits, ids, old, advantages, mask = batch()
    gradients = []
    for size in (1, 2, 4):
        values = logits.clone().requires_grad_()
        for rows in torch.arange(4).split(size):
            loss = policy_loss(logprobs(values[rows], ids[rows]), old[rows], advantages[rows], mask_B_T=mask[rows])
            (loss / mask.sum()).backward()
        gradients.append(values.grad)
    assert_close(gradients[0], gradients[2], atol=1e-6, rtol=0)
    assert_close(gradients[1], gradients[2], atol=1e-6, rtol=0)


def test_the_first_pass_moves_along_the_advantage() -> None:
    logits, ids, _, advantages, mask = batch()
    now = logprobs(logits, ids)
    loss = policy_loss(now, now, advantages, mask_B_T=mask)
    assert_close(loss, -(advantages[:, None] * mask).sum())
