"""What stands in a conversation between a history and the first title of the answer, strewn among the events of histories.

A small language model knows what comes next right behind a history, and nowhere else: where a history ends, thoughts and tags
follow and then a title is asked for, it has never been asked in pretraining, and traces are too few to teach it
(docs/lab-notes.md). So some events of pretraining's histories are asked for behind the very words that will stand there.
"""

import numpy as np
from pydantic import Field

from fathom.agents.protocol import ANSWER_OPEN, HISTORY_CLOSE, THINK_CLOSE, ProtocolSettings, answer_numbers
from fathom.contracts import Encodes
from fathom.records import Catalog
from fathom.settings import Settings
from fathom.training.preferences import facts
from fathom.training.traces import conclusion


class InterludeSettings(Settings):
    """Interludes in the histories of pretraining and of the warm start."""

    every: float = Field(default=0.0, ge=0)
    """One stands before one event in so many, on average; 0: none."""


class Interludes:
    """Draws interludes as tokens of a policy."""

    def __init__(self, policy: Encodes, catalog: Catalog, *, settings: InterludeSettings, protocol: ProtocolSettings) -> None:
        self.rate = 1 / settings.every
        """The probability that one stands before an event."""
        self._policy = policy
        self._values = [[value for value, _ in facts(catalog, item)] for item in range(1, catalog.n_items + 1)]
        self._before = policy.encode(HISTORY_CLOSE)
        self._after = (*policy.encode(f"{THINK_CLOSE}\n{ANSWER_OPEN}"), *policy.encode(answer_numbers(protocol)[0]))

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """The words between: the history's end, a conclusion about any item of the catalogue, the answer's tag and first number."""
        known = self._values[int(rng.integers(len(self._values)))]
        values = [known[index] for index in rng.permutation(len(known))[:2]]
        return (*self._before, *self._policy.encode(conclusion(values)), *self._after)
