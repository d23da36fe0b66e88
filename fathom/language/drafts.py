"""What the language model has written so far: a reply that it writes freely, or a list of titles under constraint."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fathom.language.tokenizer import TokenTable
from fathom.language.trie import Pen
from fathom.records import Choice, Reply, Written


@dataclass(slots=True)
class Draft:
    """A reply while it is being written."""

    limit: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)
    stop: bytes | None = None
    spill: int = 0

    def reply(self) -> Reply:
        """The finished reply."""
        return Reply(
            text=self.text.decode("utf-8", errors="replace"),
            tokens=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            stop=None if self.stop is None else self.stop.decode("utf-8"),
            spill=self.spill,
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
