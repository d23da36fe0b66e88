"""A training that is cut off in the middle, and its continuation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fathom.training.run import Run


class Cut(Exception):
    """Ends a training where it would have written a line of its log."""


def cut_off(folder: Path, *, at: int) -> Run:
    """A run whose log takes no line from the one numbered `at`, from 1 on."""
    run = Run(folder)
    log, lines = run.log, 0

    def counted(*told: object, **named: object) -> None:
        nonlocal lines
        lines += 1
        if lines == at:
            raise Cut
        log(*told, **named)  # type: ignore[arg-type]

    run.log = counted  # type: ignore[method-assign]
    return run


def goes_on(train: Callable[[Run], nn.Module], folder: Path, *, at: int) -> nn.Module:
    """What `train` makes without interruption, in `folder`/whole; asserts that one cut off and called again makes the very same."""
    whole = train(Run(folder / "whole"))
    with pytest.raises(Cut):
        train(cut_off(folder / "cut", at=at))
    resumed = train(Run(folder / "cut"))
    assert all(map(torch.equal, whole.state_dict().values(), resumed.state_dict().values()))
    return whole
