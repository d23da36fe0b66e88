"""Vectors of texts, remembered on disk: what was encoded once is never encoded again."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fathom.contracts import TextEncoder
from fathom.errors import DataError, ModelError
from fathom.files import written_aside
from fathom.items.encoders import ENCODERS, encoder
from fathom.items.text import item_texts
from fathom.records import PAD, Catalog, Floats

__all__ = ["ENCODERS", "cache_folder", "embed", "encoder", "item_vectors"]

GROUP = 256
"""Texts encoded between two steps of the progress bar."""

Digests = npt.NDArray[np.uint8]


def embed(texts: Sequence[str], encoder: TextEncoder, cache: Path | None) -> Floats:
    """(n, width) float32 unit vectors of `texts`; the row of an empty text is zero.

    With `cache`, a folder, each distinct text is encoded once for all time: vectors are kept under the sha256 of the
    encoder's name and the text. Each distinct text is encoded once within a call too. A vector that is not finite is a
    `ModelError`, a broken cache file a `DataError`.
    """
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    known = {} if cache is None else _remembered(_file(cache, encoder))
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing:
        fresh = _encoded(list(missing.values()), encoder)
        known |= dict(zip(missing, fresh, strict=True))
        if cache is not None:
            _remember(_file(cache, encoder), known)
    return np.stack([known[key] for key in keys]) if keys else np.zeros((0, encoder.width), dtype=np.float32)


class Remembering:
    """Keeps the `TextEncoder` seam over another one, and encodes each text once for all time, as `embed` does."""

    def __init__(self, encoder: TextEncoder, cache: Path | None) -> None:
        self.name = encoder.name
        self._encoder = encoder
        self._cache = cache
        self._known: dict[str, Floats] = {}

    @property
    def width(self) -> int:
        """How many dimensions a vector has."""
        return self._encoder.width

    def encode(self, texts: Sequence[str]) -> Floats:
        """(n, width) float32, unit norm; the row of an empty text is zero."""
        if missing := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known |= dict(zip(missing, embed(missing, self._encoder, self._cache), strict=True))
        return np.stack([self._known[text] for text in texts]) if texts else np.zeros((0, self.width), dtype=np.float32)


def item_vectors(catalog: Catalog, encoder: TextEncoder, cache: Path | None, *, template: str | None = None) -> Floats:
    """(N + 1, width) float32: row i is the unit vector of item i's text, row `PAD` is zero."""
    vectors = embed(item_texts(catalog, template), encoder, cache)
    table = np.zeros((catalog.n_items + 1, vectors.shape[1]), dtype=np.float32)
    table[PAD + 1 :] = vectors
    return table


def cache_folder() -> Path:
    """Where text vectors are kept between runs: FATHOM_CACHE, or the user's cache folder."""
    return Path(os.environ.get("FATHOM_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fathom")


def _encoded(texts: list[str], encoder: TextEncoder) -> Floats:
    """The vectors of `texts`, with a bar that says how long it still takes."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    groups = [texts[at : at + GROUP] for at in range(0, len(texts), GROUP)]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        vectors = np.concatenate([encoder.encode(group) for group in progress.track(groups, description=f"texts ({encoder.name})")])
    if not np.isfinite(vectors).all():
        broken = texts[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
        raise ModelError(f"{encoder.name} gave a vector that is not finite for the text {broken[:80]!r}: its weights are broken")
    return vectors


def _file(cache: Path, encoder: TextEncoder) -> Path:
    """Where the vectors of one encoder are kept; another name, hence another version or option, is another file."""
    return cache / f"{hashlib.sha256(encoder.name.encode()).hexdigest()[:16]}.safetensors"


def _remembered(file: Path) -> dict[bytes, Floats]:
    """The vectors in a cache file by the sha256 of their text; empty where there is no file yet."""
    if not file.exists():
        return {}
    try:
        stored = load_file(file)
        digests: Digests = stored["digests"]
        vectors: Floats = stored["vectors"]
    except (SafetensorError, KeyError) as error:
        raise DataError(f"{file}: not a cache of text vectors ({error}): delete it, it will be made again") from error
    return dict(zip((digest.tobytes() for digest in digests), vectors, strict=True))


def _remember(file: Path, vectors: dict[bytes, Floats]) -> None:
    """Replace a cache file, whole or not at all; of two writers at once the later one's texts stay."""
    digests: Digests = np.frombuffer(b"".join(vectors), dtype=np.uint8).reshape(len(vectors), -1)
    with written_aside(file) as aside:
        save_file({"digests": digests.copy(), "vectors": np.stack(list(vectors.values()))}, aside)
