"""What a fit carries from step to step and writes down: weights, moments, the running average, the best so far."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fathom.contracts import Validate
from fathom.errors import ConfigError, ModelError, suggestion
from fathom.files import Json
from fathom.training.run import Checkpoint


@dataclass(slots=True)
class Place:
    """Where a fit stands; beside the tensors this is all that going on needs."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    """Batches of this epoch already learned from."""
    best_value: float = -math.inf
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    """All figures of the best validation."""
    waited: int = 0
    """Validations since the best one."""
    seconds: float = 0.0
    over: bool = False
    """Patience has ended."""


class Keeper:
    """Keeps the tensors of one fit: the module's own, the optimiser's, the running average and the best weights."""

    def __init__(
        self, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], checkpoint: Checkpoint, *, decay: float, setup: Json
    ) -> None:
        self._module = module
        self._movers = {
            parameter: optimizer for optimizer in optimizers for group in optimizer.param_groups for parameter in group["params"]
        }
        """Which optimiser moves each parameter. Its state is looked up when it is needed: others may put a new one in its place."""
        self._checkpoint = checkpoint
        self._decay = decay
        self._setup = setup
        self._averages = self._copy() if decay else {}
        self._best: dict[str, Tensor] = {}

    def average(self, step: int) -> None:
        """Move the running average towards the weights after step number `step`; early steps count for less long."""
        rate = 1 - min(self._decay, (1 + step) / (10 + step))
        owned = self._owned() if self._averages else {}
        for name, mean in self._averages.items():
            if mean.is_floating_point():
                mean.lerp_(owned[name], rate)
            else:
                mean.copy_(owned[name])

    def validate(self, validate: Validate, place: Place, *, select: str, patience: int) -> Mapping[str, float]:
        """The figures of the weights that would be kept; notes in `place` whether they are the best so far."""
        with self._averages_in_place():
            self._module.eval()
            figures = dict(validate())
            self._module.train()
            if select not in figures:
                raise ConfigError(f"select is '{select}', which validation does not return{suggestion(select, figures)}")
            place.waited += 1
            if figures[select] > place.best_value or not self._best:
                place.best_value, place.best_epoch, place.best, place.waited = figures[select], place.epoch, figures, 0
                self._best = self._copy()
        place.over = bool(patience) and place.waited >= patience
        return figures

    def finish(self) -> None:
        """Leave in the module what is kept: the best validated weights, else the running average, else the last ones."""
        self._put(self._best or self._averages)
        self._module.eval()

    def save(self, place: Place) -> None:
        """Write everything down."""
        groups = {"weights": self._owned(), "averages": self._averages, "best": self._best, "moments": self._moments()}
        tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
        noted = dataclasses.asdict(place)
        noted["best_value"] = None if math.isinf(place.best_value) else place.best_value
        self._checkpoint.save(place.step, tensors, {"place": noted, "setup": self._setup})

    def resume(self) -> Place:
        """Put back what was last written down, and say where that was; the beginning if nothing was."""
        saved = self._checkpoint.load()
        if saved is None:
            return Place()
        _, tensors, state = saved
        where = f"{self._checkpoint.path}"
        if not isinstance(state, dict) or not isinstance(state.get("place"), dict):
            raise ModelError(f"{where}: not the checkpoint of a fit; remove it to start stage '{self._checkpoint.stage}' again")
        if state["setup"] != self._setup:
            raise ConfigError(
                f"{where}: made with other settings than now asked for; "
                f"write the old ones again, or remove the file to start stage '{self._checkpoint.stage}' again"
            )
        self._put(_group(tensors, "weights"))
        self._averages = {name: tensor.to(self._owned()[name].device) for name, tensor in _group(tensors, "averages").items()}
        self._best = _group(tensors, "best")
        self._put_moments(_group(tensors, "moments"))
        noted = dict(state["place"])  # type: ignore[arg-type]
        noted["best_value"] = -math.inf if noted["best_value"] is None else noted["best_value"]
        return Place(**noted)  # type: ignore[arg-type]

    def _owned(self) -> dict[str, Tensor]:
        """Every parameter and persistent buffer once, tied ones under their first name."""
        kept = self._module.state_dict(keep_vars=True)
        first: dict[int, str] = {}
        for name, tensor in kept.items():
            first.setdefault(id(tensor), name)
        return {name: kept[name].detach() for name in first.values()}

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._owned().items()}

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        """Write `tensors` into the module, all of them or, for the empty mapping, none."""
        owned = self._owned()
        if tensors and owned.keys() != tensors.keys():
            wrong = ", ".join(sorted(owned.keys() ^ tensors.keys())[:5])
            raise ModelError(f"{self._checkpoint.path}: its tensors are not those of the model, which differs in {wrong}")
        for name, tensor in tensors.items():
            owned[name].copy_(tensor)

    @contextmanager
    def _averages_in_place(self) -> Iterator[None]:
        """Inside the block the module has the averaged weights, if there are any."""
        now = self._copy() if self._averages else {}
        self._put(self._averages)
        try:
            yield
        finally:
            self._put(now)

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self._module.named_parameters() if parameter.requires_grad}

    def _moments(self) -> dict[str, Tensor]:
        """The optimiser's state as '<parameter>/<what>'; parameters not yet touched have none."""
        states = {name: self._movers[parameter].state.get(parameter, {}) for name, parameter in self._parameters().items()}
        return {f"{name}/{what}": tensor for name, state in states.items() for what, tensor in state.items()}

    def _put_moments(self, moments: Mapping[str, Tensor]) -> None:
        parameters = self._parameters()
        for key, tensor in moments.items():
            name, what = key.rsplit("/", 1)
            # AdamW counts its steps in a tensor that stays on the CPU; the moments live beside their parameter.
            device = tensor.device if what == "step" else parameters[name].device
            self._movers[parameters[name]].state[parameters[name]][what] = tensor.to(device)


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    """The tensors saved under 'group/', by what follows."""
    return {name.removeprefix(f"{group}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{group}/")}
