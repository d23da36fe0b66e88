"""Items that are taken together, as paths through clusters of clusters (arXiv:2305.06569, section 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import eigsh

from fathom.errors import MissingExtraError
from fathom.records import Interactions, Ints

try:
    from sklearn.cluster import KMeans
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "scikit-learn", "llm") from error

DENSE = 600
"""Up to so many items all eigenvectors are computed, which is exact and faster than looking for a few."""

if TYPE_CHECKING:
    Counts: TypeAlias = "sparse.csr_array[np.float64]"


def co_occurrence(log: Interactions, n_items: int, *, window: int = 0) -> Counts:
    """(n_items, n_items) symmetric: in how many histories of `log` two items stand, or, with `window`, at how many pairs of events no
    further apart than that; row i - 1 is item i, the diagonal is empty."""
    owner = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
    items = log.items - 1
    if not window:
        held = sparse.csr_array((np.ones(len(items)), (owner, items)), shape=(log.n_users, n_items))
        held.data[:] = 1.0  # building it adds up what is repeated
        counts = sparse.csr_array(held.T @ held)
    else:
        pairs = []
        for apart in range(1, window + 1):
            same = owner[apart:] == owner[:-apart]
            pairs.append((items[:-apart][same], items[apart:][same]))
        first, second = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        one_way = sparse.csr_array((np.ones(len(first)), (first, second)), shape=(n_items, n_items))
        counts = sparse.csr_array(one_way + one_way.T)
    counts.setdiag(0)
    counts.eliminate_zeros()
    return counts


def spectral_paths(counts: Counts, *, clusters: int, leaf: int, seed: int) -> list[tuple[int, ...]]:
    """Per item the clusters that it lies in, from the outermost: each of more than `leaf` items is cut into up to `clusters` again.

    A cluster is cut by the leading eigenvectors of its normalised co-occurrence matrix (Ng, Jordan and Weiss 2001). Items that were
    taken with nothing else lie in clusters of their own, of at most `leaf` each.
    """
    paths: list[tuple[int, ...]] = [()] * counts.shape[0]
    todo: list[tuple[Ints, tuple[int, ...]]] = [(np.arange(counts.shape[0]), ())]
    while todo:
        members, path = todo.pop()
        if len(members) <= leaf and path:
            for member in members.tolist():
                paths[member] = path
            continue
        inside = sparse.csr_array(counts[members][:, members])
        for number, part in enumerate(_cut(inside, min(clusters, len(members)), leaf=leaf, seed=seed)):
            todo.append((members[part], (*path, number)))
    return paths


def _cut(counts: Counts, clusters: int, *, leaf: int, seed: int) -> list[Ints]:
    """The rows of each part, none empty, at least two parts unless one is small enough; the largest part first."""
    degree: npt.NDArray[np.float64] = np.asarray(counts.sum(axis=1)).ravel()
    alone, together = np.flatnonzero(degree == 0), np.flatnonzero(degree > 0)
    parts = np.array_split(alone, -(-len(alone) // leaf)) if len(alone) else []
    if len(together) > clusters:
        kept = sparse.csr_array(counts[together][:, together])
        labels = _labels(kept, clusters, seed=seed)
        found = [together[labels == label] for label in np.unique(labels)]
        if len(found) == 1 and len(together) > leaf:  # nothing tells them apart: any cut is as good
            found = np.array_split(together, min(clusters, -(-len(together) // leaf)))
        parts += found
    elif len(together):
        parts.append(together) if len(together) <= leaf else parts.extend(np.array_split(together, -(-len(together) // leaf)))
    return sorted((part for part in parts if len(part)), key=lambda part: (-len(part), int(part[0])))


def _labels(counts: Counts, clusters: int, *, seed: int) -> Ints:
    """(n,) the cluster of each row, whose degrees are positive."""
    n = counts.shape[0]
    scale = 1 / np.sqrt(np.asarray(counts.sum(axis=1)).ravel())
    normalised = sparse.csr_array(sparse.diags_array(scale) @ counts @ sparse.diags_array(scale))
    if n <= DENSE:
        vectors = np.linalg.eigh(normalised.toarray())[1][:, -clusters:]
    else:
        start = np.random.default_rng(seed).normal(size=n)
        vectors = eigsh(normalised, k=clusters, which="LA", v0=start)[1]
    rows: npt.NDArray[np.float64] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    labels: Ints = KMeans(clusters, n_init=4, random_state=seed).fit(rows).labels_.astype(np.int64)
    return labels
