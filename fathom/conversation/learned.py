"""What each signal counts, learned from conversations: the weights under which what was recommended is likeliest (conditional logit)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from fathom.conversation.shelves import Numbers
from fathom.errors import DataError
from fathom.records import Floats

PENALTY = 1e-3
"""Times the sum of squared weights, beside the mean of -log p: keeps a weight finite for which nothing speaks."""


@dataclass(frozen=True, slots=True)
class Question:
    """The items that could be recommended at a point of a conversation."""

    signals: Floats
    """(n, F) what speaks for each of them."""
    right: tuple[int, ...]
    """The rows of those that were."""


def question_of(signals: Mapping[str, Numbers], names: Sequence[str], open_items: npt.NDArray[np.bool_], right: Sequence[int]) -> Question:
    """The question among `open_items` (n_items + 1,); a signal of `names` that the conversation lacks is 0 for all."""
    items = np.flatnonzero(open_items)
    columns = [signals[name][items] if name in signals else np.zeros(len(items)) for name in names]
    return Question(np.stack(columns, axis=1).astype(np.float32), tuple(np.searchsorted(items, list(right)).tolist()))


def learned_weights(questions: Sequence[Question], names: Sequence[str]) -> dict[str, float]:
    """Name -> weight, of p(item) = softmax(signals w); what was recommended together at one point counts as one."""
    if not questions:
        raise DataError("no conversation is left to learn from: fewer folds leave more of them")

    def loss(weights: Numbers) -> tuple[float, Numbers]:
        told, slope = 0.0, np.zeros(len(names))
        for question in questions:
            logits = question.signals @ weights.astype(np.float32)
            shares = np.exp(logits - logits.max())
            total = float(shares.sum())
            right = question.signals[list(question.right)].mean(axis=0).astype(np.float64)
            told += float(np.log(total)) + float(logits.max()) - float(right @ weights)
            slope += (shares @ question.signals) / total - right
        scale = 1 / len(questions)
        return told * scale + PENALTY * float(weights @ weights), slope * scale + 2 * PENALTY * weights

    found = minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return dict(zip(names, found.x.tolist(), strict=True))
