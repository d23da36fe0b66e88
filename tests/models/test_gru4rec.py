"""GRU4Rec's lanes, rivals and states."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import CATALOG, walks
from torch import nn

from fathom.models.gru4rec import GRU4Rec, GRU4RecSettings, Lanes, Network, Step, _gated, expected_rivals, in_lanes, lane_loss
from fathom.models.model import TrainingData
from fathom.records import PAD, Case, Interactions, cases_of
from fathom.training.ranking_losses import RANKING_LOSSES, bpr_max
from fathom.training.run import Run, noise_from
from fathom.training.supervised import FitSettings

LOG = Interactions(tuple("abcd"), np.array([0, 3, 4, 6, 10]), np.array([1, 2, 3, 9, 4, 5, 6, 7, 8, 9]))
COUNTS = np.bincount(LOG.items, minlength=13)


def settings(lanes: int = 2, **values: object) -> GRU4RecSettings:
    given = {
        "width": 8,
        "dropout": 0.0,
        "embedding_dropout": 0.0,
        "negatives": 5,
        "fit": FitSettings(batch_size=lanes, precision="float32"),
    }
    return GRU4RecSettings.model_validate(given | values)


def network(chosen: GRU4RecSettings) -> Network:
    with noise_from(3):
        return Network(12, chosen)


def test_sessions_go_to_the_lane_that_is_free_first_and_those_of_one_event_nowhere() -> None:
    assert [lane.tolist() for lane in in_lanes(LOG, 2)] == [[0, 1], [4, 6, 7, 8]]
    later = Interactions(LOG.users, LOG.offsets, LOG.items, times=np.array([9, 9, 9, 0, 5, 5, 1, 1, 1, 1]))
    assert [lane.tolist() for lane in in_lanes(later, 2)] == [[6, 7, 8], [4, 0, 1]]


def test_every_event_but_each_session_s_first_is_asked_for_once() -> None:
    steps = Lanes(LOG, COUNTS, settings(), seed=0)
    pairs = [
        (int(a), int(b))
        for step in (steps[at] for at in range(len(steps)))
        for a, b in zip(step.read, step.wanted, strict=True)
        if b != PAD
    ]
    assert sorted(pairs) == [(1, 2), (2, 3), (4, 5), (6, 7), (7, 8), (8, 9)]
    begins = [step.begins.tolist() for step in (steps[at] for at in range(len(steps)))]
    assert begins == [[True, True], [False, True], [False, False], [False, False]]


def test_a_lane_s_state_is_that_of_its_session_alone_and_begins_empty() -> None:
    chosen = settings()
    model = network(chosen).train()
    steps = Lanes(LOG, COUNTS, chosen, seed=0)
    for at in range(len(steps)):
        lane_loss(model, steps[at], expected_rivals(COUNTS, chosen))
    with torch.no_grad():
        alone = torch.zeros(1, 1, 8)
        for item in (6, 7, 8):
            _, alone = model.step(torch.tensor([item]), alone)
        assert torch.allclose(model.lanes[:, 1], alone[:, 0], atol=1e-6), "the second session of the lane knows nothing of the first"
        ended = torch.zeros(1, 1, 8)
        for item in (1, 2):
            _, ended = model.step(torch.tensor([item]), ended)
        assert torch.allclose(model.lanes[:, 0], ended[:, 0], atol=1e-6), "a lane that has run out keeps still"
    assert model.lanes.grad_fn is None


@pytest.mark.parametrize("loss", ["sampled_softmax", "bpr", "top1", "top1_max", "bpr_max"])
@pytest.mark.parametrize("elu", [0.0, 0.5])
def test_an_own_target_is_never_a_rival_and_the_loss_is_that_of_its_rivals(loss: str, elu: float) -> None:
    chosen = settings(lanes=3, loss=loss, elu=elu, regularisation=0.7)
    compare = partial(bpr_max, regularisation=0.7) if loss == "bpr_max" else RANKING_LOSSES[loss]
    model = network(chosen).eval()
    step = Step(torch.tensor([1, 2, 3]), torch.tensor([5, 6, 5]), torch.tensor([True] * 3), torch.tensor([5, 7]))
    expected = expected_rivals(COUNTS, chosen)
    with torch.no_grad():
        found, count = lane_loss(model, step, expected)
        states, _ = model.step(step.read, torch.zeros(1, 3, 8))
        logits = states @ model.items.weight.T + model.bias.weight.T
        if elu:
            logits = torch.where(logits > 0, logits, elu * (logits.exp() - 1))
        if loss == "sampled_softmax":
            logits = logits - expected
        by_hand = [
            compare(logits[[row], own], logits[[row]][:, rivals], torch.ones(1, len(rivals), dtype=torch.bool))
            for row, own, rivals in ((0, 5, [6, 7]), (1, 6, [5, 5, 5, 7]), (2, 5, [6, 7]))
        ]
    assert int(count) == 3
    assert float(found) == pytest.approx(float(sum(by_hand)), rel=1e-5)


def test_rivals_are_expected_as_often_as_they_come() -> None:
    chosen = settings(lanes=4, negatives=3000, exponent=0.5)
    steps = Lanes(LOG, COUNTS, chosen, seed=1)
    drawn = np.bincount(torch.cat([steps[at].drawn for at in range(len(steps))]).numpy(), minlength=13) / len(steps)
    expected = expected_rivals(COUNTS, chosen).exp().numpy() - 3 * COUNTS / COUNTS.sum()
    assert drawn[1:10] == pytest.approx(expected[1:10], rel=0.1)
    assert drawn[10:].tolist() == [0, 0, 0], "what nobody took is never drawn"


@pytest.mark.parametrize("loss", ["sampled_softmax", "bpr", "top1", "top1_max", "bpr_max"])
@pytest.mark.parametrize("reads", ["tied", "separate", "one-hot"])
def test_every_loss_and_every_way_to_read_reaches_all_weights(loss: str, reads: str) -> None:
    chosen = settings(loss=loss, reads=reads, layers=2, elu=0.5)
    model = network(chosen).train()
    steps = Lanes(LOG, COUNTS, chosen, seed=0)
    total = sum(lane_loss(model, steps[at], expected_rivals(COUNTS, chosen))[0] for at in range(len(steps)))
    assert isinstance(total, torch.Tensor)
    total.backward()
    unused = {"cells.0.weight_ih", "cells.0.bias_ih"} if reads == "one-hot" else set()
    for name, weight in model.named_parameters():
        if name not in unused:
            assert weight.grad is not None, name
            assert float(weight.grad.abs().max()) > 0, name


def test_tied_inputs_are_the_vectors_that_are_ranked() -> None:
    model = network(settings())
    assert [name for name, weight in model.named_parameters() if weight.shape == (13, 8)] == ["items.weight"]
    states = torch.zeros(1, 1, 8)
    with torch.no_grad():
        first, other = (model.step(torch.tensor([item]), states)[0] for item in (4, 5))
        model.items.weight[4] += 1.0
        assert not torch.allclose(model.step(torch.tensor([4]), states)[0], first)
        assert torch.equal(model.step(torch.tensor([5]), states)[0], other)


def test_the_unit_whose_inputs_stand_in_the_gates_is_torch_s() -> None:
    cell = nn.GRUCell(8, 8)
    inputs, state = torch.randn(5, 8), torch.randn(5, 8)
    with torch.no_grad():
        assert torch.allclose(_gated(inputs @ cell.weight_ih.T + cell.bias_ih, state, cell), cell(inputs, state), atol=1e-6)


def test_going_on_is_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """The lanes' states are part of what is written down."""
    log, cases = walks(40)
    given = {"width": 8, "fit": {"epochs": 2, "batch_size": 4, "precision": "float32", "checkpoint_seconds": 0}, "negatives": 8}
    chosen = GRU4RecSettings.model_validate(given)
    whole = GRU4Rec.fit(TrainingData(log, cases[:9], CATALOG, Run(tmp_path / "whole"), "gru"), chosen)
    usual, calls = Lanes.__getitem__, 0

    def killed(self: Lanes, index: int) -> Step:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise KeyboardInterrupt
        return usual(self, index)

    Lanes.__getitem__ = killed  # type: ignore[method-assign,assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            GRU4Rec.fit(TrainingData(log, cases[:9], CATALOG, Run(tmp_path / "cut"), "gru"), chosen)
    finally:
        Lanes.__getitem__ = usual  # type: ignore[method-assign]
    again = GRU4Rec.fit(TrainingData(log, cases[:9], CATALOG, Run(tmp_path / "cut"), "gru"), chosen)
    asked = cases_of([(1, 2), (11,), ()])
    assert torch.equal(whole.score(asked), again.score(asked))


def test_what_is_read_is_the_end_of_a_history() -> None:

    model = GRU4Rec(network(settings(length=3)))
    [long, short] = model.score([Case(-1, (9, 8, 1, 2, 3), PAD), Case(-1, (1, 2, 3), PAD)])
    assert torch.allclose(long[1:], short[1:], atol=1e-6)
