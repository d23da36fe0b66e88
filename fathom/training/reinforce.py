"""Reinforcement learning of the agent: play, judge, learn, on TRL's GRPOTrainer.

    for every step:
        # 1. Play: each prompt of the step several times, by the present weights, through the one function that plays everywhere.
        # 2. Judge: every finished episode by item id; rewards become advantages over the whole batch (`training.advantages`).
        # 3. Learn: the clipped policy gradient on the tokens that the policy itself sampled, and on no other.

TRL owns the loop; we hand it a rollout function and override two methods of its trainer. Where this departs from the
paper's recipe (REINFORCE++-baseline, arXiv:2501.03262, as DeepRec, arXiv:2505.16810, uses it):

- whitening divides by the standard deviation (the released code multiplies by it);
- the loss is the token mean over the optimiser's whole batch, however it is cut into micro-batches (TRL's `dapo` normaliser);
  with several updates per step each of them is divided by the mean number of tokens of an update;
- old log-probabilities are those under which the tokens were sampled, so the ratio also sees a mismatch between sampler and trainer;
- sampling is at temperature 1 without top-p: what is sampled is what is scored;
- an episode whose retriever failed leaves the batch: it shrinks its group and its tokens are masked.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from pydantic import Field, model_validator
from torch import Tensor

from fathom.agents.play import row_seed
from fathom.agents.protocol import ProtocolSettings
from fathom.contracts import Retrieve
from fathom.data.titles import TitleIndex
from fathom.errors import ConfigError, MissingExtraError
from fathom.language.policy import LocalPolicy
from fathom.records import Case, Catalog, Episode
from fathom.settings import Settings
from fathom.training.advantages import ADVANTAGES, groups_that_differ
from fathom.training.keeping import Keeper, Place
from fathom.training.preflight import preflight
from fathom.training.rollouts import Judge, Player, divergence, figures, is_judged, means, tape_of
from fathom.training.run import Run, noise_from, progress
from fathom.training.watch import Watch, WatchSettings

try:
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.utils import add_fused_lm_head
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "trl", "rl") from error


class ReinforceSettings(Settings):
    """How an agent is trained by reinforcement. Adam with betas 0.9 and 0.95, no weight decay, a constant learning rate."""

    steps: int = Field(20, ge=1)
    """Batches of episodes that are played and learned from."""
    prompts: int = Field(8, ge=1)
    """Different cases in a step."""
    samples: int = Field(4, ge=2)
    """Episodes played for each case."""
    updates: int = Field(1, ge=1)
    """Steps of the optimiser for each batch of episodes; from the second on the clip range matters."""
    micro_batch: int = Field(8, ge=1)
    """Episodes in one forward pass of one process; it changes memory, not results."""
    learning_rate: float = Field(1e-6, gt=0)
    """Constant. 1e-6 is right for billions of weights, about 1e-5 to 1e-4 for the small built-in model."""
    advantage: Literal["reinforce_baseline", "group_norm", "group_mean", "leave_one_out"] = "reinforce_baseline"
    """How rewards become advantages: REINFORCE++-baseline, GRPO, Dr. GRPO or RLOO."""
    clip_low: float = Field(0.2, gt=0, lt=1)
    """The probability ratio counts down to 1 minus this."""
    clip_high: float = Field(0.28, gt=0)
    """The probability ratio counts up to 1 plus this."""
    kl: float = Field(0.0, ge=0)
    """Weight of a penalty on leaving the starting policy; above 0 it needs a second copy of the model on every device."""
    watch_kl: bool = True
    """Log how far the policy is from its start; this keeps a copy of it, so turn it off for models that fill the memory."""
    clip_gradient: float = Field(1.0, gt=0)
    """The gradient is shortened to this norm."""
    activation_checkpointing: bool = False
    """Compute activations again on the way back instead of keeping them: less memory, a third more time."""
    shuffle_rewards: bool = False
    """The control of honest learning: rewards are dealt out to the episodes of a batch at random, so nothing should improve."""
    checkpoint_every: int = Field(1, ge=1)
    """Steps after which the state is written down again; it changes no result."""
    preflight: Literal["refuse", "warn"] = "refuse"
    """What to do when the dry episodes before training show that it could not learn."""
    watch: WatchSettings = WatchSettings()
    """When to stop because of a collapse."""
    seed: int = Field(42, ge=0)
    """Of the order of the cases and of all sampling."""

    @model_validator(mode="after")
    def _batch_can_be_cut(self) -> Self:
        episodes = self.prompts * self.samples
        if episodes % (self.updates * self.micro_batch):
            raise ValueError(
                f"prompts * samples is {episodes}, which {self.updates} updates of micro-batches of {self.micro_batch} do not divide: "
                f"write a micro_batch that divides {episodes / self.updates:g}"
            )
        return self


def reinforce(
    policy: LocalPolicy,
    retrieve: Retrieve,
    cases: Sequence[Case],
    catalog: Catalog,
    *,
    protocol: ProtocolSettings,
    rewards: Judge,
    heldout: Judge,
    settings: ReinforceSettings,
    run: Run,
    stage: str,
) -> LocalPolicy:
    """`policy`, trained in place. Metrics go to `run` under `stage`; an interrupted call goes on at its last checkpoint.

    `rewards` gives the parts of an episode's reward; its 'total' is maximised. `heldout` is logged beside it and never
    trained on. Data shorter than the training is cycled. A collapse, or dry episodes from which nothing could be
    learned, are a `ModelError`.
    """
    player = Player(policy, retrieve, cases, catalog, protocol, TitleIndex(catalog), settings.samples, settings.seed)
    start = _frozen(policy) if settings.watch_kl or settings.kl else None
    trained = [weight for weight in policy.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    setup = settings.model_dump(mode="json", exclude={"checkpoint_every", "watch", "preflight"})
    keeper = Keeper(policy.model, optimizer, run.checkpoint(stage), decay=0.0, setup=setup)
    with PartialState().main_process_first():  # the main process drops log lines beyond the checkpoint, the others find them gone
        at = keeper.resume()
    if at.step == 0:
        preflight(player, rewards, prompts=settings.prompts, refuse=settings.preflight == "refuse")
    if at.step < settings.steps:
        with _as_it_was(policy), noise_from(settings.seed), progress(stage, settings.steps) as advance:
            advance(at.step)
            trainer = _Trainer(player, rewards, heldout, settings=settings, optimizer=optimizer, start=start, at=at, run=run)
            trainer.add_callback(_Journal(trainer, keeper, at, run=run, stage=stage, settings=settings, advance=advance))
            trainer.train()
    policy.model.eval()
    return policy


class _Trainer(GRPOTrainer):
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
        at: Place,
        run: Run,
    ) -> None:
        self.figures: dict[str, float] = {}
        """What the latest batch of episodes looked like."""
        self._player = player
        self._parts = rewards
        self._heldout = heldout
        self._settings = settings
        self._start = start
        self._rewards = torch.zeros(0)
        prompts = range(at.step * settings.prompts, settings.steps * settings.prompts)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")  # pinned, and held by tests/contracts/test_trl.py
            super().__init__(
                model=player.policy.model,
                reward_funcs=self._judge,
                args=_arguments(settings, at, player.policy, folder=str(run.folder)),
                train_dataset=Dataset.from_dict({"prompt": [str(prompt) for prompt in prompts]}),
                processing_class=player.policy.tokenizer,
                optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
                rollout_func=self._play,
            )
        self.remove_callback(PrinterCallback)
        if settings.kl and start is not None:
            # Set here, not in the arguments: TRL would load its reference model by name, and ours has none.
            add_fused_lm_head(start.model)
            self.ref_model, self.beta = start.model, settings.kl

    def _play(self, prompts: Sequence[str], trainer: GRPOTrainer) -> dict[str, object]:
        """Play this process's share of the batch. Prompts are numbers; every process knows which samples of them are its own."""
        del trainer
        began = time.perf_counter()
        first = self.accelerator.process_index * len(prompts)
        samples = [(first + place) % self._settings.samples for place in range(len(prompts))]
        episodes = self._player.play([int(prompt) for prompt in prompts], samples)
        self._seconds = time.perf_counter() - began
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
        distances = divergence(self._start, judged) if self._start is not None and judged else [math.nan] * len(judged)
        rows = [
            figures(one, earned, self._heldout(one)) | ({} if math.isnan(distance) else {"kl": distance})
            for one, earned, distance in zip(judged, parts, distances, strict=True)
        ]
        everyone = gather_object([*rows, {"play_seconds": self._seconds, "failed": float(len(episode) - len(judged))}])
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
        judged_B = rewards_B[~rewards_B.isnan()]
        self.figures |= {
            "reward_spread": float(judged_B.std(correction=0)) if len(judged_B) else 0.0,
            "groups_that_differ": groups_that_differ(rewards_B, groups_B),
        }
        torch.manual_seed(row_seed(self._settings.seed, step))  # what follows is TRL's shuffle of the batch: a function of the step alone
        return batch


class _Journal(TrainerCallback):
    """After each step: log it, watch for a collapse, write the state down."""

    def __init__(
        self,
        trainer: _Trainer,
        keeper: Keeper,
        at: Place,
        *,
        run: Run,
        stage: str,
        settings: ReinforceSettings,
        advance: Callable[[int], None],
    ) -> None:
        self._trainer = trainer
        self._keeper = keeper
        self._at = at
        self._run = run
        self._stage = stage
        self._settings = settings
        self._advance = advance
        self._updates: list[dict[str, float]] = []
        self._before = time.monotonic() - at.seconds
        self._watch = Watch(settings.watch)
        for line in run.metrics(stage):  # a resumed training is watched as if it had never been interrupted
            self._watch.look(int(line["step"]), {name.removeprefix(f"{stage}/"): value for name, value in line.items()})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        """TRL calls this after every update of the optimiser, and once more at the end with a summary that we do not need."""
        if logs is None or "grad_norm" not in logs:
            return
        names = {"loss": "loss", "entropy": "entropy", "grad_norm": "gradient_norm", "clip_ratio/region_mean": "clipped"}
        self._updates.append({ours: float(logs[theirs]) for theirs, ours in names.items()})
        if len(self._updates) < self._settings.updates:
            return
        at = self._at
        at.step, at.seconds = at.step + 1, time.monotonic() - self._before
        values = {**self._trainer.figures, **means(self._updates), "seconds": at.seconds}
        self._updates.clear()
        if state.is_world_process_zero:
            self._run.log(self._stage, at.step, values)
        self._watch.look(at.step, values)
        if state.is_world_process_zero and (at.step % self._settings.checkpoint_every == 0 or at.step == self._settings.steps):
            self._keeper.save(at)
        self._advance(1)


def _arguments(settings: ReinforceSettings, at: Place, policy: LocalPolicy, *, folder: str) -> GRPOConfig:
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
        output_dir=folder,
        max_steps=(settings.steps - at.step) * settings.updates,
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
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        disable_dropout=True,
        mask_truncated_completions=False,
        use_vllm=False,
        learning_rate=settings.learning_rate,
        max_grad_norm=settings.clip_gradient,
        gradient_checkpointing=settings.activation_checkpointing,
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


def _frozen(policy: LocalPolicy) -> LocalPolicy:
    """A copy of the policy that stays as it is."""
    model = copy.deepcopy(policy.model).requires_grad_(False)
    return LocalPolicy(model, policy.tokenizer, device=policy.device, precision=policy.precision)


@contextmanager
def _as_it_was(policy: LocalPolicy) -> Iterator[None]:
    """Afterwards the model has its own forward again, which TRL and accelerate replace by theirs, and its own configuration."""
    modules = (policy.model, policy.decoder.model)
    configuration = copy.deepcopy(policy.decoder.model.config)
    try:
        yield
    finally:
        for module in modules:
            module.__dict__.pop("forward", None)
        policy.decoder.model.config = configuration
