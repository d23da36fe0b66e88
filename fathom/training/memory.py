"""How much memory a training will need, told before it begins: a wrong setting costs a second and not a night."""

from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from fathom.training.processes import processes

PROBE = 64
"""Tokens that go through the model to see what it keeps of each for the way back."""

COPIES = 4
"""Of every weight that learns: its gradient, the optimiser's two moments, the best weights so far. A running average is one more."""

GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, of one process."""

    weights: int
    """Of the model and its buffers."""
    learning: int
    """Gradients, moments, copies: the same whatever the batch."""
    activations: int
    """What is kept of the tokens that go through the model at once, for the way back."""
    tokens: int
    """How many these are at most."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.learning + self.activations

    def __str__(self) -> str:
        parts = f"weights {self.weights / GIGA:.2f}, their learning {self.learning / GIGA:.2f}"
        return f"about {self.total / GIGA:.2f} GB: {parts}, {self.tokens:,} tokens at once {self.activations / GIGA:.2f}"


def expected(module: nn.Module, probe: Callable[[int], Tensor], *, tokens: int, averaged: bool) -> Memory:
    """What a training of `module` will need that reads `tokens` tokens at once; `averaged`: a running average of the weights is held.

    `probe(count)` must read a text of so many tokens with gradients. Activations grow with the tokens, as they do where a text sees
    itself alone; logits are made in pieces, whose size does not grow, and are not counted.
    """
    held = [*module.parameters(), *module.buffers()]
    learned = sum(weight.nbytes for weight in module.parameters() if weight.requires_grad)
    kept = saved_bytes(lambda: probe(PROBE), module) / PROBE
    return Memory(
        weights=sum(weight.nbytes for weight in held),
        learning=learned * (COPIES + averaged),
        activations=round(kept * tokens),
        tokens=tokens,
    )


def saved_bytes(work: Callable[[], Tensor], module: nn.Module) -> int:
    """Bytes that `work` leaves alive for its way back, the weights of `module` not among them."""
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = work()  # held until the end, so that no address is given out twice
    total = sum(seen.values())
    del result
    return total


def announce(stage: str, needed: Memory, *, device: torch.device, smaller: str) -> None:
    """Say what `stage` needs, and, where that is more than there is, which settings (`smaller`) would make it less."""
    console = Console(stderr=True, quiet=not processes().is_main_process)
    console.print(f"{stage}: {needed}", highlight=False)
    free = free_bytes(device) / processes().num_processes if device.type == "cpu" else free_bytes(device)
    if needed.total - needed.weights > free:
        console.print(f"[yellow]warning:[/] {free / GIGA:.2f} GB are free for it: write a smaller {smaller}", highlight=False)


def free_bytes(device: torch.device) -> int:
    """Memory that nobody uses: the accelerator's, or the machine's."""
    return int(torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available)
