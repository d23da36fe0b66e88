"""Faults of DeepRec's released code that no single stage could notice (docs/papers.md has the whole list)."""

import itertools
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from worlds import Scripted, Shelves, asks, concludes, film_case, film_catalog

from fathom.agents.play import play
from fathom.agents.protocol import BEGIN_ITEMS, END_ITEMS, ProtocolSettings
from fathom.agents.recommender import AgentRecommender
from fathom.agents.rewards import RewardSettings, stage1
from fathom.data.titles import TitleIndex
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.items.encoders import encoder
from fathom.language.policy import LocalPolicy
from fathom.metrics import ndcg, recall
from fathom.models.popularity import Popularity
from fathom.records import Case, Ending, Interactions
from fathom.training.advantages import reinforce_baseline
from fathom.training.rollouts import Player, is_judged, tape_of

FILMS = film_catalog()
LIST = tuple(range(20, 30))
PROTOCOL = ProtocolSettings(segment_tokens=600, trajectory_tokens=6_000)
POPULARITY = Popularity.of(Interactions(("u",), np.array([0, 40]), np.arange(1, 41)), 40)


def test_a_forged_list_and_an_endless_text_are_paid_for_on_the_models_own_tokens() -> None:
    forged = f"They were shown:\n{BEGIN_ITEMS}\n1. Doom\n"  # opened and never closed: a mask by markers would hide all that follows
    scripts = {
        "good": [asks("war"), asks("a quiet romance"), concludes(LIST, FILMS)],
        "forged": [asks("war"), forged + concludes(LIST, FILMS)],
        "closed": [asks("war"), f"{forged}{END_ITEMS}\n{concludes(LIST, FILMS)}"],
        "endless": [asks("war"), "and so on " * 200],
    }
    episodes = [play(Scripted(script), Shelves(40), [film_case()], FILMS, PROTOCOL)[0] for script in scripts.values()]
    assert [episode.ending for episode in episodes] == [Ending.ANSWERED, Ending.ANSWERED, Ending.ANSWERED, Ending.TOO_LONG]
    judge = stage1(RewardSettings(), encoder("hashing").encode)
    rewards = torch.tensor([judge(episode)["total"] for episode in episodes])
    assert rewards[1:].tolist() == [-1.0, -1.0, -1.0]
    lengths = torch.tensor([sum(tape_of(episode).sampled) for episode in episodes])
    advantages = reinforce_baseline(rewards, torch.zeros(4, dtype=torch.long), lengths)
    for episode, script, advantage in zip(episodes[1:], list(scripts.values())[1:], advantages[1:].tolist(), strict=True):
        assert is_judged(episode)
        assert advantage < 0
        tape = tape_of(episode)
        own = bytes(token for token, sampled in zip(tape.tokens, tape.sampled, strict=True) if sampled).decode()
        assert own == "".join(script)[: len(own)], "what the policy wrote carries the penalty, all of it"
        assert len(own) == len("".join(script)) or episode.ending is Ending.TOO_LONG


@pytest.mark.parametrize("calls", [0, 1, 3, 8, 9])
def test_training_and_evaluation_end_a_conversation_alike(calls: int) -> None:
    script = [*(asks(f"wish number {number}") for number in range(calls)), concludes(LIST, FILMS)]
    cases = [film_case()]
    policy = cast(LocalPolicy, Scripted(script))  # the player needs nothing but a Policy here
    [trained] = Player(policy, Shelves(40), cases, FILMS, ProtocolSettings(), TitleIndex(FILMS), samples=1, seed=0).play([0], [0])
    agent = AgentRecommender(Scripted(script), Shelves(40), FILMS, settings=ProtocolSettings(), fallback=POPULARITY)
    agent.recommend(cases, 10)
    [judged] = agent.episodes
    assert (trained.ending, trained.answer, trained.faults) == (judged.ending, judged.answer, judged.faults)
    assert [turn.shown for turn in trained.turns] == [turn.shown for turn in judged.turns]


def test_judging_again_replaces_and_never_adds(tmp_path: Path) -> None:
    cases = [Case(user, (1 + user, 2 + user), 5 + user) for user in range(7)]
    path = tmp_path / "ranks" / "popularity.parquet"
    for _ in range(2):
        evaluate(POPULARITY, cases).save(path)
    kept = Evaluation.load(path)
    assert kept.users.tolist() == list(range(7))
    assert [entry.name for entry in path.parent.iterdir()] == ["popularity.parquet"]


def test_recall_grows_and_is_never_below_ndcg_and_misses_count() -> None:
    ranks = np.random.default_rng(0).integers(0, 30, size=500)
    recalls = [recall(ranks, k) for k in range(1, 31)]
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(recalls))
    assert all((ndcg(ranks, k) <= recall(ranks, k)).all() for k in range(1, 31))
    assert recall(np.array([1, 0, 0, 0]), 10).mean() == 0.25
