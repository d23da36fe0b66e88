"""What is read beside items: attributes, elapsed time, ratings; in training and in service alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import CATALOG, walks
from pydantic import ValidationError

from fathom.errors import ConfigError
from fathom.models.architecture import ArchitectureModel, ArchitectureSettings, MaskedSettings, rows_of
from fathom.models.bert4rec import BERT4Rec
from fathom.models.event_columns import buckets, halves
from fathom.models.model import TrainingData, numbered
from fathom.models.registry import MODELS
from fathom.models.transformers4rec import Transformers4RecSettings
from fathom.models.xlnet import XLNetCLM
from fathom.networks.masking import DIRECTION
from fathom.records import PAD, Case, Catalog, EventColumn, Interactions
from fathom.training.run import Run

FIT = {"epochs": 1, "batch_size": 16, "precision": "float32"}


def test_times_become_doublings_of_minutes_and_ratings_halves() -> None:
    ids = torch.tensor([[3, 4, 5, 6, 7, 0]])
    times = torch.tensor([[1000, 1000, 1060, 1240, -1, 0]])
    assert buckets(times, ids).tolist() == [[1, 2, 3, 4, 1, 0]]
    assert buckets(None, ids).tolist() == [[1, 1, 1, 1, 1, 0]]
    ratings = torch.tensor([[0.5, 5.0, float("nan"), 3.5, 9.0, float("nan")]])
    assert halves(ratings, ids).tolist() == [[3, 12, 1, 9, 12, 0]]


def test_an_attribute_s_values_have_numbers_in_the_order_of_the_alphabet() -> None:
    catalog = Catalog(("a", "b", "c"), ("A", "B", "C"), {"genres": (("War", "Drama"), (), ("Comedy",))})
    assert numbered(catalog, "genres").tolist() == [[0, 0], [3, 2], [0, 0], [1, 0]]
    with pytest.raises(ConfigError, match=r"attributes names 'genre', which this catalogue does not have.*genres"):
        numbered(catalog, "genre")


def test_noise_of_training_arrives_and_is_none_in_service(tmp_path: Path) -> None:
    log, cases = walks(20)
    given = {"width": 8, "length": 6, "swap": 0.1, "replaced": 0.2, "fit": FIT}
    model = XLNetCLM.fit(TrainingData(log, (), CATALOG, Run(tmp_path), "fit"), ArchitectureSettings.model_validate(given))
    features = model.whole.network.features
    assert features.settings.swap == 0.1
    assert features.settings.replaced == {"item": 0.2}
    assert torch.equal(model.score(cases), model.score(cases))


def test_every_event_stands_in_one_row_and_rows_of_one_event_in_none() -> None:
    log = Interactions(tuple("abc"), np.array([0, 6, 7, 13]), np.arange(1, 14))
    settings = ArchitectureSettings.model_validate({"length": 4, "fit": FIT})
    found = [row[row != PAD].tolist() for windows in rows_of(log, settings, np.random.default_rng(0)) for row in windows.targets]
    events = sorted(item for row in found for item in row)
    assert len(set(events)) == len(events)
    assert all(len(row) in (2, 3, 4) for row in found)
    assert 7 not in events, "whoever took one thing teaches nothing"
    assert len(events) >= 10, "a window's rest of one event may be left over, nothing else"


def test_histories_of_one_event_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Interactions(tuple("abcd"), np.array([0, 3, 4, 5, 8]), np.arange(1, 9))
    settings = MaskedSettings.model_validate({"width": 8, "length": 4, "fit": FIT})
    BERT4Rec.fit(TrainingData(log, (), CATALOG, Run(tmp_path), "fit"), settings)
    assert "2 histories of one event teach bert4rec nothing" in " ".join(capsys.readouterr().out.split())


def test_what_is_read_of_a_case_is_what_was_read_in_training(tmp_path: Path) -> None:
    log, cases = walks(40)
    others = {
        "price": EventColumn(np.tile(np.array([1.0, np.nan, 5.0, 9.0], dtype=np.float32), 80)),
        "device": EventColumn(np.tile(np.array([2.0, 1.0, np.nan, 1.0], dtype=np.float32), 80), ("desk", "phone")),
    }
    rated = Interactions(log.users, log.offsets, log.items, np.tile(np.array([3.5, np.nan] * 4, dtype=np.float32), 40), log.times, others)
    given = {"width": 8, "length": 6, "attributes": ("colour",), "elapsed": True, "ratings": True, "aggregation": "multiply", "fit": FIT}
    given["columns"] = ("device", "price")
    model = XLNetCLM.fit(TrainingData(rated, (), CATALOG, Run(tmp_path), "fit"), ArchitectureSettings.model_validate(given))
    told: list[dict[str, torch.Tensor]] = []
    usual = model.whole.network.states
    model.whole.network.states = lambda batch, lengths: (told.append(batch), usual(batch, lengths))[1]  # type: ignore[method-assign]
    own = {name: tuple(column.values[24:32].tolist()) for name, column in others.items()}
    case = Case(3, cases[3].history, PAD, ratings=(3.5, float("nan")) * 4, times=cases[3].times, columns=own)
    model.score([case])
    places = torch.arange(3 * 8 + 2, 3 * 8 + 8)[None]
    times, ratings = torch.from_numpy(rated.times), torch.from_numpy(rated.ratings)  # type: ignore[arg-type]
    more = {name: torch.from_numpy(column.values).double()[places] for name, column in others.items()}
    expected = model.whole.columns.batch(torch.from_numpy(rated.items)[places], times[places], ratings[places], more)
    assert set(told[0]) == {"item", "attribute colour", "elapsed", "rating", "column device", "column price"}
    assert told[0]["column device"].tolist() == [[1, 2, 3, 2, 1, 2]]  # 1: not told
    assert told[0]["column price"][0].tolist() == pytest.approx([0, 4 / 3.265986, -4 / 3.265986, 0, 0, 4 / 3.265986], abs=1e-5)
    assert all(torch.equal(told[0][name], expected[name]) for name in expected)
    model.save(tmp_path / "model")
    again = XLNetCLM.load(tmp_path / "model")
    assert torch.equal(again.score(list(cases[:5])), model.score(list(cases[:5])))


def test_the_mask_behind_a_long_history_stands_where_training_has_been(tmp_path: Path) -> None:
    log, _ = walks(20)
    given = {"width": 8, "length": 5, "fit": FIT}
    model = BERT4Rec.fit(TrainingData(log, (), CATALOG, Run(tmp_path), "fit"), MaskedSettings.model_validate(given))
    places: list[torch.Tensor] = []
    usual = model.whole.network.states
    model.whole.network.states = lambda batch, lengths: (places.append(lengths), usual(batch, lengths))[1]  # type: ignore[method-assign]
    [long, short] = model.score([Case(-1, tuple(range(1, 31)), PAD), Case(-1, (27, 28, 29, 30), PAD)])
    assert places[0].tolist() == [4, 4], "the mask is the fifth"
    assert torch.allclose(long[1:], short[1:], atol=1e-5)


def test_what_only_another_column_tells_is_learned(tmp_path: Path) -> None:
    """Where somebody goes next is drawn anew each time; the column says of each event where that will be."""
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 2, size=(300, 8))
    items = 1 + (rng.integers(0, 20, size=(300, 1)) + np.cumsum(np.where(steps, 3, 1), axis=1)) % 20
    ways = np.roll(steps, -1, axis=1).astype(np.float32) + 1  # of an event: the step that follows it
    owner = np.arange(300)

    def log(columns: dict[str, EventColumn]) -> Interactions:
        offsets = np.arange(0, 2101, 7)
        return Interactions(tuple(map(str, owner)), offsets, items[:, :7].ravel().astype(np.int64), columns=columns)

    catalog = Catalog(tuple(map(str, range(20))), tuple(map(str, range(20))))
    fit = {"epochs": 15, "batch_size": 32, "learning_rate": 0.01, "precision": "float32", "average": 0.9}
    found = {}
    for names in ((), ("way",), ("number",)):
        told = {"way": EventColumn(ways[:, :7].ravel(), ("near", "far")), "number": EventColumn(ways[:, :7].ravel() * 10)}
        settings = ArchitectureSettings.model_validate({"width": 32, "length": 8, "dropout": 0.0, "columns": names, "fit": fit})
        model = XLNetCLM.fit(TrainingData(log(told), (), catalog, Run(tmp_path / "-".join(("x", *names))), "fit"), settings)
        asked = []
        for user in owner:
            own = {name: tuple(column.values[7 * user : 7 * user + 7].tolist()) for name, column in told.items()}
            asked.append(Case(user, tuple(items[user, :7].tolist()), int(items[user, 7]), columns=own))
        best = model.score(asked).argmax(dim=1)
        found[names] = float((best == torch.tensor([case.target for case in asked])).float().mean())
    assert found[()] < 0.7
    assert found["way",] > 0.95
    assert found["number",] > 0.95
    wrong = ArchitectureSettings.model_validate({"width": 32, "columns": ("wey",), "fit": fit})
    with pytest.raises(ConfigError, match="columns names 'wey', which this data set does not have; did you mean 'way'"):
        XLNetCLM.fit(TrainingData(log(told), (), catalog, Run(tmp_path / "wrong"), "fit"), wrong)


@pytest.mark.parametrize(
    ("kind", "block", "objective", "smoothing"),
    [
        ("bert4rec", "bert", "mlm", 0.0),
        ("xlnet-clm", "xlnet", "clm", 0.0),
        ("xlnet-mlm", "xlnet", "mlm", 0.2),
        ("xlnet-plm", "xlnet", "plm", 0.2),
        ("xlnet-rtd", "xlnet", "rtd", 0.2),
    ],
)
def test_what_the_named_models_are(kind: str, block: str, objective: str, smoothing: float, tmp_path: Path) -> None:
    log, _ = walks(20)
    model = fitted(kind, log, tmp_path, width=16, length=8, fit=FIT)
    parts = model.whole.network.settings
    assert (parts.block.kind, parts.masking.objective) == (block, objective)
    assert parts.next_item is not None
    assert (parts.next_item.tied, parts.next_item.smoothing) == (True, smoothing)
    assert parts.masking.replacements == "batch"
    assert parts.masking.tied


def test_what_a_recipe_writes_reaches_the_network(tmp_path: Path) -> None:
    log, _ = walks(20)
    plm = fitted("xlnet-plm", log, tmp_path / "plm", width=16, length=8, fit=FIT, span=3, share=0.4, last_only=True)
    masking = plm.whole.network.settings.masking
    assert (masking.span, masking.share, masking.last_only) == (3, 0.4, True)
    everything = fitted("xlnet-plm", log, tmp_path / "all", width=16, length=8, fit=FIT, permute_all=True)
    assert everything.whole.network.settings.masking.permute_all
    given = {
        "generator_weight": 2.0,
        "discriminator_weight": 5.0,
        "tied": False,
        "generator_width": 8,
        "replacements": "softmax",
        "ends": 0.2,
    }
    scoring = {"temperature": 0.5, "loss": "bpr", "negatives": 9, "exponent": 0.5, "smoothing": 0.0, "tied": False}
    rtd = fitted("xlnet-rtd", log, tmp_path / "rtd", width=16, length=8, fit=FIT, next_item=scoring, **given)
    assert given.items() <= rtd.whole.network.settings.masking.model_dump().items()
    assert rtd.whole.network.settings.next_item is not None
    assert scoring.items() <= rtd.whole.network.settings.next_item.model_dump().items()
    rtd.save(tmp_path / "saved")
    again = MODELS["xlnet-rtd"].load(tmp_path / "saved")
    asked = [Case(-1, (1, 2, 3), PAD)]
    assert torch.equal(again.score(asked), rtd.score(asked))
    assert isinstance(again, ArchitectureModel)
    assert again.whole.network.next_item is not None
    assert torch.equal(again.whole.network.next_item.get_buffer("steps"), rtd.whole.network.next_item.get_buffer("steps"))
    chosen = {"block": "albert", "objective": "mlm", "groups": 2, "layers": 2}
    any_block = fitted("transformers4rec", log, tmp_path / "any", width=16, length=8, fit=FIT, **chosen)
    assert (any_block.whole.network.settings.block.kind, any_block.whole.network.settings.block.groups) == ("albert", 2)


def fitted(kind: str, log: Interactions, folder: Path, **given: object) -> ArchitectureModel:  # type: ignore[type-arg]
    model = MODELS[kind].fit(TrainingData(log, (), CATALOG, Run(folder), kind), MODELS[kind].settings_type().model_validate(given))
    assert isinstance(model, ArchitectureModel)
    return model


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"objective": "clm", "share": 0.4}, "share 0.4 says nothing to the objective 'clm'"),
        (
            {"block": "gru", "objective": "clm", "window": 16},
            "window 16 says nothing to the block 'gru', only to 'longformer' or 'reformer'",
        ),
        ({"block": "longformer", "objective": "clm"}, "block 'longformer' with objective 'clm' would see what it is asked for"),
        ({"block": "gtp2"}, "block 'gtp2'; did you mean 'gpt2'"),
        ({"block": "bert", "groups": 2}, "groups 2 says nothing to the block 'bert', only to 'albert'"),
    ],
)
def test_any_block_by_any_objective_refuses_what_they_do_not_read(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Transformers4RecSettings.model_validate(given)


def test_what_an_objective_does_not_read_is_not_searched() -> None:
    model = MODELS["transformers4rec"]
    spaces = {objective: model.worth_searching(Transformers4RecSettings(objective=objective)) for objective in DIRECTION}
    assert {objective for objective, space in spaces.items() if "share" in space} == {"mlm", "plm", "rtd"}
    assert spaces["mlm"] == model.searched
