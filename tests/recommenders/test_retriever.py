import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fathom.errors import ConfigError, ModelError
from fathom.items.encoders import HashingEncoder
from fathom.recommenders.adaptors import FrequencyMixing, MixtureAdaptor
from fathom.recommenders.memo import Memo
from fathom.recommenders.retriever import Retriever, RetrieverSettings
from fathom.recommenders.retriever_model import RetrieverModel
from fathom.records import PAD, Call, Catalog, cases_of
from fathom.training.run import noise_from

N = 30
CATALOG = Catalog(tuple(map(str, range(N))), tuple(f"Item {i}" for i in range(N)))
TEDREC = {"backbone": "tedrec", "mixing": "frequency", "length": 6, "candidates": "ids"}
MAKES = [
    {},
    {"fusion": "mean_dot"},
    {"adaptor": "plain", "candidates": "ids"},
    TEDREC,
    {**TEDREC, "fusion": "mean_dot", "adaptor": "plain", "mixing": "plain"},
]
HISTORIES = [[1, 2, 3], [4], list(range(5, 30)), []]


class Counting(HashingEncoder):
    """Notes every text it is asked to encode."""

    def __init__(self) -> None:
        super().__init__(32)
        self.asked: list[str] = []

    def encode(self, texts):
        self.asked += texts
        return super().encode(texts)


def retriever(**changes) -> Retriever:
    encoder = Counting()
    vectors = np.concatenate([np.zeros((1, 32), np.float32), encoder.encode(CATALOG.titles)])
    encoder.asked.clear()
    settings = RetrieverSettings(**{"width": 16, "layers": 1, "inner": 32, "length": 8, **changes})
    with noise_from(1):
        model = RetrieverModel(torch.from_numpy(vectors), settings)
        for parameter in model.parameters():  # large enough that every part speaks
            parameter.data += 0.1 * torch.randn_like(parameter)
    return Retriever(model, encoder)


@pytest.mark.parametrize("make", MAKES)
def test_batch_mates_order_and_padding_do_not_change_scores(make):
    asked = retriever(**make)
    preferences = ["item 3", "", "something", "item 7"]
    together = asked.score(cases_of(HISTORIES), preferences)
    backwards = retriever(**make).score(cases_of(HISTORIES[::-1]), preferences[::-1]).flip(0)
    assert torch.allclose(together[:, 1:], backwards[:, 1:], atol=1e-5)
    for row, (history, preference) in enumerate(zip(HISTORIES, preferences, strict=True)):
        alone = retriever(**make).score(cases_of([history]), [preference])
        assert torch.allclose(alone[0, 1:], together[row, 1:], atol=1e-5)


@pytest.mark.parametrize("make", MAKES)
def test_the_empty_preference_adds_exactly_nothing(make):
    asked = retriever(**make)
    assert asked.model.wishes(torch.zeros(2, 32)).abs().max() == 0
    scores = asked.score(cases_of(HISTORIES))
    assert torch.isfinite(scores[:, 1:]).all()
    assert torch.equal(scores, asked.score(cases_of(HISTORIES), ["", " ", "", "\n"]))
    assert asked.encoder.asked == [], "the encoder is not called on an empty text"


@pytest.mark.parametrize("make", MAKES)
def test_weights_are_the_logits_of_training_and_know_no_batch(make):
    asked = retriever(**make)
    items = [(3, 7, 9), (1,), (), (30, 2)]
    together = asked.weigh(HISTORIES, items)
    logits = asked.score(cases_of(HISTORIES)) * asked.model.sharpness()
    for weights, row, wanted in zip(together, logits, items, strict=True):
        assert np.allclose(weights, row[list(wanted)].numpy(), atol=1e-4)
    alone = [retriever(**make).weigh([history], [wanted])[0] for history, wanted in zip(HISTORIES, items, strict=True)]
    assert all(np.allclose(one, other, atol=1e-4) for one, other in zip(alone, together, strict=True))
    assert asked.encoder.asked == [], "nothing is wished for"


def test_a_preference_changes_the_scores():
    asked = retriever()
    assert not torch.allclose(asked.score(cases_of([[1]]), ["item 9"])[:, 1:], asked.score(cases_of([[1]]))[:, 1:])


def scaled_items(asked: Retriever) -> Retriever:
    with torch.no_grad():
        asked.model.ids.weight.mul_(3)
    return Retriever(asked.model, asked.encoder)


def test_ln_cos_does_not_see_the_length_of_item_vectors_and_mean_dot_does():
    states, wishes = torch.ones(1, 16), torch.ones(1, 16)
    for fusion, same in (("ln_cos", True), ("mean_dot", False)):
        asked = retriever(fusion=fusion, candidates="ids")
        before = asked.model.queries(states, wishes) @ asked.model.items()[1].T
        scaled = scaled_items(asked)
        after = scaled.model.queries(states, wishes) @ scaled.model.items()[1].T
        assert torch.allclose(before[:, 1:], after[:, 1:], atol=1e-5) == same


def test_ln_cos_scores_are_cosines():
    assert retriever().score(cases_of(HISTORIES))[:, 1:].abs().max() <= 1 + 1e-6


def test_excluded_items_never_come_back_and_fewer_left_means_fewer_returned():
    asked = retriever()
    banned = frozenset(range(1, 26))
    first, second = asked.retrieve([Call((1, 2), "item", 20, banned), Call((1, 2), "", 3)])
    assert len(first) == 5
    assert not banned & set(first)
    assert len(second) == 3
    assert asked.retrieve([Call((1,), "", 5, frozenset(range(1, N + 1)))]) == [()]


def test_retrieve_is_the_top_of_score():
    asked = retriever()
    calls = [Call(tuple(history), "item 3", 7) for history in HISTORIES]
    scores = asked.score(cases_of(HISTORIES), ["item 3"] * 4)
    assert asked.retrieve(calls) == [tuple(row) for row in scores.topk(7, dim=1).indices.tolist()]


def test_recommend_leaves_out_the_history_unless_told():
    asked = retriever()
    assert not set(HISTORIES[2]) & set(asked.recommend(cases_of([HISTORIES[2]]), 5).items[0].tolist())
    assert (asked.recommend(cases_of([HISTORIES[2]]), N, exclude_history=False).items != PAD).all()


def test_a_phrase_is_encoded_once_however_often_it_is_said():
    asked = retriever()
    calls = [Call((1, item), f"phrase {item % 2}", 3) for item in range(2, 9)]
    asked.retrieve(calls)
    asked.retrieve(calls)
    assert sorted(asked.encoder.asked) == ["phrase 0", "phrase 1"]


def test_vectors_for_rewards_are_unit_rows_with_a_zero_first():
    asked = retriever()
    for vectors in (asked.item_vectors, asked.text_vectors):
        assert np.allclose(np.linalg.norm(vectors[1:], axis=1), 1, atol=1e-5)
        assert not vectors[PAD].any()


def test_an_unknown_item_and_a_wrong_number_of_preferences_are_named():
    with pytest.raises(ConfigError, match="item 31"):
        retriever().score(cases_of([[31]]))
    with pytest.raises(ConfigError, match="2 preferences for 1 cases"):
        retriever().score(cases_of([[1]]), ["a", "b"])


@pytest.mark.parametrize("make", MAKES)
def test_saved_and_loaded_scores_are_the_same(tmp_path, make):
    asked = retriever(**make)
    asked.save(tmp_path)
    loaded = Retriever.load(tmp_path, CATALOG, asked.encoder)
    assert torch.equal(loaded.score(cases_of(HISTORIES), ["a", "b", "c", ""]), asked.score(cases_of(HISTORIES), ["a", "b", "c", ""]))


@pytest.mark.parametrize("change", [lambda told: told.pop("loudness"), lambda told: told.update(loudness_of_old=1)])
def test_a_setting_that_nobody_recorded_is_not_guessed_and_an_unknown_one_not_ignored(tmp_path, change):
    asked = retriever()
    asked.save(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    change(facts["settings"])
    (tmp_path / "model.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=r"another version .* settings loudness.*train it again"):
        Retriever.load(tmp_path, CATALOG, asked.encoder)


@pytest.mark.parametrize(("adaptor", "text_width"), [("moe", 384), ("moe", 64), ("plain", 384)])
def test_before_training_a_wish_is_as_loud_as_the_setting_says(adaptor, text_width):
    texts = torch.nn.functional.normalize(torch.randn(500, text_width, generator=torch.Generator().manual_seed(2)), dim=1)
    with noise_from(1):
        model = RetrieverModel(torch.cat([torch.zeros(1, text_width), texts]), RetrieverSettings(adaptor=adaptor, loudness=0.4)).eval()
    with torch.inference_mode():
        state = model.last_states([[1, 2, 3]], model.items()[0])
        lengths = model.wishes(texts).square().mean().sqrt() / state.square().mean().sqrt()
    assert float(lengths) == pytest.approx(0.4, rel=0.1)


def test_loading_under_another_fusion_is_refused(tmp_path):
    asked = retriever()
    asked.save(tmp_path)
    other = asked.model.settings.model_copy(update={"fusion": "mean_dot"})
    with pytest.raises(ModelError, match="fusion 'ln_cos', asked for 'mean_dot'"):
        Retriever.load(tmp_path, CATALOG, asked.encoder, settings=other)


def test_a_missing_tensor_another_encoder_and_another_catalogue_are_refused(tmp_path):
    asked = retriever()
    asked.save(tmp_path)
    with pytest.raises(ModelError, match="hashing-1:64"):
        Retriever.load(tmp_path, CATALOG, HashingEncoder(64))
    with pytest.raises(ModelError, match="30 items, the catalogue has 1"):
        Retriever.load(tmp_path, Catalog(("a",), ("A",)), asked.encoder)
    tensors = load_file(tmp_path / "model.safetensors")
    for gone in ("texts", "adaptor.gate.weight"):
        save_file({name: tensor for name, tensor in tensors.items() if name != gone}, tmp_path / "model.safetensors")
        with pytest.raises(ModelError, match=gone):
            Retriever.load(tmp_path, CATALOG, asked.encoder)


def test_a_causal_backbone_cannot_look_along_the_whole_window():
    with pytest.raises(ValueError, match="future included"):
        RetrieverSettings(backbone="causal", mixing="frequency")


def test_the_mixture_is_the_written_formula():
    with noise_from(3):
        adaptor, text = MixtureAdaptor(5, 4, experts=3, dropout=0.0).eval(), torch.randn(5)
        adaptor.gate.weight.data.normal_()
    shares = torch.softmax(adaptor.gate.weight @ text, dim=0)
    expected = sum(shares[g] * (adaptor.experts.weight[4 * g : 4 * g + 4] @ text) for g in range(3))
    assert torch.allclose(adaptor(text), expected, atol=1e-6)


def test_frequency_mixing_is_the_written_formula():
    with noise_from(4):
        mixing, ids, texts = FrequencyMixing(3, 6), torch.randn(2, 6, 3), torch.randn(2, 6, 3)
    # A product of orthonormal spectra is a circular convolution divided by sqrt(length).
    crossed = torch.zeros(2, 6, 3)
    for place in range(6):
        for shift in range(6):
            crossed[:, place] += texts[:, shift] * ids[:, (place - shift) % 6] / 6**0.5
    spectrum = torch.fft.rfft(ids, dim=1, norm="ortho") * torch.view_as_complex(mixing.filter)
    filtered = torch.fft.irfft(spectrum, n=6, dim=1, norm="ortho")
    expected = 2 * (filtered * torch.sigmoid(mixing.id_gate(filtered)) + crossed * torch.sigmoid(mixing.text_gate(crossed)))
    assert torch.allclose(mixing(ids, texts), expected, atol=1e-5)


def test_a_memo_computes_what_is_new_and_forgets_the_oldest():
    computed = []

    def squares(keys):
        computed.extend(keys)
        return torch.tensor([[float(key) ** 2] for key in keys])

    memo = Memo(squares, most=3)
    assert memo.rows([2, 3, 2]).flatten().tolist() == [4, 9, 4]
    assert memo.rows([3, 4, 5]).flatten().tolist() == [9, 16, 25]
    assert memo.rows([2]).item() == 4
    assert computed == [2, 3, 4, 5, 2]
    assert memo.rows([6, 7, 8, 9]).flatten().tolist() == [36, 49, 64, 81]


def test_a_history_is_read_once_however_often_it_is_asked_about(monkeypatch):
    asked = retriever()
    read = []
    original = RetrieverModel.last_states

    def noting(model, histories, texts):
        read.extend(histories)
        return original(model, histories, texts)

    monkeypatch.setattr(RetrieverModel, "last_states", noting)
    calls = [Call((1, 2, item), f"phrase {turn}", 3) for turn in range(4) for item in (3, 4)]
    first = asked.retrieve(calls)
    assert asked.retrieve(calls) == first
    assert sorted(read) == [(1, 2, 3), (1, 2, 4)]
