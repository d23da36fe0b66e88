"""A text is its words: tokens never depend on neighbours, and whole-word numbers are word boundaries (checklist P5)."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fathom.errors import ConfigError, ModelError
from fathom.p5.lexicon import NUMBERED, Lexicon, plain, train_lexicon
from fathom.p5.network import padded

TEXTS = ["person 1043 has taken Heat (1995) , The Usual Suspects (1995) . what is next ?"] * 20
ADDED = ("‹c1_3›", "‹c2_1›")


def lexicon() -> Lexicon:
    return train_lexicon(TEXTS, 400, added=ADDED)


def test_an_id_of_several_tokens_is_one_word() -> None:
    encoded = lexicon().encode("person 1043 ‹c1_3›‹c2_1› , next")
    pieces = lexicon().tokenizer.convert_ids_to_tokens(encoded.tokens)
    assert pieces == ["▁person", "▁10", "43", "‹c1_3›", "‹c2_1›", "▁,", "▁next"]
    assert encoded.words == [1, 2, 2, 3, 3, 4, 5]


def test_whole_word_numbers_are_word_boundaries_of_any_text() -> None:
    own = lexicon()
    text = "The Suspects (1995) unheard-of wörds 12345 ‹c2_1› ."
    encoded = own.encode(text)
    for number, word in enumerate(text.split(), start=1):
        tokens = tuple(token for token, owner in zip(encoded.tokens, encoded.words, strict=True) if owner == number)
        assert tokens == own.word(word)


def test_without_ids_a_text_has_the_tokens_that_its_tokenizer_gives_it() -> None:
    own = lexicon()
    assert own.encode(TEXTS[0]).tokens == own.tokenizer.encode(TEXTS[0], add_special_tokens=False)


def test_words_beyond_the_last_number_share_it() -> None:
    assert max(lexicon().encode("next " * 700).words) == NUMBERED - 1


def test_nobody_writes_an_end_or_an_id_into_a_text() -> None:
    own = lexicon()
    assert own.end not in own.encode("</s> and <pad>").tokens
    assert own.pad not in own.encode("</s> and <pad>").tokens
    assert plain("a  ‹c1_3›\n b") == "a <c1_3> b"
    assert not set(own.encode(plain("‹c1_3›")).tokens) & set(own.encode("‹c1_3›").tokens)


def test_texts_come_back() -> None:
    own = lexicon()
    for text in ("what is next ?", "Heat (1995) , person 1043", "person ‹c1_3›‹c2_1› next"):
        assert own.decode([*own.encode(text).tokens, own.end, own.pad]) == text


def test_what_is_saved_reads_alike(tmp_path: Path) -> None:
    own = lexicon()
    own.save(tmp_path)
    again = Lexicon.load(tmp_path)
    text = "person 1043 ‹c1_3›‹c2_1› unheard ?"
    assert again.encode(text) == own.encode(text)
    assert (again.size, again.end, again.pad) == (own.size, own.end, own.pad)


def test_the_end_has_no_word_and_the_middle_of_a_long_text_goes() -> None:
    own = lexicon()
    texts = own.encode_many(["next", "person " * 10 + "what is next ?"])
    batch = padded(texts, own, longest=9)
    assert batch.tokens.shape == (2, 9)
    assert batch.words[0].tolist() == [1, *(0,) * 8]
    assert batch.mask.sum(dim=1).tolist() == [2, 9]
    assert batch.tokens[1].tolist() == [*own.encode("person person").tokens, *own.encode("person person what is next ?").tokens, own.end]


def test_a_tokenizer_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="200 or more"):
        train_lexicon(TEXTS, 100, added=())
    with pytest.raises(ModelError, match="no tokenizer can be read"):
        Lexicon.load(tmp_path)
    endless = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    endless.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ModelError, match="no pad_token"):
        Lexicon(PreTrainedTokenizerFast(tokenizer_object=endless))
