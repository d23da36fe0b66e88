"""Reinforcement learning of the agent: play, judge, learn, on TRL's GRPOTrainer.

    for every step:
        # 1. Play: each prompt of the step several times, by the present weights, through the one function that plays everywhere.
        # 2. Judge: every finished episode by item id; rewards become advantages over the whole batch (`training.advantages`).
        # 3. Learn: the clipped policy gradient on the tokens that the policy itself sampled, and on no other.

TRL owns the loop; we hand it a rollout function and override two methods of its trainer (`training.trainer`). Where this departs from the
paper's recipe (REINFORCE++-baseline, arXiv:2501.03262, as DeepRec, arXiv:2505.16810, uses it):

- whitening divides by the standard deviation (the released code multiplies by it);
- the loss is the token mean over the optimiser's whole batch, however it is cut into micro-batches (TRL's `dapo` normaliser);
  with several updates per step each of them is divided by the mean number of tokens of an update;
- old log-probabilities are those under which the tokens were sampled, so the ratio also sees a mismatch between sampler and trainer;
- sampling is at `temperature` (1 unless set) without top-p, and so is scoring: what is sampled is what is learned from;
- an episode whose retriever failed leaves the batch: it shrinks its group and its tokens are masked.
"""

import copy
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from accelerate import PartialState

from fathom.agents.protocol import ProtocolSettings
from fathom.contracts import Policy, Tool, Validate
from fathom.data.titles import TitleIndex
from fathom.errors import ConfigError, MissingExtraError, suggestion
from fathom.language.policy import LocalPolicy
from fathom.records import Case, Catalog
from fathom.training.keeping import Keeper, Place
from fathom.training.preflight import preflight
from fathom.training.reinforce_settings import ReinforceSettings
from fathom.training.rollouts import Judge, Player, means
from fathom.training.run import Run, noise_from, progress
from fathom.training.trainer import AgentTrainer
from fathom.training.watch import Watch

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from trl.import_utils import is_vllm_available
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "transformers", "rl") from error

__all__ = ["ReinforceSettings", "reinforce"]

WORTH = "worth"
"""The figure by which weights are kept."""

MALFORMED = 1e6
"""Taken off the worth of weights that answer malformed too often, and this times their malformed share: more than any reward is worth."""


def reinforce(
    policy: LocalPolicy,
    retrieve: Tool,
    cases: Sequence[Case],
    catalog: Catalog,
    *,
    protocol: ProtocolSettings,
    rewards: Judge,
    heldout: Judge,
    settings: ReinforceSettings,
    run: Run,
    stage: str,
    validate: Validate | None = None,
) -> LocalPolicy:
    """`policy`, trained in place. Metrics go to `run` under `stage`; an interrupted call goes on at its last checkpoint.

    `rewards` gives the parts of an episode's reward; its 'total' is maximised. `heldout` is logged beside it and never
    trained on. `validate` plays as the agent will be used, greedily, and its figures decide which weights are kept: what
    is sampled may still be well formed while every greedy answer runs in circles. Without it the last ones are.
    Data shorter than the training is cycled. A collapse, or dry episodes from which nothing could be learned, are a `ModelError`.
    """
    player = Player(policy, retrieve, cases, catalog, protocol, TitleIndex(catalog), settings.samples, settings.seed, settings.finish)
    start = _frozen(policy, settings.temperature) if settings.watch_kl or settings.kl else None
    trained = [weight for weight in policy.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    setup = settings.model_dump(mode="json", exclude={"checkpoint_every", "watch", "preflight"})
    keeper = Keeper(policy.model, [optimizer], run.checkpoint(stage), decay=0.0, setup=setup)

    def look(at: Place) -> dict[str, float]:
        """Validation's figures of the present weights; all processes must look together."""
        if validate is None:
            return {}
        with policy.decoder.heated(1.0):
            found = keeper.validate(lambda: _worth(validate(), settings), at, select=WORTH, patience=0)
        return {f"validation/{name}": value for name, value in found.items() if name != WORTH}

    state = PartialState(cpu=policy.device.type == "cpu")  # must know the device before anybody asks it how many processes there are
    with state.main_process_first():  # the main process drops log lines beyond the checkpoint, the others find them gone
        at = keeper.resume()
    with policy.decoder.heated(settings.temperature):
        if at.step == 0:
            preflight(player, rewards, prompts=settings.prompts, refuse=settings.preflight == "refuse")
            begun = look(at)
            if begun and state.is_main_process:
                run.log(stage, 0, begun)
        if at.step < settings.steps:
            with _as_it_was(policy), _known_warnings(), noise_from(settings.seed), progress(stage, settings.steps) as advance:
                advance(at.step)
                trainer = AgentTrainer(
                    replace(player, server=_server(policy, settings)),
                    rewards,
                    heldout,
                    settings=settings,
                    optimizer=optimizer,
                    start=start,
                    done=at.step,
                    folder=run.folder,
                )
                trainer.add_callback(_Journal(trainer, keeper, at, look, run=run, stage=stage, settings=settings, advance=advance))
                trainer.train()
    keeper.finish()
    return policy


def _worth(figures: Mapping[str, float], settings: ReinforceSettings) -> Mapping[str, float]:
    """Validation's figures and, as `WORTH`, by what the weights are chosen."""
    if settings.select not in figures:
        raise ConfigError(f"select is '{settings.select}', which validation does not return{suggestion(settings.select, figures)}")
    formed = figures.get("format_valid", 1.0)
    off = 0.0 if formed >= settings.least_valid else MALFORMED * (2 - formed)
    return {**figures, WORTH: figures[settings.select] - off}


class _Journal(TrainerCallback):
    """After each step: log it, watch for a collapse, now and then validate, write the state down."""

    def __init__(
        self,
        trainer: AgentTrainer,
        keeper: Keeper,
        at: Place,
        look: Callable[[Place], Mapping[str, float]],
        *,
        run: Run,
        stage: str,
        settings: ReinforceSettings,
        advance: Callable[[int], None],
    ) -> None:
        self._trainer = trainer
        self._keeper = keeper
        self._at = at
        self._look = look
        self._run = run
        self._stage = stage
        self._settings = settings
        self._advance = advance
        self._updates: list[dict[str, float]] = []
        self._before = time.monotonic() - at.seconds
        self._watch = Watch(settings.watch)
        for line in run.metrics(stage):  # a resumed training is watched as if it had never been interrupted
            if line["step"]:
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
        names = {"loss": "loss", "grad_norm": "gradient_norm", "clip_ratio/region_mean": "clipped"}
        self._updates.append({ours: float(logs[theirs]) for theirs, ours in names.items()})
        if len(self._updates) < self._settings.updates:
            return
        at = self._at
        at.step, at.epoch = at.step + 1, at.step + 1  # a batch of episodes is all that an epoch is here
        values = {**self._trainer.figures, **means(self._updates), "entropy": self._trainer.entropy()}
        self._updates.clear()
        if at.step % self._settings.validate_every == 0 or at.step == self._settings.steps:
            values |= self._look(at)
        at.seconds = time.monotonic() - self._before
        values["seconds"] = at.seconds
        if state.is_world_process_zero:
            self._run.log(self._stage, at.step, values)
        self._watch.look(at.step, values)
        if state.is_world_process_zero and (at.step % self._settings.checkpoint_every == 0 or at.step == self._settings.steps):
            self._keeper.save(at)
        self._advance(1)


def _server(policy: LocalPolicy, settings: ReinforceSettings) -> Policy | None:
    """The vLLM server that plays, if the settings name one; TRL gives it the weights before the first episode."""
    if not settings.vllm:
        return None
    if not is_vllm_available():
        raise MissingExtraError("vllm", "vllm")
    from fathom.language.vllm import VllmPolicy  # its client takes long to import, and few need it

    return VllmPolicy(policy, settings.vllm)


def _frozen(policy: LocalPolicy, temperature: float) -> LocalPolicy:
    """A copy of the policy that stays as it is."""
    model = copy.deepcopy(policy.model).requires_grad_(False)
    frozen = LocalPolicy(model, policy.tokenizer, device=policy.device, precision=policy.precision)
    frozen.decoder.temperature = temperature
    return frozen


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


@contextmanager
def _known_warnings() -> Iterator[None]:
    """Silent about what is known: the rollout function is experimental (so TRL is pinned, see tests/contracts) and TRL uses old names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
        yield
