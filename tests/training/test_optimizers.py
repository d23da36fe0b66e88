"""Which optimiser moves which weight, and that Muon's scaled step is as large as AdamW's."""

import pytest
import torch
from torch import nn

from fathom.language.builtin import tiny
from fathom.language.tokenizer import train_tokenizer
from fathom.training.muon import Muon
from fathom.training.optimizers import Optimizer, optimizers_of

TOKENIZER = train_tokenizer(["one line\n"] * 9, 300, markers=[])


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_weight_is_moved_by_exactly_one(kind: Optimizer) -> None:
    model = tiny(TOKENIZER, width=32, layers=2, context=32, seed=0)
    model.model.layers[0].mlp.up_proj.weight.requires_grad_(False)
    moved = [
        id(weight)
        for optimizer in optimizers_of(model, kind, learning_rate=1e-3, weight_decay=0.1, products=torch.float32)
        for group in optimizer.param_groups
        for weight in group["params"]
    ]
    assert sorted(moved) == sorted(id(weight) for weight in model.parameters() if weight.requires_grad)


class Reader(nn.Module):
    """An embedding as wide as a layer inside, an output layer, and a tensor of three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inside, self.norm, self.head = nn.Embedding(8, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 50)
        self.experts = nn.Parameter(torch.ones(2, 8, 8))

    def get_output_embeddings(self) -> nn.Linear:
        return self.head


def test_muon_moves_the_matrices_inside_and_no_embedding_or_output_layer() -> None:
    model = Reader()
    muon, adamw = optimizers_of(model, "muon", learning_rate=1e-3, weight_decay=0.1, products=torch.float32)
    assert muon.param_groups[0]["params"] == [model.inside.weight]
    assert [id(weight) for weight in adamw.param_groups[0]["params"]] == [id(model.experts), id(model.head.weight)]
    assert adamw.param_groups[1]["weight_decay"] == 0.0


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_all_matrices_decay_and_embeddings_vectors_and_norms_do_not(kind: Optimizer) -> None:
    model = Reader()
    groups = [
        group
        for optimizer in optimizers_of(model, kind, learning_rate=1e-3, weight_decay=0.1, products=torch.float32)
        for group in optimizer.param_groups
    ]
    decaying = {id(weight) for group in groups if group["weight_decay"] for weight in group["params"]}
    assert decaying == {id(weight) for weight in (model.inside.weight, model.head.weight, model.experts)}


def test_a_large_table_is_moved_in_one_pass_and_to_the_same_place() -> None:
    moved = []
    for rows in (2**18, 2**10):
        table = nn.Embedding(rows, 64)
        nn.init.constant_(table.weight, 1.0)
        [adamw] = optimizers_of(table, "adamw", learning_rate=0.1, weight_decay=0.1, products=torch.float32)
        assert adamw.param_groups[0]["fused"] == (rows == 2**18)
        for _ in range(3):
            adamw.zero_grad()
            (table(torch.arange(9)) * torch.arange(9)[:, None]).sum().backward()
            adamw.step()
        moved.append(table.weight[:20].detach())
    assert torch.allclose(moved[0], moved[1], atol=1e-6)
    assert not torch.allclose(moved[0][1:9], torch.ones(8, 64))


def test_a_model_without_matrices_inside_needs_no_muon() -> None:
    (only,) = optimizers_of(nn.Embedding(5, 3), "muon", learning_rate=1e-3, weight_decay=0.1, products=torch.float32)
    assert isinstance(only, torch.optim.AdamW)


def test_muons_first_step_has_orthogonal_directions_of_the_size_that_was_stated() -> None:
    """All singular values of the step are about learning rate x 0.2 x sqrt(longer side), as in arXiv:2502.16982, equation 4."""
    layer = nn.Linear(48, 24, bias=False)
    before = layer.weight.detach().clone()
    (muon,) = optimizers_of(layer, "muon", learning_rate=0.1, weight_decay=0.0, products=torch.float32)
    layer.weight.grad = torch.randn(24, 48, generator=torch.Generator().manual_seed(0))
    muon.step()
    values = torch.linalg.svdvals(before - layer.weight.detach()) / (0.1 * 0.2 * 48**0.5)
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize(("products", "tolerance"), [(torch.bfloat16, 0.0), (torch.float32, 1e-3)])
def test_muon_steps_as_torchs_own_does(products: torch.dtype, tolerance: float) -> None:
    """To the bit in bfloat16, as torch's always computes; in float32 but for bfloat16's rounding, of entries of about .01."""
    ours, theirs = torch.zeros(12, 20), torch.zeros(12, 20)
    muon = Muon([ours], learning_rate=0.02, weight_decay=0.1, products=products)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for seed in range(3):
        ours.grad = torch.randn(12, 20, generator=torch.Generator().manual_seed(seed))
        theirs.grad = ours.grad.clone()
        muon.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
    assert ours.abs().mean() > 5e-3
