"""The tokenizer that is trained on the catalogue and the protocol's own words, and the table that reads any byte-level one.

Ordinary byte-level BPE cuts a text into words before it merges, so a film title costs five or six tokens. Here a *line* is
the unit: the newline belongs to the line that it ends, leading list numbers ("12. ") stand apart, markers are tokens of their
own, and merges run freely inside a line. A title that is common in the corpus becomes one token or two. Two rules follow and
are tested: `encode(title + "\\n")` does not depend on what stands around it, and at the end of a line or at a marker
`encode(a) + encode(b) == encode(a + b)`.
"""

from collections.abc import Iterable, Sequence

from fathom.errors import ConfigError, MissingExtraError, ModelError
from fathom.language.trie import TitleTrie

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "transformers", "llm") from error

END_OF_TEXT = "<|endoftext|>"
PAD_TEXT = "<|pad|>"

# \G holds only where the last match ended, so a title that itself begins with "7. " is cut alike with and without a list number.
LIST_NUMBERS = r"\G\d{1,3}\. "


def train_tokenizer(texts: Iterable[str], vocabulary: int, *, markers: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocabulary` tokens whose merges run inside whole lines.

    A line weighs as often as it occurs in `texts`, so pass histories as they are, not their distinct titles. `markers` become
    single tokens wherever they stand. The same texts give the same bytes.
    """
    room = vocabulary - len(markers) - 2
    if room < 256:
        held = f"256 bytes, {len(markers)} markers and 2 special tokens"
        raise ConfigError(f"vocabulary is {vocabulary}: it must hold {held}; write {258 + len(markers)} or more")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "merged_with_previous"),
            pre_tokenizers.Split(Regex(LIST_NUMBERS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=room, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(_without(texts, markers), trainer)
    tokenizer.add_tokens([AddedToken(marker, normalized=False) for marker in markers])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=PAD_TEXT, clean_up_tokenization_spaces=False
    )


def _without(texts: Iterable[str], markers: Sequence[str]) -> Iterable[str]:
    """The pieces of `texts` between markers: learned from whole, merges would be spent on the markers' letters."""
    for text in texts:
        pieces = [text]
        for marker in markers:
            pieces = [part for piece in pieces for part in piece.split(marker)]
        yield from (piece for piece in pieces if piece)


class TokenTable:
    """Text to ids and back, byte for byte, for any byte-level tokenizer.

    Special tokens are never read out of a text: a title that spells the end-of-text token stays letters. The table works on a
    copy, so nobody's padding or truncation settings reach it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        if "ByteLevel" not in repr(self._tokenizer.decoder):
            raise ModelError(
                "the tokenizer is not byte-level, so its tokens have no bytes of their own: use a model of the Qwen or Llama 3 family"
            )
        self.bytes_of: tuple[bytes, ...] = _bytes_of(self._tokenizer)
        """The bytes of each token id."""
        self.byte_ids: dict[int, int] = {word[0]: token for token, word in reversed(list(enumerate(self.bytes_of))) if len(word) == 1}
        """Byte value -> the id of the token that is this byte alone."""
        self._tries: dict[tuple[str, ...], TitleTrie] = {}

    def trie(self, titles: tuple[str, ...]) -> TitleTrie:
        """The tokens of `title + "\\n"` of all titles; made once for each catalogue."""
        if titles not in self._tries:
            self._tries[titles] = TitleTrie(self.encode_many([title + "\n" for title in titles]))
        return self._tries[titles]

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, no special tokens added."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_many(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """`encode` of each text, on all cores."""
        return [tuple(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def encode_bytes(self, piece: bytes) -> tuple[int, ...]:
        """Token ids whose bytes are `piece`, which may begin in the middle of a character."""
        try:
            return self.encode(piece.decode("utf-8"))
        except UnicodeDecodeError:
            return tuple(self.byte_ids[byte] for byte in piece)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, nothing skipped; bytes that are no character become U+FFFD."""
        return b"".join(self.bytes_of[token] for token in tokens).decode("utf-8", errors="replace")


def _bytes_of(tokenizer: Tokenizer) -> tuple[bytes, ...]:
    """The bytes of each id: letters of the byte-level alphabet stand for bytes, added tokens for themselves."""
    letters = _byte_letters()
    added = tokenizer.get_added_tokens_decoder()
    words: list[bytes] = []
    for token in range(tokenizer.get_vocab_size(with_added_tokens=True)):
        if token in added:
            words.append(added[token].content.encode("utf-8"))
        else:
            words.append(bytes(letters[letter] for letter in tokenizer.id_to_token(token) or ""))
    return tuple(words)


def _byte_letters() -> dict[str, int]:
    """The alphabet of byte-level BPE (Radford et al. 2019): printable bytes stand for themselves, the others for U+0100 onwards."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    return letters | {chr(256 + offset): byte for offset, byte in enumerate(others)}
