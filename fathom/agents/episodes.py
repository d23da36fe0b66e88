"""Finished episodes in a file, so that a run can be read, judged and shown again without playing it again."""

import gzip
from collections.abc import Sequence
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fathom.errors import DataError
from fathom.files import written_aside
from fathom.records import Episode

_LINE = TypeAdapter(tuple[Episode], config=ConfigDict(ser_json_inf_nan="constants"))
"""One line: a list of one episode. A missing rating is NaN, which Python's JSON knows."""


def save_episodes(path: Path, episodes: Sequence[Episode]) -> None:
    """Write one JSON line an episode, compressed, whole or not at all; the same episodes give the same bytes."""
    with written_aside(path) as aside, aside.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for episode in episodes:
            file.write(_LINE.dump_json((episode,)) + b"\n")


def load_episodes(path: Path) -> list[Episode]:
    """What `save_episodes` wrote, in its order; another file is a `DataError` with the number of the line."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; 'fathom evaluate' writes it")
    episodes: list[Episode] = []
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                episodes.append(_LINE.validate_json(line)[0])  # noqa: PERF401  the error below counts what was read
    except ValidationError as error:
        raise DataError(f"{path} line {len(episodes) + 1}: not an episode as Fathom writes it ({error.errors()[0]['msg']})") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: not a whole compressed file ({error})") from error
    return episodes
