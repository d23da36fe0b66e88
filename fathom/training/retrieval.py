"""The preference-aware retriever learns from whole windows: every position is asked as it is, some a second time with a made-up wish."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.contracts import TextEncoder
from fathom.data.batches import shuffled
from fathom.errors import ModelError
from fathom.items.embed import embed
from fathom.metrics import per_case, ranks_of
from fathom.recommenders.retriever import Retriever, RetrieverSettings, text_memo
from fathom.recommenders.retriever_model import RetrieverModel
from fathom.records import PAD, Case, Catalog, Floats, Interactions, Ints
from fathom.settings import Settings
from fathom.training.full_softmax import full_softmax
from fathom.training.preferences import NEUTRAL, PreferenceSettings, described, neutral, wish
from fathom.training.processes import cut
from fathom.training.run import Run, noise_from
from fathom.training.sequential import SequenceFit, starts_of, window_batches
from fathom.training.supervised import fit


class RetrieverTraining(Settings):
    """The retriever and how it is trained."""

    model: RetrieverSettings = RetrieverSettings()
    """The model's make."""
    fit: SequenceFit = SequenceFit()
    """How it is fitted; with the tedrec backbone `batch_size` counts single histories, and 2,048 is a good number."""
    texts_per_item: int = Field(default=8, ge=1)
    """Wishes made up for each item before training, whose vectors are looked up during it."""
    quiet: float = Field(default=1.0, ge=0)
    """Weight of the mean square of what neutral texts add to the user vector: it keeps them from adding anything."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: this share of the target's weight is spread over all items."""
    stated_weight: float = Field(default=0.5, gt=0)
    """What a position counts when it is asked a second time, with its stated wish; without the wish it counts 1."""


@dataclass(frozen=True, slots=True)
class WishTable:
    """Preference vectors made before training: looking one up costs nothing in the loop."""

    vectors: Tensor
    """(M, D): row 0 is the empty preference, rows 1..`neutral` the neutral texts, then the wishes."""
    neutral: int
    of_item: Ints
    """(N + 1, texts_per_item) rows of `vectors`."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One batch: what was taken, what is asked, and the row of the wish that is stated at each asked place."""

    ids: Tensor
    """(B, T) padded on the right."""
    lengths: Tensor
    """(B,) events of each row; read by the tedrec backbone."""
    targets: Tensor
    """(M,) in the order of the asked places."""
    wishes: Tensor
    """(M,) rows of the wish table; where one states something, the place is also asked with the empty preference."""
    asked: Tensor | None
    """(B, T) where a state is compared with a target; None where every row has one state."""

    def rows(self, piece: slice) -> "Lesson":
        """Some of the rows with what is asked in them."""
        asked = None if self.asked is None else self.asked[piece]
        first, last = piece.start, piece.stop
        if self.asked is not None:
            first, last = (int(self.asked[:end].sum()) for end in (first, last))
        return Lesson(self.ids[piece], self.lengths[piece], self.targets[first:last], self.wishes[first:last], asked)


def train_retriever(
    interactions: Interactions,
    catalog: Catalog,
    valid: Sequence[Case],
    *,
    encoder: TextEncoder,
    vectors: Floats,
    preferences: PreferenceSettings,
    settings: RetrieverTraining,
    run: Run,
    stage: str = "retriever",
    start: Retriever | None = None,
    cache: Path | None = None,
) -> Retriever:
    """A retriever fitted to all events of `interactions` by the full softmax: all asked without a stated wish, some with one too.

    `vectors` (N + 1, D) are `encoder`'s of the items' texts, as `item_vectors` gives them; `preferences` says how wishes are made
    up, its `empty` and `neutral` being shares of all positions. `start` gives the first weights (a retriever of the same
    settings and catalogue); `cache` is the folder that remembers text vectors. Validation reports NDCG@10 for four ways of
    asking, see `stated_questions`; the empty preference decides which weights are kept.
    """
    rng = np.random.default_rng(settings.fit.seed)
    table = wish_table(catalog, encoder, preferences=preferences, each=settings.texts_per_item, rng=rng, cache=cache)
    model = _first_weights(vectors, settings=settings, start=start)
    questions = stated_questions(catalog, valid, preferences=preferences, rng=rng)
    silent = table.vectors[1 : table.neutral + 1]

    def loss(module: nn.Module, lesson: Lesson) -> tuple[Tensor, Tensor]:
        device = model.texts.device
        texts, items = model.items()
        states = model.states(lesson.ids.to(device), texts, lesson.lengths.to(device))
        if lesson.asked is not None:
            states = states[lesson.asked.to(device)]
        # A wish about the target says more than the history: asked with it alone, a position would teach nothing of sequences.
        again = torch.nonzero(lesson.wishes > table.neutral).squeeze(1)
        wishes = torch.cat([lesson.wishes.where(lesson.wishes <= table.neutral, 0), lesson.wishes[again]])
        states = torch.cat([states, states[again.to(device)]])
        queries = model.queries(states, stated_wishes(model, table, wishes)) * model.sharpness()
        targets = torch.cat([lesson.targets, lesson.targets[again]]).to(device)
        weights = torch.ones(len(targets), device=device)
        weights[len(lesson.targets) :] = settings.stated_weight
        wrong = full_softmax(queries, items[1:], targets - 1, weights=weights, smoothing=settings.smoothing)
        loudness = model.wishes(silent.to(device)).square().mean()
        return wrong + settings.quiet * weights.sum() * loudness, weights.sum()

    texts = text_memo(encoder)
    fit(
        model,
        batches=lambda _, rng: lessons(interactions, table, preferences=preferences, settings=settings, rng=rng),
        loss=loss,
        settings=settings.fit,
        run=run,
        stage=stage,
        validate=(lambda: validation_figures(Retriever(model, encoder, texts=texts), valid, questions)) if valid else None,
        micro_batches=lambda lesson: [lesson.rows(piece) for piece in cut(len(lesson.ids))],
    )
    return Retriever(model, encoder, texts=texts)


def stated_wishes(model: RetrieverModel, table: WishTable, rows: Tensor) -> Tensor:
    """(M, d) of the wish table's `rows`; only stated ones go through the adaptor."""
    stated = rows != 0
    vectors = model.wishes(table.vectors[rows[stated]].to(model.texts.device))
    wishes = torch.zeros(len(rows), model.settings.width, device=vectors.device)
    return wishes.index_put((torch.nonzero(stated).squeeze(1).to(vectors.device),), vectors)


def wish_table(
    catalog: Catalog, encoder: TextEncoder, *, preferences: PreferenceSettings, each: int, rng: np.random.Generator, cache: Path | None
) -> WishTable:
    """`each` wishes for every item and the neutral texts, with their vectors."""
    rows = {text: row for row, text in enumerate(("", *NEUTRAL))}
    of_item = np.zeros((catalog.n_items + 1, each), dtype=np.int64)
    for item in range(1, catalog.n_items + 1):
        for column in range(each):
            text = wish(catalog, item, rng=rng, settings=preferences)
            of_item[item, column] = rows.setdefault(text, len(rows))
    return WishTable(torch.from_numpy(embed(list(rows), encoder, cache)), len(NEUTRAL), of_item)


def lessons(
    interactions: Interactions,
    table: WishTable,
    *,
    preferences: PreferenceSettings,
    settings: RetrieverTraining,
    rng: np.random.Generator,
) -> list[Lesson]:
    """One epoch: every event is a target exactly once, with a wish drawn anew."""
    if settings.model.backbone == "tedrec":
        return _prefixes(interactions, table, preferences=preferences, settings=settings, rng=rng)
    found = []
    for windows in window_batches(interactions, settings.model.length, rows=settings.fit.batch_size, rng=rng):
        asked = windows.targets != PAD
        places = windows.places[asked].numpy()
        wishes = drawn_wishes(interactions, places, table, preferences=preferences, rng=rng)
        found.append(Lesson(windows.ids, asked.sum(dim=1), windows.targets[asked], torch.from_numpy(wishes), asked))
    return found


def drawn_wishes(
    interactions: Interactions, places: Ints, table: WishTable, *, preferences: PreferenceSettings, rng: np.random.Generator
) -> Ints:
    """(M,) rows of the wish table for the events at `places`: none, neutral, about the event itself or a recent one, in the shares set."""
    before = places - starts_of(interactions, places)
    back = np.minimum(rng.integers(1, preferences.recent + 1, size=len(places)), before)
    about = interactions.items[np.where(rng.random(len(places)) < preferences.from_target, places, places - back)]
    stated = table.of_item[about, rng.integers(table.of_item.shape[1], size=len(places))]
    neutral = rng.integers(1, table.neutral + 1, size=len(places))
    draw = rng.random(len(places))
    rows: Ints = np.where(draw < preferences.empty, 0, np.where(draw < preferences.empty + preferences.neutral, neutral, stated))
    return rows


def stated_questions(
    catalog: Catalog, cases: Sequence[Case], *, preferences: PreferenceSettings, rng: np.random.Generator
) -> dict[str, list[str]]:
    """What validation states for each case: nothing, something neutral, a wish about the newest item, all that is known of the target."""
    return {
        "empty": [""] * len(cases),
        "neutral": [neutral(rng) for _ in cases],
        "recent": [wish(catalog, case.history[-1], rng=rng, settings=preferences) if case.history else "" for case in cases],
        "target": [described(catalog, case.target) for case in cases],
    }


def validation_figures(retriever: Retriever, cases: Sequence[Case], questions: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """'ndcg@10/<question>' and 'recall@20/<question>' for each way of asking, histories excluded.

    'ndcg@10', by which weights are chosen, is that of 'empty'. A mean with 'recent' would choose a retriever that has not yet learned
    to listen: where recent items are a bad guess, who obeys a wish for them ranks worse. 'target' is an upper bound.
    """
    targets = np.array([case.target for case in cases])
    found: dict[str, float] = {}
    for name, texts in questions.items():
        ranks = ranks_of(retriever.recommend(cases, 20, preferences=texts), targets)
        found |= {f"{metric}/{name}": float(per_case(metric, ranks).mean()) for metric in ("ndcg@10", "recall@20")}
    return {"ndcg@10": found["ndcg@10/empty"], **found}


def _first_weights(vectors: Floats, *, settings: RetrieverTraining, start: Retriever | None) -> RetrieverModel:
    """A new model from the fit's seed, or one with the weights of `start`."""
    with noise_from(settings.fit.seed):
        model = RetrieverModel(torch.from_numpy(vectors), settings.model)
    if start is not None:
        if start.model.settings != settings.model or start.n_items != model.n_items:
            raise ModelError("the retriever to go on from has other settings or another catalogue: give the same ones, or start anew")
        model.load_state_dict(start.model.state_dict())
    return model


def _prefixes(
    interactions: Interactions,
    table: WishTable,
    *,
    preferences: PreferenceSettings,
    settings: RetrieverTraining,
    rng: np.random.Generator,
) -> list[Lesson]:
    """One row per event that has something before it: up to `length` events, padded on the right to exactly that."""
    length = settings.model.length
    everything = np.arange(interactions.n_events)
    starts = starts_of(interactions, everything)
    told = everything[everything > starts]
    found = []
    for chosen in shuffled(len(told), settings.fit.batch_size, rng):
        places = told[chosen]
        begins = np.maximum(starts[places], places - length)
        at = begins[:, None] + np.arange(length)
        inside = at < places[:, None]
        read = np.where(inside, interactions.items[np.where(inside, at, 0)], PAD)
        wishes = drawn_wishes(interactions, places, table, preferences=preferences, rng=rng)
        parts = (read, places - begins, interactions.items[places], wishes)
        ids, lengths, targets, rows = (torch.from_numpy(part) for part in parts)
        found.append(Lesson(ids, lengths, targets, rows, asked=None))
    return found
