"""A tiny random model and a planted reward: reinforcement that takes seconds."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from worlds import Shelves, film_case, film_catalog

from fathom.agents.protocol import MARKERS, ProtocolSettings, opening
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import Episode
from fathom.training.reinforce import ReinforceSettings, reinforce
from fathom.training.rollouts import Judge, tape_of
from fathom.training.run import Run

CATALOG = film_catalog()
PROTOCOL = ProtocolSettings(segment_tokens=10, trajectory_tokens=200, prompt_tokens=150)
CASES = tuple(film_case(history=(17 + place % 5, 18 + place % 7, 20), target=1 + place % 10) for place in range(12))
TOKENIZER = train_tokenizer([opening(case, CATALOG, PROTOCOL) for case in CASES], 300, markers=MARKERS)
SETTINGS = ReinforceSettings(steps=3, prompts=4, samples=4, micro_batch=8, learning_rate=3e-3, preflight="warn", seed=1)


def tiny_policy() -> LocalPolicy:
    return LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=256, seed=1), TOKENIZER)


def planted(episode: Episode) -> Mapping[str, float]:
    """The share of the model's own tokens with a small id: about one half at random, and easily learned."""
    tape = tape_of(episode)
    own = [token < 150 for token, sampled in zip(tape.tokens, tape.sampled, strict=True) if sampled]
    return {"planted": sum(own) / len(own), "total": sum(own) / len(own)}


def length(episode: Episode) -> Mapping[str, float]:
    return {"characters": float(len(episode.text))}


def train(
    folder: Path,
    settings: ReinforceSettings,
    *,
    rewards: Judge = planted,
    policy: LocalPolicy | None = None,
    validate: Callable[[LocalPolicy], Mapping[str, float]] | None = None,
) -> LocalPolicy:
    policy = policy or tiny_policy()
    return reinforce(
        policy,
        Shelves(CATALOG.n_items),
        CASES,
        CATALOG,
        protocol=PROTOCOL,
        rewards=rewards,
        heldout=length,
        settings=settings,
        run=Run(folder),
        stage="rl",
        validate=None if validate is None else lambda: validate(policy),
    )


def change(**values: object) -> ReinforceSettings:
    return SETTINGS.model_copy(update=values)


def column(folder: Path, name: str) -> list[float]:
    return [line[f"rl/{name}"] for line in Run(folder).metrics("rl")]


def weights(policy: LocalPolicy) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in policy.model.parameters()])
