"""Columns become vectors (T2 to T8)."""

from typing import Any

import pytest
import torch
from architecture import SCHEMA, batch
from torch.nn.functional import normalize

from fathom.errors import ConfigError
from fathom.networks.features import Features, FeatureSettings, SoftOneHot
from fathom.networks.schema import schema_of
from fathom.records import PAD
from fathom.training.run import noise_from

SHARED = schema_of(
    {
        "item": {"tag": "item-id", "cardinality": 30, "table": "things"},
        "wish": {"tag": "categorical", "cardinality": 30, "table": "things"},
    }
)


def features(schema: Any = SCHEMA, given: Any = None, **settings: Any) -> Features:
    with noise_from(1):
        return Features(schema, FeatureSettings.model_validate({"width": 16, "item_width": 12} | settings), given=given).eval()


def test_a_shared_table_is_one_and_padding_stays_zero_through_a_step() -> None:
    made = features(SHARED)
    assert len(made.tables) == 1
    assert made.items.weight[0].tolist() == [0.0] * 12
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.1, weight_decay=0.0)
    ids = torch.tensor([[1, 2, 0]])
    made({"item": ids, "wish": ids}).sum().backward()
    optimizer.step()
    assert made.items.weight[0].tolist() == [0.0] * 12
    assert made.items.weight.grad is not None
    assert float(made.items.weight.grad[3:].abs().max()) == 0.0


def test_several_values_are_read_as_their_mean_and_none_as_zero() -> None:
    made = features()
    asked = batch([2])
    asked["genre"] = torch.tensor([[[3, 5, 0], [0, 0, 0]]])
    read = made._columns(asked, 2)["genre"]
    table = made._table_of(next(column for column in SCHEMA.read if column.name == "genre")).weight
    assert torch.allclose(read[0, 0], (table[3] + table[5]) / 2)
    assert read[0, 1].abs().max() == 0.0


def test_widths_follow_the_settings() -> None:
    assert features().sizes == {"country": 3, "genre": 4, "hour": 1, "item": 12, "price": 1, "text": 5}
    wide = features(other_width=7, widths={"genre": 9}, vector_width=6, continuous="projection", continuous_width=4)
    assert wide.sizes == {"country": 7, "genre": 9, "hour": 4, "item": 12, "price": 4, "text": 6}
    assert features(continuous="mlp", continuous_width=4).sizes["continuous numbers"] == 4


@torch.no_grad()
def test_numbers_are_read_as_they_are_or_by_a_map_or_all_together() -> None:
    asked = batch([3])
    hour, price = asked["hour"][..., None], asked["price"][..., None]
    assert torch.equal(features()._columns(asked, 3)["hour"], hour)
    mapped = features(continuous="projection", continuous_width=4)
    reader = mapped.readers["column hour"]
    assert torch.allclose(mapped._columns(asked, 3)["hour"], hour * reader.weight[:, 0] + reader.bias)  # type: ignore[operator,union-attr]
    whole = features(continuous="mlp", continuous_width=4)
    first, between, last = whole.readers["column continuous numbers"]  # type: ignore[misc]
    by_hand = last(between(torch.cat([hour, price], dim=2) @ first.weight.T + first.bias))
    assert torch.allclose(whole._columns(asked, 3)["continuous numbers"], by_hand, atol=1e-6)
    assert whole(asked).shape == (1, 3, 16)


def test_a_sequence_s_number_and_vector_are_read_at_each_event() -> None:
    schema = schema_of(
        {
            "item": {"tag": "item-id", "cardinality": 30},
            "age": {"tag": "continuous", "level": "sequence"},
            "face": {"tag": "embedding", "width": 2, "level": "sequence"},
        }
    )
    made = features(schema, continuous="projection", vector_width=3)
    asked = {"item": torch.tensor([[1, 2, 3], [4, 5, 0]]), "age": torch.tensor([0.5, -1.0]), "face": torch.randn(2, 2)}
    read = made._columns(asked, 3)
    with torch.no_grad():
        for name, given in (("age", asked["age"][:, None]), ("face", asked["face"])):
            expected = made.readers[f"column {name}"](given)
            for place in range(3):
                assert torch.allclose(read[name][:, place], expected)
        assert made(asked).shape == (2, 3, 16)


def test_a_soft_one_hot_is_a_mixture_whose_weights_add_up_to_one() -> None:
    soft = SoftOneHot(4, 3)
    with torch.no_grad():
        numbers = torch.tensor([[0.7], [-2.0]])
        weights = torch.softmax(numbers @ soft.weights.weight.T + soft.weights.bias, dim=-1)
        assert torch.allclose(weights.sum(dim=1), torch.ones(2))
        assert torch.allclose(soft(numbers), weights @ soft.vectors.weight, atol=1e-6)


def test_given_vectors_are_normalised_projected_frozen_or_trained() -> None:
    asked = batch([3])
    plain, unit = features()._columns(asked, 3)["text"], features(unit_vectors=True)._columns(asked, 3)["text"]
    assert torch.equal(plain, asked["text"])
    assert torch.allclose(unit, normalize(asked["text"], dim=-1))
    start = torch.randn(30, 12)
    for frozen in ((), ("item",)):
        made = features(given={"item": start}, frozen=frozen)
        assert torch.equal(made.items.weight[1:], start[1:])
        assert not made.items.weight[PAD].any(), "whatever was given for it"
        assert made.items.weight.requires_grad != bool(frozen)
    with pytest.raises(ConfigError, match="has 30 ids, but 7 vectors are given"):
        features(given={"item": start[:7]})
    with pytest.raises(ConfigError, match="no vectors are given for it"):
        features(frozen=("item",))


def test_what_is_the_sequence_s_is_read_at_each_event() -> None:
    read = features()._columns(batch([4, 4]), 4)["country"]
    assert read.shape == (2, 4, 3)
    assert torch.equal(read[:, 0], read[:, 3])


EQUAL = {"other_width": 12, "vector_width": 12, "continuous": "projection", "continuous_width": 12}


def test_columns_are_joined_as_the_formula_says() -> None:
    asked = batch([3, 2])
    for how in ("concat", "stack", "sum", "multiply"):
        made = features(aggregation=how, **EQUAL)
        read = made._columns(asked, 3)
        with torch.no_grad():
            others = sum(read[name] for name in read if name != "item")
            assert isinstance(others, torch.Tensor)
            joined = {
                "concat": torch.cat([read[name] for name in sorted(read)], dim=-1),
                "stack": torch.cat([read[name] for name in sorted(read)], dim=-1),
                "sum": read["item"] + others,
                "multiply": read["item"] * (1 + others),
            }[how]
            real = asked["item"] > 0
            assert torch.allclose(made(asked)[real], made.projection(joined)[real], atol=1e-6), how
    for how in ("stack", "sum", "multiply"):
        with pytest.raises(ConfigError, match=f"aggregation is {how}, which needs columns of one width"):
            features(aggregation=how)


def test_norms_and_dropout_act_where_they_are_asked_for() -> None:
    asked = batch([3])
    normed = features(normalised=True)
    read = normed._normed("text", normed._columns(asked, 3)["text"])
    assert torch.allclose(read.mean(dim=-1), torch.zeros(1, 3), atol=1e-5)
    with torch.no_grad():
        columns = normed._columns(asked, 3)
        by_hand = torch.cat([torch.nn.functional.layer_norm(columns[name], columns[name].shape[-1:]) for name in sorted(columns)], dim=-1)
        assert torch.allclose(normed(asked), normed.projection(by_hand), atol=1e-5), "each column by itself, before they are joined"
    dropped = features(dropout=0.5)
    assert torch.equal(dropped(asked), dropped(asked))
    dropped.train()
    assert not torch.equal(dropped(asked), dropped(asked))


def test_swap_noise_moves_whole_events_and_only_in_training() -> None:
    torch.manual_seed(0)
    made = features(swap=0.3)
    asked = batch([30] * 40 + [1] * 5)
    assert torch.equal(made(asked), features()(asked)), "not in evaluation"
    assert not torch.equal(made.train()(asked), made.eval()(asked)), "in training"
    moved = made._disturbed(asked, asked["item"] > 0)
    real = asked["item"] > 0
    assert torch.equal(moved["item"] > 0, real), "padding stays"
    assert torch.equal(moved["country"], asked["country"])
    whole = torch.cat([asked["item"][..., None], asked["genre"], asked["hour"][..., None], asked["text"]], dim=-1)
    found = torch.cat([moved["item"][..., None], moved["genre"], moved["hour"][..., None], moved["text"]], dim=-1)
    known = {tuple(row) for row in whole[real].tolist()}
    assert all(tuple(row) in known for row in found[real].tolist()), "all columns of an event move together"
    changed = float((moved["hour"] != asked["hour"])[real].float().mean())
    count = int(real.sum())
    assert abs(changed - 0.3) < 3 * (0.3 * 0.7 / count) ** 0.5 + 1 / count


def test_ids_are_replaced_with_their_own_probabilities_and_only_in_training() -> None:
    torch.manual_seed(0)
    made = features(replaced={"item": 0.4, "genre": 0.1})
    asked = batch([30] * 40)
    assert torch.equal(made(asked), features()(asked))
    assert not torch.equal(made.train()(asked), made.eval()(asked)), "in training"
    moved = made._disturbed(asked, asked["item"] > 0)
    for name, share, high in (("item", 0.4, 29), ("genre", 0.1, 8)):
        real = asked[name] > 0
        changed = float((moved[name] != asked[name])[real].float().mean())
        expected = share * (1 - 1 / high)  # it may be replaced by itself
        assert abs(changed - expected) < 4 * (expected / int(real.sum())) ** 0.5
        assert torch.equal(moved[name] > 0, real)
    with pytest.raises(ConfigError, match="'itm' is no column of ids"):
        features(replaced={"itm": 0.1})


def test_a_person_s_id_is_replaced_too() -> None:
    schema = schema_of({"item": {"tag": "item-id", "cardinality": 30}, "who": {"tag": "user-id", "cardinality": 50, "level": "sequence"}})
    made = features(schema, replaced={"who": 0.5}).train()
    torch.manual_seed(0)
    asked = {"item": torch.ones(2000, 1, dtype=torch.long), "who": torch.randint(1, 50, (2000,))}
    moved = made._disturbed(asked, asked["item"] > 0)
    assert torch.equal(moved["item"], asked["item"])
    assert float((moved["who"] != asked["who"]).float().mean()) == pytest.approx(0.5 * (1 - 1 / 49), abs=0.05)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("item_std", 0.05, 0.5),
        ("other_std", 0.05, 0.5),
        ("multiplier", 2.0, 4.0),
        ("multiple", 1, 8),
        ("soft_values", 10, 4),
        ("unit_vectors", False, True),
    ],
)
def test_every_setting_changes_what_is_read(name: str, one: object, other: object) -> None:
    asked = batch([4])
    with torch.no_grad():
        results = [features(continuous="soft-one-hot", **{name: value})(asked) for value in (one, other)]
    assert not torch.allclose(results[0], results[1])


def test_a_shared_table_is_the_item_s_whatever_the_names() -> None:
    schema = schema_of(
        {
            "item": {"tag": "item-id", "cardinality": 30, "table": "things"},
            "again": {"tag": "categorical", "cardinality": 30, "table": "things"},
        }
    )
    start = torch.randn(30, 7)
    made = features(schema, other_width=5, given={"item": start}, frozen=("item",))
    assert made.sizes == {"again": 7, "item": 7}
    assert torch.equal(made.items.weight[1:], start[1:])
    assert not made.items.weight.requires_grad


def test_items_of_any_width_can_be_multiplied() -> None:
    schema = schema_of({"item": {"tag": "item-id", "cardinality": 30}, "wish": {"tag": "categorical", "cardinality": 30}})
    made = features(schema, other_width=7, widths={"item": 7}, aggregation="multiply")
    assert made({"item": torch.tensor([[1, 2]]), "wish": torch.tensor([[3, 4]])}).shape == (1, 2, 16)
