"""NARM's attention, worked by hand."""

import math

import torch
from torch import nn

from fathom.models.narm import NARMNetwork, NARMSettings, attention
from fathom.training.run import noise_from


def network() -> NARMNetwork:
    with noise_from(1):
        return NARMNetwork(12, NARMSettings(width=8, length=6)).eval()


def test_attention_by_hand() -> None:
    states = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    asking, asked = torch.tensor([[[0.0, 0.0], [1.0, -1.0]]]), torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
    weighing = nn.Linear(2, 1, bias=False)
    nn.init.constant_(weighing.weight, 1.0)
    with torch.no_grad():
        found = attention(states, asking, asked, weighing, torch.tensor([[True, True]]))[0].tolist()
        unseen = attention(states, asking, asked, weighing, torch.tensor([[False, True]]))[0].tolist()

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    first = 2 * sigmoid(0)
    older, newer = sigmoid(1) + sigmoid(-1), sigmoid(3) + sigmoid(-1)
    assert torch.allclose(torch.tensor(found), torch.tensor([[first, 0.0], [older, 2 * newer]]))
    assert torch.allclose(torch.tensor(unseen), torch.tensor([[0.0, 0.0], [0.0, 2 * newer]])), "padding gets no attention"


def test_an_item_is_compared_with_the_last_state_and_what_it_attends_to() -> None:
    """score_i = e_i . B [g; c]."""
    narm = network()
    ids = torch.tensor([[0, 3, 5, 2]])
    with torch.no_grad():
        states, _ = narm.reader(narm.items(ids))
        last, weights = states[0, 3], []
        for place in (1, 2, 3):
            asked = torch.sigmoid(narm.asking.weight @ last + narm.asked.weight @ states[0, place])
            weights.append(float((narm.weighing.weight @ asked).squeeze()))
        local = sum(weight * states[0, place] for weight, place in zip(weights, (1, 2, 3), strict=True))
        assert isinstance(local, torch.Tensor)
        expected = narm.joining.weight @ torch.cat([last, local])
        assert torch.allclose(narm(ids)[0, 3], expected, atol=1e-6)


def test_no_place_knows_what_comes_after_it_and_padding_is_nothing() -> None:
    narm = network()
    with torch.no_grad():
        short, long, other = (narm(torch.tensor([ids])) for ids in ([0, 1, 2], [0, 1, 2, 0, 0], [0, 1, 2, 9, 7]))
    assert torch.allclose(long[:, :3], short, atol=1e-6)
    assert torch.allclose(other[:, :3], short, atol=1e-6)


def test_pieces_of_a_batch_change_nothing(monkeypatch) -> None:
    narm = network()
    ids = torch.tensor([[0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8, 0]])
    with torch.no_grad():
        whole = narm(ids)
        monkeypatch.setattr("fathom.models.narm.TOGETHER", 1)
        assert torch.allclose(narm(ids), whole, atol=1e-6)
