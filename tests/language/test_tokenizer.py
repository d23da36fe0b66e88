import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from fathom.errors import ConfigError, ModelError
from fathom.language.tokenizer import TokenTable, train_tokenizer

MARKERS = ("<think>", "</think>", "<|end_of_item_list|>")


@pytest.fixture(scope="module")
def table(tokenizer: PreTrainedTokenizerFast) -> TokenTable:
    return TokenTable(tokenizer)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_comes_back_as_it_was(table: TokenTable, text: str) -> None:
    assert table.decode(table.encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["\n", "1. ", "12. ", "7. Dollars", "Heat (1995)", "Am", "é", "<think>", "x", " "])), st.text())
def test_cutting_a_text_after_a_line_or_a_marker_changes_no_token(table: TokenTable, left: list[str], right: str) -> None:
    for boundary in ("\n", "</think>"):
        head = "".join(left) + boundary
        assert table.encode(head) + table.encode(right) == table.encode(head + right)


def test_a_title_line_has_the_same_tokens_wherever_it_stands(table: TokenTable, titles: tuple[str, ...]) -> None:
    for title in titles:
        alone = table.encode(title + "\n")
        assert table.encode(f"12. {title}\n")[-len(alone) :] == alone
        assert table.encode(f"Ran\n{title}\nRan\n") == table.encode("Ran\n") + alone + table.encode("Ran\n")


def test_common_titles_cost_one_or_two_tokens(table: TokenTable, titles: tuple[str, ...]) -> None:
    costs = [len(table.encode(title + "\n")) for title in titles]
    assert sum(costs) / len(costs) <= 2


def test_markers_are_one_token_and_special_tokens_are_never_read_from_text(table: TokenTable, tokenizer: PreTrainedTokenizerFast) -> None:
    assert [len(table.encode(marker)) for marker in MARKERS] == [1, 1, 1]
    assert tokenizer.eos_token_id not in table.encode("<|endoftext|>")
    assert table.decode([tokenizer.eos_token_id]) == "<|endoftext|>"


def test_bytes_in_the_middle_of_a_character_can_be_encoded(table: TokenTable) -> None:
    piece = "日本".encode()[1:]
    assert b"".join(table.bytes_of[token] for token in table.encode_bytes(piece)) == piece


def test_the_same_texts_give_the_same_bytes_in_every_process() -> None:
    script = (
        "from fathom.language.tokenizer import train_tokenizer\n"
        "texts = [f'Film {i % 37} of {i % 11}\\n' for i in range(500)]\n"
        "print(train_tokenizer(texts, 500, markers=['<think>']).backend_tokenizer.to_str())"
    )
    digests = set()
    for salt in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": salt})
        digests.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(digests) == 1


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocabulary is 200"):
        train_tokenizer(["a\n"], 200, markers=MARKERS)


def test_a_tokenizer_that_is_not_byte_level_is_refused() -> None:
    from tokenizers import Tokenizer, models

    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")), eos_token="?")
    with pytest.raises(ModelError, match="not byte-level"):
        TokenTable(words)
