"""Ranking losses against numbers worked by hand, and SASRec's drawn rivals."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fathom.recommenders.sasrec import SASRec, SASRecSettings
from fathom.records import PAD, Interactions
from fathom.training.full_softmax import full_softmax
from fathom.training.ranking_losses import RANKING_LOSSES, RankingLoss, bpr_max, gbce, gbce_exponent, sampled_softmax
from fathom.training.run import noise_from
from fathom.training.sampled import Drawing, SampledTraining, sampled_loss
from fathom.training.sequential import Windows, window_batches

TRUE = torch.tensor([1.0])
DRAWN = torch.tensor([[0.5, -1.0, 7.0]])
COUNTS = torch.tensor([[True, True, False]])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


SHARE = math.exp(0.5) / (math.exp(0.5) + math.exp(-1))
BY_HAND = {
    "sampled_softmax": math.log(math.exp(1) + math.exp(0.5) + math.exp(-1)) - 1,
    "bce": -math.log(sigmoid(1)) - math.log(1 - sigmoid(0.5)) - math.log(1 - sigmoid(-1)),
    "bpr": -(math.log(sigmoid(0.5)) + math.log(sigmoid(2))) / 2,
    "top1": (sigmoid(-0.5) + sigmoid(0.25) + sigmoid(-2) + sigmoid(1)) / 2,
    "top1_max": SHARE * (sigmoid(-0.5) + sigmoid(0.25)) + (1 - SHARE) * (sigmoid(-2) + sigmoid(1)),
    "bpr_max": -math.log(SHARE * sigmoid(0.5) + (1 - SHARE) * sigmoid(2)),
}


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_a_loss_is_the_number_worked_by_hand(name: str) -> None:
    assert RANKING_LOSSES[name](TRUE, DRAWN, COUNTS).tolist() == pytest.approx([BY_HAND[name]], rel=1e-5)


def test_bpr_max_holds_large_scores_back() -> None:
    more = bpr_max(TRUE, DRAWN, COUNTS, regularisation=2.0) - bpr_max(TRUE, DRAWN, COUNTS)
    assert more.tolist() == pytest.approx([2 * (SHARE * 0.25 + (1 - SHARE))], rel=1e-5)


def test_gbce_is_bce_with_a_smaller_power_of_the_true_probability() -> None:
    assert gbce_exponent(256, 3417, 0.75) == pytest.approx(256 / 3416 * (0.75 * (1 - 3416 / 256) + 3416 / 256))
    found = gbce(TRUE, DRAWN, COUNTS, exponent=0.3)
    assert found.tolist() == pytest.approx([BY_HAND["bce"] + 0.7 * math.log(sigmoid(1))], rel=1e-5)


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_without_rivals_nothing_is_pushed_and_nothing_breaks(name: str) -> None:
    drawn = DRAWN.clone().requires_grad_()
    RANKING_LOSSES[name](TRUE, drawn, torch.zeros_like(COUNTS)).sum().backward()
    assert drawn.grad is not None
    assert drawn.grad.tolist() == [[0.0, 0.0, 0.0]]


def windows() -> tuple[SASRec, Windows, np.ndarray]:
    log = Interactions(("u", "v"), np.array([0, 4, 7]), np.array([1, 2, 3, 4, 5, 6, 7]))
    with noise_from(1):
        model = SASRec(20, SASRecSettings(width=8, layers=1, heads=1, inner=8, length=6, dropout=0.0)).eval()
    [batch] = window_batches(log, 6, rows=4, rng=np.random.default_rng(0))
    return model, batch, np.bincount(log.items, minlength=21)


def everything(batch: Windows) -> Windows:
    return Windows(batch.ids, batch.targets, batch.places, torch.arange(1, 21))


def test_a_softmax_over_all_others_is_the_full_one_but_for_what_was_taken() -> None:
    model, batch, _ = windows()
    asked = batch.targets != PAD
    with torch.no_grad():
        found, count = sampled_loss(model, everything(batch), sampled_softmax)
        logits = model(batch.ids)[asked] @ model.items.weight[1:].T
    rows = asked.nonzero()[:, 0]
    for place, row in enumerate(rows.tolist()):
        taken = set(batch.targets[row].tolist()) - {PAD, int(batch.targets[asked][place])}
        logits[place, [item - 1 for item in taken]] = -torch.inf
    assert float(found) == pytest.approx(float(cross_entropy(logits, batch.targets[asked] - 1, reduction="sum")), rel=1e-5)
    assert int(count) == 7


@pytest.mark.parametrize("drawn_for", ["event", "window", "batch"])
@pytest.mark.parametrize("loss", [*RANKING_LOSSES.values(), partial(gbce, exponent=0.4)], ids=[*RANKING_LOSSES, "gbce"])
def test_cutting_a_batch_changes_nothing_and_what_was_taken_is_no_rival(drawn_for: str, loss: RankingLoss) -> None:
    model, batch, counts = windows()
    model.requires_grad_(False)
    settings = SampledTraining.model_validate({"negatives": 9, "drawn_for": drawn_for})
    whole = Drawing([batch], counts, settings, seed=3)[0]
    parts = [sampled_loss(model, whole.rows(slice(row, row + 1)), loss)[0] for row in range(len(batch.ids))]
    assert float(sum(parts)) == pytest.approx(float(sampled_loss(model, whole, loss)[0]), rel=1e-5)
    assert whole.drawn is not None
    own = torch.tensor([1, 2, 3, 4])
    row = int((batch.targets == 1).any(dim=1).nonzero()[0])
    alone = whole.rows(slice(row, row + 1))
    assert alone.drawn is not None
    hits = torch.isin(alone.drawn, own)
    assert bool(hits.any())
    moved = torch.where(hits, own[alone.drawn % 4], alone.drawn)  # another of the own items in the place of each own item
    assert float(sampled_loss(model, Windows(alone.ids, alone.targets, alone.places, moved), loss)[0]) == pytest.approx(
        float(sampled_loss(model, alone, loss)[0]), rel=1e-5
    )


def test_items_are_drawn_as_often_as_the_exponent_says_and_the_expectation_knows_it() -> None:
    ids = torch.zeros(16, 2000, dtype=torch.long)
    counts = np.array([0, 1, 4, 16, 0])
    for exponent, weights in ((0.0, [1, 1, 1, 1]), (0.5, [1, 2, 4, 0]), (1.0, [1, 4, 16, 0])):
        settings = SampledTraining(negatives=2, drawn_for="event", exponent=exponent)
        drawing = Drawing([Windows(ids, ids, ids)], counts, settings, seed=1)
        drawn: Tensor | None = drawing[0].drawn
        assert drawn is not None
        shares = np.array(weights) / sum(weights)
        assert np.bincount(drawn.flatten(), minlength=5)[1:] / drawn.numel() == pytest.approx(shares, abs=0.01)
        some = shares > 0
        assert drawing.expected()[1:].exp().numpy()[some] == pytest.approx(2 * shares[some], rel=1e-4)
    with pytest.raises(AssertionError):
        drawing[0:1]


def test_the_corrected_softmax_is_at_rest_where_logits_are_the_logarithms_of_what_is_true() -> None:
    """Whatever the ids' order and however unevenly rivals are drawn; without the correction it is not."""
    rng = np.random.default_rng(0)
    n_items, rows = 30, 200_000
    truth = rng.dirichlet(np.ones(n_items))
    counts = np.array([0, *rng.permutation(np.arange(1, n_items + 1))])
    settings = SampledTraining(negatives=4, drawn_for="event", exponent=1.0)
    ids = torch.zeros(rows, 1, dtype=torch.long)
    drawing = Drawing([Windows(ids, ids, ids)], counts, settings, seed=1)
    assigned, expected = drawing[0].drawn, drawing.expected()
    assert assigned is not None
    drawn = assigned[:, 0]
    targets = torch.from_numpy(rng.choice(n_items, size=rows, p=truth) + 1)
    slopes = []
    for off in (expected, torch.zeros_like(expected)):
        logits = torch.tensor([0.0, *np.log(truth).tolist()], requires_grad=True)
        true, rivals = (logits - off)[targets], (logits - off)[drawn]
        sampled_softmax(true, rivals, drawn != targets[:, None]).mean().backward()
        assert logits.grad is not None
        slopes.append(float(logits.grad[1:].abs().sum()))
    assert slopes[0] < 0.1 * slopes[1]


@pytest.mark.parametrize("drawn_for", ["event", "window", "batch"])
def test_as_many_rivals_as_there_are_items_make_the_full_softmax(drawn_for: str) -> None:
    items = np.array([4, 9, 2, 9, 7], dtype=np.int64)
    log = Interactions(("a", "b", "c", "d", "e"), np.arange(6, dtype=np.int64), items)  # nobody took two: nothing is no rival
    with noise_from(0):
        model = SASRec(12, SASRecSettings(width=8, length=4, layers=1, heads=2, inner=8, dropout=0.0)).eval()
    [batch] = window_batches(log, 4, rows=8, rng=np.random.default_rng(0))
    settings = SampledTraining.model_validate({"negatives": 12, "drawn_for": drawn_for, "loss": "sampled_softmax"})
    drawing = Drawing([batch], np.bincount(items, minlength=13), settings, seed=1)
    with torch.no_grad():
        found, count = sampled_loss(model, drawing[0], sampled_softmax, expected=drawing.expected())
        asked = batch.targets != PAD
        whole = full_softmax(model(batch.ids)[asked], model.items.weight[1:], batch.targets[asked] - 1)
    assert float(found) == pytest.approx(float(whole), rel=1e-5)
    assert int(count) == 5
