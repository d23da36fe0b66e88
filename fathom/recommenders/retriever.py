"""The preference-aware retriever at work: histories and wishes in, item ids out; what repeats is computed once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fathom.contracts import TextEncoder
from fathom.errors import ConfigError, ModelError
from fathom.files import Json
from fathom.items.search import search
from fathom.recommenders.memo import Memo
from fathom.recommenders.ranked import joined
from fathom.recommenders.retriever_model import RetrieverModel, RetrieverSettings
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.records import PAD, Call, Case, Catalog, Floats, Ranking

__all__ = ["Retriever", "RetrieverSettings", "text_memo"]

BATCH = 256
"""Histories encoded, or calls answered, at a time: bounds memory, changes nothing in the result."""
REMEMBERED_TEXTS = 20_000
REMEMBERED_HISTORIES = 20_000


class Retriever:
    """Answers calls; keeps the Scorer, Recommender and Tool seams. The model must not be trained while this is in use."""

    def __init__(self, model: RetrieverModel, encoder: TextEncoder, *, texts: Memo[str] | None = None) -> None:
        """`texts` shares remembered preference vectors with other retrievers of the same encoder."""
        if encoder.width != model.texts.shape[1]:
            raise ModelError(
                f"text encoder '{encoder.name}' gives {encoder.width} numbers, the retriever was built on {model.texts.shape[1]}: "
                "name the encoder it was trained with"
            )
        self.model = model.eval()
        self.encoder = encoder
        self.n_items = model.n_items
        self._texts = texts if texts is not None else text_memo(encoder)
        with torch.inference_mode():
            self._adapted, scored = model.items()
            self._scored = scored.cpu()
        self._states: Memo[tuple[int, ...]] = Memo(self._last_states, most=REMEMBERED_HISTORIES)

    @property
    def item_vectors(self) -> Floats:
        """(N + 1, d) float32: unit vectors by which items are scored, row `PAD` zero."""
        vectors: Floats = normalize(self._scored, dim=1).numpy().copy()
        vectors[PAD] = 0
        return vectors

    @property
    def text_vectors(self) -> Floats:
        """(N + 1, D) float32: the unit vectors of the items' texts, row `PAD` zero."""
        vectors: Floats = self.model.texts.cpu().numpy()
        return vectors

    def queries(self, histories: Sequence[Sequence[int]], preferences: Sequence[str]) -> Tensor:
        """(B, d) float32 on the CPU: what items are compared with; each distinct history and text is read once."""
        if not histories:
            return torch.empty(0, self.model.settings.width)
        with torch.inference_mode():
            newest = [tuple(history[-self.model.settings.length :]) for history in histories]
            states, texts = self._states.rows(newest), self._texts.rows([text.strip() for text in preferences])
            device = self.model.texts.device
            return self.model.queries(states.to(device), self.model.wishes(texts.to(device))).cpu()

    def score(self, cases: Sequence[Case], preferences: Sequence[str] | None = None) -> Tensor:
        """(B, n_items + 1) float32 on the CPU, -inf in column `PAD`; no `preferences`, or '', ask for what the history suggests."""
        with torch.inference_mode():
            scores = self.queries([case.history for case in cases], _texts(preferences, len(cases))) @ self._scored.T
            scores[:, PAD] = -torch.inf
        return scores.clone()

    def retrieve(self, calls: Sequence[Call]) -> list[tuple[int, ...]]:
        """Per call its best `k` item ids, none of `exclude`, ties to the smaller id; fewer where fewer are left."""
        found: list[tuple[int, ...]] = []
        for start in range(0, len(calls), BATCH):
            batch = calls[start : start + BATCH]
            queries = self.queries([call.history for call in batch], [call.preference for call in batch])
            ranking = search(queries, self._scored, max(call.k for call in batch), exclude=[call.exclude for call in batch])
            found += [_ids(row[: call.k]) for row, call in zip(ranking.items.tolist(), batch, strict=True)]
        return found

    def weigh(self, histories: Sequence[Sequence[int]], items: Sequence[Sequence[int]]) -> list[Floats]:
        """Per history the logits of its `items`, nothing wished for: those of the softmax by which the retriever was trained.

        Each product is summed in double precision by itself, so a history's weights do not depend on the others.
        """
        with torch.inference_mode():
            queries = self.queries(histories, [""] * len(histories)).double() * self.model.sharpness()
            rows = [self._scored[list(wanted)].double() @ query for query, wanted in zip(queries, items, strict=True)]
        return [row.float().numpy() for row in rows]

    def recommend(
        self, cases: Sequence[Case], k: int, *, exclude_history: bool = True, preferences: Sequence[str] | None = None
    ) -> Ranking:
        """The k best items of each case, ties to the smaller id; with `exclude_history` none of its history."""
        wishes, parts = _texts(preferences, len(cases)), []
        for start in range(0, len(cases), BATCH):
            batch = cases[start : start + BATCH]
            exclude = [case.history if exclude_history else () for case in batch]
            queries = self.queries([case.history for case in batch], wishes[start : start + BATCH])
            parts.append(search(queries, self._scored, k, exclude=exclude))
        return joined(parts, k)

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, whole or not at all, with its settings and the name of its text encoder."""
        facts: dict[str, Json] = {
            "kind": "retriever",
            "n_items": self.n_items,
            "encoder": self.encoder.name,
            "settings": self.model.settings.model_dump(mode="json"),
        }
        save_weights(folder, self.model.state_dict(), facts)

    @classmethod
    def load(cls, folder: Path, catalog: Catalog, encoder: TextEncoder, *, settings: RetrieverSettings | None = None) -> "Retriever":
        """The retriever saved in `folder`, ready to be asked.

        Another catalogue size, another text encoder, or other `settings` than it was trained with are a `ModelError`.
        """
        facts = read_facts(folder, "retriever")
        own = recorded(facts, RetrieverSettings, folder)
        if settings is not None and settings != own:
            values, asked = own.model_dump(), settings.model_dump()
            wrong = ", ".join(f"{name} {values[name]!r}, asked for {asked[name]!r}" for name in values if values[name] != asked[name])
            raise ModelError(f"{folder}: trained with {wrong}; write the recorded settings, or train again")
        if facts["n_items"] != catalog.n_items:
            raise ModelError(f"{folder}: trained on {facts['n_items']} items, the catalogue has {catalog.n_items}: name its data set")
        if facts["encoder"] != encoder.name:
            raise ModelError(f"{folder}: trained with the text encoder '{facts['encoder']}', not '{encoder.name}': name that one")
        tensors = read_tensors(folder)
        model = RetrieverModel(tensors["texts"] if "texts" in tensors else torch.zeros(catalog.n_items + 1, encoder.width), own)
        put_weights(model, tensors, folder)
        return cls(model, encoder)

    def _last_states(self, histories: Sequence[tuple[int, ...]]) -> Tensor:
        """(B, d) on the CPU, in batches of histories of like length, so that little is padding."""
        unknown = {item for history in histories for item in history if not PAD < item <= self.n_items}
        if unknown:
            raise ConfigError(f"a history names item {min(unknown)}, but the retriever knows the items 1 to {self.n_items}")
        order = np.argsort([len(history) for history in histories], kind="stable")
        states = torch.empty(len(histories), self.model.settings.width)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            states[rows] = self.model.last_states([histories[row] for row in rows], self._adapted).cpu()
        return states


def text_memo(encoder: TextEncoder) -> Memo[str]:
    """Preference vectors of `encoder`, remembered; the empty text is zero without asking the encoder."""

    def encode(texts: Sequence[str]) -> Tensor:
        vectors = torch.zeros(len(texts), encoder.width)
        stated = [row for row, text in enumerate(texts) if text]
        if stated:
            vectors[stated] = torch.from_numpy(encoder.encode([texts[row] for row in stated]))
        return vectors

    return Memo(encode, most=REMEMBERED_TEXTS)


def _texts(preferences: Sequence[str] | None, count: int) -> Sequence[str]:
    """One text a case; empty ones where none are given."""
    texts = [""] * count if preferences is None else preferences
    if len(texts) != count:
        raise ConfigError(f"{len(texts)} preferences for {count} cases: give one for each, '' where nothing is wished for")
    return texts


def _ids(row: Sequence[int]) -> tuple[int, ...]:
    """A row of a ranking without the `PAD` at its end."""
    return tuple(item for item in row if item != PAD)
