"""What we rely on in TRL. Loud when it moves: its rollout function is experimental, and our advantages replace its own."""

import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.testing import assert_close
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from fathom.agents.protocol import MARKERS
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.training.losses import policy_loss

TOKENIZER = train_tokenizer(["abc\n"], 300, markers=MARKERS)
PROMPTS = [[1, 2, 3], [4, 5]]
COMPLETIONS = [[10, 11, 12, 13], [20, 21]]
MASKS = [[1, 0, 0, 1], [1, 1]]
ADVANTAGES = torch.tensor([1.5, -0.5])


class Spy(GRPOTrainer):
    """Keeps what passes through the places that we override."""

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        self.rewards: torch.Tensor = super()._calculate_rewards(*args)
        return self.rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.inputs = inputs
        batch = super()._generate_and_score_completions(inputs)
        self.own = batch["advantages"].clone()
        batch["advantages"] = ADVANTAGES.clone()
        batch["old_per_token_logps"] = batch["sampling_per_token_logps"]
        self.batch = batch
        return batch

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        self.learned_from = inputs
        self.loss: torch.Tensor = super()._compute_loss(model, inputs)  # type: ignore[no-untyped-call]
        return self.loss


def spy(folder: Path) -> tuple[Spy, dict[str, Any], torch.Tensor]:
    """A trainer after one step, what its reward function was given, and the weights before the step."""
    model = tiny(TOKENIZER, width=32, layers=1, context=64, seed=1)
    before = torch.cat([weight.detach().flatten().clone() for weight in model.parameters()])
    given: dict[str, Any] = {}

    def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        given["prompts"] = prompts
        logprobs = [[-0.1 * (place + 1) for place, _ in enumerate(ids)] for ids in COMPLETIONS]
        return {
            "prompt_ids": PROMPTS,
            "completion_ids": COMPLETIONS,
            "logprobs": logprobs,
            "env_mask": MASKS,
            "episode": ["first", "second"],
        }

    def reward(prompts: list[str], completions: list[str], *, episode: list[str], **_: object) -> list[float | None]:
        given["episode"] = episode
        return [1.0, None]

    arguments = GRPOConfig(
        output_dir=str(folder),
        max_steps=1,
        per_device_train_batch_size=2,
        steps_per_generation=1,
        num_generations=2,
        loss_type="dapo",
        scale_rewards="none",
        epsilon=0.2,
        epsilon_high=0.28,
        beta=0.0,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        bf16=False,
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        shuffle_dataset=False,
        activation_checkpointing=False,
        dataloader_pin_memory=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Dataset.from_dict({"prompt": ["17"]})
        trainer = Spy(
            model=model, reward_funcs=reward, args=arguments, train_dataset=data, processing_class=TOKENIZER, rollout_func=rollout
        )
        trainer.train()
    return trainer, given, before


@pytest.fixture(scope="module")
def after_a_step(tmp_path_factory: pytest.TempPathFactory) -> tuple[Spy, dict[str, Any], torch.Tensor]:
    return spy(tmp_path_factory.mktemp("trl"))


def test_the_rollout_function_gets_each_prompt_once_a_sample(after_a_step: tuple[Spy, dict[str, Any], torch.Tensor]) -> None:
    _, given, _ = after_a_step
    assert given["prompts"] == ["17", "17"]


def test_extra_columns_reach_the_reward_function_in_order(after_a_step: tuple[Spy, dict[str, Any], torch.Tensor]) -> None:
    _, given, _ = after_a_step
    assert given["episode"] == ["first", "second"]


def test_rewards_come_as_a_column_a_function_with_nan_for_none(after_a_step: tuple[Spy, dict[str, Any], torch.Tensor]) -> None:
    trainer, _, _ = after_a_step
    assert trainer.rewards.shape == (2, 1)
    assert trainer.rewards[0, 0] == 1.0
    assert trainer.rewards[1, 0].isnan()
    assert trainer.own.shape == (2,)


def test_the_batch_has_the_keys_that_we_read_and_replace(after_a_step: tuple[Spy, dict[str, Any], torch.Tensor]) -> None:
    trainer, _, _ = after_a_step
    assert trainer.batch["tool_mask"].tolist() == [[1, 0, 0, 1], [1, 1, 1, 1]], "our env_mask, padded by ones"
    assert trainer.batch["completion_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert trainer.batch["prompt_mask"].tolist() == [[1, 1, 1], [0, 1, 1]], "prompts are padded on the left"
    assert_close(trainer.batch["sampling_per_token_logps"][1], torch.tensor([-0.1, -0.2, 0.0, 0.0]))
    assert int(trainer.batch["num_items_in_batch"]) == 4
    assert [row["prompt"] for row in trainer.inputs] == ["17", "17"]


def test_the_loss_is_ours_with_our_advantages_and_old_logprobs(after_a_step: tuple[Spy, dict[str, Any], torch.Tensor]) -> None:
    trainer, _, _ = after_a_step
    model = tiny(TOKENIZER, width=32, layers=1, context=64, seed=1)
    policy = LocalPolicy(model, TOKENIZER)
    total = torch.zeros(())
    for prompt, completion, mask, advantage in zip(PROMPTS, COMPLETIONS, MASKS, ADVANTAGES, strict=True):
        tokens = torch.tensor([prompt + completion])
        sampled = torch.tensor([[False] * len(prompt) + [bool(own) for own in mask]])
        old = torch.tensor([[0.0] * len(prompt) + [-0.1 * (place + 1) for place, _ in enumerate(completion)]])
        total = total + policy_loss(policy.logprobs(tokens, sampled), old, advantage[None], mask_B_T=sampled)
    assert_close(trainer.loss.detach(), (total / 4).detach(), rtol=1e-4, atol=1e-5)


def test_the_rows_are_shuffled_together(after_a_step: tuple[Spy, dict[str, Any], torch.Tensor]) -> None:
    trainer, _, _ = after_a_step
    first = trainer.learned_from["completion_ids"][:, 0].tolist()
    expected = {10: 1.5, 20: -0.5}
    assert trainer.learned_from["advantages"].tolist() == [expected[token] for token in first]


def test_training_moves_the_weights(after_a_step: tuple[Spy, dict[str, Any], torch.Tensor]) -> None:
    trainer, _, before = after_a_step
    after = torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])
    assert (after - before).abs().max() > 1e-4


def test_the_log_has_the_figures_that_we_rename(after_a_step: tuple[Spy, dict[str, Any], torch.Tensor]) -> None:
    trainer, _, _ = after_a_step
    line = trainer.state.log_history[0]
    assert {"loss", "entropy", "grad_norm", "clip_ratio/region_mean"} <= line.keys()


def test_the_hooks_have_the_signatures_that_we_override() -> None:
    def names(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    assert names(GRPOTrainer._calculate_rewards) == ["self", "inputs", "prompts", "completions", "completion_ids_list"]
    assert names(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert names(GRPOTrainer._compute_loss) == ["self", "model", "inputs"]
