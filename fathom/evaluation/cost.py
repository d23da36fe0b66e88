"""What an answer costs: seconds, memory, and the tokens a language model reads and writes for it."""

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fathom.records import Episode


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of the answers to `users` cases."""

    users: int
    seconds: float
    """Wall-clock seconds for all of them."""
    peak_mb: float
    """Largest memory of the process so far, in MiB: an upper bound, since earlier work in the same process counts too."""
    written: float = 0.0
    """Tokens that the model itself wrote, per user."""
    read: float = 0.0
    """Tokens that were put before the model (prompt and item lists), per user."""

    @property
    def seconds_per_user(self) -> float:
        """Wall-clock seconds for one user, inside batches as large as the evaluation took them; 0.0 for no users."""
        return self.seconds / self.users if self.users else 0.0

    @property
    def users_per_hour(self) -> float:
        """How many users one process serves in an hour at this pace; 0.0 where no time was measured."""
        return 3600.0 * self.users / self.seconds if self.seconds > 0 else 0.0


def cost(seconds: float, users: int, episodes: Sequence[Episode] = ()) -> Cost:
    """The cost of answering `users` cases in `seconds`; token figures come from the episodes that carry a tape."""
    tapes = [episode.tape for episode in episodes if episode.tape is not None]
    written = sum(sum(tape.sampled) for tape in tapes)
    read = sum(len(tape.tokens) for tape in tapes) - written
    each = max(len(tapes), 1)
    return Cost(users=users, seconds=seconds, peak_mb=peak_megabytes(), written=written / each, read=read / each)


def peak_megabytes() -> float:
    """The largest resident memory this process has had, in MiB (the high-water mark of the operating system)."""
    high_water = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return high_water / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB
