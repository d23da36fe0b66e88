"""The command `fathom` in a process of its own that need not import everything again: it is forked from one that has."""

import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["fathom.pipeline.run"])


def start(words: Sequence[str], *, environment: Mapping[str, str], said: Path) -> ForkServerProcess:
    """`fathom` with these words, running by one thread; what it says on stderr is written to the file `said`."""
    process = FORKS.Process(target=_perform, args=(words, environment, said))
    process.start()
    return process


def _perform(words: Sequence[str], environment: Mapping[str, str], said: Path) -> None:
    import torch

    from fathom.cli import main

    os.environ.update(environment)
    torch.set_num_threads(1)  # sums over several threads may be added in another order each time
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.__stderr__.fileno())
    sys.argv = ["fathom", *words]
    main()
