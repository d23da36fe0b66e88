"""The one loop in which sequential models, retrievers and language models learn from examples."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from pydantic import Field, model_validator
from torch import Tensor, nn

from fathom.contracts import Validate
from fathom.errors import ConfigError, ModelError
from fathom.settings import Settings
from fathom.training.keeping import Keeper
from fathom.training.optimizers import Optimizer, optimizers_of
from fathom.training.processes import add_up
from fathom.training.run import Run, progress

Batch = TypeVar("Batch")
Drawn = TypeVar("Drawn", covariant=True)


class Batches(Protocol[Drawn]):
    """One epoch: as many batches as its length says, each made when it is asked for; a list is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Drawn: ...


class FitSettings(Settings):
    """How a model is fitted. Vectors, norms and embeddings do not decay."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the training data."""
    batch_size: int = Field(default=64, ge=1)
    """Examples behind one step of the optimiser, over all processes; what one example is, its training function says."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """The highest one, reached after the warm-up."""
    optimizer: Optimizer = "adamw"
    """'adamw' with betas 0.9 and 0.98, or 'muon' for the matrices inside the model and AdamW for all else."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay of the matrices inside the model."""
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    """Share of all steps over which the learning rate rises from zero."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """What follows the warm-up: half a cosine, or a straight line, down to 2 % of the learning rate, or the same rate to the end."""
    cycles: int = Field(default=1, ge=1)
    """How often it goes down: after each time but the last it begins again at the highest rate."""
    clip: float = Field(default=1.0, gt=0)
    """The gradient is shortened to this norm."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the running average of the weights, which is validated and kept in place of the weights; 0: no average."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; 'auto' is bfloat16 where the hardware computes in it. Weights, losses and scores stay float32."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many validations without a better figure; 0: never."""
    select: str = "ndcg@10"
    """The validation figure, higher is better, by which the weights are chosen that are kept."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs from one validation to the next; there is always one at the end."""
    checkpoint_seconds: float = Field(default=60, ge=0)
    """Time after which the state is written down again; it changes no result."""
    seed: int = Field(default=42, ge=0)
    """Of the order of the examples, the noise of dropout and the initial weights."""

    @model_validator(mode="after")
    def _something_goes_down(self) -> Self:
        if self.schedule == "constant" and self.cycles > 1:
            raise ValueError(f"cycles {self.cycles} says how often the learning rate goes down, which 'constant' never does: leave one out")
        return self


@dataclass(frozen=True, slots=True)
class FitReport:
    """How a fit went."""

    steps: int
    epochs: int
    """Fewer than asked for if patience ended."""
    best: Mapping[str, float]
    """The figures of the best validation; empty without one."""
    best_epoch: int
    """The epoch, from 1, after which the kept weights were reached; 0 where the start was kept."""
    seconds: float
    """Over all attempts, up to the last checkpoint of those that were interrupted."""


def fit(
    module: nn.Module,
    *,
    batches: Callable[[int, np.random.Generator], Batches[Batch]],
    loss: Callable[[nn.Module, Batch], tuple[Tensor, Tensor]],
    settings: FitSettings,
    run: Run,
    stage: str,
    validate: Validate | None = None,
    micro_batches: Callable[[Batch], Sequence[Batch]] | None = None,
    together: int = 1,
    start_counts: bool = False,
    told: Callable[[Accelerator], Mapping[str, float]] | None = None,
) -> FitReport:
    """How the fit went; `module` holds the best validated weights (the last ones without `validate`) and is in evaluation mode.

    `batches(epoch, rng)` gives one epoch's batches, by length and index like a list; all randomness of the data comes from
    `rng`. `loss(module, batch)` returns the sum of the losses and how many there are; it runs under autocast and moves
    what it needs to the module's device. `micro_batches` cuts a batch into pieces that fit into memory: gradients of sums
    are added up over pieces and processes and divided once, so that cutting differently changes nothing but rounding.
    So many batches in a row as `together` says rest on the weights before the first of them: between these nothing is written down.
    What `told` says after each step, on every process, is logged beside its loss.
    With `start_counts` the weights are validated before the first step too, and kept if nothing later is better.

    Resumes from the stage's checkpoint as if it had never been interrupted: data depend on (seed, epoch), noise on
    (seed, step), the learning rate on the position alone. Logs loss, learning rate, gradient norm each step, and what
    `validate` returns (called in evaluation mode, with the weights that would be kept).
    """
    accelerator = Accelerator(mixed_precision="no")  # autocast is entered below, so that losses stay float32
    module.to(accelerator.device)
    in_bfloat16 = computes_in_bfloat16(settings.precision, accelerator.device)
    optimizers = optimizers_of(
        module,
        settings.optimizer,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        products=torch.bfloat16 if in_bfloat16 else torch.float32,
    )
    setup = settings.model_dump(mode="json", exclude={"checkpoint_seconds"})
    keeper = Keeper(module, optimizers, run.checkpoint(stage), decay=settings.average, setup=setup)
    with accelerator.main_process_first():  # the main process drops log lines beyond the checkpoint, the others find them gone
        at = keeper.resume()
    clock = _Clock(at.seconds, settings.checkpoint_seconds)

    def look(validate: Validate) -> None:
        figures = keeper.validate(validate, at, select=settings.select, patience=settings.patience)
        if accelerator.is_main_process:
            run.log(stage, at.step, {**figures, "epoch": at.epoch, "seconds": clock.seconds})

    with progress(stage, settings.epochs) as advance, _noise_of_its_own(accelerator.device):
        advance(at.epoch)
        if start_counts and validate is not None and not at.best:
            look(validate)
        while at.epoch < settings.epochs and not at.over:
            module.train()
            epoch = batches(at.epoch, np.random.default_rng((settings.seed, at.epoch)))
            if not len(epoch):
                raise ConfigError(f"stage '{stage}': there is nothing to learn from, epoch {at.epoch + 1} has no batch")
            while at.position < len(epoch):
                # 1. The noise of a step depends on seed and step alone: going on needs no generator's state.
                torch.manual_seed(_mixed(settings.seed, at.step, accelerator.process_index))
                # 2. Ask: how wrong is the model, summed over all that is asked? Processes share the pieces of a batch.
                total, count = torch.zeros(2, device=accelerator.device).unbind()
                pieces = micro_batches(epoch[at.position]) if micro_batches is not None else (epoch[at.position],)
                for piece in pieces[accelerator.process_index :: accelerator.num_processes]:
                    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=in_bfloat16):
                        wrong, asked = loss(module, piece)
                    wrong.backward()
                    total, count = total + wrong.detach(), count + asked
                # 3. Learn: divide once, by everything that was asked in all pieces and processes.
                total, count = accelerator.reduce(total), accelerator.reduce(count)
                mean = float(total / count)
                if not math.isfinite(mean):
                    raise ModelError(f"stage '{stage}': the loss is {mean} at step {at.step + 1}; write a lower learning_rate")
                rate = learning_rate_at((at.epoch + at.position / len(epoch)) / settings.epochs, settings)
                norm = _finish_gradient(module, accelerator, count, clip=settings.clip)
                _step(optimizers, rate)
                at.step, at.position, at.seconds = at.step + 1, at.position + 1, clock.seconds
                keeper.average(at.step)
                # 4. Write down.
                numbers = {"loss": mean, "learning_rate": rate, "gradient_norm": norm, "epoch": at.epoch, "seconds": at.seconds}
                if told is not None:
                    numbers |= told(accelerator)
                if accelerator.is_main_process:
                    run.log(stage, at.step, numbers)
                    if at.position % together == 0 and at.position < len(epoch) and clock.rang():
                        keeper.save(at)
            at.epoch, at.position = at.epoch + 1, 0
            advance(1)
            if validate is not None and (at.epoch % settings.validate_every == 0 or at.epoch == settings.epochs):
                look(validate)
            if accelerator.is_main_process and (clock.rang() or at.epoch == settings.epochs or at.over):
                keeper.save(at)
    keeper.finish()
    return FitReport(steps=at.step, epochs=at.epoch, best=at.best, best_epoch=at.best_epoch if at.best else at.epoch, seconds=at.seconds)


def learning_rate_at(share: float, settings: FitSettings) -> float:
    """The learning rate when `share` (0 to 1) of all steps are done: a straight rise, then the schedule.

    >>> settings = FitSettings(learning_rate=1.0, warmup_share=0.2)
    >>> [round(learning_rate_at(share, settings), 3) for share in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.51, 0.02]
    >>> twice = settings.model_copy(update={"schedule": "linear", "cycles": 2})
    >>> [round(learning_rate_at(share, twice), 3) for share in (0.1, 0.2, 0.4, 0.62, 0.8, 1.0)]
    [0.5, 1.0, 0.51, 0.951, 0.51, 0.02]
    """
    if share < settings.warmup_share:
        # Not quite zero at the very first step, which would otherwise be wasted.
        return settings.learning_rate * max(share / settings.warmup_share, 1e-3)
    if settings.schedule == "constant":
        return settings.learning_rate
    after = settings.cycles * (share - settings.warmup_share) / (1 - settings.warmup_share)
    down = 1.0 if after >= settings.cycles else after % 1.0
    left = 1 - down if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * down))
    return settings.learning_rate * (0.02 + 0.98 * left)


def computes_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether matrix products run in bfloat16: asked for, or 'auto' where the device has instructions for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


class _Clock:
    """Seconds of work over all attempts, and a bell every now and then."""

    def __init__(self, before: float, interval: float) -> None:
        self._start = time.monotonic() - before
        self._interval = interval
        self._last = before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def rang(self) -> bool:
        """Whether the interval has passed since it last rang."""
        if self.seconds - self._last < self._interval:
            return False
        self._last = self.seconds
        return True


@contextmanager
def _noise_of_its_own(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside leaves torch's generators as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _mixed(*numbers: int) -> int:
    """One seed out of several numbers; neighbours give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _finish_gradient(module: nn.Module, accelerator: Accelerator, count: Tensor, *, clip: float) -> float:
    """Turn gradients of sums into the gradient of the mean over all processes, shortened to `clip`; returns its norm before that."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if accelerator.num_processes > 1:  # a process without a piece has no gradients, but must take part in every sum
        touched = accelerator.reduce(torch.tensor([float(parameter.grad is not None) for parameter in learned], device=count.device))
        for parameter, somewhere in zip(learned, touched.tolist(), strict=True):
            if somewhere and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in learned if parameter.grad is not None]
    add_up(gradients)
    for gradient in gradients:
        gradient.div_(count)
    return float(nn.utils.clip_grad_norm_(module.parameters(), clip))


def _step(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """One step at learning rate `rate`; gradients are forgotten."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
