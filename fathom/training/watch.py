"""Stops a training that has collapsed, and says what happened and what to change."""

from collections.abc import Mapping

from pydantic import Field

from fathom.errors import ModelError
from fathom.settings import Settings

MOST_FAILED = 0.5
"""Of a step's episodes the largest share that the retriever may fail: the others would teach not to ask."""


class WatchSettings(Settings):
    """When reinforcement learning is stopped. All limits look at the step's own batch."""

    valid_floor: float = Field(default=0.5, ge=0, le=1)
    """Stop when the share of well-formed episodes falls below this, once it has been twice as high or above 0.9."""
    entropy_floor: float = Field(default=0.02, ge=0, le=1)
    """Stop when the entropy per token falls below this share of what it was in the first step."""
    entropy_ceiling: float = Field(default=10.0, gt=1)
    """Stop when the entropy per token rises to so many times what it was in the first step."""
    flat_steps: int = Field(default=20, ge=1)
    """Stop when within so many steps on end no two episodes of a prompt were rewarded differently."""
    kl_limit: float = Field(default=5.0, gt=0)
    """Stop when the policy is so far from where it started (nats per token)."""


class Watch:
    """Looks at each step's figures. A resumed training shows it the logged ones again: it remembers nothing else."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._best_valid = 0.0
        self._first_entropy: float | None = None
        self._flat = 0

    def look(self, step: int, values: Mapping[str, float]) -> None:
        """Take in a step's figures; a collapse is a `ModelError`."""
        settings = self._settings
        failed = values.get("failed", 0.0)
        if failed > MOST_FAILED:
            raise ModelError(
                f"training stopped at step {step}: the retriever failed {failed:.0%} of the episodes, and the others never "
                "asked it; see that it runs and give the same command again"
            )
        valid, entropy = values["well_formed"], values["entropy"]
        self._first_entropy = entropy if self._first_entropy is None else self._first_entropy
        self._best_valid = max(valid, self._best_valid)
        self._flat = 0 if values["groups_that_differ"] > 0 else self._flat + 1
        was_high = self._best_valid >= min(0.9, 2 * settings.valid_floor)
        if was_high and valid < settings.valid_floor:
            _stop(step, f"only {valid:.0%} of the episodes are well formed, after {self._best_valid:.0%} before", "a smaller learning_rate")
        if entropy < settings.entropy_floor * self._first_entropy:
            _stop(
                step,
                f"the entropy per token fell from {self._first_entropy:.3g} to {entropy:.3g}",
                "a smaller learning_rate or a larger clip_high",
            )
        if entropy > settings.entropy_ceiling * max(self._first_entropy, 1e-3):
            _stop(step, f"the entropy per token rose from {self._first_entropy:.3g} to {entropy:.3g}", "a smaller learning_rate or some kl")
        if self._flat >= settings.flat_steps:
            _stop(step, f"for {self._flat} steps all episodes of each prompt earned the same", "more samples or harder cases")
        if values.get("kl", 0.0) > settings.kl_limit:
            _stop(step, f"the policy is {values['kl']:.3g} nats per token from its start", "a smaller learning_rate or some kl")


def _stop(step: int, what: str, instead: str) -> None:
    raise ModelError(f"training stopped at step {step}: {what}; the last checkpoint is kept. Try {instead}, or raise the limit in 'watch'")
