"""What the language model has written so far: a reply that it writes freely, or a list of titles under constraint."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from fathom.language.tokenizer import TokenTable
from fathom.language.trie import Pen
from fathom.records import Choice, Reply, Written


@dataclass(slots=True)
class Draft:
    """A reply while it is being written."""

    limit: int
    barred: tuple[int, ...] = ()
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)
    stop: bytes | None = None
    spill: int = 0

    def write(self, token: int, logprob: float, *, table: TokenTable, stops: Sequence[bytes], ends: Collection[int]) -> bool:
        """Add a sampled token; says whether the reply may go on behind it.

        A token that spills past one of `stops` is replaced by tokens for the part of it that stays, the last `spill` of `tokens`.
        """
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token in ends:
            return False
        before = len(self.text)
        self.text += table.bytes_of[token]
        found = [(at, stop) for stop in stops if (at := self.text.find(stop, max(0, before - len(stop) + 1))) >= 0]
        if found:
            at, self.stop = min(found)
            end = at + len(self.stop)
            if end < len(self.text):
                del self.text[end:]
                kept = table.encode_bytes(bytes(self.text[before:]))
                self.tokens[-1:] = kept
                self.logprobs[-1:] = [0.0] * len(kept)
                self.spill = len(kept)
            return False
        return len(self.tokens) < self.limit

    def reply(self) -> Reply:
        """The finished reply."""
        return Reply(
            text=self.text.decode("utf-8", errors="replace"),
            tokens=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            stop=None if self.stop is None else self.stop.decode("utf-8"),
            spill=self.spill,
            barred=self.barred,
        )


@dataclass(slots=True)
class TitleDraft:
    """A list of titles while it is being written."""

    pen: Pen
    limit: int
    tokens: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    lines: int = 0
    whole: bool = False
    fork: int | None = None
    """Set: every title is drawn behind the first so many tokens of the list."""

    def write(self, tokens: Sequence[int], logprob: float | None = None) -> None:
        """Add tokens; with a log-probability the model chose them."""
        self.tokens.extend(tokens)
        self.sampled.extend([logprob is not None] * len(tokens))
        self.logprobs.extend([logprob or 0.0] * len(tokens))

    def written(self, table: TokenTable) -> Written:
        """The finished list."""
        return Written(
            table.decode(self.tokens),
            tuple(self.tokens),
            tuple(self.sampled),
            tuple(self.logprobs),
            tuple(self.choices),
            self.whole,
            self.fork,
        )
