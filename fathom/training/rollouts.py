"""Episodes for reinforcement learning: which case is played when, by whose seed, and what a batch of them looked like."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fathom.agents.play import Finish, play, row_seed
from fathom.agents.protocol import ProtocolSettings
from fathom.contracts import Conversation, Policy, Tool
from fathom.data.titles import TitleIndex
from fathom.errors import ModelError
from fathom.language.choices import Choices
from fathom.language.policy import LocalPolicy
from fathom.records import Case, Catalog, Ending, Episode, Tape

Judge = Callable[[Episode], Mapping[str, float]]
"""A finished episode -> its reward by parts; the part 'total' is what training maximises."""


@dataclass(frozen=True)
class Player:
    """Plays the cases of a training with the policy's present weights.

    Prompts are numbered from 0 over the whole training: prompt n is played in step n // prompts. Which case it is and which
    random numbers its samples draw depend on `seed` and n alone, so neither resuming nor the number of processes matters.
    """

    policy: LocalPolicy
    retrieve: Tool
    cases: Sequence[Case]
    catalog: Catalog
    protocol: ProtocolSettings
    titles: TitleIndex
    samples: int
    seed: int
    finish: Finish = "written"
    """How the episodes get their lists."""
    server: Policy | None = None
    """Samples in the place of `policy`, by the same weights; None: `policy` itself does."""

    def case(self, prompt: int) -> Case:
        """The case of prompt number `prompt`: every case once, shuffled, before any comes again."""
        epoch, place = divmod(prompt, len(self.cases))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.cases))
        return self.cases[int(order[place])]

    def play(self, prompts: Sequence[int], samples: Sequence[int]) -> list[Episode]:
        """One sampled episode for each pair of a prompt's number and which of its samples it is."""
        seeds = [row_seed(self.seed, prompt * self.samples + sample) for prompt, sample in zip(prompts, samples, strict=True)]
        cases = [self.case(prompt) for prompt in prompts]
        policy = _Seeded(self.server or self.policy, iter(seeds))
        return play(policy, self.retrieve, cases, self.catalog, self.protocol, temperature=1.0, finish=self.finish, titles=self.titles)


class _Seeded:
    """A policy whose rows draw from given seeds, in the order of the rows, whatever their place in this process's share."""

    def __init__(self, policy: Policy, seeds: Iterator[int]) -> None:
        self.encode = policy.encode
        self.decode = policy.decode
        self.at_once = policy.at_once
        self._policy = policy
        self._seeds = seeds

    def converse(self, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int]) -> Conversation:
        return self._policy.converse(prompts, temperature=temperature, seeds=[next(self._seeds) for _ in seeds])


def tape_of(episode: Episode) -> Tape:
    """The episode's tape; training needs one."""
    if episode.tape is None:
        raise ModelError("the episode has no tape: a policy that gives no token ids can play and be judged, but not be trained")
    return episode.tape


def written(episode: Episode) -> int:
    """How many tokens the policy itself wrote."""
    return sum(tape_of(episode).sampled)


def is_judged(episode: Episode) -> bool:
    """Whether the episode counts: one that the retriever failed is nobody's fault, and one without a word has nothing to learn from."""
    return episode.ending is not Ending.RETRIEVAL_FAILED and written(episode) > 0


def padded(episodes: Sequence[Episode]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, T) token ids, which of them the policy sampled, their log-probabilities when sampled, positions; padded on the right."""
    tapes = [tape_of(episode) for episode in episodes]
    longest = max(len(tape.tokens) for tape in tapes)
    tokens = torch.zeros(len(tapes), longest, dtype=torch.long)
    sampled = torch.zeros(len(tapes), longest, dtype=torch.bool)
    logprobs = torch.zeros(len(tapes), longest)
    for row, tape in enumerate(tapes):
        tokens[row, : len(tape.tokens)] = torch.tensor(tape.tokens)
        sampled[row, : len(tape.tokens)] = torch.tensor(tape.sampled)
        logprobs[row, : len(tape.tokens)] = torch.tensor(tape.logprobs)
    return tokens, sampled, logprobs, padded_positions(tapes, longest)


def padded_positions(tapes: Sequence[Tape], length: int) -> Tensor:
    """(B, length) as which token of its text the model read each one; the padding on the right is a text of its own."""
    positions = torch.zeros(len(tapes), length, dtype=torch.long)
    for row, tape in enumerate(tapes):
        positions[row, : len(tape.tokens)] = torch.tensor(tape.positions)
        positions[row, len(tape.tokens) :] = torch.arange(length - len(tape.tokens))
    return positions


def choices_of(episodes: Sequence[Episode], policy: LocalPolicy, catalog: Catalog) -> Choices | None:
    """Where the sampled tokens of `episodes` were chosen among titles alone; None if nowhere."""
    return Choices.of([tape_of(episode) for episode in episodes], policy.table.trie(catalog.titles), policy.vocabulary, policy.device)


def divergence(start: LocalPolicy, episodes: Sequence[Episode], catalog: Catalog, *, chunk: int = 8) -> list[float]:
    """Per episode the mean over its sampled tokens of  r - 1 - log r,  r = p_start / p_now: an unbiased, never negative KL(now || start).

    http://joschu.net/blog/kl-approx.html, the third estimator.
    """
    means: list[float] = []
    for judged, sampled, now in judged_again(start, episodes, catalog, chunk=chunk):
        gap = torch.where(sampled, judged - now, 0.0)
        means += ((gap.exp() - 1 - gap).sum(dim=1) / sampled.sum(dim=1).clamp(min=1)).tolist()
    return means


def judged_again(
    policy: LocalPolicy, episodes: Sequence[Episode], catalog: Catalog, *, chunk: int = 8
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For `chunk` episodes at a time (B, T) each: the log-probabilities that `policy` gives to what was sampled, which tokens those are,
    and their log-probabilities when sampled."""
    for first in range(0, len(episodes), chunk):
        part = episodes[first : first + chunk]
        tokens, sampled, before, positions = (values.to(policy.device) for values in padded(part))
        with torch.no_grad():
            yield policy.logprobs(tokens, sampled, choices_of(part, policy, catalog), positions), sampled, before


def figures(episode: Episode, parts: Mapping[str, float], heldout: Mapping[str, float]) -> dict[str, float]:
    """What is logged of one judged episode; a step logs the means."""
    lines = max(len(episode.lines), 1)
    named = [item for item in episode.answer if item is not None]
    return {
        **{f"reward/{name}": value for name, value in parts.items()},
        **{f"heldout/{name}": value for name, value in heldout.items()},
        "well_formed": float(episode.well_formed),
        "answered": float(episode.ending is Ending.ANSWERED),
        "turns": float(len(episode.turns)),
        "written_tokens": float(written(episode)),
        "tokens": float(len(tape_of(episode).tokens)),
        "invalid_lines": sum(item is None for item in episode.answer) / lines,
        "repeated_lines": (len(named) - len(set(named))) / lines,
        "off_list": sum(item not in set(episode.retrieved) for item in named) / lines,
        "target_retrieved": float(episode.case.target in episode.retrieved),
    }


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every figure over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
