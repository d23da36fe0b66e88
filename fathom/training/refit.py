"""The agent before it serves: continued on its own conversations, with what really followed behind them, and on whole histories.

Warm start and reinforcement learning begin from a language model that never saw the held-out ends of the training histories, or their
questions would be known to it. Once nothing more is asked of these ends, the agent may read them, as the retriever and the language
model are continued before they serve. Its own words keep it what reinforcement made of it.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from fathom.agents.play import play
from fathom.agents.protocol import ProtocolSettings, answer_numbers
from fathom.contracts import Policy, Tool
from fathom.data.titles import TitleIndex
from fathom.records import Case, Catalog
from fathom.training.imitate import ImitateSettings
from fathom.training.traces import Trace, sequel


class RefitSettings(ImitateSettings):
    """How the agent is continued; `histories` are whole training histories here."""

    people: int = Field(default=0, ge=0)
    """People whose conversations are played, drawn by the recipe's seed; 0: all with held-out events."""
    own_weight: float = Field(default=0.5, ge=0)
    """Of the agent's own tokens in the loss; what the person took behind them weighs 1."""


def first_ends(cases: Sequence[Case], people: int, *, seed: int) -> list[int]:
    """The numbers of the cases that are the first of their person, ascending; of so many people if there are more and `people` is not 0."""
    known: dict[int, int] = {}
    for number, case in enumerate(cases):
        known.setdefault(case.user, number)
    firsts = np.asarray(list(known.values()), dtype=np.int64)
    if people and people < len(firsts):
        firsts = np.random.default_rng(seed).choice(firsts, size=people, replace=False)
    return sorted(firsts.tolist())


def own_traces(
    policy: Policy,
    retrieve: Tool,
    cases: Sequence[Case],
    catalog: Catalog,
    *,
    protocol: ProtocolSettings,
    titles: TitleIndex,
    numbers: Sequence[int],
    own_weight: float,
    longest: int,
) -> list[Trace]:
    """The conversations that the policy has, greedily, about the cases `numbers`, each with what followed in the place of its answer.

    What followed are all events that the person took from the case on, as in `sequel`; without a reminder it is the target alone.
    Malformed conversations are left out, and so is what would be longer than `longest` tokens.
    """
    traces = []
    episodes = play(policy, retrieve, [cases[number] for number in numbers], catalog, protocol, finish="scored", titles=titles)
    for number, episode in zip(numbers, episodes, strict=True):
        tape = episode.tape
        if tape is None or tape.fork is None or episode.faults:
            continue
        followed = f"{answer_numbers(protocol)[0]}{catalog.title(episode.case.target)}\n"
        target = policy.encode(sequel(cases, number, catalog, protocol) if protocol.reminded else followed)
        tokens = np.asarray([*tape.tokens[: tape.fork], *target], dtype=np.int64)
        weights = np.asarray([*(own_weight * own for own in tape.sampled[: tape.fork]), *[1.0] * len(target)], dtype=np.float32)
        if len(tokens) <= longest:
            traces.append(Trace(tokens, weights, episode))
    return traces
