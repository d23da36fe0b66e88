"""`results.json`: what a run found, in one documented file that is checked when it is written and when it is read.

The schema is called `fathom-results/1`; docs/results.md explains every key. A file with another name, an unknown key, a number
that is none, or an interval that does not hold its own mean is refused with the path of the key that is wrong.
"""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fathom.errors import DataError
from fathom.files import read_json, write_json

SCHEMA: Literal["fathom-results/1"] = "fathom-results/1"

PACKAGES = ("fathom-rec", "numpy", "polars", "pydantic", "torch", "transformers", "trl", "accelerate", "sentence-transformers")
"""The packages whose versions change numbers."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, populate_by_name=True)


class DatasetFacts(_Part):
    """What was measured on."""

    name: str
    fingerprint: str
    """SHA-256 of the content, so that two runs can be known to speak of the same data."""
    users: int = Field(ge=0)
    items: int = Field(ge=0)
    interactions: int = Field(ge=0)
    split: str
    """The rule that cut it, with what it leaks or samples in the same sentence."""
    ranked: str = "full ranking"
    """What was ranked, in words: all items, or which lists of candidates."""
    asked: str = "users"
    """Of what a case is one, in the plural: users, or turns of conversations. Means are over these, the bootstrap draws users."""


class Row(_Part):
    """One recommender."""

    model: str
    metrics: dict[str, float]
    """Name -> mean over the users of this row, such as 'ndcg@10', 'mrr', 'format_valid', 'turns'."""
    low: dict[str, float] = {}
    """Lower ends of the 95 % intervals, for the metrics that have one."""
    high: dict[str, float] = {}
    users: int = Field(ge=1)
    """How many cases were asked: the same for all rows of a table that are compared."""
    seconds: float = Field(ge=0)
    """Wall-clock seconds to answer all of them, summed over the processes that shared them."""
    peak_mb: float = Field(ge=0)
    """Largest memory of the process by then, in MiB."""

    @model_validator(mode="after")
    def intervals_hold_their_means(self) -> Self:
        if self.low.keys() != self.high.keys():
            raise ValueError(f"low and high must name the same metrics; only one of them has {sorted(self.low.keys() ^ self.high.keys())}")
        for name, low in self.low.items():
            if name not in self.metrics:
                raise ValueError(f"low and high hold '{name}', which metrics does not")
            if not low - 1e-9 <= self.metrics[name] <= self.high[name] + 1e-9:
                raise ValueError(f"the interval of '{name}', {low} to {self.high[name]}, does not hold its mean {self.metrics[name]}")
        return self


class Difference(_Part):
    """Two rows compared on the same users."""

    a: str
    b: str
    metric: str
    ratio: float | None
    """mean(a) / mean(b); null where mean(b) is 0."""
    difference: float
    """mean(a) - mean(b)."""
    p: float = Field(ge=0, le=1)
    """Two-sided, from the paired bootstrap over users."""
    low: float | None = None
    """Lower end of the 95 % interval of the difference."""
    high: float | None = None


class Results(_Part):
    """Everything a run found, and what is needed to find it again."""

    schema_: Literal["fathom-results/1"] = Field(alias="schema")
    command: str
    """What was typed."""
    recipe: str
    """Name of the recipe, or its path inside the repository."""
    commit: str
    """Git commit of the code, ending in '+' where files had been changed; 'unknown' outside a repository."""
    versions: dict[str, str]
    machine: dict[str, str]
    seed: int
    dataset: DatasetFacts
    rows: list[Row]
    comparisons: list[Difference]

    @model_validator(mode="after")
    def names_are_known(self) -> Self:
        names = [row.model for row in self.rows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rows are called {twice[0]!r}: every row needs its own name")
        for comparison in self.comparisons:
            for name in (comparison.a, comparison.b):
                if name not in names:
                    raise ValueError(f"a comparison names {name!r}, which is no row; the rows are {', '.join(names)}")
        return self

    def row(self, model: str) -> Row | None:
        """The row called `model`, or None."""
        return next((row for row in self.rows if row.model == model), None)


def write(path: Path, results: Results) -> None:
    """Write `results` as JSON, whole or not at all."""
    write_json(path, results.model_dump(mode="json", by_alias=True))


def read(path: Path) -> Results:
    """The results in `path`; anything that is not what the schema says is a `DataError` with the path of the first wrong key."""
    value = read_json(path)
    try:
        return Results.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{path}: {key_path(first['loc'])}{first['msg']}; docs/results.md says what stands there") from error


def key_path(location: tuple[str | int, ...]) -> str:
    """The place of a value in words that can be searched for, '' for the whole file.

    >>> key_path(("rows", 2, "metrics", "ndcg@10"))
    'rows[2].metrics.ndcg@10: '
    """
    told = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{told.removeprefix('.')}: " if told else ""


def machine() -> dict[str, str]:
    """What kind of machine this is, in words: no host name, no user, no path."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "system": platform.system(),
        "processor": _processor(),
        "cores": str(os.cpu_count() or 1),
        "memory": f"{memory:.0f} GiB",
        "python": platform.python_version(),
    }
    return facts | {"gpu": _gpus()}


def versions() -> dict[str, str]:
    """Name -> version of the installed packages that change numbers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed has no version, and no influence
    return found


def commit() -> str:
    """The git commit of this code, with '+' behind it where files were changed since; 'unknown' outside a repository."""
    folder = Path(__file__).parent
    revision = _git(folder, "rev-parse", "HEAD")
    if revision is None:
        return "unknown"
    return revision + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not a Linux system: what `platform` knows has to do
    return platform.processor() or platform.machine()


def _gpus() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{len(names)} x {names[0]}"
