"""A small log whose law is known, and a P5 that learned it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from fathom.p5.identifiers import Identifiers, IdentifierSettings, Known, identifiers
from fathom.p5.model import P5
from fathom.p5.sentences import Moment
from fathom.p5.training import P5Training, train
from fathom.records import HEADLINE, REVIEW, Case, Catalog, EventColumn, Interactions
from fathom.training.run import Run

N_ITEMS = 20
"""Item i is always followed by i + 1, the last one by 1; it is given 1 + i % 5 stars."""

SAID = (
    "the sound of it is so .",
    "a cable that is so too .",
    "its strap on me is so .",
    "the pedal of it is so .",
    "one knob on it is so .",
    "a bridge for it is so .",
)
"""What is said of an item, by its id."""


def ring(people: int = 40, events: int = 10, *, seed: int = 0) -> Interactions:
    """Histories along the ring, rated, each with a review."""
    starts = np.random.default_rng(seed).integers(N_ITEMS, size=people)
    items = np.concatenate([(start + np.arange(events)) % N_ITEMS + 1 for start in starts]).astype(np.int64)
    told = (items % len(SAID) + 1).astype(np.float32)
    return Interactions(
        users=tuple(f"u{user}" for user in range(people)),
        offsets=np.arange(0, people * events + 1, events),
        items=items,
        ratings=(items % 5 + 1).astype(np.float32),
        columns={
            REVIEW: EventColumn(told, tuple(f"bought . {said}" for said in SAID)),
            HEADLINE: EventColumn(told, ("loud", "stiff", "soft", "firm", "round", "flat")),
        },
    )


def catalogue(n_items: int = N_ITEMS) -> Catalog:
    """Items with titles of several words."""
    return Catalog(tuple(f"n{item}" for item in range(1, n_items + 1)), tuple(f"Thing {item} of many" for item in range(1, n_items + 1)))


def vectors() -> np.ndarray:  # type: ignore[type-arg]
    """(N_ITEMS + 1, 8) unit rows."""
    rows = np.random.default_rng(3).normal(size=(N_ITEMS + 1, 8)).astype(np.float32)
    rows[0] = 0
    rows[1:] /= np.linalg.norm(rows[1:], axis=1, keepdims=True)
    return rows


def named(scheme: str, log: Interactions | None = None, n_items: int = N_ITEMS) -> Identifiers:
    """The ids of the catalogue by a scheme."""
    known = Known(ring() if log is None else log, catalogue(n_items), vectors)
    return identifiers(known, IdentifierSettings.model_validate({"scheme": scheme, "clusters": 3, "leaf": 4, "levels": 2, "codes": 4}))


def settings(scheme: str = "collaborative", **changed: object) -> P5Training:
    """Of a P5 that learns the ring within seconds."""
    told: dict[str, object] = {
        "identifiers": {"scheme": scheme, "clusters": 3, "leaf": 4, "levels": 2, "codes": 4},
        "network": {"width": 32, "vocabulary": 300, "dropout": 0.0},
        "sentences": {"latest": 4},
        "templates": ("continuation",),
        "sampling": {"continuation": {"next": 3}},
        "candidates": 5,
        "candidate_titles": 5,
        "fit": {"epochs": 9, "batch_size": 16, "learning_rate": 0.01, "optimizer": "muon", "average": 0.99},
    }
    return P5Training.model_validate(told | changed)


def trained(chosen: P5Training, *, run: Run | None = None, log: Interactions | None = None) -> P5:
    """A P5 fitted to the ring, or to another log."""
    run = run if run is not None else Run(Path(mkdtemp()))
    return train(ring() if log is None else log, catalogue(), vectors=vectors, settings=chosen, run=run, stage="p5")


@cache
def learned(scheme: str = "collaborative") -> P5:
    """The same for all tests of a session; nobody changes it."""
    return trained(settings(scheme))


def places(length: int = 5) -> tuple[list[Moment], list[int]]:
    """Strangers at each place of the ring, and what comes next for each."""
    told = [Case(-1, tuple((start + np.arange(length)) % N_ITEMS + 1), 0) for start in range(N_ITEMS)]
    return [Moment(case) for case in told], [(start + length) % N_ITEMS + 1 for start in range(N_ITEMS)]


def nobody(moments: Sequence[Moment]) -> list[tuple[int, ...]]:
    """Nothing is excluded for anybody."""
    return [()] * len(moments)
