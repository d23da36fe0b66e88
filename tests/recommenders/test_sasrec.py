import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fathom.errors import ConfigError, ModelError
from fathom.recommenders.encoders import Attention, Dropout, _turned, rotations
from fathom.recommenders.sasrec import SASRec, SASRecSettings
from fathom.records import PAD, Case, Interactions, cases_of
from fathom.training.run import Run, noise_from
from fathom.training.sequential import SASRecTraining, SequenceFit, train_sasrec, window_batches

SMALL = SASRecSettings(width=16, layers=1, heads=2, inner=32, length=8, dropout=0.1)


def model(n_items: int = 12) -> SASRec:
    with noise_from(1):
        return SASRec(n_items, SMALL).eval()


def ring(users: int = 60, events: int = 9, n_items: int = 12) -> Interactions:
    """Item i is always followed by i + 1, the last by 1."""
    items = np.concatenate([(np.arange(events) + user) % n_items + 1 for user in range(users)])
    return Interactions(tuple(map(str, range(users))), np.arange(0, users * events + 1, events), items)


def test_the_ring_is_learned(tmp_path):
    fit = SequenceFit(epochs=15, batch_size=8, learning_rate=0.01, precision="float32")
    trained = train_sasrec(
        ring(), [Case(0, (3, 4), 5), Case(1, (9,), 10)], n_items=12, settings=SASRecTraining(model=SMALL, fit=fit), run=Run(tmp_path)
    )
    assert trained.score(cases_of([[3, 4, 5], [11, 12]])).argmax(dim=1).tolist() == [6, 1]
    ranking = trained.recommend(cases_of([[3, 4, 5]]), 3)
    assert ranking.items[0, 0] == 6
    assert not {3, 4, 5} & set(ranking.items[0].tolist())


@pytest.mark.usefixtures("two_threads")
def test_same_seed_same_bytes(tmp_path):
    settings = SASRecTraining(model=SMALL, fit=SequenceFit(epochs=2, batch_size=8))
    torch.manual_seed(5)
    first = train_sasrec(ring(), [], n_items=12, settings=settings, run=Run(tmp_path / "a"))
    torch.manual_seed(6)
    second = train_sasrec(ring(), [], n_items=12, settings=settings, run=Run(tmp_path / "b"))
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


def test_batch_mates_do_not_change_a_row():
    sasrec = model()
    histories = [[1, 2, 3], [4], list(range(1, 13)), []]
    together = sasrec.score(cases_of(histories))
    for row, history in enumerate(histories):
        assert torch.allclose(sasrec.score(cases_of([history]))[0, 1:], together[row, 1:], atol=1e-5)


def test_the_future_does_not_change_the_past():
    sasrec = model()
    before = sasrec(torch.tensor([[1, 2, 3, 4]]))
    after = sasrec(torch.tensor([[1, 2, 9, 7]]))
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_only_the_newest_events_are_read():
    sasrec = model()
    assert torch.equal(sasrec.users([[5] * 9 + [1, 2, 3, 4, 5, 6, 7, 8]]), sasrec.users([[1, 2, 3, 4, 5, 6, 7, 8]]))


def test_somebody_without_a_history_gets_finite_scores():
    scores = model().score(cases_of([[]]))
    assert torch.isfinite(scores[0, 1:]).all()
    assert scores[0, PAD] == -torch.inf


def test_an_unknown_item_is_named():
    with pytest.raises(ConfigError, match="item 13"):
        model().score(cases_of([[1, 13]]))


def test_saved_and_loaded_scores_are_the_same(tmp_path):
    sasrec = model()
    sasrec.save(tmp_path / "sasrec")
    loaded = SASRec.load(tmp_path / "sasrec")
    assert torch.equal(loaded.score(cases_of([[1, 2]])), sasrec.score(cases_of([[1, 2]])))


def test_a_missing_tensor_is_named(tmp_path):
    model().save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if name != "encoder.norm.bias"}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"encoder\.norm\.bias"):
        SASRec.load(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path):
    model().save(tmp_path)
    text = (tmp_path / "model.json").read_text().replace('"sasrec"', '"retriever"')
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match="kind 'sasrec', found 'retriever'"):
        SASRec.load(tmp_path)


def test_every_event_is_said_exactly_once_after_what_came_before():
    lengths = [1, 2, 7, 8, 9, 23, 40]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.random.default_rng(0).integers(1, 100, offsets[-1])
    data = Interactions(tuple(map(str, lengths)), offsets, items)
    for seed in range(5):
        said = []
        for batch in window_batches(data, 8, rows=2, rng=np.random.default_rng(seed)):
            assert batch.ids.numel() <= 2 * 8
            asked = batch.targets != PAD
            places = batch.places[asked].numpy()
            said += places.tolist()
            assert np.array_equal(batch.targets[asked].numpy(), items[places])
            first = np.isin(places, offsets)
            assert np.array_equal(batch.ids[asked].numpy(), np.where(first, PAD, items[places - 1]))
        assert sorted(said) == list(range(offsets[-1]))


def test_long_histories_are_cut_elsewhere_in_every_epoch():
    data = Interactions(("a",), np.array([0, 40]), np.arange(1, 41))
    firsts = set()
    for seed in range(20):
        for batch in window_batches(data, 8, rows=8, rng=np.random.default_rng(seed)):
            firsts |= set(batch.targets[:, 0].tolist())
    assert len(firsts) > 10


def test_attention_is_the_built_in_attention():
    with noise_from(2):
        attention, inputs = Attention(16, 2), torch.randn(3, 5, 16)
    queries, keys, values = attention.read(inputs).view(3, 5, 3, 2, 8).permute(2, 0, 3, 1, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    expected = attention.write(expected.transpose(1, 2).reshape(3, 5, 16))
    assert torch.allclose(attention(inputs, torch.full((5, 5), -1e4).triu(1)), expected, atol=1e-6)


def test_turned_logits_know_distances_only():
    with noise_from(4):
        query, key = torch.randn(1, 1, 8), torch.randn(1, 1, 8)
    turns = rotations(10, 8)

    def logit(place, other):
        return (_turned(query, turns[:, place : place + 1]) * _turned(key, turns[:, other : other + 1])).sum()

    assert torch.allclose(logit(7, 3), logit(9, 5), atol=1e-5)
    assert not torch.allclose(logit(7, 3), logit(7, 4), atol=1e-3)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    with noise_from(3):
        dropped = Dropout(0.25)(torch.ones(1001, 101))
    assert (dropped == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean() == pytest.approx(1, abs=0.01)
    every_eighth = (dropped.flatten()[7::8] == 0).float().mean()
    assert every_eighth == pytest.approx(0.25, abs=0.01), "all eight bytes of a word are equally random"
    assert torch.equal(Dropout(0.25).eval()(dropped), dropped)
