"""Dashboards that mirror `metrics.jsonl`: TensorBoard beside it, or trackio on this machine.

The file is the truth. A tracker shows a copy, made anew when a run goes on or a stage is done again, so that no point of an
abandoned attempt stays on the screen.
"""

import hashlib
import io
import shutil
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from fathom.errors import MissingExtraError
from fathom.files import Json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter as Writer
    from trackio.run import Run as TrackioRun

TrackerName: TypeAlias = Literal["tensorboard", "trackio"]
"""What `--tracker` takes."""

PROJECT = "fathom"
"""Under which all runs stand together in trackio."""

FLUSH = 10
"""Seconds after which TensorBoard's file is written out."""


class Tracker(Protocol):
    """Shows numbers while they come."""

    hint: str
    """How to look at it."""

    def restart(self, lines: Iterable[Mapping[str, Json]]) -> None:
        """Forget whatever was shown of this run and show these lines of its log."""
        ...

    def add(self, line: Mapping[str, Json]) -> None:
        """Show one more line: 'stage', 'step' and numbers, null where one is not finite."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class TensorBoard:
    """Event files in the run's own folder."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError("tensorboard", "trackers") from error

        self.hint = f"tensorboard --logdir {folder}"
        self._folder = folder
        self._open = SummaryWriter
        self._writer: Writer | None = None

    def restart(self, lines: Iterable[Mapping[str, Json]]) -> None:
        """See `Tracker`."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._writer = self._open(str(self._folder), flush_secs=FLUSH)
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Json]) -> None:
        """See `Tracker`."""
        if self._writer is not None:
            for name, value in _numbers(line).items():
                self._writer.add_scalar(name, value, _step(line))

    def close(self) -> None:
        """See `Tracker`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Trackio:
    """Trackio's database on this machine (TRACKIO_DIR); nothing is sent anywhere unless its own variables ask for that."""

    def __init__(self, folder: Path) -> None:
        try:
            import trackio
        except ModuleNotFoundError as error:
            raise MissingExtraError("trackio", "trackers") from error

        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
        self.name = f"{folder.name}-{place}"
        """Of the run: folders of the same name in different places are different runs."""
        self.hint = f"trackio show --project {PROJECT}"
        self._trackio = trackio
        self._run: TrackioRun | None = None

    def restart(self, lines: Iterable[Mapping[str, Json]]) -> None:
        """See `Tracker`."""
        self.close()
        with redirect_stdout(io.StringIO()):  # it says the same lines each time
            try:
                for earlier in self._trackio.Api().runs(PROJECT):
                    if earlier.name == self.name:
                        earlier.delete()
            except ValueError:
                pass  # no such project: this is the first run of all
            self._run = self._trackio.init(project=PROJECT, name=self.name, embed=False, auto_log_gpu=False, auto_log_cpu=False)
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Json]) -> None:
        """See `Tracker`."""
        if self._run is not None:
            self._run.log(_numbers(line), step=_step(line))

    def close(self) -> None:
        """See `Tracker`."""
        if self._run is not None:
            with redirect_stdout(io.StringIO()):
                self._trackio.finish()
            self._run = None


def tracker_for(name: TrackerName, folder: Path) -> Tracker:
    """The tracker `name` for the run in `folder`; `MissingExtraError` where its package is not installed."""
    return TensorBoard(folder / "tensorboard") if name == "tensorboard" else Trackio(folder)


def _step(line: Mapping[str, Json]) -> int:
    return int(str(line["step"]))


def _numbers(line: Mapping[str, Json]) -> dict[str, float]:
    """The finite numbers of a line of the log, under their names in it."""
    return {name: float(value) for name, value in line.items() if name != "step" and isinstance(value, int | float)}
