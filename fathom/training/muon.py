"""Muon in the precision that the hardware computes in, shared among the processes of a run."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fathom.training.processes import add_up, processes


class Muon(torch.optim.Muon):
    """Orthogonalised momentum (Jordan et al. 2024), scaled so that AdamW's learning rates serve it (Liu et al., arXiv:2502.16982).

    torch's own step iterates in bfloat16 wherever it runs. A CPU without instructions for it then takes many times as long as in float32
    (benchmarks/muon.py), longer than everything else in a step of a small model. This one iterates in `products`, and each process of
    the run does it for its share of the matrices: the step is the same, to the bit, whatever their number. All processes must take
    their steps together.
    """

    def __init__(self, matrices: Sequence[Tensor], *, learning_rate: float, weight_decay: float, products: torch.dtype) -> None:
        super().__init__(matrices, lr=learning_rate, weight_decay=weight_decay)
        self.products = products

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        together = processes()
        for group in self.param_groups:
            matrices: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, matrices, gradients, momenta)
            directions: list[Tensor] = []
            for number, (gradient, momentum) in enumerate(zip(gradients, momenta, strict=True)):
                momentum.lerp_(gradient, 1 - group["momentum"])
                ahead = gradient.lerp(momentum, group["momentum"])
                mine = number % together.num_processes == together.process_index
                directions.append(orthogonalised(ahead, group, self.products) if mine else torch.zeros_like(ahead))
            add_up(directions)
            for matrix, direction in zip(matrices, directions, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonalised(matrix: Tensor, group: dict[str, Any], products: torch.dtype) -> Tensor:
    """`matrix` with all its singular values brought near 1 (about .7 to 1.2) by Newton-Schulz iterations with the settings of `group`."""
    a, b, c = group["ns_coefficients"]
    tall = matrix.shape[0] > matrix.shape[1]
    found = (matrix.T if tall else matrix).to(products)
    found = found / found.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return (found.T if tall else found).to(matrix.dtype).contiguous()
