"""Which held-out events reinforcement learning asks for: those whose target can be found."""

from collections.abc import Sequence

import numpy as np

from fathom.contracts import Recommender
from fathom.metrics import ranks_of
from fathom.records import Case, Ints

BATCH = 256
"""Cases ranked at a time."""


def select_cases(
    cases: Sequence[Case], recommender: Recommender, *, hardest: int, parts: int = 2, seed: int, exclude_history: bool = True
) -> list[tuple[Case, ...]]:
    """`parts` disjoint lists of the cases whose target the recommender itself ranks at `hardest` or better, shuffled by `seed`.

    A target that is never retrieved rewards nothing, so harder questions teach nothing (DeepRec keeps the top 100).
    """
    kept = [case for case, rank in zip(cases, ranks(cases, recommender, hardest, exclude_history=exclude_history), strict=True) if rank]
    order = np.random.default_rng(seed).permutation(len(kept))
    return [tuple(kept[index] for index in order[part::parts]) for part in range(parts)]


def ranks(cases: Sequence[Case], recommender: Recommender, depth: int, *, exclude_history: bool = True) -> Ints:
    """(n,) the recommender's rank of each case's target, from 1; 0 where it is beyond `depth`.

    Comparing the ranks in episodes with those in validation shows whether the retriever has seen the episodes' targets.
    """
    found = [
        ranks_of(recommender.recommend(part, depth, exclude_history=exclude_history), np.array([case.target for case in part]))
        for part in (cases[start : start + BATCH] for start in range(0, len(cases), BATCH))
    ]
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, dtype=np.int64)
