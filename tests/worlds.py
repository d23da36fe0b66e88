"""Small worlds whose answers are known: films with tricky titles, a ring, a scripted language model, a fixed retriever."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
import numpy.typing as npt

from fathom.agents.protocol import ANSWER_OPEN, BEGIN_PREF, END_PREF, answer_block
from fathom.contracts import Over
from fathom.data.titles import display_titles
from fathom.records import Call, Case, Catalog, Interactions, Reply

TRICKY = (
    ("Doom", "1993", "Game"),
    ("Doom Eternal", "2020", "Game"),
    ("Emma", "1996", "Romance"),
    ("Emma", "2020", "Romance"),
    ("Dr. Strangelove", "1964", "Comedy"),
    ("1942", "2005", "War"),
    ("7. Title", "2001", "Drama"),
    ("Virtual Assistant", "2013", "Drama"),
    ("卧虎藏龙", "2000", "Action"),
    ("What's Up, Doc?", "1972", "Comedy"),
    ("Tom &amp; Jerry", "1992", "Animation"),
    ("The <think> Tank", "2003", "Documentary"),
    ("10 Things I Hate About You", "1999", "Comedy"),
    ("Mission: Impossible", "1996", "Action"),
    ("Amélie", "2001", "Romance"),
    ("(500) Days of Summer", "2009", "Romance"),
)
"""Raw title, year, genre: titles inside titles, equal ones, numbers, entities, markers, other scripts."""


def film_catalog(n_items: int = 40) -> Catalog:
    """Films 1..16 are the tricky ones in the order of `TRICKY`; the others are plain."""
    rows = [
        *TRICKY,
        *((f"Film {number}", str(1960 + number), ("Drama", "Crime", "Comedy")[number % 3]) for number in range(17, n_items + 1)),
    ]
    rows = rows[:n_items]
    titles = display_titles([title for title, _, _ in rows], [[year] for _, year, _ in rows])
    genres = tuple((genre,) for _, _, genre in rows)
    years = tuple((year,) for _, year, _ in rows)
    return Catalog(tuple(f"tt{item:04d}" for item in range(1, len(rows) + 1)), titles, {"genres": genres, "year": years})


def ring_world(n_items: int = 12, *, users: int = 30, length: int = 8) -> tuple[Catalog, Interactions]:
    """A catalogue and walks on a ring: item i is always followed by i + 1, the last by 1; user u starts at item u % n + 1."""
    catalog = Catalog(tuple(f"r{item}" for item in range(1, n_items + 1)), tuple(f"Stop {item}" for item in range(1, n_items + 1)))
    walks = np.array([[(user + step) % n_items + 1 for step in range(length)] for user in range(users)], dtype=np.int64)
    offsets = np.arange(users + 1, dtype=np.int64) * length
    return catalog, Interactions(tuple(f"u{user}" for user in range(users)), offsets, walks.reshape(-1))


def film_case(*, history: tuple[int, ...] = (17, 18, 19), target: int = 1) -> Case:
    """A case over `film_catalog`."""
    return Case(user=0, history=history, target=target)


def asks(preference: str, thought: str = "They may like this.") -> str:
    """What a model writes to make one call."""
    return f"{thought}\n{BEGIN_PREF}{preference}{END_PREF}"


def concludes(items: Sequence[int], catalog: Catalog, conclusion: str = "These fit best.") -> str:
    """What a model writes to finish with `items`."""
    return f"{conclusion}\n{answer_block(items, catalog)}"


@dataclass
class Shelves:
    """A retriever that needs no training: its order depends on history and preference alone, in a fixed shuffled way."""

    n_items: int
    asked: list[list[Call]] = field(default_factory=list)
    """Every batch of calls it was asked, in order."""

    def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        self.asked.append(list(calls))
        return [self._one(call) for call in calls]

    def weigh(self, histories: Sequence[Sequence[int]], items: Sequence[Sequence[int]]) -> list[np.ndarray]:
        return [np.asarray([-item / 100 for item in wanted], dtype=np.float32) for wanted in items]

    def _one(self, call: Call) -> tuple[int, ...]:
        items = [item for item in range(1, self.n_items + 1) if item not in call.exclude]
        return tuple(sorted(items, key=lambda item: crc32(f"{call.preference}|{call.history}|{item}".encode()))[: call.k])


Script = Callable[[str, int], Sequence[str]]
"""Prompt and seed -> what the model writes, reply by reply."""


class Scripted:
    """A policy that writes given texts with one token a byte. The same texts in every conversation, or a `Script`.

    What is left of a text behind a stop string is what it writes next; where the script has run out, it writes nothing.
    """

    at_once = 64

    def __init__(self, script: Sequence[str] | Script, *, likes: Callable[[str], float] = lambda text: -float(len(text))) -> None:
        self.script: Script = script if callable(script) else lambda prompt, seed: script
        self.likes = likes
        self.conversations: list[ScriptedConversation] = []
        self.drawn: list[tuple[float, tuple[int, ...]]] = []
        """Temperature and seeds of each conversation."""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    def converse(self, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int]) -> "ScriptedConversation":
        scripts = [list(self.script(prompt, seed)) for prompt, seed in zip(prompts, seeds, strict=True)]
        self.conversations.append(ScriptedConversation(self, [list(self.encode(prompt)) for prompt in prompts], scripts))
        self.drawn.append((temperature, tuple(seeds)))
        return self.conversations[-1]


class ScriptedConversation:
    """The conversation of `Scripted`; `tokens[row]` is everything the model has read and written."""

    def __init__(self, policy: Scripted, tokens: list[list[int]], scripts: list[list[str]]) -> None:
        self.policy = policy
        self.tokens = tokens
        self.scripts = scripts
        self.scored: list[int] = []
        """The rows that were scored, in order."""
        self.spill = 0
        """How many tokens at the end of every reply were not sampled."""

    def reply(
        self,
        rows: Sequence[int],
        stops: Sequence[str],
        limits: Sequence[int],
        over: Over | None = None,
        barred: Sequence[str] = (),
    ) -> list[Reply]:
        return [self._write(row, stops, limit, over) for row, limit in zip(rows, limits, strict=True)]

    def _write(self, row: int, stops: Sequence[str], limit: int, over: Over | None) -> Reply:
        text = self.scripts[row].pop(0) if self.scripts[row] else ""
        ends = [(text.index(stop) + len(stop), stop) for stop in stops if stop in text]
        enough = [(end, None) for end in range(1, len(text) + 1) if over is not None and over(text[:end])][:1]
        end, stop = min([*ends, *enough], default=(len(text), None))
        tokens = self.policy.encode(text[:end])
        if len(tokens) > limit:
            tokens, stop = tokens[:limit], None
        written = self.policy.decode(tokens)
        if stop is not None and text[end:]:
            self.scripts[row].insert(0, text[end:])
        self.tokens[row] += tokens
        sampled = len(tokens) - self.spill
        logprobs = (*(-0.5 - token / 1000 for token in tokens[:sampled]), *(0.0 for _ in tokens[sampled:]))
        return Reply(written, tokens, logprobs, stop, spill=self.spill)

    def extend(self, rows: Sequence[int], texts: Sequence[str]) -> list[tuple[int, ...]]:
        added = [self.policy.encode(text) for text in texts]
        for row, tokens in zip(rows, added, strict=True):
            self.tokens[row] += tokens
        return added

    def score(self, rows: Sequence[int], continuations: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        self.scored += rows
        return [np.array([self.policy.likes(text) for text in texts], dtype=np.float32) for texts in continuations]


def opens_list(text: str) -> str:
    """`text` up to the opening answer tag and with it."""
    return text[: text.index(ANSWER_OPEN) + len(ANSWER_OPEN)]
