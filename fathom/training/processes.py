"""Who takes part in this run: one process, or several that `fathom run --processes`, `accelerate launch` or torchrun started."""

import gc
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env, reduce

from fathom.contracts import Recommender
from fathom.records import Case, Floats, Ints, Ranking

Thing = TypeVar("Thing")
Made = TypeVar("Made")


def processes() -> PartialState:
    """The processes of this run, with this one's rank and device; without an accelerator they meet on the CPU.

    Ask here first: whether the CPU is meant is settled by whoever asks accelerate first, and it does not find out by itself.
    """
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())


def leave() -> None:
    """Take leave of the other processes, after the last thing that is done together.

    The threads of a process group must end before Python does: one of them that lets go of a tensor while the interpreter shuts down
    aborts the whole process. And trainers that live on in reference cycles must be gone before the group is: whoever holds it last
    ends it, and a trainer does so with the interpreter locked, which waits for ever if one of the threads needs the interpreter to end.
    """
    together = processes()
    if together.num_processes > 1:
        gc.collect()
        together.destroy_process_group()
        gc.collect()


def portions(rows: int) -> list[slice]:
    """The `rows` of a batch in as many pieces as there are processes; some are empty where there are fewer rows."""
    bounds = np.linspace(0, rows, processes().num_processes + 1).round().astype(int).tolist()
    return [slice(first, last) for first, last in pairwise(bounds)]


def cut(rows: int) -> list[slice]:
    """As `portions`, without the empty ones."""
    return [piece for piece in portions(rows) if piece.start < piece.stop]


def among_all(own: torch.Tensor, first: int, total: int) -> torch.Tensor:
    """(total, d) the rows of all processes, of which those from `first` on are `own` (n, d), with gradients; the others' have none.

    All processes must call it together.
    """
    if processes().num_processes == 1:
        return own
    others = own.new_zeros(total, own.shape[1])
    others[first : first + len(own)] = own.detach()
    add_up([others])
    return torch.cat([others[:first], own, others[first + len(own) :]])


def rows_at_once(rows: int, most: int) -> int:
    """How many of a batch's `rows` go through a model at once, so that there are `most` at most and every process has some."""
    return max(1, min(most, -(-rows // int(processes().num_processes))))


def in_shares(make: Callable[[Sequence[Thing]], Sequence[Made]], things: Sequence[Thing]) -> list[Made]:
    """`make(things)`, where each process made its share and all hold everything, in order. All processes must call it together.

    What `make` makes of a thing does not depend on what else it is given; what it is given may be empty.
    """
    together = processes()
    if together.num_processes == 1:
        return list(make(things))
    mine = cut(len(things))[together.process_index : together.process_index + 1]
    return list(gather_object(list(make(things[mine[0]])) if mine else []))


def add_up(tensors: Sequence[torch.Tensor], at_once: int = 2**24) -> None:
    """Each of `tensors` becomes its sum over the processes of the run, which must all call it together, with the same shapes and type.

    They travel together, up to `at_once` numbers in a message unless one tensor has more: a small model has dozens of tensors, and every
    message has its delay.
    """
    if processes().num_processes == 1:
        return
    first = 0
    while first < len(tensors):
        last, numbers = first + 1, tensors[first].numel()
        while last < len(tensors) and numbers + tensors[last].numel() <= at_once:
            numbers += tensors[last].numel()
            last += 1
        message = reduce(torch.cat([tensor.flatten() for tensor in tensors[first:last]]), "sum")
        for tensor, total in zip(tensors[first:last], message.split([tensor.numel() for tensor in tensors[first:last]]), strict=True):
            tensor.copy_(total.view_as(tensor))
        first = last


class Shared:
    """A recommender whose cases are shared out among the processes of the run; keeps the `Recommender` seam."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        """What the recommender says; all processes must ask the same together."""

        def rows(part: Sequence[Case]) -> list[tuple[Ints, Floats]]:
            ranking = self._recommender.recommend(part, k, exclude_history=exclude_history)
            return list(zip(ranking.items, ranking.scores, strict=True))

        items, scores = zip(*in_shares(rows, cases), strict=True)
        return Ranking(np.stack(items), np.stack(scores))
