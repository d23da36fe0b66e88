"""The run folder: what was logged, and how far each stage had come when it was last written down."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fathom.errors import DataError, ModelError
from fathom.files import Json, write_text, written_aside
from fathom.training.trackers import Tracker


class Run:
    """One folder that explains itself: `metrics.jsonl` grows line by line, `checkpoints/` says where to go on.

    A `tracker` shows the same lines elsewhere.
    """

    def __init__(self, folder: Path, *, tracker: Tracker | None = None) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # a file in its place, no permission, a read-only system
            raise DataError(f"{folder}: a run cannot be kept there ({error.strerror}): name another folder") from error
        self.folder = folder
        self._log = folder / "metrics.jsonl"
        self._tracker = tracker
        if tracker is not None:
            tracker.restart(self.log_lines())

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Append one line `{"stage": stage, "step": step, "<stage>/<name>": value, ...}`; what is not finite becomes null.

        A last line that a killed process left unfinished is removed first.
        """
        numbers = {f"{stage}/{name}": float(value) if math.isfinite(value) else None for name, value in values.items()}
        line: dict[str, Json] = {"stage": stage, "step": step, **numbers}
        with self._log.open("ab+") as file:
            _drop_unfinished_line(file.fileno())
            file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        if self._tracker is not None:
            self._tracker.add(line)

    def metrics(self, stage: str) -> list[dict[str, float]]:
        """The numbers logged for `stage`, one mapping a line in the order of logging: 'step' and '<stage>/<name>'; nulls are left out."""
        lines = [line for line in self.log_lines() if line["stage"] == stage]
        return [{name: value for name, value in line.items() if isinstance(value, int | float)} for line in lines]

    def checkpoint(self, stage: str) -> "Checkpoint":
        """Where `stage` keeps its state between attempts."""
        return Checkpoint(self, stage)

    def forget(self, stage: str) -> None:
        """Remove the checkpoints and log lines of `stage` and of its parts, which are called `stage@...`."""
        for path in (self.folder / "checkpoints").glob("*.safetensors"):
            if path.name.removesuffix(".safetensors").partition("@")[0] == stage:
                path.unlink()
        parts = {str(line["stage"]) for line in self.log_lines()}
        for part in sorted(part for part in parts if part.partition("@")[0] == stage):
            self.forget_after(part, -1)

    def forget_after(self, stage: str, step: int) -> None:
        """Remove the log lines of `stage` beyond `step`: they will be written again by the attempt that resumes there."""
        lines = self.log_lines()
        kept = [line for line in lines if line["stage"] != stage or int(str(line["step"])) <= step]
        if len(kept) != len(lines):
            write_text(self._log, "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))
            if self._tracker is not None:
                self._tracker.restart(kept)

    def take_over(self, other: "Run", stage: str) -> None:
        """Append what `other` logged of `stage` and of its parts."""
        lines = [line for line in other.log_lines() if str(line["stage"]).partition("@")[0] == stage]
        if lines:
            kept = [*self.log_lines(), *lines]
            write_text(self._log, "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))
            if self._tracker is not None:
                self._tracker.restart(kept)

    def log_lines(self) -> list[dict[str, Json]]:
        """All finished lines; one that is no JSON object is a `DataError` with its number."""
        if not self._log.exists():
            return []
        finished = self._log.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line break is unfinished
        lines: list[dict[str, Json]] = []
        for number, text in enumerate(finished, start=1):
            try:
                line = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(f"{self._log} line {number}: not valid JSON ({error})") from error
            if not isinstance(line, dict) or "stage" not in line or "step" not in line:
                raise DataError(f"{self._log} line {number}: expected an object with 'stage' and 'step', found {text[:80]!r}")
            lines.append(line)
        return lines


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of one unfinished stage: tensors and JSON in one safetensors file, replaced whole or not at all."""

    run: Run
    stage: str

    @property
    def path(self) -> Path:
        """The one file it lives in; there is none before the first `save` and after `clear`."""
        return self.run.folder / "checkpoints" / f"{self.stage}.safetensors"

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Json) -> None:
        """Replace the saved state. `state` must be JSON without NaN; `tensors` must not share memory."""
        owned = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        words = {"step": str(step), "state": json.dumps(state, allow_nan=False)}
        with written_aside(self.path) as aside:
            save_file(owned, aside, metadata=words)

    def load(self) -> tuple[int, dict[str, Tensor], Json] | None:
        """The saved (step, tensors, state), or None; log lines of this stage beyond that step are removed, all of them for None."""
        if not self.path.exists():
            self.run.forget_after(self.stage, -1)
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                words = file.metadata()
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except SafetensorError as error:
            raise ModelError(f"{self.path}: not a readable checkpoint ({error}); remove it to start this stage again") from error
        step = int(words["step"])
        self.run.forget_after(self.stage, step)
        state: Json = json.loads(words["state"])
        return step, tensors, state

    def clear(self) -> None:
        """Remove the saved state: the stage is done, or begins anew."""
        self.path.unlink(missing_ok=True)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with the remaining time on the terminal's error channel; yields `advance(by)`. Silent where nobody watches."""
    console = Console(stderr=True)
    shown = console.is_terminal and os.environ.get("RANK", "0") == "0"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(description, total=total)
        yield lambda by: bar.advance(task, by)


@contextmanager
def noise_from(seed: int) -> Iterator[None]:
    """Inside the block torch draws (initial weights, dropout) from `seed`; outside everything goes on as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _drop_unfinished_line(file: int) -> None:
    """Cut an open file behind its last line break."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        tail = os.pread(file, size, 0)
        os.ftruncate(file, tail.rfind(b"\n") + 1)
