"""Several processes for one run on one machine: `fathom run --processes 2`.

Small models gain next to nothing from a second thread; a second process is worth more (docs/lab-notes.md has ratios). This one becomes
the main process of the run; the others perform the same command beside it, say nothing, and end with it, even if it is killed.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from fathom.errors import ConfigError, ModelError

PARENT = "FATHOM_PARENT"
"""The environment variable by which a further process knows whom it helps."""

PATIENCE = 5.0
"""Seconds in which the main process may find and tell the mistake itself before it ends because a further process did."""


@contextmanager
def helped(count: int) -> Iterator[None]:
    """Inside the block this command is performed by `count` processes that know of each other; by this one alone for 1.

    0 is what suits this machine: two without a launcher, without an accelerator, and with a core for each of them; else one.
    In one of the further processes, which runs the same command, the block is entered as it is.
    """
    if PARENT in os.environ:
        threading.Thread(target=end_with_parent, args=(int(os.environ[PARENT]),), daemon=True).start()
        try:
            yield
        except RuntimeError:
            time.sleep(1)  # if the connection broke because nobody is left to help, this process ends here, without a word
            raise
        return
    if count == 0:
        count = 2 if (os.cpu_count() or 1) > 1 and not torch.accelerator.is_available() and "WORLD_SIZE" not in os.environ else 1
    if count == 1:
        yield
        return
    if "WORLD_SIZE" in os.environ:
        raise ConfigError(f"--processes {count}: a launcher has started several processes already; leave the option out")
    cores = os.cpu_count() or 1
    if count > cores:
        raise ConfigError(
            f"--processes {count}: this machine has {cores} cores, and more processes only wait for each other; write {cores}"
        )
    if torch.accelerator.is_available() and count > (devices := torch.accelerator.device_count()):
        raise ConfigError(
            f"--processes {count}: each process wants an accelerator of its own, and this machine has {devices}; write {devices}"
        )
    threads = cores // count
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    meeting["OMP_NUM_THREADS"] = str(threads)
    before = dict(os.environ)
    os.environ |= meeting | {"RANK": "0", "LOCAL_RANK": "0"}
    # numpy's threads too: they were counted at its import, and the others, which import it now, would round otherwise than this one.
    limits = threadpool_limits(threads)
    torch.set_num_threads(threads)
    helpers = [_start(rank) for rank in range(1, count)]
    over = threading.Event()
    threading.Thread(target=_watch, args=(helpers, over), daemon=True).start()
    try:
        yield
        for helper in helpers:
            helper.wait()
    except RuntimeError as error:  # what torch raises when the other end of a connection is gone
        time.sleep(1)
        if told := _failed(helpers):
            raise ModelError(told) from error
        raise
    finally:
        over.set()
        for helper in helpers:
            helper.kill()
            helper.wait()
        limits.restore_original_limits()
        os.environ.clear()
        os.environ |= before


def _start(rank: int) -> "subprocess.Popen[bytes]":
    """This command once more, as process number `rank`."""
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), PARENT: str(os.getpid())}
    return subprocess.Popen([sys.executable, "-m", "fathom.cli", *sys.argv[1:]], env=os.environ | own, stdout=subprocess.DEVNULL)


def _watch(helpers: Sequence["subprocess.Popen[bytes]"], over: threading.Event) -> None:
    """End this process when one of the others fails: it would wait for it for half an hour."""
    while not over.wait(0.5):
        if told := _failed(helpers):
            if not over.wait(PATIENCE):
                print(f"error: {told}", file=sys.stderr)
                for helper in helpers:
                    helper.kill()
                os._exit(1)
            return


def _failed(helpers: Sequence["subprocess.Popen[bytes]"]) -> str:
    """What to say when a further process did not end well; '' while none did."""
    codes = [helper.returncode for helper in helpers if helper.poll()]
    if not codes:
        return ""
    why = f"was killed by signal {-codes[0]} (too little memory?)" if codes[0] < 0 else f"ended with exit code {codes[0]}, see above"
    return f"a further process of this run {why}; the same command goes on where it stopped"


def end_with_parent(parent: int) -> None:
    """End this process soon after the one that it helps."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
