"""A text is its words: the tokens of a word never depend on its neighbours, and all tokens of one word share its number.

So an item's id, however many tokens it has, is one word wherever it stands, and a text is encoded by looking its words up.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, cast

from fathom.errors import ConfigError, MissingExtraError, ModelError

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "transformers", "llm") from error

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
OPEN, CLOSE = "‹", "›"
"""Around a token of an id. No other text has these characters (`plain`), so nobody writes an id into a title or a review."""

NUMBERED = 512
"""Whole-word numbers there are: 0 for the end and padding, 1 for the first word; words beyond the last share its number (P5, 3.2)."""

PAIRS = r"▁?[0-9]{1,2}"
"""Numbers are cut into pairs of digits from the left, so that the tokens of a number are shared by other numbers."""


class Encoded(NamedTuple):
    """A text as tokens, without an end."""

    tokens: list[int]
    words: list[int]
    """The number of the word that each token belongs to, from 1."""


class Lexicon:
    """Turns texts into tokens and whole-word numbers, and tokens into texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        for role in ("pad_token_id", "eos_token_id"):
            if getattr(tokenizer, role) is None:
                raise ModelError(f"the tokenizer has no {role.removesuffix('_id')}: use one of the T5 family")
        self.pad: int = tokenizer.pad_token_id
        self.end: int = tokenizer.eos_token_id
        self._reads: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._reads.no_padding()
        self._reads.no_truncation()
        self._reads.encode_special_tokens = True  # a review that spells the end of a text stays letters
        self._known: dict[str, tuple[int, ...]] = {}

    @cached_property
    def of_ids(self) -> tuple[int, ...]:
        """The tokens that ids are made of: nobody writes them into a text."""
        return tuple(sorted(token for piece, token in self.tokenizer.get_vocab().items() if piece.startswith(OPEN)))

    @property
    def size(self) -> int:
        """How many tokens there are; ids run from 0."""
        return len(self.tokenizer)

    def word(self, word: str) -> tuple[int, ...]:
        """The tokens of one word."""
        if word not in self._known:
            self._learn([word])
        return self._known[word]

    def encode(self, text: str) -> Encoded:
        """Tokens and whole-word numbers of the words of `text`."""
        tokens: list[int] = []
        numbers: list[int] = []
        for number, word in enumerate(text.split(), start=1):
            own = self.word(word)
            tokens += own
            numbers += [min(number, NUMBERED - 1)] * len(own)
        return Encoded(tokens, numbers)

    def encode_many(self, texts: Sequence[str]) -> list[Encoded]:
        """`encode` of each text; words that are new are looked at together, on all cores."""
        self._learn({word for text in texts for word in text.split()} - self._known.keys())
        return [self.encode(text) for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without padding and end; an id begins a word."""
        kept = [token for token in tokens if token not in (self.pad, self.end)]
        text = cast(str, self.tokenizer.decode(kept, skip_special_tokens=False))
        return re.sub(rf"(?<=[^\s{CLOSE}]){OPEN}", f" {OPEN}", text).strip()

    def _learn(self, words: Iterable[str]) -> None:
        ordered = sorted(words)
        for word, encoding in zip(ordered, self._reads.encode_batch(ordered, add_special_tokens=False), strict=True):
            self._known[word] = tuple(encoding.ids)

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into `folder`."""
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str | Path, *, added: Sequence[str] = ()) -> "Lexicon":
        """The tokenizer in a folder or of a hub name, with id tokens `added`; one that cannot be read is a `ModelError`."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder}: no tokenizer can be read from it ({error})") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelError(f"{folder}: its tokenizer has no tokenizer.json, by which words are read: save it again with a fast tokenizer")
        tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
        return cls(tokenizer)


def train_lexicon(texts: Iterable[str], vocabulary: int, *, added: Sequence[str]) -> Lexicon:
    """A byte-pair tokenizer of at most `vocabulary` tokens, learned from the words of `texts`, and the id tokens `added` beyond them.

    The same texts give the same bytes. Merges never cross a space; numbers are cut as `PAIRS` says.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.NFKC()
    pairs = pre_tokenizers.Split(Regex(PAIRS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="always"), pairs])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    special = [PAD, END, UNKNOWN]
    if vocabulary < 200:
        raise ConfigError(f"vocabulary is {vocabulary}: it must hold the alphabet and the pairs of digits; write 200 or more")
    numbers = [str(number) for number in range(100)] + [f"{number:02}" for number in range(10)]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False, limit_alphabet=vocabulary // 4)
    plain_texts = (" ".join(word for word in text.split() if OPEN not in word) for text in texts)
    tokenizer.train_from_iterator((*numbers * 2, *plain_texts), trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
    return Lexicon(
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, clean_up_tokenization_spaces=False
        )
    )


def plain(text: str) -> str:
    """`text` as people's words: one space between them, and no character that opens or closes an id."""
    return " ".join(text.replace(OPEN, "<").replace(CLOSE, ">").split())
