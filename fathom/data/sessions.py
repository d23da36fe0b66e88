"""Histories become sessions: cut where somebody paused, repeats taken out, the longest shortened (Transformers4Rec, RecSys 2021)."""

from dataclasses import replace
from typing import Literal

import numpy as np

from fathom.data.dataset import Dataset
from fathom.data.filters import only, owners
from fathom.errors import ConfigError, DataError

Repeats = Literal["keep", "collapse", "drop"]


def sessions(dataset: Dataset, *, gap: float = 30.0, repeats: Repeats = "collapse", longest: int = 20, shortest: int = 2) -> Dataset:
    """Every session as a user of its own, called '<user>#<number>', numbers from 1.

    A session ends where more than `gap` minutes pass. Of its events, repeats are kept, or of each run of one item the first stays
    (`collapse`: a a b b a becomes a b a), or of each item (`drop`: a b). Of what is left, the first `longest` events stay, and sessions of
    fewer than `shortest` go. Times are needed; an event without one is a `DataError`.
    """
    log = dataset.interactions
    if gap <= 0 or shortest < 1 or longest < shortest:
        raise ConfigError(
            f"sessions of {shortest} to {longest} events and gaps of {gap:g} minutes cannot be: write positive, rising numbers"
        )
    if log.times is None or bool((log.times < 0).any()):
        raise DataError(f"{dataset.name} does not know the time of every interaction, so it cannot be cut into sessions: leave them out")
    user = owners(log)
    first = np.ones(log.n_events, dtype=bool)
    first[1:] = (user[1:] != user[:-1]) | (np.diff(log.times) > gap * 60)
    session = np.cumsum(first) - 1
    keep = np.ones(log.n_events, dtype=bool)
    if repeats == "collapse":
        keep[1:] = (session[1:] != session[:-1]) | (log.items[1:] != log.items[:-1])
    elif repeats == "drop":
        keep[:] = False
        keep[np.unique(session * (dataset.catalog.n_items + 1) + log.items, return_index=True)[1]] = True
    place = np.cumsum(keep) - 1
    start = np.zeros(int(session[-1]) + 1 if log.n_events else 0, dtype=np.int64)
    start[session[first]] = (np.cumsum(keep) - keep)[first]
    keep &= place - start[session] < longest
    sizes = np.bincount(session[keep], minlength=len(start))
    keep &= sizes[session] >= shortest
    starts = np.flatnonzero(first)
    number = np.arange(len(starts)) - np.searchsorted(user[starts], user[starts]) + 1
    names = tuple(f"{log.users[owner]}#{nth}" for owner, nth in zip(user[starts].tolist(), number.tolist(), strict=True))
    cut = replace(log, users=names, offsets=np.append(starts, log.n_events).astype(np.int64))
    told = {"keep": "repeats kept", "collapse": "runs of one item collapsed", "drop": "repeats dropped"}[repeats]
    rule = f"{len(names):,} sessions by gaps of {gap:g} minutes, {told}, {shortest} to {longest} events"
    return only(replace(dataset, interactions=cut), keep, rule)
