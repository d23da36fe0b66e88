"""How far foretold ratings are off, case by case, so that intervals and paired tests come from the same numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fathom.errors import DataError
from fathom.evaluation.answered import load_answers, save_answers
from fathom.evaluation.compare import interval
from fathom.metrics import area_under_curve
from fathom.records import Ints

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """What was foretold, and what was given."""

    users: Ints
    foretold: Numbers
    given: Numbers

    def __post_init__(self) -> None:
        """Refuse what is no number: nobody is left out of a mean."""
        for name, values in (("foretold", self.foretold), ("given", self.given)):
            if (missing := int((~np.isfinite(values)).sum())) > 0:
                raise DataError(f"{missing:,} of {len(values):,} ratings that were {name} are no numbers: every case needs one")

    def save(self, path: Path, *, seconds: float) -> None:
        """Write one Parquet row a case, whole or not at all; what it took stands in each."""
        save_answers(path, {"user": self.users, "foretold": self.foretold, "given": self.given}, seconds=seconds)

    @staticmethod
    def load(path: Path) -> tuple["Ratings", float]:
        """What `save` wrote, and the seconds; another file is a `DataError`."""
        frame, seconds = load_answers(path, ("user", "foretold", "given"), "ratings")
        return Ratings(frame["user"].to_numpy(), frame["foretold"].to_numpy(), frame["given"].to_numpy()), seconds

    @property
    def squared(self) -> Numbers:
        """(n,) squared errors."""
        return (self.foretold - self.given) ** 2

    @property
    def absolute(self) -> Numbers:
        """(n,) absolute errors."""
        return np.abs(self.foretold - self.given)

    def figures(self, *, liked: float = 4.0, seed: int = 0) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """RMSE, MAE and the AUC of telling ratings from `liked` on from lower ones; and the 95 % intervals of the first two."""
        square, plain = interval(self.squared, self.users, seed=seed), interval(self.absolute, self.users, seed=seed)
        means = {"rmse": float(np.sqrt(square.mean)), "mae": plain.mean}
        if not np.isnan(found := area_under_curve(self.foretold, self.given >= liked)):
            means["auc"] = found
        low = {"rmse": float(np.sqrt(min(square.low, square.mean))), "mae": min(plain.low, plain.mean)}
        return means, low, {"rmse": float(np.sqrt(max(square.high, square.mean))), "mae": max(plain.high, plain.mean)}
