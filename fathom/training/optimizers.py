"""Which optimiser moves which weights of a model."""

from typing import Literal, TypeAlias

import torch
from torch import nn

from fathom.training.muon import Muon

Optimizer: TypeAlias = Literal["adamw", "muon"]

BETAS = (0.9, 0.98)
"""Of AdamW."""
LARGE = 2**24
"""So many weights are moved in one pass over memory (torch's fused AdamW): with 64 million, which stay in no cache, a step of training took
.58 s instead of .90. Of small models the usual AdamW is as fast, and differs from one by nothing but its rounding."""


def optimizers_of(
    module: nn.Module, kind: Optimizer, *, learning_rate: float, weight_decay: float, products: torch.dtype
) -> list[torch.optim.Optimizer]:
    """The optimisers that together move every weight of `module` that learns, each weight by exactly one of them.

    Matrices decay; embeddings, vectors, norms and biases, of whatever shape, do not. 'adamw' moves all of them. 'muon' (Jordan et al. 2024)
    moves the matrices inside the model by orthogonalised momentum, scaled so that one learning rate serves both (Liu et al.,
    arXiv:2502.16982); AdamW moves the rest. `products` is the type in which Muon multiplies matrices.
    """
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    named = {id(parameter): name for name, parameter in module.named_parameters()}
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [
        parameter
        for parameter in learned
        if parameter.ndim > 1 and id(parameter) not in tables and not named[id(parameter)].endswith(("bias", "mask_emb"))
    ]
    head = _output_layer(module)
    inside = [matrix for matrix in matrices if matrix.ndim == 2 and matrix is not head] if kind == "muon" else []
    apart = {id(matrix) for matrix in inside}
    groups = (
        {"params": [matrix for matrix in matrices if id(matrix) not in apart], "weight_decay": weight_decay},
        {"params": [parameter for parameter in learned if all(parameter is not matrix for matrix in matrices)], "weight_decay": 0.0},
    )
    optimizers: list[torch.optim.Optimizer] = []
    if inside:
        optimizers.append(Muon(inside, learning_rate=learning_rate, weight_decay=weight_decay, products=products))
    if any(group["params"] for group in groups):
        fused = sum(parameter.numel() for parameter in learned if id(parameter) not in apart) >= LARGE
        optimizers.append(torch.optim.AdamW(list(groups), lr=learning_rate, betas=BETAS, fused=fused))
    return optimizers


def _output_layer(module: nn.Module) -> torch.Tensor | None:
    """The output matrix of a language model, which belongs to the vocabulary and not to the inside; None for other models."""
    find = getattr(module, "get_output_embeddings", None)  # as every language model of transformers has it; others need not be installed
    layer = find() if find is not None else None
    return layer.weight if isinstance(layer, nn.Linear) else None
