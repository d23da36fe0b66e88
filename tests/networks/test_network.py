"""Whole networks: nothing leaks, padding is nothing, whoever is judged is whoever is served (T9, T12 to T17, T19, T20)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from architecture import SCHEMA, batch, network
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from fathom.errors import ConfigError, DataError
from fathom.networks.block import BlockSettings
from fathom.networks.blocks import BLOCKS, legal
from fathom.networks.masking import DIRECTION, Objective
from fathom.networks.network import CONTEXT, Network, check
from fathom.networks.schema import schema_of
from fathom.networks.transformer_xl import TransformerXL, distance_waves
from fathom.records import PAD
from fathom.training.optimizers import optimizers_of

GRID: list[tuple[str, Objective]] = [(kind, objective) for kind in BLOCKS for objective in DIRECTION]
LEGAL = [pair for pair in GRID if legal(*pair)]
every_pair = pytest.mark.parametrize(("kind", "objective"), LEGAL)
LENGTHS = [6, 2, 9, 1, 4]


def made(kind: str, objective: Objective, **parts: Any) -> Network:
    return network(block={"kind": kind}, masking={"objective": objective}, **parts)


@pytest.mark.parametrize(("kind", "objective"), [pair for pair in GRID if pair not in LEGAL])
def test_an_illegal_pair_is_refused_and_the_legal_ones_are_named(kind: str, objective: Objective) -> None:
    with pytest.raises(ConfigError, match=f"block '{kind}' with objective '{objective}'") as told:
        made(kind, objective)
    for other, known in LEGAL:
        if known == objective:
            assert other in str(told.value)


def test_which_pairs_are_legal() -> None:
    assert {kind for kind, objective in LEGAL if objective == "plm"} == {"xlnet"}
    assert {kind for kind, objective in LEGAL if objective == "clm"} == set(BLOCKS) - {"longformer"}
    both = {"xlnet", "bert", "electra", "albert", "roberta", "transformer-xl", "longformer"}
    assert {kind for kind, objective in LEGAL if objective == "mlm"} == both
    assert {kind for kind, objective in LEGAL if objective == "rtd"} == both


@pytest.mark.parametrize("kind", [kind for kind, objective in LEGAL if objective == "clm"])
def test_a_later_event_never_changes_what_was_expected_before(kind: str) -> None:
    model = made(kind, "clm")
    before, after = batch([9, 9, 9]), batch([9, 9, 9], seed=5)
    changed = {name: values.clone() for name, values in before.items()}
    for name in ("item", "genre", "hour", "price", "text"):
        changed[name][:, 5:] = after[name][:, 5:]
    with torch.no_grad():
        one, other = (model._behind(model.masking.training_of(model.features(given), given["item"]), given) for given in (before, changed))
    assert torch.allclose(one[:, :5], other[:, :5], atol=1e-5)
    assert kind == "mlp" or float((one[:, 5:] - other[:, 5:]).abs().max()) > 1e-3


@every_pair
def test_what_is_asked_of_a_full_row_is_what_is_served_on_the_row_without_its_end(kind: str, objective: Objective) -> None:
    model = made(kind, objective)
    lengths = [6, 2, 9, 3, 4]
    full = batch(lengths)
    cut = {name: values.clone() for name, values in full.items()}
    for row, length in enumerate(lengths):
        for name in ("item", "genre", "hour", "price", "text"):
            cut[name][row, length - 1 :] = 0
    shorter = torch.tensor(lengths) - 1
    with torch.no_grad():
        judged, served = model.scores(full, shorter), model.scores(cut, (cut["item"] != PAD).sum(dim=1))
    assert torch.allclose(judged[:, 1:], served[:, 1:], atol=1e-5)
    assert judged.topk(5, dim=1).indices.tolist() == served.topk(5, dim=1).indices.tolist()


@every_pair
def test_at_every_place_what_is_asked_is_what_is_served_on_the_row_that_ends_there(kind: str, objective: Objective) -> None:
    model = made(kind, objective)
    full = batch([7])
    with torch.no_grad():
        for length in range(1, 7):
            cut = {name: values[:, :length] if values.ndim > 1 else values for name, values in full.items()}
            judged, served = model.scores(full, torch.tensor([length])), model.scores(cut, torch.tensor([length]))
            assert torch.allclose(judged[:, 1:], served[:, 1:], atol=1e-5)
        if objective == "clm":  # trained at every place by what is served there
            asked = model.masking.training_of(model.features(full), full["item"])
            states = model._behind(asked, full)[0]
            for length in range(1, 7):
                assert torch.allclose(states[length - 1], model.states(full, torch.tensor([length]))[0], atol=1e-5)


@every_pair
def test_who_is_asked_for_last_events_alone_is_trained_on_what_is_served(kind: str, objective: Objective) -> None:
    """A context of events too: of the event that is asked for there is none, as in service."""
    fusion = None if objective == "plm" else {"how": "sum", "width": 3}
    model = network(block={"kind": kind}, masking={"objective": objective, "last_only": True}, fusion=fusion)
    lengths = torch.tensor([6, 2, 9, 3, 4])
    given = batch(lengths.tolist()) | ({CONTEXT: torch.randn(5, 9, 3)} if fusion else {})
    with torch.no_grad():
        asked = model.masking.training_of(model.features(given), given["item"])
        wanted = asked.labels != PAD
        assert wanted.sum(dim=1).tolist() == [1] * 5
        assert torch.equal(asked.labels[wanted], given["item"][torch.arange(5), lengths - 1])
        assert torch.allclose(model._behind(asked, given)[wanted], model.states(given, lengths - 1), atol=1e-5)


@every_pair
@pytest.mark.parametrize("summary", ["last", "first", "mean", "attention"])
def test_rows_of_no_or_one_event_teach_nothing_and_spoil_nothing(kind: str, objective: Objective, summary: str) -> None:
    model = made(kind, objective, heads={"bought": {"summary": summary}}).train()
    torch.manual_seed(0)
    some = model.losses(batch([0, 1, 0]))
    assert float(some.parts["next item"].detach()) == 0.0
    assert some.skipped == (0 if objective == "clm" else 1)
    some.total.backward()
    assert all(weight.grad is None or bool(weight.grad.isfinite().all()) for weight in model.parameters())


@every_pair
def test_a_row_is_as_long_as_the_block_reads_and_no_longer(kind: str, objective: Objective) -> None:
    model = network(block={"kind": kind, "length": 8}, masking={"objective": objective})
    given = batch([8, 3])
    assert bool(model.losses(given).total.isfinite())
    assert bool(model.scores(given, torch.tensor([8, 3]))[:, 1:].isfinite().all())
    with pytest.raises(DataError, match=r"rows have 9 places, but block\.length is 8"):
        model.losses(batch([9, 3]))


def test_only_masked_places_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of MLM is the cross-entropy at masked places; whatever is read there, what is wanted is what stood there."""
    model = network(masking={"objective": "mlm", "share": 0.4}, features={"swap": 0.5, "replaced": {"item": 0.5}})
    given = batch([9, 7, 8])
    torch.manual_seed(0)
    asked = model.masking.training_of(model.features(given), given["item"])
    hidden = asked.labels != PAD
    logits = model.next_item.logits(model.block(asked.inputs, asked.inside, back=False)[hidden])  # type: ignore[union-attr]
    expected = cross_entropy(logits[:, 1:], given["item"][hidden] - 1, reduction="sum")
    torch.manual_seed(0)
    losses = model.losses(given)
    assert float(losses.parts["next item"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(losses.asked) == int(hidden.sum())
    wanted: list[Tensor] = []
    assert model.next_item is not None
    usual = model.next_item.loss

    def heard(states: Tensor, targets: Tensor, taken: Tensor) -> Tensor:
        wanted.append(targets)
        return usual(states, targets, taken)

    monkeypatch.setattr(model.next_item, "loss", heard)
    model.train()
    torch.manual_seed(0)
    noisy = model.losses(given)
    assert float(noisy.total.detach()) != pytest.approx(float(losses.total.detach()), rel=1e-3), "noise acts in training"
    torch.manual_seed(0)
    model.features(given)  # draws what the noise draws
    labels = model.masking.training_of(torch.zeros(3, 9, 16), given["item"]).labels
    assert torch.equal(wanted[0], given["item"][labels != PAD]), "and what is wanted is what was there"


def test_the_blocks_by_name() -> None:
    names = {"xlnet", "gpt2", "bert", "electra", "albert", "roberta", "transformer-xl", "longformer", "reformer", "gru", "lstm", "mlp"}
    assert set(BLOCKS) == names


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("xlnet", transformers.XLNetModel),
        ("gpt2", transformers.GPT2Model),
        ("bert", transformers.BertModel),
        ("electra", transformers.ElectraModel),
        ("albert", transformers.AlbertModel),
        ("roberta", transformers.RobertaModel),
        ("longformer", transformers.LongformerModel),
        ("reformer", transformers.ReformerModel),
        ("gru", torch.nn.GRU),
        ("lstm", torch.nn.LSTM),
    ],
)
def test_a_block_is_what_its_name_says(kind: str, inside: type[torch.nn.Module]) -> None:
    objective = next(objective for block, objective in LEGAL if block == kind)
    assert sum(type(module) is inside for module in made(kind, objective).block.modules()) == 1


@every_pair
def test_decay_is_the_matrices_alone(kind: str, objective: Objective) -> None:
    model = made(kind, objective, heads={"bought": {}})
    groups = optimizers_of(model, "adamw", learning_rate=1.0, weight_decay=0.1, products=torch.float32)[0].param_groups
    names = {id(weight): name for name, weight in model.named_parameters()}
    decaying = {names[id(weight)] for group in groups if group["weight_decay"] for weight in group["params"]}
    for name, weight in model.named_parameters():
        table = any(part in name for part in ("tables", "embeddings.", "word_embedding", "wte", "wpe", "mask_emb"))
        assert (name in decaying) == (weight.ndim > 1 and not table and not name.endswith("bias")), name


def test_a_step_leaves_the_rows_of_padding_zero_in_all_tables() -> None:
    model = network(heads={"bought": {}}).train()
    [optimizer] = optimizers_of(model, "adamw", learning_rate=0.1, weight_decay=0.1, products=torch.float32)
    model.losses(batch([9, 3, 5])).total.backward()
    optimizer.step()
    for table in model.features.tables.values():
        assert float(table.weight[PAD].detach().abs().max()) == 0.0
        assert float(table.weight[1:].detach().abs().max()) > 0.0


@every_pair
def test_padding_and_batch_mates_never_matter(kind: str, objective: Objective) -> None:
    model = made(kind, objective, heads={"bought": {}, "kind": {"summary": "mean"}, "spent": {"summary": "attention"}})
    short, long = batch(LENGTHS), batch(LENGTHS, size=max(LENGTHS) + 7)
    lengths = torch.tensor(LENGTHS)
    with torch.no_grad():
        one, other = model.scores(short, lengths), model.scores(long, lengths)
        alone = torch.cat([model.scores({name: values[[row]] for name, values in short.items()}, lengths[[row]]) for row in range(5)])
        said, again = model.said(short), model.said(long)
    assert torch.allclose(one[:, 1:], other[:, 1:], atol=1e-5)
    assert torch.allclose(one[:, 1:], alone[:, 1:], atol=1e-5)
    assert bool(one[:, PAD].isneginf().all())
    assert all(torch.allclose(said[name], again[name], atol=1e-5) for name in ("bought", "kind", "spent"))


@every_pair
def test_a_row_is_read_in_its_order_and_somebody_without_a_history_gets_an_answer(kind: str, objective: Objective) -> None:
    model = made(kind, objective)
    given = batch([6])
    turned = {name: (values.flip(1) if values.ndim > 1 else values) for name, values in given.items()}
    with torch.no_grad():
        one, other = model.scores(given, torch.tensor([6])), model.scores(turned, torch.tensor([6]))
        nobody = model.scores(given, torch.tensor([0]))
        longer = model.scores(batch([6], size=12), torch.tensor([0]))
    assert float((one - other)[:, 1:].abs().max()) > 1e-4
    assert bool(nobody[:, 1:].isfinite().all())
    assert torch.allclose(nobody[:, 1:], longer[:, 1:], atol=1e-5)


@every_pair
def test_a_step_reaches_every_weight_and_saving_changes_nothing(kind: str, objective: Objective, tmp_path: Path) -> None:
    model = made(kind, objective, heads={"bought": {}}).train()
    torch.manual_seed(0)
    losses = model.losses(batch([9, 8, 7, 9, 1]))
    assert bool(losses.total.isfinite())
    losses.total.backward()
    unread = {"block.model.mask_emb"} if objective != "plm" else {"masking.mask"}
    unread |= {"masking.mask"} if objective == "clm" else set()
    seen = {name for name, weight in model.named_parameters() if weight.grad is not None and float(weight.grad.abs().max()) > 0}
    missing = {name for name, _ in model.named_parameters()} - seen - unread
    # Words, kinds of tokens and segments are things of language that a row of vectors does not have.
    missing = {
        name for name in missing if not any(part in name for part in ("word_embedding", "token_type", "wte", "seg_embed", "r_s_bias"))
    }
    missing = {name for name in missing if not (kind == "longformer" and "_global" in name)}
    assert not missing
    torch.optim.Adam(model.parameters(), lr=0.01).step()
    save_file({name: tensor.contiguous().clone() for name, tensor in model.eval().state_dict().items()}, tmp_path / "model.safetensors")
    again = made(kind, objective, heads={"bought": {}}, seed=2)
    with torch.no_grad():
        expected = model.scores(batch([5]), torch.tensor([5]))
        assert not torch.equal(again.scores(batch([5]), torch.tensor([5])), expected)
        again.load_state_dict(load_file(tmp_path / "model.safetensors"))
        assert torch.equal(again.scores(batch([5]), torch.tensor([5])), expected)


@every_pair
def test_dropout_acts_in_training_alone_and_none_is_none(kind: str, objective: Objective) -> None:
    given, lengths = batch([6, 5]), torch.tensor([6, 5])
    for share in (0.0, 0.4):
        model = network(block={"kind": kind, "dropout": share, "layers": 1}, masking={"objective": objective})
        with torch.no_grad():
            still = model.states(given, lengths)
            model.train()
            moved = model.states(given, lengths)
        assert torch.allclose(still, moved, atol=1e-5) == (share == 0.0)


@pytest.mark.parametrize("permute_all", [False, True])
def test_a_visible_item_changes_what_is_said_at_every_target(permute_all: bool) -> None:
    model = network(block={"kind": "xlnet"}, masking={"objective": "plm", "share": 0.3, "permute_all": permute_all})
    given = batch([9])

    def answers(item: int, place: int) -> tuple[Tensor, Tensor]:
        changed = dict(given) | {"item": given["item"].clone()}
        changed["item"][0, place] = item
        torch.manual_seed(3)
        with torch.no_grad():
            asked = model.masking.training_of(model.features(changed), given["item"])
            return model._behind(asked, changed)[0], asked.perm_mask[0]  # type: ignore[index]

    torch.manual_seed(3)
    asked = model.masking.training_of(model.features(given), given["item"])
    assert asked.target_mapping is not None
    targets = asked.target_mapping[0].argmax(dim=1).tolist()
    for place in range(9):
        (one, forbidden), (other, _) = answers(3, place), answers(17, place)
        moved = ((one - other).abs().amax(dim=1) > 1e-6).tolist()
        for number, target in enumerate(targets):
            if not forbidden[target, place]:
                assert moved[number], "what a target may see changes it"
            elif place == target:
                assert not moved[number], "a target never sees itself"


def test_replaced_events_are_told_from_others_and_nothing_flows_back_through_the_choice() -> None:
    plain = schema_of({"item": {"tag": "item-id", "cardinality": 30}})
    for replacements in ("batch", "softmax"):
        masking = {"objective": "rtd", "share": 0.5, "replacements": replacements, "generator_weight": 0.0, "discriminator_weight": 2.0}
        model = network(plain if replacements == "softmax" else SCHEMA, masking=masking)
        assert model.discriminator is not None
        given = batch([9] * 6)
        torch.manual_seed(0)
        losses = model.losses(given)
        losses.total.backward()
        share = int(losses.asked) / 54  # of the real events those that are asked for
        assert float(losses.total.detach()) == pytest.approx(2.0 * share * float(losses.parts["replaced"].detach()), rel=1e-5)
        assert model.discriminator.weight.grad is not None
        assert model.next_item is not None
        assert model.next_item.bias.grad is not None
        assert float(model.next_item.bias.grad.abs().max()) == 0.0, "the generator's choice has no gradient"
    model = network(masking={"objective": "rtd", "share": 0.5, "generator_weight": 3.0, "discriminator_weight": 2.0})
    torch.manual_seed(0)
    losses = model.losses(batch([9] * 6))
    means = 3.0 * losses.parts["next item"] / losses.asked + 2.0 * losses.parts["replaced"] / 54
    by_hand = means * losses.asked
    assert float(losses.total.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-6)


def test_a_lucky_replacement_counts_as_original(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(schema_of({"item": {"tag": "item-id", "cardinality": 2}}), masking={"objective": "rtd", "share": 0.5})
    seen: list[Tensor] = []

    def kept(said: Tensor, labels: Tensor, **_: object) -> Tensor:
        seen.append(labels)
        return said.sum()

    monkeypatch.setattr("fathom.networks.network.binary_cross_entropy_with_logits", kept)
    model.losses({"item": torch.ones(4, 6, dtype=torch.long)})
    assert seen[0].tolist() == [0.0] * 24


def test_the_next_item_head_is_the_documented_formula() -> None:
    for settings in ({}, {"tied": False}, {"temperature": 0.5}, {"smoothing": 0.3}):
        model = network(next_item=settings)
        head = model.next_item
        assert head is not None
        assert (head.items is model.features.items) == settings.get("tied", True)
        torch.nn.init.normal_(head.bias)
        states, targets = torch.randn(5, 16), torch.randint(1, 30, (5,))
        with torch.no_grad():
            logits = (head.projection(states) @ head.items.weight.T + head.bias) / settings.get("temperature", 1.0)
            assert torch.allclose(head.logits(states)[:, 1:], logits[:, 1:], atol=1e-5)
            expected = cross_entropy(logits[:, 1:], targets - 1, reduction="sum", label_smoothing=settings.get("smoothing", 0.0))
            assert float(head.loss(states, targets)) == pytest.approx(float(expected), rel=1e-5)


def test_heads_say_what_their_columns_are_and_share_nothing() -> None:
    heads = {"bought": {"hidden": 4}, "kind": {"summary": "first", "weight": 0.5}, "spent": {"summary": "mean", "weight": 2.0}}
    model = network(next_item=None, heads=heads)
    given = batch(LENGTHS)
    said = model.said(given)
    assert {name: tuple(values.shape) for name, values in said.items()} == {"bought": (5,), "kind": (5, 3), "spent": (5,)}
    losses = model.losses(given)
    expected = {
        "bought": binary_cross_entropy_with_logits(said["bought"], given["bought"].float(), reduction="sum"),
        "kind": cross_entropy(said["kind"], given["kind"], reduction="sum"),
        "spent": mse_loss(said["spent"], given["spent"], reduction="sum"),
    }
    for name, value in expected.items():
        assert float(losses.parts[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5)
    assert float(losses.total.detach()) == pytest.approx(
        float((expected["bought"] + 0.5 * expected["kind"] + 2 * expected["spent"]).detach()), rel=1e-5
    )
    assert int(losses.asked) == 15
    parts = [set(map(id, head.parameters())) for head in model.heads]
    assert not parts[0] & parts[1]
    assert not parts[1] & parts[2]


@pytest.mark.parametrize("summary", ["last", "first", "mean", "attention"])
def test_a_summary_is_of_real_events(summary: str) -> None:
    model = network(next_item=None, heads={"bought": {"summary": summary}})
    [head] = model.heads
    states, inside = torch.randn(2, 4, 16), torch.tensor([[True, True, False, False], [True] * 4])
    with torch.no_grad():
        found = head.summary(states, inside)  # type: ignore[operator]
        expected: dict[str, Callable[[int, int], Tensor]] = {
            "last": lambda row, length: states[row, length - 1],
            "first": lambda row, length: states[row, 0],
            "mean": lambda row, length: states[row, :length].mean(dim=0),
            "attention": lambda row, length: (head.attention(states[row, :length]).softmax(dim=0) * states[row, :length]).sum(dim=0),  # type: ignore[operator]
        }
        for row, length in ((0, 2), (1, 4)):
            assert torch.allclose(found[row], expected[summary](row, length), atol=1e-5)


@pytest.mark.parametrize("how", ["concat", "sum", "multiply"])
def test_a_context_joins_behind_the_block(how: str) -> None:
    model = network(fusion={"how": how, "width": 3}, block={"kind": "gpt2"})
    fusion = model.fusion
    assert fusion is not None
    states, flat = torch.randn(2, 4, 16), torch.randn(2, 3)
    with torch.no_grad():
        mapped = {
            "concat": lambda c: fusion.map(torch.cat([states, c], dim=2)),
            "sum": lambda c: states + fusion.map(c),
            "multiply": lambda c: states * (1 + fusion.map(c)),
        }[how]
        assert torch.allclose(fusion(states, flat), mapped(flat[:, None].expand(-1, 4, -1)), atol=1e-6)
        deep = torch.randn(2, 4, 3)
        assert torch.allclose(fusion(states, deep), mapped(deep), atol=1e-6)
    given = batch([4, 3])
    with pytest.raises(ConfigError, match="the batch has no 'context'"):
        model.losses(given)
    for context in (torch.randn(2, 3), torch.randn(2, 4, 3)):
        assert bool(model.losses(dict(given) | {CONTEXT: context}).total.isfinite())
        assert model.scores(dict(given) | {CONTEXT: context}, torch.tensor([4, 3])).shape == (2, 30)
    with pytest.raises(ConfigError, match="the context has shape"):
        model.losses(dict(given) | {CONTEXT: torch.randn(2, 9, 3)})


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("item", lambda values: values + 29, r"column 'item' holds the id [345]\d, but the schema says there are 30"),
        ("genre", lambda values: values - 2, "column 'genre' holds the id -2"),
        ("hour", lambda values: values * float("nan"), "column 'hour' holds a number that is not finite"),
        ("text", lambda values: values / 0, "column 'text' holds a number that is not finite"),
        ("kind", lambda values: values + 3, "column 'kind' holds the class [345], but the schema says there are 0 to 2"),
        ("bought", lambda values: values * 2 + 0.5, "column 'bought' is binary, but holds"),
        ("spent", lambda values: values * float("nan"), "column 'spent' holds nan, which is not finite"),
        ("spent", lambda values: values / 0, "column 'spent' holds -?inf, which is not finite"),
    ],
)
def test_what_a_batch_may_not_hold_is_told(column: str, change: Callable[[Tensor], Tensor], said: str) -> None:
    model = network(heads={"bought": {}, "kind": {}, "spent": {}})
    given = batch([4, 3])
    with pytest.raises(DataError, match=said):
        model.losses(dict(given) | {column: change(given[column])})


def test_a_column_that_is_missing_and_a_target_that_is_unknown_are_told() -> None:
    given = batch([4])
    del given["price"]
    with pytest.raises(ConfigError, match="the batch has no column 'price'"):
        check(SCHEMA, given, longest=60)
    with pytest.raises(ConfigError, match=r"heads\.bougt: the schema has no such target.*bought"):
        network(heads={"bougt": {}})
    with pytest.raises(ConfigError, match="nothing is asked for"):
        network(next_item=None)
    with pytest.raises(ConfigError, match=r"features\.width is 8 and block.width 16"):
        network(features={"width": 8})
    with pytest.raises(ConfigError, match="cannot be shared by 3 heads"):
        network(block={"heads": 3})
    with pytest.raises(ConfigError, match=r"block 'xlnt'.*xlnet"):
        network(block={"kind": "xlnt"})


@every_pair
def test_numbers_of_padded_events_may_be_anything(kind: str, objective: Objective) -> None:
    model = made(kind, objective).train()
    given = batch([9, 4, 7])
    padded = given["item"] == PAD
    for name in ("hour", "price", "text"):
        given[name][padded] = float("nan")
    model.losses(given).total.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is None or bool(weight.grad.isfinite().all()), name


@pytest.mark.parametrize("objective", ["clm", "mlm"])
def test_what_is_not_known_yet_has_no_context(objective: Objective) -> None:
    model = network(fusion={"how": "concat", "width": 3}, block={"kind": "xlnet"}, masking={"objective": objective})
    given = batch([6, 4]) | {CONTEXT: torch.randn(2, 6, 3)}
    lengths = torch.tensor([5, 2])
    changed = given | {CONTEXT: torch.where((torch.arange(6) < lengths[:, None])[:, :, None], given[CONTEXT], 9.0)}
    with torch.no_grad():
        assert torch.equal(model.scores(given, lengths), model.scores(changed, lengths))
        last = given[CONTEXT].clone()
        last[:, [4]] += 1.0
        assert not torch.equal(model.scores(given, lengths)[0], model.scores(given | {CONTEXT: last}, lengths)[0])


def test_a_replaced_event_brings_its_columns_and_noise_is_no_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(features={"swap": 0.9}, masking={"objective": "rtd", "share": 0.5}).train()
    told: list[tuple[dict[str, Tensor], bool]] = []
    usual = model.features.forward

    def heard(given: dict[str, Tensor], *, disturbed: bool = True) -> Tensor:
        told.append((given, disturbed))
        return usual(given, disturbed=disturbed)

    monkeypatch.setattr(model.features, "forward", heard)
    given = batch([9] * 6)
    model.losses(given)
    corrupted, disturbed = told[-1]
    assert not disturbed
    moved = corrupted["item"] != given["item"]
    assert bool(moved.any())
    known = {(int(item), float(hour)) for item, hour in zip(given["item"].flatten(), given["hour"].flatten(), strict=True)}
    assert all(
        (int(item), float(hour)) in known for item, hour in zip(corrupted["item"].flatten(), corrupted["hour"].flatten(), strict=True)
    )
    with pytest.raises(ConfigError, match=r"which would betray them: write masking\.replacements: batch"):
        network(masking={"objective": "rtd", "replacements": "softmax"})


@pytest.mark.parametrize(
    ("name", "kind", "one", "other"),
    [
        ("epsilon", "bert", 1e-12, 0.5),
        ("activation", "bert", "gelu", "relu"),
        ("spread", "bert", 0.3, 0.1),
        ("window", "longformer", 4, 8),
        ("window", "reformer", 4, 8),
        ("inner", "xlnet", 16, 24),
        ("groups", "albert", 1, 2),
    ],
)
def test_every_setting_of_a_block_changes_what_it_says(name: str, kind: str, one: object, other: object) -> None:
    objective = "mlm" if legal(kind, "mlm") else "clm"
    given, lengths = batch([9]), torch.tensor([9])
    with torch.no_grad():
        found = [
            network(block={"kind": kind, name: value}, masking={"objective": objective}).scores(given, lengths)[:, 1:]
            for value in (one, other)
        ]
    assert not torch.allclose(found[0], found[1], atol=1e-5)


def test_transformer_xl_attends_as_its_formula_says() -> None:
    """logit_ij = (q_i + u) . k_j + (q_i + v) . W r_(i - j)."""
    settings = BlockSettings(kind="transformer-xl", width=8, layers=1, heads=2, inner=8, dropout=0.0, spread=0.5, length=5)
    [layer] = TransformerXL(settings).eval().layers
    torch.nn.init.normal_(layer.content_bias)  # type: ignore[arg-type]
    torch.nn.init.normal_(layer.place_bias)  # type: ignore[arg-type]
    states, waves = torch.randn(1, 5, 8), distance_waves(5, 8)
    with torch.no_grad():
        queries, keys, values = (part.view(5, 2, 4) for part in layer.read(states[0]).chunk(3, dim=1))  # type: ignore[operator]
        mixed = torch.zeros(5, 2, 4)
        for head in range(2):
            for i in range(5):
                logits = torch.stack(
                    [
                        (queries[i, head] + layer.content_bias[head]) @ keys[j, head]  # type: ignore[index]
                        + (queries[i, head] + layer.place_bias[head]) @ layer.places(waves[i - j + 4]).view(2, 4)[head]  # type: ignore[index,operator]
                        for j in range(i + 1)
                    ]
                )
                mixed[i, head] = (logits / 2).softmax(dim=0) @ values[: i + 1, head]
        one = layer.norm(states[0] + layer.write(mixed.reshape(5, 8)))  # type: ignore[operator]
        expected = layer.feed_norm(one + layer.feed(one))  # type: ignore[operator]
        allowed = torch.ones(1, 5, 5, dtype=torch.bool).tril()
        assert torch.allclose(layer(states, allowed, waves)[0], expected, atol=1e-5)


def test_albert_with_as_many_groups_as_layers_shares_nothing() -> None:
    sizes = [
        sum(weight.numel() for weight in network(block={"kind": "albert", "layers": 3, "groups": groups}).block.parameters())
        for groups in (1, 3)
    ]
    assert sizes[1] > 2 * sizes[0]
