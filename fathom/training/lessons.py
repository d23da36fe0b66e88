"""Lessons: some neighbouring cases of one person, with a reasoning behind each, whose target is asked for behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import READOUT, event_lines, frame
from fathom.records import Case, Catalog, Reasoning
from fathom.training.contrastive import Excerpt


@dataclass(frozen=True, slots=True)
class Saying:
    """What is said about a case before its target is asked for."""

    case: Case
    words: Sequence[int]
    """In tokens."""
    weights: Sequence[float]
    """Of each of them in the words' loss."""
    closed: bool = False
    """Whether the words end with the read-out string already."""


def lessons_behind(
    head: DualHead, reasonings: Sequence[Reasoning], catalog: Catalog, *, own_weight: float, rng: np.random.Generator, cut: float
) -> list[Excerpt]:
    """The cases with what the model itself said about each, each of its own words with `own_weight`, and the target asked for behind them.

    A share `cut` of the reasonings ends earlier, anywhere: so that the model can be read out after any number of words.
    """
    said, beyond = [], len(head.tail) - len(head.policy.encode(READOUT))
    for reasoning in reasonings:
        tape = reasoning.tape
        kept = _kept(reasoning.words, cut, rng)
        closed = kept == reasoning.words  # then as it stands on the tape, whoever wrote the read-out, and however
        words = slice(tape.prompt, len(tape.tokens) - beyond if closed else tape.prompt + kept)
        weights = [own_weight * sampled for sampled in tape.sampled[words]]
        said.append(Saying(reasoning.case, tape.tokens[words], weights, closed=closed))
    return lessons(head, said, catalog)


def _kept(written: int, cut: float, rng: np.random.Generator) -> int:
    """How many of so many words are kept: all of them, or of a share `cut` any number."""
    return int(rng.integers(0, written + 1)) if rng.random() < cut else written


def lessons(head: DualHead, said: Sequence[Saying], catalog: Catalog) -> list[Excerpt]:
    """Excerpts in which neighbouring cases of one person share the history, read once: each reasoning stands as a branch behind the
    events that its case knows, and sees these and itself alone."""
    policy, settings = head.policy, head.settings
    before, behind = map(policy.encode, frame(settings))
    closing = policy.encode(READOUT)
    chains = _chains(said, most=max(1, settings.history_length // 2))
    lines = [event_lines(chain[-1].case, catalog, settings, latest=settings.history_length + len(chain) - 1) for chain in chains]
    encoded = iter(policy.table.encode_many([line for some in lines for line in some]))
    found = []
    for chain, some in zip(chains, lines, strict=True):
        events = [next(encoded) for _ in some]
        lengths = np.cumsum([0, *map(len, events[::-1])])
        room = settings.prompt_tokens - len(before) - len(behind)
        events = events[len(events) - int(np.searchsorted(lengths, room, side="right")) + 1 :]
        first = len(chain[-1].case.history) - len(events)
        edges = len(before) + np.cumsum([0, *map(len, events)])
        tokens = [*before, *(token for event in events for token in event)]
        excerpt = Excerpt(tokens, list(range(len(tokens))), [0.0] * len(tokens))
        for saying in reversed(chain):  # from the last one: so that positions fall back wherever a branch begins
            edge = int(edges[max(0, len(saying.case.history) - first)])
            words, tail = [*behind, *saying.words], head.tail[len(closing) :] if saying.closed else head.tail
            excerpt.say(words, [0.0] * len(behind) + [*saying.weights], at=edge)
            excerpt.ask(saying.case.target, tail, at=edge + len(words), span=len(saying.words) + len(tail))
        found.append(excerpt)
    return found


def _chains(said: Sequence[Saying], *, most: int) -> list[list[Saying]]:
    """The sayings in runs of at most so many, in each of which every case is the same person's next one."""
    chains: list[list[Saying]] = []
    for saying in said:
        if chains and len(chains[-1]) < most and saying.case.follows(chains[-1][-1].case):
            chains[-1].append(saying)
        else:
            chains.append([saying])
    return chains
