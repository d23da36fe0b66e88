"""TRL's GRPOTrainer with our episodes, our advantages and nothing else changed."""

import functools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from fathom.agents.play import row_seed
from fathom.errors import ConfigError, MissingExtraError, ModelError
from fathom.language.choices import Choices
from fathom.language.policy import LocalPolicy
from fathom.records import Episode
from fathom.training.advantages import ADVANTAGES, groups_that_differ
from fathom.training.preflight import check_loss, logprob_faults
from fathom.training.reinforce_settings import ReinforceSettings
from fathom.training.rollouts import (
    Judge,
    Player,
    choices_of,
    divergence,
    figures,
    is_judged,
    judged_again,
    means,
    padded_positions,
    tape_of,
)

try:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "trl", "rl") from error


class AgentTrainer(GRPOTrainer):
    """TRL's trainer with our episodes and our advantages."""

    def __init__(
        self,
        player: Player,
        rewards: Judge,
        heldout: Judge,
        *,
        settings: ReinforceSettings,
        optimizer: torch.optim.Optimizer,
        start: LocalPolicy | None,
        done: int,
        folder: Path,
    ) -> None:
        self.figures: dict[str, float] = {}
        """What the latest batch of episodes looked like."""
        self._player = player
        self._parts = rewards
        self._heldout = heldout
        self._settings = settings
        self._start = start
        self._rewards = torch.zeros(0)
        self._loss_is_checked = bool(settings.kl)  # with a penalty the loss is another one
        self._server_is_checked = player.server is None
        prompts = range(done * settings.prompts, settings.steps * settings.prompts)
        super().__init__(
            model=player.policy.model,
            reward_funcs=self._judge,
            args=arguments(settings, player.policy, steps=settings.steps - done, folder=folder),
            train_dataset=Dataset.from_dict({"prompt": [str(prompt) for prompt in prompts]}),
            processing_class=player.policy.tokenizer,
            optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
            rollout_func=self._play,
        )
        self.remove_callback(PrinterCallback)
        self._asked: Tensor | None = None
        """(B, T) which tokens of the completions the present loss asks for."""
        self._choices: Choices | None = None
        """Which of them were not chosen from the whole vocabulary."""
        self._positions: Tensor | None = None
        """(B, prompts and completions) as which token of its episode the model read each one, the padding on the right."""
        self._episodes: Sequence[Episode] = ()
        """This process's share of the latest batch."""
        self._entropy = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        """The sum of the entropies at this process's tokens since they were last asked for, and how many there are."""
        _answers_where_asked(player.policy)
        if settings.kl and start is not None:
            # Set here, not in the arguments: TRL would load its reference model by name, and ours has none.
            self.ref_model, self.beta = start.model, settings.kl

    def _play(self, prompts: Sequence[str], trainer: GRPOTrainer) -> dict[str, object]:
        """Play this process's share of the batch. Prompts are numbers; every process knows which samples of them are its own."""
        del trainer
        began = time.perf_counter()
        first = self.accelerator.process_index * len(prompts)
        samples = [(first + place) % self._settings.samples for place in range(len(prompts))]
        if self._player.server is not None:
            self.accelerator.wait_for_everyone()  # the main process has just brought it up to date
        episodes = self._player.play([int(prompt) for prompt in prompts], samples)
        self._seconds = time.perf_counter() - began
        if not self._server_is_checked:
            self._server_is_checked = True
            if faults := logprob_faults(episodes, self._player.policy, self._player.catalog, served=True):
                raise ModelError(f"training is refused: {faults[0]}")
        self._episodes = episodes
        tapes = [tape_of(episode) for episode in episodes]
        filler = self._player.policy.tokenizer.pad_token_id  # TRL cannot take an empty completion; this one is masked
        return {
            "prompt_ids": [list(tape.tokens[: tape.prompt]) for tape in tapes],
            "completion_ids": [list(tape.tokens[tape.prompt :]) or [filler] for tape in tapes],
            "logprobs": [list(tape.logprobs[tape.prompt :]) or [0.0] for tape in tapes],
            "env_mask": [
                [int(own and is_judged(episode)) for own in tape.sampled[tape.prompt :]] or [0]
                for episode, tape in zip(episodes, tapes, strict=True)
            ],
            "episode": episodes,
        }

    def _judge(self, prompts: Sequence[str], completions: Sequence[str], *, episode: Sequence[Episode], **_: object) -> list[float | None]:
        """Total rewards, None for episodes that do not count; their figures are gathered on the way."""
        del prompts, completions
        judged = [one for one in episode if is_judged(one)]
        parts = [self._parts(one) for one in judged]
        distances = (
            divergence(self._start, judged, self._player.catalog) if self._start is not None and judged else [math.nan] * len(judged)
        )
        rows = [
            figures(one, earned, self._heldout(one)) | ({} if math.isnan(distance) else {"kl": distance})
            for one, earned, distance in zip(judged, parts, distances, strict=True)
        ]
        everyone = gather_object([*rows, {"play_seconds": self._seconds, "failed": 1 - len(judged) / len(episode)}])
        self.figures = means(everyone)
        totals = iter(earned["total"] for earned in parts)
        return [next(totals) if is_judged(one) else None for one in episode]

    def _calculate_rewards(self, inputs: object, prompts: object, completions: object, completion_ids_list: object) -> Tensor:
        """Keep what the whole batch earned, over all processes; NaN where an episode does not count."""
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._rewards = rewards[:, 0]
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch with our advantages, and with the log-probabilities under which the tokens were sampled."""
        batch = super()._generate_and_score_completions(inputs)
        device = self._rewards.device
        prompts = torch.tensor([int(row["prompt"]) for row in inputs], device=device)
        lengths = (batch["completion_mask"] * batch["tool_mask"]).sum(dim=1)
        groups_B, lengths_B, rewards_B = self.accelerator.gather(prompts), self.accelerator.gather(lengths), self._rewards
        step = int(groups_B.min()) // self._settings.prompts
        if self._settings.shuffle_rewards:
            generator = torch.Generator().manual_seed(row_seed(self._settings.seed, step))
            rewards_B = rewards_B[torch.randperm(len(rewards_B), generator=generator).to(device)]
        advantages_B = ADVANTAGES[self._settings.advantage](rewards_B, groups_B, lengths_B)
        mine = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
        batch["advantages"] = advantages_B[mine]
        batch["old_per_token_logps"] = batch["sampling_per_token_logps"]
        batch["episode"] = torch.arange(len(inputs), device=device)  # TRL shuffles the batch and cuts it; so each row knows whose it is
        judged_B = rewards_B[~rewards_B.isnan()]
        self.figures |= {
            "reward_spread": float(judged_B.std(correction=0)) if len(judged_B) else 0.0,
            "groups_that_differ": groups_that_differ(rewards_B, groups_B),
        }
        torch.manual_seed(row_seed(self._settings.seed, step))  # what follows is TRL's shuffle of the batch: a function of the step alone
        return batch

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Tensor:
        """TRL's loss; the first one must be the documented formula, because what `loss_type` means is TRL's to change."""
        self._asked = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
        episodes = [self._episodes[place] for place in inputs["episode"].tolist()]
        asked = [episode for episode, own in zip(episodes, self._asked, strict=True) if own.any()]
        self._choices = choices = choices_of(asked, self._player.policy, self._player.catalog)
        width = inputs["prompt_ids"].shape[1] + inputs["completion_ids"].shape[1]
        self._positions = positions = padded_positions([tape_of(episode) for episode in episodes], width).to(self._asked.device)
        loss: Tensor = super()._compute_loss(model, inputs)  # type: ignore[no-untyped-call]
        self._asked = self._choices = self._positions = None
        if not self._loss_is_checked:
            self._loss_is_checked = True
            tokens = inputs["num_items_in_batch"] / self._settings.updates / self.accelerator.num_processes
            limits = (self._settings.clip_low, self._settings.clip_high)
            check_loss(float(loss.detach()), inputs, self._player.policy, choices, positions=positions, tokens=float(tokens), limits=limits)
        return loss

    def entropy(self) -> float:
        """The mean entropy, in nats, where the policy chose since this was last asked for, over all processes, which must ask together.

        TRL's own figure is a mean over micro-batches of means over tokens: another one for another number of processes.
        """
        total, tokens = self.accelerator.reduce(self._entropy).tolist()
        self._entropy.zero_()
        return float(total / max(tokens, 1))

    def _get_per_token_logps_and_entropies(
        self, model: torch.nn.Module, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *rest: Any, **more: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(B, T) log-probabilities and entropies of the completions, for the loss where it asks for them and 0 elsewhere.

        TRL reads padded rows, and where there is no Triton it scores every token, the prompt's and the retriever's too. Here the
        rows lie end to end without padding, and only the policy's own tokens are scored: on two cores three times as fast.
        """
        if self._asked is None or self._positions is None:
            # The old ones, which TRL wants for several updates, are those of sampling; what it asks of the start, it asks once a batch.
            values_BT = torch.zeros(len(input_ids), logits_to_keep, device=input_ids.device)
            return values_BT if model is self.model else self._of_the_start(values_BT), None, None
        real = attention_mask.bool()
        asked = torch.zeros_like(real)
        asked[:, -logits_to_keep:] = self._asked
        packed = self._positions[torch.arange(real.shape[1], device=real.device) < real.sum(dim=1)[:, None]]
        values = model(rows=(input_ids[real][None], packed[None], asked[real][None], self._choices))
        self._entropy += torch.stack([values[1].sum().double(), self._asked.sum().double()])
        logprobs, entropies = (torch.zeros_like(self._asked, dtype=torch.float32).masked_scatter(self._asked, part) for part in values)
        return logprobs, entropies, None

    def _of_the_start(self, values_BT: Tensor) -> Tensor:
        """`values_BT`, filled with the log-probabilities that the start gives to what was sampled in the latest batch."""
        assert self._start is not None
        again = judged_again(self._start, self._episodes, self._player.catalog, chunk=1)
        for row, (episode, (values, _, _)) in enumerate(zip(self._episodes, again, strict=True)):
            tape = tape_of(episode)
            values_BT[row, : len(tape.tokens) - tape.prompt] = values[0, tape.prompt :]
        return values_BT


def _answers_where_asked(policy: LocalPolicy) -> None:
    """Let the model's forward take `rows`: packed tokens, positions, what is asked. Wrappers for several processes call nothing else."""
    usual = policy.model.forward

    @functools.wraps(usual)
    def forward(*given: Any, rows: tuple[Tensor, Tensor, Tensor, Choices | None] | None = None, **named: Any) -> Any:
        return usual(*given, **named) if rows is None else policy.logprobs_and_entropies(*rows)

    policy.model.forward = forward


def arguments(settings: ReinforceSettings, policy: LocalPolicy, *, steps: int, folder: Path) -> GRPOConfig:
    """Our settings in TRL's words. Nothing is left to a default that could change what is learned."""
    processes = PartialState().num_processes
    episodes = settings.prompts * settings.samples
    if episodes % (settings.updates * settings.micro_batch * processes):
        raise ConfigError(
            f"prompts * samples is {episodes}: {processes} processes cannot share it in {settings.updates} updates of micro-batches of "
            f"{settings.micro_batch}; write a micro_batch that divides {episodes / settings.updates / processes:g}"
        )
    pieces = episodes // (settings.micro_batch * processes)
    return GRPOConfig(
        output_dir=str(folder),
        max_steps=steps * settings.updates,
        per_device_train_batch_size=settings.micro_batch,
        steps_per_generation=pieces,
        gradient_accumulation_steps=pieces // settings.updates,
        num_generations=settings.samples,
        num_iterations=1,
        shuffle_dataset=False,
        loss_type="dapo",
        scale_rewards="none",
        importance_sampling_level="token",
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        beta=0.0,
        temperature=settings.temperature,
        top_p=1.0,
        top_k=0,
        disable_dropout=True,
        mask_truncated_completions=False,
        use_vllm=bool(settings.vllm),
        vllm_mode="server",
        vllm_server_base_url=settings.vllm or None,
        vllm_importance_sampling_correction=False,  # the ratio is taken to what the server sampled with, and clipped
        learning_rate=settings.learning_rate,
        max_grad_norm=settings.clip_gradient,
        ddp_find_unused_parameters=False,
        activation_checkpointing=settings.activation_checkpointing,
        bf16=policy.precision == "bfloat16",
        fp16=False,
        use_cpu=policy.device.type == "cpu",
        seed=settings.seed,
        logging_steps=1,
        logging_first_step=False,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
