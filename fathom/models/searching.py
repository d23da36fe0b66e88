"""What of a model's settings is worth searching, and how far."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """All numbers from `low` to `high`, whole ones where both are; with `log`, factors rather than differences are alike."""

    low: float
    high: float
    log: bool = False


SearchSpace = dict[str, Range | tuple[float | str, ...]]
"""Dotted name of a setting -> a range, or what it may be."""

FIT: SearchSpace = {"fit.learning_rate": Range(5e-4, 2e-2, log=True), "fit.batch_size": (16, 32, 64)}
"""Of whatever is trained over whole windows."""

HIDING: SearchSpace = {"share": Range(0.1, 0.6)}
"""Of whatever hides events and asks for them."""
