"""Who takes part in this run: one process, or several that `accelerate launch` or torchrun started."""

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def processes() -> PartialState:
    """The processes of this run, with this one's rank and device; without an accelerator they meet on the CPU.

    Ask here first: whether the CPU is meant is settled by whoever asks accelerate first, and it does not find out by itself.
    """
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())
