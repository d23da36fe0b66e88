"""Which optimiser moves which weights of a model."""

from typing import Literal, TypeAlias

import torch
from torch import nn

Optimizer: TypeAlias = Literal["adamw", "muon"]

BETAS = (0.9, 0.98)
"""Of AdamW."""


def optimizers_of(module: nn.Module, kind: Optimizer, *, learning_rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """The optimisers that together move every weight of `module` that learns, each weight by exactly one of them.

    'adamw' moves all of them; only the matrices inside the model decay. 'muon' (Jordan et al. 2024) moves those matrices by
    orthogonalised momentum, scaled so that one learning rate serves both (Liu et al., arXiv:2502.16982); AdamW moves the rest.
    """
    inside, rest = _matrices_and_rest(module)
    settled = {"params": rest, "weight_decay": 0.0}
    if kind == "adamw" or not inside:
        decaying = {"params": inside, "weight_decay": weight_decay}
        return [torch.optim.AdamW([decaying, settled], lr=learning_rate, betas=BETAS)]
    muon = torch.optim.Muon(inside, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW([settled], lr=learning_rate, betas=BETAS)] if rest else [muon]


def _matrices_and_rest(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices inside the model; and embeddings, output layers as large as them, vectors and norms."""
    tables = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
    apart = {id(table) for table in tables}
    rows = {len(table) for table in tables}
    heads = {id(part.weight) for part in module.modules() if isinstance(part, nn.Linear) and part.out_features in rows}
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    inside = [parameter for parameter in learned if parameter.ndim == 2 and id(parameter) not in apart | heads]
    chosen = {id(parameter) for parameter in inside}
    return inside, [parameter for parameter in learned if id(parameter) not in chosen]
