"""A small service of a test's own: films, people, a neighbour model, texts, and an agent that says what it is told to."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from worlds import Scripted, asks, concludes, film_catalog

from fathom.agents.protocol import ProtocolSettings
from fathom.agents.recommender import AgentRecommender
from fathom.items.embed import item_vectors
from fathom.items.encoders import encoder
from fathom.models.item_knn import ItemKNN
from fathom.models.popularity import Popularity
from fathom.models.text import Text, TextSettings
from fathom.pipeline.workshop import whole_histories
from fathom.recommenders.raters import Biases
from fathom.records import Call, Case, Interactions
from fathom.serving.live import LiveShelves
from fathom.serving.offer import Offer
from tests.worlds import Shelves

FILMS = film_catalog(40)
ENCODER = encoder("hashing")


def log() -> Interactions:
    """Twenty people, each of whom took six films that stand beside each other, rated by their genre."""
    rng = np.random.default_rng(1)
    items = np.array([(rng.integers(34) + np.arange(6)) % 40 + 1 for _ in range(20)], dtype=np.int64)
    ratings = (items % 3 + 2).astype(np.float32).reshape(-1)
    return Interactions(tuple(f"p{user}" for user in range(20)), np.arange(0, 121, 6, dtype=np.int64), items.reshape(-1), ratings=ratings)


class Slow(Shelves):
    """A retriever that takes its time."""

    seconds = 0.1

    def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        time.sleep(self.seconds)
        return super().retrieve(calls)


def agent(script: Any = None, retriever: Any = None) -> AgentRecommender:
    """Asks twice and then lists films 20 to 29."""
    told = script or [asks("something of war"), asks("something of love"), concludes(tuple(range(20, 30)), FILMS)]
    settings = ProtocolSettings(items_per_call=5)
    return AgentRecommender(Scripted(told), retriever or Shelves(40), FILMS, settings=settings, fallback=Popularity.of(log(), 40))


def texts() -> Text:
    """Knows films by their texts, new ones too."""
    import torch

    settings = TextSettings(encoder="hashing")
    return Text(40, settings, {"vectors": torch.from_numpy(item_vectors(FILMS, ENCODER, None))})


def offer(name: str = "films", **changed: Any) -> Offer:
    """The run."""
    people, taken = log(), ItemKNN.of(log(), 40)
    cases = whole_histories(people)
    told: dict[str, Any] = {
        "name": name,
        "method": "deeprec",
        "catalog": FILMS,
        "people": dict(zip(people.users, cases, strict=True)),
        "asked": {f"p{case.user}": Case(case.user, case.history[:-1], case.history[-1]) for case in cases[:5]},
        "models": {"popularity": lambda: Popularity.of(people, 40), "item-knn": lambda: taken, "text": texts, "agent": agent},
        "agents": frozenset({"agent"}),
        "hearing": frozenset({"text"}),
        "growing": frozenset({"text"}),
        "default": "item-knn",
        "shelves": LiveShelves(
            ENCODER,
            lambda catalog: item_vectors(catalog, ENCODER, None),
            np.bincount(people.items, minlength=41).astype(np.int64),
            taken,
        ),
        "raters": {"biases": lambda: Biases.of(people, 40)},
        "figures": {"item-knn": "NDCG@10 .1234"},
    }
    return Offer(**(told | changed))


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of the app, over a real socket."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
