"""Verdicts with their probabilities beside what was true, case by case."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fathom.evaluation.answered import load_answers, save_answers
from fathom.evaluation.compare import interval
from fathom.metrics import area_under_curve
from fathom.records import Ints

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """How sure somebody was of each, and whether it was so."""

    users: Ints
    foretold: Numbers
    """Probabilities."""
    true: npt.NDArray[np.bool_]

    def save(self, path: Path, *, seconds: float) -> None:
        """Write one Parquet row a verdict, whole or not at all; what it took stands in each."""
        save_answers(path, {"user": self.users, "foretold": self.foretold, "true": self.true}, seconds=seconds)

    @staticmethod
    def load(path: Path) -> "tuple[Judged, float]":
        """What `save` wrote, and the seconds; another file is a `DataError`."""
        frame, seconds = load_answers(path, ("user", "foretold", "true"), "verdicts")
        return Judged(frame["user"].to_numpy(), frame["foretold"].to_numpy(), frame["true"].to_numpy()), seconds

    def figures(self, *, seed: int = 0) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """The accuracy of taking what is likelier than not, its 95 % interval, the share of the commoner truth, and the AUC."""
        right = ((self.foretold > 0.5) == self.true).astype(np.float64)
        span = interval(right, self.users, seed=seed)
        share = float(self.true.mean())
        means = {"accuracy": span.mean, "majority": max(share, 1 - share)}
        if not np.isnan(found := area_under_curve(self.foretold, self.true)):
            means["auc"] = found
        return means, {"accuracy": min(span.low, span.mean)}, {"accuracy": max(span.high, span.mean)}
