"""The reasoning learns from the ranking: a cue that only a word can carry is found, and rewards dealt out at random teach nothing."""

from pathlib import Path

import numpy as np
import pytest
from reasoning import TOKENIZER, lessons_of

from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.metrics import per_case, ranks_of
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import ReasonerSettings
from fathom.reasoners.recommender import R2ec
from fathom.records import Case, Catalog
from fathom.training.contrastive import ContrastiveSettings, match
from fathom.training.recpo import RecPOSettings, recpo
from fathom.training.run import Run
from fathom.training.supervised import FitSettings

CATALOG = Catalog(("a", "b", "c", "d"), ("Stop 1", "Stop 2", "Stop 3", "Stop 4"))
WORDS = ("Drama", "Comedy")
"""Lead to items 1 and 2, and to items 3 and 4."""
SETTINGS = RecPOSettings(
    fit=FitSettings(epochs=8, batch_size=32, learning_rate=2e-4, schedule="constant", precision="float32"),
    samples=8,
    micro_batch=256,
    depth=2,
    beta=0.0,
    item_weight=0.0,  # the ranking can learn through the words alone
    sampling_temperature=0.7,
    exclude_history=False,
)


def questions(count: int, *, seed: int, told: bool) -> list[Case]:
    """The target is of the half that the last event's parity says, or, unless `told`, of either half by chance."""
    rng = np.random.default_rng(seed)
    histories = rng.integers(1, 5, size=(count, 3))
    halves = histories[:, -1] % 2 if told else rng.integers(2, size=count)
    targets = 1 + 2 * halves + rng.integers(2, size=count)
    return [
        Case(user, tuple(map(int, history)), int(target)) for user, (history, target) in enumerate(zip(histories, targets, strict=True))
    ]


def ndcg(head: DualHead, cases: list[Case], *, budget: int | None = None) -> float:
    """To the depth that is rewarded: the right half's two items come first."""
    ranking = R2ec(head, CATALOG, budget=budget).recommend(cases, 4, exclude_history=False)
    return float(per_case("ndcg@2", ranks_of(ranking, np.array([case.target for case in cases]))).mean())


def gains(folder: Path, seed: int) -> np.ndarray:
    """How much ranking and reward rose: by the rewards (row 0), and by rewards dealt out at random (row 1)."""
    settings = ReasonerSettings(history_length=3, reasoning_tokens=10, prompt_tokens=60, item_tokens=20)
    head = DualHead(LocalPolicy(tiny(TOKENIZER, width=64, layers=2, context=128, seed=seed), TOKENIZER), CATALOG, settings)
    cases = questions(200, seed=0, told=False)
    lessons = lessons_of(head, cases, [WORDS[(case.target - 1) // 2] for case in cases], CATALOG)
    fit = FitSettings(epochs=12, batch_size=16, learning_rate=3e-3, precision="float32")
    match(head, [], CATALOG, settings=ContrastiveSettings(fit=fit, words=1.0), run=Run(folder), stage="warm", lessons=lessons)
    head.policy.save(folder / "warm")
    asked = questions(400, seed=5, told=True)
    before, silent, gained = ndcg(head, asked), ndcg(head, asked, budget=0), []
    for shuffled in (False, True):
        learner = DualHead(LocalPolicy.load(folder / "warm"), CATALOG, settings)
        given = SETTINGS.model_copy(update={"shuffle_rewards": shuffled})
        run = Run(folder / str(shuffled))
        recpo(learner, questions(192, seed=7, told=True), CATALOG, settings=given, run=run, stage="rl")
        rewards = [line["rl/reward"] for line in run.metrics("rl") if "rl/reward" in line]
        gained.append((ndcg(learner, asked) - before, np.mean(rewards[-5:]) - np.mean(rewards[:5])))
        assert ndcg(learner, asked, budget=0) < silent + 0.1, "the words carry what was learned, not the weights behind the prompt"
    return np.array(gained)


@pytest.mark.slow
def test_words_learn_from_ranks_and_not_from_shuffled_ones(tmp_path: Path) -> None:
    told, shuffled = np.stack([gains(tmp_path / str(seed), seed) for seed in (1, 2, 3)], axis=1)
    assert min(told[:, 1]) > 0.1, "by every seed"
    assert max(shuffled[:, 0]) < 0.1
    (ranking, reward), (by_chance, dealt) = told.mean(axis=0), shuffled.mean(axis=0)
    assert ranking > 0.2
    assert reward > 0.15
    assert by_chance < 0.05
    assert dealt < 0.05
