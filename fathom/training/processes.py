"""Who takes part in this run: one process, or several that `fathom run --processes`, `accelerate launch` or torchrun started."""

import gc
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env

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

    A process group lives on in reference cycles after it was destroyed. Its threads must end before Python does: one of them that lets go
    of a tensor while the interpreter shuts down aborts the whole process.
    """
    together = processes()
    if together.num_processes > 1:
        together.destroy_process_group()
        gc.collect()


def cut(rows: int) -> list[slice]:
    """The `rows` of a batch in as many pieces as there are processes, none of them empty."""
    bounds = np.linspace(0, rows, processes().num_processes + 1).round().astype(int).tolist()
    return [slice(first, last) for first, last in pairwise(bounds) if first < last]


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
