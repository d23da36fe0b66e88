"""Vectors as a few codes each: every level codes what the levels before it left over (residual quantisation; TIGER, arXiv:2305.05065).

TIGER learns its codes with a network's; here each level is the k-means of what is left, which needs no training to be tuned.
"""

import numpy as np

from fathom.errors import MissingExtraError
from fathom.records import Floats, Ints

try:
    from sklearn.cluster import KMeans
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "scikit-learn", "llm") from error


def residual_codes(vectors: Floats, *, levels: int, codes: int, seed: int) -> Ints:
    """(n, levels) codes from 0 of the rows of `vectors`; the nearest centre of each level, of what is left over.

    Where there are fewer distinct rows than `codes`, there are as many codes as rows.
    """
    left = np.asarray(vectors, dtype=np.float64)
    found = []
    for level in range(levels):
        distinct = len(np.unique(left.round(9), axis=0))
        fitted = KMeans(min(codes, distinct), n_init=1, random_state=seed + level).fit(left)
        labels = fitted.labels_.astype(np.int64)
        found.append(labels)
        left = left - fitted.cluster_centers_[labels]
    return np.stack(found, axis=1)
