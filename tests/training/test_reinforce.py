"""Reinforcement on a tiny random model: a planted reward rises, a shuffled one does not, and a killed training goes on exactly."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reinforcing import CASES, CATALOG, PROTOCOL, SETTINGS, change, column, planted, tiny_policy, train, weights
from torch.testing import assert_close
from worlds import Shelves

from fathom.errors import ConfigError, ModelError
from fathom.language.policy import LocalPolicy
from fathom.records import Episode
from fathom.training.reinforce import ReinforceSettings
from fathom.training.rollouts import Judge, Player
from fathom.training.run import Run


def test_a_planted_reward_rises_and_a_shuffled_one_does_not(tmp_path: Path) -> None:
    honest, control = change(steps=30, learning_rate=2e-2), change(steps=30, learning_rate=2e-2, shuffle_rewards=True)
    train(tmp_path / "honest", honest)
    train(tmp_path / "control", control)
    learned, dealt = column(tmp_path / "honest", "reward/total"), column(tmp_path / "control", "reward/total")
    assert sum(learned[-5:]) / 5 > sum(learned[:5]) / 5 + 0.2
    assert abs(sum(dealt[-5:]) / 5 - sum(dealt[:5]) / 5) < 0.15


@pytest.mark.parametrize("rule", ["reinforce_baseline", "group_norm", "group_mean", "leave_one_out"])
def test_every_advantage_moves_towards_the_reward(rule: str, tmp_path: Path) -> None:
    train(tmp_path, change(steps=12, advantage=rule, watch_kl=False))
    rewards = column(tmp_path, "reward/total")
    assert sum(rewards[-3:]) > sum(rewards[:3])


def test_two_runs_with_one_seed_are_identical(tmp_path: Path) -> None:
    assert_close(weights(train(tmp_path / "a", SETTINGS)), weights(train(tmp_path / "b", SETTINGS)), rtol=0, atol=0)
    assert column(tmp_path / "a", "reward/total") == column(tmp_path / "b", "reward/total")


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    train(tmp_path / "a", SETTINGS)
    train(tmp_path / "b", change(seed=2))
    assert column(tmp_path / "a", "reward/total") != column(tmp_path / "b", "reward/total")


class Killed(Exception):
    """Stands for the end of the process."""


def dies_at(step: int, folder: Path) -> Judge:
    """A reward that ends everything once `step` steps have been logged."""

    def judge(episode: Episode) -> Mapping[str, float]:
        if len(Run(folder).metrics("rl")) == step:
            raise Killed
        return planted(episode)

    return judge


@pytest.mark.parametrize("updates", [1, 2])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(updates: int, tmp_path: Path) -> None:
    settings = change(steps=5, updates=updates)
    whole = train(tmp_path / "whole", settings)
    with pytest.raises(Killed):
        train(tmp_path / "killed", settings, rewards=dies_at(3, tmp_path / "killed"))
    resumed = train(tmp_path / "killed", settings)
    assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    for name in ("reward/total", "loss", "entropy", "kl", "heldout/characters"):
        assert column(tmp_path / "killed", name) == column(tmp_path / "whole", name)


def small_weights(policy: LocalPolicy) -> Mapping[str, float]:
    """A figure that training itself knows nothing of."""
    return {"reward": -float(weights(policy).norm())}


def test_the_best_validated_weights_are_kept_those_of_the_start_among_them(tmp_path: Path) -> None:
    settings, before = change(steps=4, validate_every=2), weights(tiny_policy())
    last = train(tmp_path / "last", settings)
    first = weights(train(tmp_path / "first", settings, validate=lambda policy: {"reward": float(torch.equal(weights(policy), before))}))
    assert torch.equal(first, before)
    kept = train(tmp_path / "kept", settings, validate=lambda policy: {"reward": float(not torch.equal(weights(policy), before))})
    assert not torch.equal(weights(kept), before)
    lines = Run(tmp_path / "kept").metrics("rl")
    assert {int(line["step"]): line.get("rl/validation/reward") for line in lines} == {0: 0.0, 1: None, 2: 1.0, 3: None, 4: 1.0}
    assert torch.equal(weights(train(tmp_path / "all", settings, validate=lambda policy: {"reward": 1.0})), before)
    rising = iter(range(9))
    assert torch.equal(weights(train(tmp_path / "rising", settings, validate=lambda policy: {"reward": next(rising)})), weights(last))


def test_weights_that_answer_malformed_are_kept_only_where_none_are_better_formed(tmp_path: Path) -> None:
    settings, before = change(steps=4, validate_every=2, least_valid=0.9), weights(tiny_policy())

    def kept(name: str, figures: list[tuple[float, float]]) -> torch.Tensor:
        given = iter([{"reward": reward, "format_valid": valid} for reward, valid in figures])
        return weights(train(tmp_path / name, settings, validate=lambda policy: next(given)))

    last = kept("last", [(1, 1), (2, 1), (3, 1)])
    assert torch.equal(kept("start", [(1, 0.9), (2, 0.8), (3, 0.89)]), before)
    assert torch.equal(kept("none", [(1, 0.2), (2, 0.1), (3, 0.3)]), last)
    assert torch.equal(kept("well paid", [(1, 0.8), (2, 0.7), (3, 0.6)]), before), "the best formed of them, however well others are paid"
    assert torch.equal(kept("no form", [(1, 0), (2, 0), (3, 0)]), last), "the best paid of those that are formed alike"
    middle = kept("middle", [(1, 0.95), (2, 0.95), (3, 0.5)])
    assert not torch.equal(middle, before)
    assert not torch.equal(middle, last)


def test_a_killed_training_that_validates_keeps_the_same_weights(tmp_path: Path) -> None:
    settings = change(steps=5, validate_every=2)
    whole = train(tmp_path / "whole", settings, validate=small_weights)
    with pytest.raises(Killed):
        train(tmp_path / "killed", settings, rewards=dies_at(4, tmp_path / "killed"), validate=small_weights)
    resumed = train(tmp_path / "killed", settings, validate=small_weights)
    assert torch.equal(weights(resumed), weights(whole))
    assert [line.get("rl/validation/reward") for line in Run(tmp_path / "killed").metrics("rl")] == [
        line.get("rl/validation/reward") for line in Run(tmp_path / "whole").metrics("rl")
    ]


def test_a_figure_that_validation_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"select is 'reward'.*'rewards'"):
        train(tmp_path, SETTINGS, validate=lambda _: {"rewards": 1.0})


def test_log_lines_beyond_the_last_checkpoint_are_written_again(tmp_path: Path) -> None:
    settings = change(steps=5, checkpoint_every=2)
    whole = train(tmp_path / "whole", settings)
    with pytest.raises(Killed):
        train(tmp_path / "killed", settings, rewards=dies_at(3, tmp_path / "killed"))
    resumed = train(tmp_path / "killed", settings)
    assert column(tmp_path / "killed", "reward/total") == column(tmp_path / "whole", "reward/total")
    assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path, SETTINGS)
    again = train(tmp_path, SETTINGS)
    assert_close(weights(again), weights(first), rtol=0, atol=0)
    assert len(column(tmp_path, "reward/total")) == SETTINGS.steps


def test_micro_batches_do_not_change_the_training(tmp_path: Path) -> None:
    # The second step plays with weights that differ in the last digits, so one step is compared.
    small, large = (train(tmp_path / str(size), change(steps=1, micro_batch=size)) for size in (2, 16))
    assert_close(weights(small), weights(large), rtol=0, atol=1e-6)


def test_training_leaves_the_model_as_it_was_but_for_its_weights(tmp_path: Path) -> None:
    policy = tiny_policy()
    before = policy.model.config.to_dict()
    train(tmp_path, SETTINGS, policy=policy)
    assert "forward" not in policy.model.__dict__
    assert policy.model.config.to_dict() == before
    assert not policy.model.training


def test_kl_from_the_start_begins_at_zero_and_grows(tmp_path: Path) -> None:
    train(tmp_path, change(steps=8))
    distances = column(tmp_path, "kl")
    assert abs(distances[0]) < 1e-6
    assert distances[-1] > 1e-4


def test_a_kl_penalty_keeps_the_policy_near_its_start(tmp_path: Path) -> None:
    train(tmp_path / "free", change(steps=15))
    train(tmp_path / "held", change(steps=15, kl=10.0))
    assert column(tmp_path / "held", "kl")[-1] < 0.5 * column(tmp_path / "free", "kl")[-1]


def test_every_case_is_played_once_before_any_comes_again() -> None:
    cases = [replace(case, user=place) for place, case in enumerate(CASES)]
    player = Player(tiny_policy(), Shelves(40), cases, CATALOG, PROTOCOL, titles=None, samples=4, seed=3)  # type: ignore[arg-type]
    epochs = [[player.case(12 * epoch + place).user for place in range(12)] for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    def same(episode: Episode) -> Mapping[str, float]:
        return {"total": 0.5}

    with pytest.raises(ModelError, match=r"all episodes of each prompt earn the same \(mean 0.5\)"):
        train(tmp_path, change(preflight="refuse"), rewards=same)


def test_equal_rewards_for_many_steps_stop_the_training(tmp_path: Path) -> None:
    def same(episode: Episode) -> Mapping[str, float]:
        return {"total": 0.5}

    watch = SETTINGS.watch.model_copy(update={"flat_steps": 3})
    with pytest.raises(ModelError, match="stopped at step 3: for 3 steps all episodes of each prompt earned the same"):
        train(tmp_path, change(steps=10, watch=watch), rewards=same)


def test_a_batch_that_cannot_be_cut_is_told() -> None:
    with pytest.raises(ValueError, match="write a micro_batch that divides 16"):
        ReinforceSettings(prompts=4, samples=4, micro_batch=5)


def test_other_settings_do_not_resume_a_training(tmp_path: Path) -> None:
    train(tmp_path, SETTINGS)
    with pytest.raises(ConfigError, match="other settings"):
        train(tmp_path, change(learning_rate=1e-4))


def test_cases_are_cycled(tmp_path: Path) -> None:
    train(tmp_path, change(steps=4))  # 16 prompts from 12 cases
    assert len(column(tmp_path, "reward/total")) == 4
