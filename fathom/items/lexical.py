"""Words against texts: BM25 (Robertson and Zaragoza 2009) over the texts of a catalogue, by bm25s."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fathom.errors import MissingExtraError
from fathom.records import Floats

WORD = r"(?u)\b\w+\b"
"""What is a word. A single letter or digit is one, too: it is what tells Halo 2 from Halo 3."""


def words_of_texts(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text, in lower case, without the commonest ones of English."""
    found: list[list[str]] = _bm25s().tokenize(list(texts), token_pattern=WORD, return_ids=False, show_progress=False)
    return found


def index_of(words: Sequence[Sequence[str]], *, saturation: float, normalisation: float) -> Any:
    """bm25s' own index of texts, each given by its words."""
    index = _bm25s().BM25(k1=saturation, b=normalisation)
    index.index([list(one) for one in words], show_progress=False)
    return index


class Lexical:
    """Scores all items by a text."""

    def __init__(self, texts: Sequence[str], *, saturation: float = 1.2, normalisation: float = 0.75) -> None:
        """`texts` of the items 1..N."""
        self._n_items = len(texts)
        self._index = index_of(words_of_texts(texts), saturation=saturation, normalisation=normalisation)

    def scores(self, text: str) -> Floats:
        """(N + 1,) float32; 0 for items that share no word with `text`."""
        words = [word for word in words_of_texts([text])[0] if word in self._index.vocab_dict]
        scores = np.zeros(self._n_items + 1, dtype=np.float32)
        if words:
            scores[1:] = self._index.get_scores(words)
        return scores


def _bm25s() -> Any:
    try:
        import bm25s
    except ModuleNotFoundError as error:
        raise MissingExtraError("bm25s", "classic") from error
    return bm25s
