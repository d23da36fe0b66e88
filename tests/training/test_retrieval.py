import numpy as np
import pytest
import torch

from fathom.errors import ModelError
from fathom.items.embed import item_vectors
from fathom.items.encoders import HashingEncoder
from fathom.recommenders.retriever import RetrieverSettings
from fathom.records import Case, Catalog, Interactions
from fathom.training.preferences import NEUTRAL, PreferenceSettings
from fathom.training.retrieval import (
    RetrieverTraining,
    drawn_wishes,
    lessons,
    stated_questions,
    train_retriever,
    validation_figures,
    wish_table,
)
from fathom.training.run import Run
from fathom.training.sequential import SequenceFit

GENRES = ("Western", "Musical", "Horror", "Space")
N = 40
CATALOG = Catalog(
    names=tuple(map(str, range(1, N + 1))),
    titles=tuple(f"Title {i}" for i in range(1, N + 1)),
    attributes={"genres": tuple((GENRES[i % 4],) for i in range(1, N + 1))},
)
ENCODER = HashingEncoder(64)
VECTORS = item_vectors(CATALOG, ENCODER, None)
WISHES = PreferenceSettings(empty=0.3, neutral=0.1, from_target=0.9, title_words=0)
SMALL = {"width": 32, "layers": 1, "inner": 64, "length": 8, "dropout": 0.1}


def planted(users: int = 150, events: int = 12) -> Interactions:
    """The next item is i + 4 g + 1 steps on, where the genre g of the next item is drawn: the history alone cannot know it."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(users):
        row = [int(rng.integers(1, N + 1))]
        while len(row) < events:
            genre = rng.integers(4)
            choices = [item for item in range(1, N + 1) if item % 4 == genre]
            row.append(choices[row[-1] % len(choices)])  # history and genre together decide
        rows.append(row)
    return Interactions(tuple(map(str, range(users))), np.arange(0, users * events + 1, events), np.array(rows).ravel())


def training(epochs: int = 22, backbone: str = "causal", **fit) -> RetrieverTraining:
    make = SMALL if backbone == "causal" else {**SMALL, "backbone": "tedrec", "mixing": "frequency", "candidates": "ids"}
    return RetrieverTraining(
        model=RetrieverSettings(**make),
        fit=SequenceFit(**{"epochs": epochs, "batch_size": 16 if backbone == "causal" else 128, "learning_rate": 0.01, **fit}),
        texts_per_item=4,
    )


def train(data, folder, settings, **more):
    return train_retriever(
        data, CATALOG, [], encoder=ENCODER, vectors=VECTORS, preferences=WISHES, settings=settings, run=Run(folder), **more
    )


def table_of_wishes():
    return wish_table(CATALOG, ENCODER, preferences=WISHES, each=4, rng=np.random.default_rng(0), cache=None)


def cases(data: Interactions, count: int = 100) -> list[Case]:
    return [Case(user, tuple(data.history(user)[:-1].tolist()), int(data.history(user)[-1])) for user in range(count)]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    data = planted()
    return train(data, tmp_path_factory.mktemp("run"), training())


def mean_rank(retriever, asked, preferences):
    scores = retriever.score(asked, preferences)
    targets = torch.tensor([case.target for case in asked])
    return float((scores > scores.gather(1, targets[:, None])).sum(dim=1).float().mean())


def test_the_right_wish_helps_and_a_wrong_one_hurts(learned):
    asked = cases(planted())
    right = [GENRES[case.target % 4] for case in asked]
    wrong = [GENRES[(case.target + 1) % 4] for case in asked]
    empty = mean_rank(learned, asked, None)
    assert mean_rank(learned, asked, right) < empty / 2
    assert mean_rank(learned, asked, wrong) > empty


def test_a_neutral_text_finds_what_the_empty_one_finds(learned):
    asked = cases(planted())
    found = validation_figures(learned, asked, {"empty": [""] * 100, "recent": [""] * 100, "neutral": [NEUTRAL[0]] * 100})
    assert found["ndcg@10/neutral"] > 0.85 * found["ndcg@10/empty"]


def test_without_a_wish_it_is_nearly_as_good_as_a_retriever_without_texts(tmp_path):
    """Over three starts: a single one may stop early at a poor place."""
    data, asked = planted(), cases(planted())
    silent = PreferenceSettings(empty=1.0, neutral=0.0)
    questions = {"empty": [""] * len(asked), "recent": [""] * len(asked)}
    found = []
    for seed in range(3):
        with_texts = train(data, tmp_path / f"texts-{seed}", training(seed=seed))
        no_texts = train_retriever(
            data,
            CATALOG,
            [],
            encoder=ENCODER,
            vectors=np.zeros_like(VECTORS),
            preferences=silent,
            settings=training(seed=seed),
            run=Run(tmp_path / f"silent-{seed}"),
        )
        found.append([validation_figures(model, asked, questions)["ndcg@10"] for model in (with_texts, no_texts)])
    with_texts, without = np.mean(found, axis=0)
    assert with_texts >= 0.9 * without


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("backbone", ["causal", "tedrec"])
def test_same_seed_same_bytes(tmp_path, backbone):
    first, second = (train(planted(20), tmp_path / name, training(2, backbone)) for name in "ab")
    assert all(torch.equal(one, other) for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True))


def test_the_released_backbone_learns_too(tmp_path):
    data = planted()
    train(data, tmp_path, training(3, "tedrec", learning_rate=3e-3))
    losses = [line["retriever/loss"] for line in Run(tmp_path).metrics("retriever")]
    assert losses[-1] < losses[0] - 0.3


def test_a_second_fit_goes_on_from_the_first(tmp_path, learned):
    train(planted(), tmp_path, training(1), start=learned)
    assert Run(tmp_path).metrics("retriever")[0]["retriever/loss"] < 3.2, "a new model starts at log 40 = 3.7 or above"
    other = RetrieverTraining(model=RetrieverSettings(width=16))
    with pytest.raises(ModelError, match="other settings"):
        train(planted(), tmp_path / "other", other, start=learned)


def test_wishes_come_in_the_stated_shares_and_about_the_stated_items():
    data = planted()
    table = table_of_wishes()
    assert not table.vectors[0].any()
    places = np.arange(data.n_events)
    shares = PreferenceSettings(empty=0.2, neutral=0.1, from_target=1.0)
    rows = drawn_wishes(data, places, table, preferences=shares, rng=np.random.default_rng(0))
    assert np.mean(rows == 0) == pytest.approx(0.2, abs=0.03)
    assert np.mean((rows > 0) & (rows <= table.neutral)) == pytest.approx(0.1, abs=0.03)
    stated = rows > table.neutral
    assert all(row in table.of_item[item] for row, item in zip(rows[stated], data.items[stated], strict=True))


def test_a_wish_about_a_recent_item_never_speaks_of_another_user():
    data = planted()
    table = table_of_wishes()
    shares = PreferenceSettings(empty=0, neutral=0, from_target=0.0, recent=3)
    places = np.arange(data.n_events)
    rows = drawn_wishes(data, places, table, preferences=shares, rng=np.random.default_rng(0))
    for place, row in zip(places, rows, strict=True):
        first = place - place % 12
        near = data.items[max(first, place - 3) : max(place, first + 1)]
        assert any(row in table.of_item[item] for item in near)


@pytest.mark.parametrize("backbone", ["causal", "tedrec"])
def test_every_event_is_asked_once_in_an_epoch(backbone):
    data, settings = planted(20), training(backbone=backbone)
    table = table_of_wishes()
    epoch = lessons(data, table, preferences=WISHES, settings=settings, rng=np.random.default_rng(0))
    asked = sorted(torch.cat([lesson.targets for lesson in epoch]).tolist())
    everything = data.items if backbone == "causal" else data.items.reshape(20, 12)[:, 1:].ravel()
    assert asked == sorted(everything.tolist())


def test_weights_are_chosen_by_the_empty_preference_and_the_upper_bound_stands_apart(learned):
    asked = cases(planted(), 50)
    questions = stated_questions(CATALOG, asked, preferences=WISHES, rng=np.random.default_rng(0))
    found = validation_figures(learned, asked, questions)
    assert found["ndcg@10"] == found["ndcg@10/empty"]
    assert found["ndcg@10/recent"] != found["ndcg@10/empty"]
    assert found["ndcg@10/target"] > found["ndcg@10/empty"]
