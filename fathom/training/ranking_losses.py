"""Losses that rank the true item above drawn ones, one number a row.

Each takes the true item's logit (M,), the drawn ones' (M, n), and which of these count (M, n): an accidental hit, or an item that the
person took anyway, is no rival. Rows without any rival lose nothing by it.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

RankingLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def sampled_softmax(true: Tensor, drawn: Tensor, counts: Tensor) -> Tensor:
    """(M,) cross-entropy over the true item and the drawn ones. For an unbiased one take the logarithm of how often each is expected to be
    drawn off its logit first (Bengio and Senécal 2008).

    >>> sampled_softmax(torch.tensor([0.0]), torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[True, True, False]])).exp().round()
    tensor([3.])
    """
    every = torch.cat([true[:, None], drawn.masked_fill(~counts, -torch.inf)], dim=1)
    return every.logsumexp(dim=1) - true


def bce(true: Tensor, drawn: Tensor, counts: Tensor) -> Tensor:
    """(M,) -log sigmoid(true) - sum over drawn of log sigmoid(-drawn), as SASRec is trained (arXiv:1808.09781)."""
    return -logsigmoid(true) - torch.where(counts, logsigmoid(-drawn), 0.0).sum(dim=1)


def bpr(true: Tensor, drawn: Tensor, counts: Tensor) -> Tensor:
    """(M,) -mean over drawn of log sigmoid(true - drawn) (arXiv:1205.2618)."""
    return -_mean(logsigmoid(true[:, None] - drawn), counts)


def top1(true: Tensor, drawn: Tensor, counts: Tensor) -> Tensor:
    """(M,) mean over drawn of sigmoid(drawn - true) + sigmoid(drawn ** 2) (arXiv:1511.06939)."""
    return _mean(torch.sigmoid(drawn - true[:, None]) + torch.sigmoid(drawn**2), counts)


def top1_max(true: Tensor, drawn: Tensor, counts: Tensor) -> Tensor:
    """(M,) TOP1, each drawn item weighted by its share in a softmax over the drawn ones alone (arXiv:1706.03847)."""
    return (_shares(drawn, counts) * (torch.sigmoid(drawn - true[:, None]) + torch.sigmoid(drawn**2))).sum(dim=1)


def bpr_max(true: Tensor, drawn: Tensor, counts: Tensor, *, regularisation: float = 0.0) -> Tensor:
    """(M,) -log sum s sigmoid(true - drawn) + regularisation * sum s drawn ** 2, with s as in TOP1-max (arXiv:1706.03847)."""
    shares = _shares(drawn, counts)
    above = (shares * torch.sigmoid(true[:, None] - drawn)).sum(dim=1)
    some = counts.any(dim=1)
    return torch.where(some, -torch.where(some, above, 1.0).clamp_min(1e-24).log(), 0.0) + regularisation * (shares * drawn**2).sum(dim=1)


def gbce(true: Tensor, drawn: Tensor, counts: Tensor, *, exponent: float) -> Tensor:
    """(M,) BCE whose true item's probability is raised to `exponent`, which undoes what drawing few rivals does to it (gSASRec,
    arXiv:2308.07192). The exponent is `gbce_exponent`'s."""
    return -exponent * logsigmoid(true) - torch.where(counts, logsigmoid(-drawn), 0.0).sum(dim=1)


def gbce_exponent(drawn: int, n_items: int, calibration: float) -> float:
    """beta = a (t (1 - 1/a) + 1/a) with the sampling rate a = drawn / (items - 1): 1, plain BCE, for t = 0, and a for t = 1.

    >>> gbce_exponent(10, 101, 0.0), gbce_exponent(10, 101, 1.0)
    (1.0, 0.1)
    """
    rate = min(drawn / max(n_items - 1, 1), 1.0)
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    return torch.where(counts, values, 0.0).sum(dim=1) / counts.sum(dim=1).clamp(min=1)


def _shares(drawn: Tensor, counts: Tensor) -> Tensor:
    """(M, n) a softmax over the drawn items that count; zeros where none does."""
    return torch.softmax(drawn.masked_fill(~counts, -1e30), dim=1) * counts


RANKING_LOSSES: Mapping[str, RankingLoss] = {loss.__name__: loss for loss in (sampled_softmax, bce, bpr, top1, top1_max, bpr_max)}


def ranking_loss(name: str, *, drawn: int, n_items: int, calibration: float) -> RankingLoss:
    """The loss of this name against so many drawn items; `calibration` is of `gbce` alone."""
    if name == "gbce":
        return partial(gbce, exponent=gbce_exponent(drawn, n_items, calibration))
    return RANKING_LOSSES[name]
