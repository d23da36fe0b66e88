import pytest
import torch
from torch.nn.functional import cross_entropy

from fathom.training import full_softmax as module
from fathom.training.full_softmax import full_softmax


def example(rows=7, width=5, items=11, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(rows, width, generator=generator, dtype=dtype, requires_grad=True)
    table = torch.randn(items, width, generator=generator, dtype=dtype, requires_grad=True)
    return queries, table, torch.randint(0, items, (rows,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_agree_with_finite_differences(smoothing):
    queries, table, targets = example()
    assert torch.autograd.gradcheck(lambda q, t: full_softmax(q, t, targets, smoothing=smoothing), (queries, table))


def test_weights_multiply_the_rows_losses_and_gradients():
    queries, table, targets = example(rows=33)
    weights = torch.linspace(0, 2, 33, dtype=torch.float64)
    expected = (cross_entropy(queries @ table.T, targets, reduction="none") * weights).sum()
    found = full_softmax(queries, table, targets, weights=weights)
    assert torch.allclose(found, expected)
    for one, other in zip(torch.autograd.grad(found, (queries, table)), torch.autograd.grad(expected, (queries, table)), strict=True):
        assert torch.allclose(one, other)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_cross_entropy_over_all_rows(smoothing):
    queries, table, targets = example(rows=600, items=50, dtype=torch.float32)
    expected = cross_entropy(queries @ table.T, targets, reduction="sum", label_smoothing=smoothing)
    assert torch.allclose(full_softmax(queries, table, targets, smoothing=smoothing), expected, rtol=1e-5)


def test_pieces_of_any_size_give_the_same_loss_and_gradients(monkeypatch):
    queries, table, targets = example(rows=33)
    whole = torch.autograd.grad(full_softmax(queries, table, targets), (queries, table))
    monkeypatch.setattr(module, "LOGITS", 4 * len(table))
    pieces = torch.autograd.grad(full_softmax(queries, table, targets), (queries, table))
    assert all(torch.allclose(one, other) for one, other in zip(whole, pieces, strict=True))


def test_bfloat16_products_stay_close_and_the_loss_is_float32():
    queries, table, targets = example(rows=300, items=50, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        low = full_softmax(queries, table, targets)
    assert low.dtype == torch.float32
    assert torch.allclose(low, full_softmax(queries, table, targets), rtol=2e-3)


def test_a_hopeless_target_has_a_finite_loss():
    loss = full_softmax(torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]]), torch.tensor([1]))
    assert 80 < float(loss) < 90


def test_no_rows_cost_nothing():
    queries, table, _ = example()
    assert full_softmax(queries[:0], table, torch.empty(0, dtype=torch.long)).item() == 0
