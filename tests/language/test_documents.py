"""Attention within the documents of packed rows against plain attention, one document at a time."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fathom.language.documents import Documents, causal, followed


def packed(lengths: list[list[int]]) -> torch.Tensor:
    """Positions of rows that hold documents of these lengths."""
    return torch.tensor([np.concatenate([np.arange(length) for length in row]).tolist() for row in lengths])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("masked", [False, True])
def test_packed_documents_attend_as_each_alone(dtype: torch.dtype, tolerance: float, masked: bool) -> None:
    """Values and gradients, with query heads that share key heads, documents of very different lengths, one of them a single token."""
    rows = [[40, 3, 7], [1, 24, 25], [50]]
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(3, heads, 50, 8, generator=generator).to(dtype).requires_grad_() for heads in (6, 2, 2))
    mixed = Documents(packed(rows), masked=masked).attend(query, key, value, None)
    assert mixed.shape == (3, 50, 6, 8)
    aim = torch.randn(mixed.shape, generator=generator)
    gradients = torch.autograd.grad((mixed.float() * aim).sum(), (query, key, value))
    alone = torch.zeros_like(mixed, dtype=torch.float32)
    for row, lengths in enumerate(rows):
        for end, length in zip(np.cumsum(lengths).tolist(), lengths, strict=True):
            parts = [states[row : row + 1, :, end - length : end].float() for states in (query, key, value)]
            attended = functional.scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True)
            alone[row, end - length : end] = attended[0].transpose(0, 1)
    expected = torch.autograd.grad((alone * aim).sum(), (query, key, value))
    assert torch.allclose(mixed.float(), alone, atol=tolerance)
    for got, wanted in zip(gradients, expected, strict=True):
        assert torch.allclose(got.float(), wanted.float(), atol=10 * tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("masked", [False, True])
def test_a_branch_attends_as_if_nothing_stood_between_it_and_its_fork(dtype: torch.dtype, tolerance: float, masked: bool) -> None:
    """Beside a plain document; two branches at place 4 of a document whose trunk goes on to 6, one of them a single token."""
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4, 5, 4, 5, 6, 4]])
    document, trunk = list(range(3, 9)), list(range(3, 7))
    seen = {9: [*trunk, 9], 10: [*trunk, 9, 10], 11: [*trunk, 9, 10, 11], 12: [*trunk, 12]}
    seen |= {place: document[: place - 2] for place in document} | {place: list(range(place + 1)) for place in range(3)}
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 13, 8, generator=generator).to(dtype) for heads in (6, 2, 2))
    mixed = Documents(positions, masked=masked).attend(query, key, value, None)
    for place, visible in seen.items():
        parts = (query[:, :, place : place + 1].float(), key[:, :, visible].float(), value[:, :, visible].float())
        alone = functional.scaled_dot_product_attention(*parts, enable_gqa=True)
        assert torch.allclose(mixed[:, place].float(), alone[:, :, 0], atol=tolerance), place
    assert followed(positions).tolist() == [[-1, 0, 1, -1, 3, 4, 5, 6, 7, 6, 9, 10, 6]]


def test_what_follows_reaches_nothing_before_it() -> None:
    generator = torch.Generator().manual_seed(1)
    states = [torch.randn(2, 4, 12, 8, generator=generator, dtype=torch.bfloat16) for _ in range(3)]
    later = [torch.cat([part[:, :, :7], torch.full_like(part[:, :, 7:], 3.0)], dim=2) for part in states]
    assert torch.equal(causal(*states, None)[:, :, :7], causal(*later, None)[:, :, :7])
