"""Recommenders are put to the question: every case is scored, and the rank of every target is kept."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from fathom import metrics
from fathom.contracts import Recommender
from fathom.data.batches import pad_right
from fathom.errors import DataError, ModelError
from fathom.evaluation.cost import peak_megabytes
from fathom.files import written_aside
from fathom.records import PAD, Case, Ints, Ranking

KEPT = 20
"""How many items of each list are kept, for coverage and its like and for export."""

METADATA = "fathom-ranks"
"""The key under which a file of ranks keeps its depth, seconds and memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The answers of one recommender to n cases, reduced to what every metric is computed from."""

    users: Ints
    """(n,) user index of each case; the same order as the cases."""
    targets: Ints
    """What was relevant: (n,) the item id that came next, or (n, R) with it in the first column where cases have up to R relevant items;
    `PAD` where a case has fewer."""
    ranks: Ints
    """The places of `targets`, from 1; 0: not among the first `depth`; -1 where a case has fewer of them."""
    items: Ints
    """(n, at most 20) the head of each list; `PAD` where a list is short."""
    depth: int
    """How long the lists were; no metric may be cut off beyond it."""
    seconds: float
    """Wall-clock seconds for all cases, summed over the processes that shared them."""
    peak_mb: float
    """Largest memory of the process so far, in MiB."""
    weights: metrics.Values | None = None
    """(n,) what each case counts in a mean, 1 on average; None: all alike. The table that asks for them keeps them, not the file."""
    ties: Ints | None = None
    """(n,) how many items of the list, with it, have the target's score, `ranks` being the best place that it could have among them; 0
    where it is not in the list. Metrics are means over all orders of the tied. None: a list's order is what it is."""

    @property
    def next_items(self) -> Ints:
        """(n,) the item id that came next."""
        return self.targets if self.targets.ndim == 1 else self.targets[:, 0]

    def per_case(self, name: str) -> metrics.Values:
        """(n,) values of the metric `name`, such as 'ndcg@10', times what each case counts; a cut-off beyond `depth` is an error and not
        a guess."""
        values = metrics.per_case(name, self.ranks) if self.ties is None else _over_ties(name, self.ranks, self.ties)
        cutoff = name.partition("@")[2]
        if cutoff and int(cutoff) > self.depth:
            raise DataError(f"'{name}' was asked of lists of {self.depth} items: evaluate again with depth {cutoff} or more")
        return values if self.weights is None else values * self.weights

    def metrics(self, cutoffs: Sequence[int] = metrics.CUTOFFS) -> dict[str, float]:
        """Mean of every ranking metric over all cases, at the cut-offs that lie within `depth`."""
        names = metrics.metric_names([k for k in cutoffs if k <= self.depth], several=self.ranks.ndim == 2)
        return {name: float(self.per_case(name).mean()) for name in names}

    def list_figures(self, counts: Ints, *, k: int = 10) -> dict[str, float]:
        """Coverage, novelty and popularity bias of the first `k` items; `counts` (n_items + 1,) is how often training holds each id."""
        head = self.items[:, :k]
        return {
            f"coverage@{k}": metrics.coverage(head, len(counts) - 1),
            f"novelty@{k}": metrics.novelty(head, counts),
            f"popularity_bias@{k}": metrics.popularity_bias(head, counts),
        }

    def subset(self, chosen: Ints) -> "Evaluation":
        """The same answers for the cases at positions `chosen` alone (rare items, new users); time is shared out evenly."""
        share = len(chosen) / max(len(self.ranks), 1)
        return Evaluation(
            users=self.users[chosen],
            targets=self.targets[chosen],
            ranks=self.ranks[chosen],
            items=self.items[chosen],
            depth=self.depth,
            seconds=self.seconds * share,
            peak_mb=self.peak_mb,
            weights=None if self.weights is None else self.weights[chosen] / self.weights[chosen].mean(),
            ties=None if self.ties is None else self.ties[chosen],
        )

    @staticmethod
    def joined(parts: Sequence["Evaluation"]) -> "Evaluation":
        """The answers to the cases of all `parts`, one after the other; their seconds add up."""
        widest = max((part.targets.shape[1] for part in parts if part.targets.ndim == 2), default=0)
        return Evaluation(
            users=np.concatenate([part.users for part in parts]),
            targets=np.concatenate([_widened(part.targets, widest, PAD) for part in parts]),
            ranks=np.concatenate([_widened(part.ranks, widest, metrics.NOBODY) for part in parts]),
            items=np.concatenate([part.items for part in parts]),
            depth=parts[0].depth,
            seconds=sum(part.seconds for part in parts),
            peak_mb=max(part.peak_mb for part in parts),
            ties=_all_ties(parts),
        )

    def save(self, path: Path) -> None:
        """Write one Parquet row a case (user, target, rank, items), whole or not at all; the rest stands in the file's metadata."""
        frame = pl.DataFrame(
            {
                "user": self.users,
                "target": _column(self.targets),
                "rank": _column(self.ranks),
                "items": pl.Series(self.items.tolist(), dtype=pl.List(pl.Int64)),
            }
        )
        if self.ties is not None:
            frame = frame.with_columns(ties=pl.Series(self.ties, dtype=pl.Int64))
        about = json.dumps({"depth": self.depth, "seconds": self.seconds, "peak_mb": self.peak_mb})
        with written_aside(path) as aside:
            frame.write_parquet(aside, metadata={METADATA: about})

    @staticmethod
    def load(path: Path) -> "Evaluation":
        """Read what `save` wrote; any other file is a `DataError`."""
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; `fathom evaluate` writes it")
        try:
            about = json.loads(pl.read_parquet_metadata(path)[METADATA])
            frame = pl.read_parquet(path)
            return Evaluation(
                users=frame["user"].to_numpy(),
                targets=np.array(frame["target"].to_list(), dtype=np.int64),
                ranks=np.array(frame["rank"].to_list(), dtype=np.int64),
                items=np.array(frame["items"].to_list(), dtype=np.int64).reshape(len(frame), -1),
                depth=int(about["depth"]),
                seconds=float(about["seconds"]),
                peak_mb=float(about["peak_mb"]),
                ties=frame["ties"].to_numpy() if "ties" in frame.columns else None,
            )
        except (pl.exceptions.PolarsError, KeyError, ValueError) as error:
            raise DataError(f"{path}: not a file of ranks as `fathom evaluate` writes them ({error})") from error


def evaluate(
    recommender: Recommender,
    cases: Sequence[Case],
    *,
    depth: int = 100,
    batch_size: int = 256,
    exclude_history: bool = True,
    even_ties: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Rank the whole catalogue for every case and keep where each relevant item landed among the first `depth`.

    As many rows come back as cases went in, in their order, whatever `batch_size` is; a recommender that loses or adds a row,
    ranks an item twice or leaves a gap is stopped with its mistake named. `progress` is told how many more cases are done. With
    `even_ties` metrics are means over all orders of items with equal scores; otherwise the order that the recommender gives them counts.
    """
    if not cases:
        raise DataError("there are no cases to evaluate: the split left nobody to ask")
    if unknown := [place for place, case in enumerate(cases) if case.target == PAD]:
        raise DataError(
            f"{len(unknown)} of {len(cases)} cases have no target (the first is case {unknown[0]}): they can be served, not evaluated"
        )
    targets = _relevant(cases)
    started = time.perf_counter()
    ranks, heads, ties = [], [], []
    for start in range(0, len(cases), batch_size):
        batch = cases[start : start + batch_size]
        ranking = recommender.recommend(batch, depth, exclude_history=exclude_history)
        _check(ranking, batch, depth)
        places = metrics.ranks_of(ranking, targets[start : start + len(batch)])
        if even_ties:
            places, tied = _tied(ranking, places)
            ties.append(tied)
        ranks.append(places)
        heads.append(_head(ranking, min(KEPT, depth)))
        if progress is not None:
            progress(len(batch))
    return Evaluation(
        users=np.array([case.user for case in cases], dtype=np.int64),
        targets=targets,
        ranks=np.concatenate(ranks),
        items=np.concatenate(heads),
        depth=depth,
        seconds=time.perf_counter() - started,
        peak_mb=peak_megabytes(),
        ties=np.concatenate(ties) if even_ties else None,
    )


def paired(evaluations: Mapping[str, Evaluation]) -> None:
    """Raise a `DataError` unless all evaluations hold the same users and targets in the same order."""
    names = list(evaluations)
    for name in names[1:]:
        first, other = evaluations[names[0]], evaluations[name]
        if not (np.array_equal(first.users, other.users) and np.array_equal(first.targets, other.targets)):
            raise DataError(f"'{names[0]}' and '{name}' were not asked the same cases in the same order: evaluate both on one split")


def _tied(ranking: Ranking, ranks: Ints) -> tuple[Ints, Ints]:
    """(n,) the first of the places that the target could have among items of its score, and how many these are; 0 where it is nowhere."""
    if ranks.ndim > 1:
        raise DataError("ties are evened out where one item is relevant, and here cases have several")
    own = np.take_along_axis(ranking.scores, np.maximum(ranks - 1, 0)[:, None], axis=1)
    inside = (ranks > 0)[:, None] & (ranking.items != PAD)
    firsts = 1 + (inside & (ranking.scores > own)).sum(axis=1)
    return np.where(ranks > 0, firsts, metrics.NOWHERE), (inside & (ranking.scores == own)).sum(axis=1)


def _over_ties(name: str, ranks: Ints, ties: Ints) -> metrics.Values:
    """(n,) the mean of the metric over the places from `ranks` on, as many as there are `ties`."""
    total = metrics.per_case(name, ranks)
    for further in range(1, int(ties.max(initial=0))):
        total = total + np.where(further < ties, metrics.per_case(name, np.where(further < ties, ranks + further, ranks)), 0.0)
    return total / np.maximum(ties, 1)


def _all_ties(parts: Sequence["Evaluation"]) -> Ints | None:
    known = [part.ties for part in parts if part.ties is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _widened(values: Ints, width: int, filler: int) -> Ints:
    """(n, width), the last columns `filler`; as they are where no part has several columns."""
    if not width:
        return values
    rows = values if values.ndim == 2 else values[:, None]
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=filler)


def _column(values: Ints) -> pl.Series:
    """A number a row, or a list of them."""
    return pl.Series(values.tolist(), dtype=pl.Int64 if values.ndim == 1 else pl.List(pl.Int64))


def _relevant(cases: Sequence[Case]) -> Ints:
    """(n,) the target of each case, or (n, R) its distinct relevant items, the target first, where any case has several."""
    items = [tuple(dict.fromkeys((case.target, *case.later))) for case in cases]
    most = max(map(len, items))
    rows = pad_right(items, most)
    return rows if most > 1 else rows[:, 0]


def _head(ranking: Ranking, width: int) -> Ints:
    """(B, width) the first items, padded with `PAD` where the ranking is narrower."""
    items = ranking.items[:, :width]
    return np.pad(items, ((0, 0), (0, width - items.shape[1])), constant_values=PAD)


def _check(ranking: Ranking, batch: Sequence[Case], depth: int) -> None:
    """Hold a recommender to its contract: a row a case, at most `depth` items, none twice, no gap before the end."""
    items = ranking.items
    if items.shape[0] != len(batch) or items.shape[1] > depth:
        raise ModelError(f"{len(batch)} cases were asked for {depth} items each, but the ranking has shape {items.shape}")
    if ((items[:, :-1] == PAD) & (items[:, 1:] != PAD)).any():
        raise ModelError("a ranking has a gap: PAD stands before an item")
    ordered = np.sort(items, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD)).any():
        raise ModelError("a ranking holds an item twice: recall could exceed 1")
