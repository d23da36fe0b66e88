"""What models said, in a file, so that a run can be read, judged and shown again without asking them again."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fathom.errors import DataError
from fathom.files import written_aside
from fathom.prompting.describe import Described
from fathom.prompting.generate import Generated
from fathom.prompting.rank import RankedCandidates
from fathom.prompting.rate import Rated
from fathom.records import Episode, Reasoning

Said = TypeVar("Said", Episode, Reasoning, RankedCandidates, Generated, Described, Rated)

_CONFIG = ConfigDict(ser_json_inf_nan="constants")
_LINES: dict[type, TypeAdapter[Any]] = {
    Episode: TypeAdapter(tuple[Episode], config=_CONFIG),
    Reasoning: TypeAdapter(tuple[Reasoning], config=_CONFIG),
    RankedCandidates: TypeAdapter(tuple[RankedCandidates], config=_CONFIG),
    Generated: TypeAdapter(tuple[Generated], config=_CONFIG),
    Described: TypeAdapter(tuple[Described], config=_CONFIG),
    Rated: TypeAdapter(tuple[Rated], config=_CONFIG),
}
"""One line: a list of one. A missing rating is NaN, which Python's JSON knows."""


def save_said(path: Path, said: Sequence[Said]) -> None:
    """Write one JSON line each, compressed, whole or not at all; the same ones give the same bytes."""
    with written_aside(path) as aside, aside.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for one in said:
            file.write(_LINES[type(one)].dump_json((one,)) + b"\n")


def load_said(path: Path, kind: type[Said]) -> list[Said]:
    """What `save_said` wrote of that kind, in its order; another file is a `DataError` with the number of the line."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; 'fathom evaluate' writes it")
    said: list[Said] = []
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                said.append(_LINES[kind].validate_json(line)[0])  # noqa: PERF401  the error below counts what was read
    except ValidationError as error:
        raise DataError(f"{path} line {len(said) + 1}: not what Fathom writes there ({error.errors()[0]['msg']})") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: not a whole compressed file ({error})") from error
    return said
