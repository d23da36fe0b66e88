"""A finished run behind a service: each of its models answers."""

from pathlib import Path

import httpx

from fathom.pipeline.serve import offer_of
from fathom.serving.app import service_app
from fathom.serving.offer import Offer
from fathom.serving.store.store import Store
from tests.serving.shop import running


def served(folder: Path, state: Path) -> Offer:
    """What the run offers, after each of its models was asked for a list, and each that rates for a rating."""
    offer = offer_of(folder)
    user = next(iter(offer.asked))
    with running(service_app([offer], Store(state / "state.db"))) as url:
        for model in offer.models:
            answer = httpx.post(f"{url}/v1/recommend", json={"user": user, "model": model, "k": 3, "explain": True}, timeout=120)
            assert answer.status_code == 200, (model, answer.text)
            items = answer.json()["items"]
            assert len({item["id"] for item in items}) == 3, model
            taken = {offer.catalog.names[item - 1] for item in offer.people[user].history}
            assert not taken & {item["id"] for item in items}, model
            assert bool(answer.json()["turns"]) <= (model in offer.agents)
        for model in offer.raters:
            answer = httpx.post(f"{url}/v1/rate", json={"user": user, "model": model, "items": [offer.catalog.names[0]]}, timeout=120)
            assert answer.status_code == 200, (model, answer.text)
        said = httpx.post(f"{url}/v1/chat", json={"user": user, "message": "show me 2 of them"}, timeout=120)
        assert len(said.json()["items"]) == 2, said.text
    return offer
