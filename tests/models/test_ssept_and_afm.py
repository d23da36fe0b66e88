"""SSE-PT's replacements and AFM's pairs."""

import numpy as np
import pytest
import torch
from planted import CATALOG, N_ITEMS, walks

from fathom.models.afm import AFM, AFMSettings, mean_of, products
from fathom.models.afm import Network as Machine
from fathom.models.model import TrainingData
from fathom.models.ssept import SSEPT, Network, SSEPTSettings, lost
from fathom.records import Case, cases_of
from fathom.training.run import Run, noise_from
from fathom.training.sampled import Drawing, SampledTraining
from fathom.training.sequential import window_batches


def network(**settings: object) -> Network:
    with noise_from(1):
        return Network(40, N_ITEMS, SSEPTSettings.model_validate({"width": 8, "length": 8, "dropout": 0.0} | settings))


def test_items_and_people_are_replaced_with_their_own_probabilities_in_training_alone() -> None:
    model = network(item_replaced=0.2, person_replaced=0.7)
    ids, users = torch.randint(0, N_ITEMS + 1, (4000, 8)), torch.randint(0, 40, (4000,))
    read, seen = model.train().replaced(ids, users)
    real = ids != 0
    assert torch.equal(read != 0, real)
    assert float((read != ids)[real].float().mean()) == pytest.approx(0.2 * (1 - 1 / N_ITEMS), abs=0.01)
    assert float((seen != users).float().mean()) == pytest.approx(0.7 * (1 - 1 / 40), abs=0.03)
    read, seen = model.eval().replaced(ids, users)
    assert torch.equal(read, ids)
    assert torch.equal(seen, users)


def test_what_is_learned_from_is_replaced_and_what_is_asked_for_is_not() -> None:
    log, _ = walks(40)
    [windows, *_] = window_batches(log, 8, rows=8, rng=np.random.default_rng(0))
    whole = Drawing([windows], np.bincount(log.items, minlength=N_ITEMS + 1), SampledTraining(negatives=3), seed=1)[0]
    owners = torch.from_numpy(np.searchsorted(log.offsets, whole.places.numpy().max(axis=1), side="right") - 1)
    for replaced in ({"item_replaced": 0.9}, {"person_replaced": 0.9}, {}):
        model = network(**({"item_replaced": 0.0, "person_replaced": 0.0} | replaced))
        torch.manual_seed(0)
        with torch.no_grad():
            moved, still = lost(model.train(), whole, owners), lost(model.eval(), whole, owners)
        assert (float(moved[0]) == pytest.approx(float(still[0]), rel=1e-6)) == (not replaced)
        assert int(moved[1]) == int(still[1])


def test_a_person_s_vector_stands_beside_the_item_s_and_a_stranger_is_everybody_s_mean() -> None:
    model = network().eval()
    vectors = model.vectors(torch.tensor([3, -1, 99]))
    assert torch.equal(vectors[0], model.people.weight[3])
    assert torch.allclose(vectors[1], model.people.weight.mean(dim=0))
    assert torch.equal(vectors[1], vectors[2])
    [one, other] = SSEPT(model).score([Case(3, (1, 2), 0), Case(5, (1, 2), 0)])
    assert not torch.allclose(one[1:], other[1:])


def test_cutting_a_batch_changes_nothing() -> None:
    log, _ = walks(40)
    model = network(item_replaced=0.0, person_replaced=0.0).eval()
    [windows, *_] = window_batches(log, 8, rows=8, rng=np.random.default_rng(0))
    counts = np.bincount(log.items, minlength=N_ITEMS + 1)
    whole = Drawing([windows], counts, SampledTraining(negatives=3), seed=1)[0]
    owners = torch.from_numpy(np.searchsorted(log.offsets, whole.places.numpy().max(axis=1), side="right") - 1)
    with torch.no_grad():
        parts = [lost(model, whole.rows(slice(row, row + 1)), owners[row : row + 1])[0] for row in range(len(owners))]
        assert float(sum(parts)) == pytest.approx(float(lost(model, whole, owners)[0]), rel=1e-5)


def test_pairs_are_all_of_different_fields_and_attention_adds_up_to_one() -> None:
    with noise_from(1):
        machine = Machine(5, 9, [4], [2], AFMSettings(width=4, attention=3)).eval()
    fields = torch.randn(2, 4, 4)
    present = torch.tensor([[True] * 4, [False, True, True, False]])
    pairs, there = products(fields, present)
    assert pairs.shape == (2, 6, 4)
    assert torch.allclose(pairs[0, 1], fields[0, 0] * fields[0, 2])
    assert there.sum(dim=1).tolist() == [6, 1]
    with torch.no_grad():
        shares = machine.shares(pairs, there)
    assert shares.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert shares[1][~there[1]].tolist() == [0.0] * 5


def test_with_even_attention_it_is_the_factorisation_machine_over_the_number_of_pairs() -> None:
    with noise_from(1):
        machine = Machine(5, 9, [], [], AFMSettings(width=4, attention=3)).eval()
    for part in machine.attention.parameters():
        torch.nn.init.zeros_(part)
    torch.nn.init.ones_(machine.out.weight)
    users, last, items = torch.tensor([2]), torch.tensor([3]), torch.tensor([[7, 8]])
    with torch.no_grad():
        found = machine(users, last, items)[0]
        for place, item in enumerate((7, 8)):
            u, p, i = (table.weight[index] for table, index in zip(machine.vectors, (2, 3, item), strict=True))
            linear = sum(table.weight[index] for table, index in zip(machine.weights, (2, 3, item), strict=True))
            squares = ((u + p + i) ** 2 - u**2 - p**2 - i**2).sum() / 2
            assert float(found[place]) == pytest.approx(float(linear + squares / 3), rel=1e-4)


def test_a_field_of_several_values_is_their_mean() -> None:
    values = torch.tensor([[1, 2, 0], [0, 0, 0]])
    vectors = torch.tensor([[[1.0], [3.0], [0.0]], [[0.0], [0.0], [0.0]]])
    assert mean_of(vectors, values).tolist() == [[2.0], [0.0]]


def test_attributes_are_read_and_kept(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log, _ = walks(30)
    given = {"width": 4, "attributes": ("colour",), "fit": {"epochs": 1, "batch_size": 64}}
    model = AFM.fit(TrainingData(log, (), CATALOG, Run(tmp_path), "fit"), AFMSettings.model_validate(given))
    model.save(tmp_path / "model")
    again = AFM.load(tmp_path / "model")
    asked = cases_of([(1, 2), (), (55,)])
    assert torch.equal(again.score(asked), model.score(asked))
    with torch.no_grad():
        again.network.vectors[3].weight.add_(1.0)
    assert not torch.allclose(again.score(asked)[:, 1:], model.score(asked)[:, 1:])
