"""Replaced events are told from others (T12)."""

import pytest
import torch
from architecture import SCHEMA, batch, network
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from fathom.errors import ConfigError
from fathom.networks.masking import MaskingSettings
from fathom.networks.network import CONTEXT, Network
from fathom.networks.schema import schema_of
from fathom.records import PAD

PLAIN = schema_of({"item": {"tag": "item-id", "cardinality": 30}})
FEW = schema_of({"item": {"tag": "item-id", "cardinality": 5}})


def told_apart(model: Network, given: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the discriminator reads, what it says, what it should say, and the part of the loss."""
    heard: list[tuple[Tensor, Tensor]] = []
    read: list[Tensor] = []
    usual = model.features.forward

    def loss(said: Tensor, labels: Tensor, reduction: str) -> Tensor:
        heard.append((said.detach(), labels))
        return binary_cross_entropy_with_logits(said, labels, reduction=reduction)  # type: ignore[arg-type]

    def features(columns: dict[str, Tensor], *, disturbed: bool = True) -> Tensor:
        read.append(columns["item"])
        return usual(columns, disturbed=disturbed)

    monkeypatch.setattr("fathom.networks.network.binary_cross_entropy_with_logits", loss)
    monkeypatch.setattr(model.features, "forward", features)
    losses = model.losses(given)
    [(said, labels)] = heard
    return read[-1], said, labels, losses.parts["replaced"].detach()


@pytest.mark.parametrize("replacements", ["batch", "softmax"])
def test_a_label_says_whether_another_item_stands_there_and_the_loss_is_the_labels_cross_entropy(
    replacements: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(PLAIN, masking={"objective": "rtd", "share": 0.5, "replacements": replacements, "ends": 0.0})
    given = batch([9, 4, 7, 9])
    torch.manual_seed(0)
    corrupted, said, labels, part = told_apart(model, given, monkeypatch)
    inside = given["item"] != PAD
    expected = (corrupted != given["item"])[inside].float()
    assert torch.equal(labels, expected)
    assert 0 < float(labels.mean()) < 1
    by_hand = -(labels * torch.sigmoid(said).log() + (1 - labels) * torch.sigmoid(-said).log()).sum()
    assert float(part) == pytest.approx(float(by_hand), rel=1e-5)
    torch.manual_seed(0)
    hidden = model.masking.training_of(model.features(given), given["item"]).labels != PAD
    assert torch.equal(corrupted[~hidden], given["item"][~hidden]), "what is not masked stays"
    if replacements == "batch":
        assert set(corrupted[hidden].tolist()) <= set(given["item"][hidden].tolist()), "from the masked items of the batch"


def test_replacements_follow_the_generator_s_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(FEW, masking={"objective": "rtd", "share": 0.5, "replacements": "softmax", "last_only": True})
    assert model.next_item is not None
    with torch.no_grad():
        for weight in (model.features.items.weight, model.next_item.bias):
            weight.zero_()
        model.next_item.bias[1:] = torch.tensor([0.5, 0.2, 0.2, 0.1]).log()
    torch.manual_seed(0)
    corrupted, _, _, _ = told_apart(model, {"item": torch.full((4000, 2), 3)}, monkeypatch)
    shares = torch.bincount(corrupted[:, 1], minlength=5) / 4000
    assert shares[PAD] == 0
    for item, share in enumerate((0.5, 0.2, 0.2, 0.1), start=1):
        assert abs(float(shares[item]) - share) < 4 * (share * (1 - share) / 4000) ** 0.5


@pytest.mark.parametrize("width", [0, 8])
def test_a_generator_of_its_own_shares_no_weight_of_the_block_and_is_who_is_served(width: int) -> None:
    masking = {"objective": "rtd", "share": 0.5, "tied": False, "generator_width": width, "discriminator_weight": 0.0}
    model = network(masking=masking)
    assert model.generator is not None
    assert not {id(weight) for weight in model.generator.parameters()} & {id(weight) for weight in model.block.parameters()}
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in (model.generator, model.block)]
    assert (sizes[0] < sizes[1]) == bool(width)
    model.losses(batch([9] * 6)).total.backward()
    assert any(weight.grad is not None and float(weight.grad.abs().max()) > 0 for weight in model.generator.parameters())
    assert all(weight.grad is None or float(weight.grad.abs().max()) == 0 for weight in model.block.parameters())
    given, lengths = batch([6, 4]), torch.tensor([6, 4])
    with torch.no_grad():
        before = model.scores(given, lengths)
        for weight in model.block.parameters():
            weight.add_(1.0)
        assert torch.equal(model.scores(given, lengths), before)
        for weight in model.generator.parameters():
            weight.add_(1.0)
        assert not torch.equal(model.scores(given, lengths), before)


@pytest.mark.parametrize("width", [0, 8])
def test_telling_apart_teaches_a_generator_of_its_own_nothing(width: int) -> None:
    model = network(masking={"objective": "rtd", "share": 0.5, "tied": False, "generator_width": width, "generator_weight": 0.0})
    assert model.generator is not None
    model.losses(batch([9] * 6)).total.backward()
    assert any(weight.grad is not None and float(weight.grad.abs().max()) > 0 for weight in model.block.parameters())
    assert all(weight.grad is None or float(weight.grad.abs().max()) == 0 for weight in model.generator.parameters())


def test_a_replacement_brings_its_context_or_would_be_betrayed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"objective": "rtd", "share": 0.5, "ends": 0.0}
    model = network(PLAIN, masking=settings, fusion={"how": "sum", "width": 1})
    assert model.fusion is not None
    given = batch([9, 4, 7, 9])
    given = {"item": given["item"], CONTEXT: given["item"][:, :, None].float()}  # says which item it came with
    joined: list[Tensor] = []
    usual = model.fusion.forward
    monkeypatch.setattr(model.fusion, "forward", lambda states, context: (joined.append(context), usual(states, context))[1])
    corrupted, _, labels, _ = told_apart(model, given, monkeypatch)
    assert float(labels.sum()) > 0
    assert torch.equal(joined[-1][:, :, 0], corrupted.float()), "whatever stands there has its own"
    with pytest.raises(ConfigError, match=r"softmax have no context of their own.*give a context \(B, C\), or write masking"):
        network(PLAIN, masking=settings | {"replacements": "softmax"}, fusion={"width": 1}).losses(given)


def test_a_tied_generator_has_no_width_of_its_own() -> None:
    with pytest.raises(ValueError, match="a tied generator is the discriminator: write tied: false"):
        MaskingSettings(objective="rtd", generator_width=8)
    with pytest.raises(ConfigError, match="cannot be shared by 2 heads"):
        network(SCHEMA, masking={"objective": "rtd", "tied": False, "generator_width": 7})
