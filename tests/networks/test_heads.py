"""What heads lose and what their answers are worth (T17 to T20)."""

import math

import numpy as np
import pytest
import torch
from architecture import batch, network
from pydantic import ValidationError

from fathom.errors import ConfigError, DataError
from fathom.metrics import area_under_curve
from fathom.networks.heads import NextItemSettings
from fathom.networks.network import CONTEXT
from fathom.records import PAD
from fathom.training.ranking_losses import RANKING_LOSSES, gbce, gbce_exponent

DRAWN = ["sampled_softmax", "bce", "gbce", "bpr", "top1", "top1_max", "bpr_max"]


@pytest.mark.parametrize("exponent", [0.0, 0.7])
@pytest.mark.parametrize("loss", DRAWN)
def test_drawn_rivals_are_compared_as_the_loss_says(loss: str, exponent: float) -> None:
    counts = torch.arange(30)
    model = network(next_item={"loss": loss, "negatives": 12, "exponent": exponent}, counts=counts)
    head = model.next_item
    assert head is not None
    torch.nn.init.normal_(head.bias)
    states, targets = torch.randn(6, 16), torch.tensor([3, 29, 7, 7, 1, 12])
    taken = torch.tensor([[4, 5, PAD], [29, 2, 3], [8, 9, 10], [1, 2, PAD], [PAD] * 3, [20, 21, 22]])
    torch.manual_seed(5)
    found = head.loss(states, targets, taken)
    torch.manual_seed(5)
    luck = torch.rand(12, dtype=torch.float64)
    weights = torch.cat([torch.zeros(1), counts[1:].double() ** exponent])
    shares = weights / weights.sum()
    drawn = torch.tensor([int((shares.cumsum(0) <= one).sum()) for one in luck])
    with torch.no_grad():
        logits = head.projection(states) @ head.items.weight.T + head.bias
        if loss == "sampled_softmax":
            logits = logits - torch.cat([torch.zeros(1), (shares[1:] * 12).log()]).float()
        kept = torch.tensor([[int(item) not in {int(targets[row]), *taken[row].tolist()} for item in drawn] for row in range(6)])
        true, rivals = logits[torch.arange(6), targets], logits[:, drawn]
        exponents = gbce_exponent(12, 29, 0.75)
        by_hand = gbce(true, rivals, kept, exponent=exponents) if loss == "gbce" else RANKING_LOSSES[loss](true, rivals, kept)
    assert float(found.detach()) == pytest.approx(float(by_hand.sum()), rel=1e-4)


def test_what_drawn_rivals_cannot_do_is_told() -> None:
    with pytest.raises(ValidationError, match="smoothing spreads weight over all items, and bpr looks at drawn ones"):
        NextItemSettings(loss="bpr", smoothing=0.1)
    with pytest.raises(ConfigError, match="give their counts, or write exponent: 0"):
        network(next_item={"loss": "bpr", "exponent": 0.5})


def test_a_head_s_figures_are_counted_by_hand() -> None:
    model = network(next_item=None, heads={"bought": {}, "kind": {}, "spent": {}})
    heads = {head.target.name: head for head in model.heads}  # type: ignore[union-attr]
    said, wanted = torch.tensor([2.0, -1.0, 0.5, 0.5, -3.0]), torch.tensor([1, 0, 0, 1, 1])
    pairs = [(a > b) + 0.5 * (a == b) for a in said[wanted == 1].tolist() for b in said[wanted == 0].tolist()]
    binary = heads["bought"].figures(said, wanted)  # type: ignore[operator]
    assert binary["auc"] == pytest.approx(sum(pairs) / len(pairs))
    assert binary["accuracy"] == pytest.approx(3 / 5)
    sure = torch.where(wanted == 1, torch.sigmoid(said), torch.sigmoid(-said))
    assert binary["log_loss"] == pytest.approx(float(-sure.log().mean()), rel=1e-5)
    classes = heads["kind"].figures(torch.tensor([[2.0, 0, 0], [0, 0, 1.0]]), torch.tensor([0, 1]))  # type: ignore[operator]
    assert classes["accuracy"] == 0.5
    number = heads["spent"].figures(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))  # type: ignore[operator]
    assert number == pytest.approx({"rmse": 2.5**0.5, "mae": 1.5})
    assert math.isnan(area_under_curve(np.arange(3.0), np.array([True] * 3))), "nothing to be told apart"


def test_the_whole_loss_is_the_next_items_and_each_head_by_its_weight() -> None:
    model = network(heads={"bought": {"weight": 0.5}, "kind": {"weight": 3.0}, "spent": {}})
    losses = model.losses(batch([6, 2, 9, 4]))
    parts = {name: float(part.detach()) for name, part in losses.parts.items()}
    assert float(losses.total.detach()) == pytest.approx(
        parts["next item"] + 0.5 * parts["bought"] + 3.0 * parts["kind"] + parts["spent"], rel=1e-5
    )
    assert int(losses.asked) == 5 + 1 + 8 + 3 + 3 * 4


def test_sequences_are_judged_together_whatever_the_batches() -> None:
    model = network(next_item=None, heads={"bought": {}, "spent": {}})
    given = batch([6, 2, 9, 1, 4, 7])
    pieces = [{name: values[part] for name, values in given.items()} for part in (slice(0, 2), slice(2, 6))]
    whole, parts = model.judged([given]), model.judged(pieces)
    assert whole["bought"] == pytest.approx(parts["bought"])
    assert whole["spent"] == pytest.approx(parts["spent"], rel=1e-5)


def test_rows_that_cannot_be_read_are_told() -> None:
    model = network(fusion={"width": 3})
    given = batch([4, 3]) | {CONTEXT: torch.zeros(2, 3)}
    left = given | {"item": given["item"].flip(1)}
    with pytest.raises(DataError, match="row 1 of 'item' has 0 before an event: it is padding, which stands on the right"):
        model.losses(left)
    with pytest.raises(DataError, match="'context' holds a number that is not finite"):
        model.losses(given | {CONTEXT: torch.full((2, 3), float("nan"))})
    for wrong in (5, -1):
        with pytest.raises(DataError, match=f"lengths holds {wrong}, but rows have 4 places: write 0 to 4"):
            model.scores(given, torch.tensor([4, wrong]))
    with pytest.raises(DataError, match="column 'kind' holds the class -1"):
        network(heads={"kind": {}}).losses(batch([4]) | {"kind": torch.tensor([-1])})


def test_a_context_of_events_and_drawn_places_do_not_go_together() -> None:
    model = network(fusion={"width": 3}, block={"kind": "xlnet"}, masking={"objective": "plm"})
    with pytest.raises(ConfigError, match=r"plm asks at drawn places.*give a context \(B, C\)"):
        model.losses(batch([4, 3]) | {CONTEXT: torch.zeros(2, 4, 3)})
    for objective in ("plm", "rtd"):
        model = network(fusion={"width": 3}, block={"kind": "xlnet"}, masking={"objective": objective})
        one, other = (
            model.scores(batch([4, 3]) | {CONTEXT: torch.full((2, 3), value)}, torch.tensor([4, 3]))[:, 1:].detach() for value in (0.0, 1.0)
        )
        assert float((one - other).abs().max()) > 1e-4
