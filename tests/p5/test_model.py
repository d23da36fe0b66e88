"""One network answers every template (checklist P5 to P10, P14)."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fathom.errors import ConfigError, ModelError
from fathom.p5.identifiers import SCHEMES
from fathom.p5.lexicon import train_lexicon
from fathom.p5.model import P5
from fathom.p5.network import SHAPES, NetworkSettings, build, padded
from fathom.p5.sentences import Draw, Moment
from fathom.p5.templates import Template, family_of
from fathom.p5.training import P5Training
from fathom.p5.writing import WritingSettings
from fathom.pipeline.p5.recipe import P5Recipe
from fathom.records import Case, Interactions
from fathom.training.run import Run, noise_from
from tests.interrupting import goes_on
from tests.texttotext import N_ITEMS, catalogue, learned, nobody, places, ring, settings, trained

CONTINUATION = family_of("continuation").templates["continuation-1"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_learns_the_ring_and_ranks_what_exists(scheme: str) -> None:
    model = learned(scheme)
    moments, wanted = places()
    found = model.rank(CONTINUATION, moments, 5, exclude=nobody(moments))
    assert np.mean(found.items[:, 0] == wanted) >= 0.9
    for row in found.items.tolist():
        assert len(set(row)) == 5
        assert set(row) <= set(range(1, N_ITEMS + 1))


@pytest.mark.slow
def test_what_is_excluded_is_not_ranked() -> None:
    moments, wanted = places()
    found = learned().rank(CONTINUATION, moments, 5, exclude=[(item,) for item in wanted])
    assert not any(item in row for item, row in zip(wanted, found.items.tolist(), strict=True))


@pytest.mark.slow
def test_a_wording_that_was_never_trained_on_is_understood() -> None:
    moments, wanted = places()
    found = learned().rank(family_of("continuation").templates["continuation-2"], moments, 3, exclude=nobody(moments))
    assert np.mean(found.items[:, 0] == wanted) >= 0.8


@pytest.mark.slow
def test_batch_mates_change_no_ranking() -> None:
    moments, _ = places(7)
    moments = [replace(one, case=replace(one.case, history=one.case.history[: 1 + row % 7])) for row, one in enumerate(moments)]
    together = learned().rank(CONTINUATION, moments, 5, exclude=nobody(moments))
    for row, moment in enumerate(moments):
        alone = learned().rank(CONTINUATION, [moment], 5, exclude=[()])
        assert alone.items[0].tolist() == together.items[row].tolist()
        assert np.allclose(alone.scores[0], together.scores[row], atol=1e-4)


@pytest.mark.slow
def test_save_and_load_change_nothing(tmp_path: Path) -> None:
    moments, _ = places()
    learned().save(tmp_path / "p5")
    again = P5.load(tmp_path / "p5", catalogue(), ring().users)
    first, second = (model.rank(CONTINUATION, moments, 5, exclude=nobody(moments)) for model in (learned(), again))
    assert (first.items == second.items).all()
    assert (first.scores == second.scores).all()
    assert again.features == learned().features
    with pytest.raises(ModelError, match="it knows 20 items, and this catalogue has 30"):
        P5.load(tmp_path / "p5", catalogue(30), ring().users)


@pytest.mark.slow
def test_candidates_are_weighed_as_ids_are_scored_one_by_one() -> None:
    template = family_of("sequential").templates["sequential-7"]
    moments, lists = [Moment(Case(3, (1, 2), 0)), Moment(Case(-1, (4,), 0))], [(5, 3, 9), (2, 7)]
    model = learned()
    found = model.choose(template, moments, lists)
    sequences = {item: tuple(model.lexicon.encode(text).tokens) for item, text in enumerate(model.sentences.ids, start=1)}
    for moment, listed, scores in zip(moments, lists, found, strict=True):
        source, _ = model.sentences.ask(template, moment, Draw(listed))
        read = padded([model.lexicon.encode(source)], model.lexicon, longest=512)
        for item, score in zip(listed, scores.tolist(), strict=True):
            tokens = sequences[item]
            with torch.no_grad():
                logprobs = model.network.logits(read, torch.tensor([[model.network.start, *tokens[:-1]]])).log_softmax(dim=-1)
            assert math.isclose(score, float(logprobs[0, range(len(tokens)), list(tokens)].sum()), abs_tol=1e-3)


@pytest.mark.slow
def test_whole_word_numbers_are_read_when_it_is_asked() -> None:
    """P5: without them another answer would come; so they are there in use, not in training alone."""
    model, (moments, _) = learned(), places()
    before = model.rank(CONTINUATION, moments, 5, exclude=nobody(moments)).scores
    kept = model.network.whole.weight.detach().clone()
    try:
        with torch.no_grad():
            model.network.whole.weight.zero_()
        assert not np.allclose(before, model.rank(CONTINUATION, moments, 5, exclude=nobody(moments)).scores, atol=1e-3)
    finally:
        with torch.no_grad():
            model.network.whole.weight.copy_(kept)


def test_a_verdict_is_the_probability_at_the_first_word_and_its_tokens_are_looked_up() -> None:
    """P9: a model forced to answer yes at its first step is sure of it, whatever it would write after."""
    model = fresh()
    template = family_of("direct").templates["direct-1"]
    for word, wanted in (("yes", 1.0), ("no", 0.0)):
        [token, *_] = model.lexicon.word(word)
        force(model, token)
        found = model.judge(template, [Moment(Case(0, (), 1))], [Draw()])
        assert math.isclose(float(found[0]), wanted, abs_tol=1e-3)
    force(model, model.lexicon.word("maybe")[0])
    assert 0.0 < float(model.judge(template, [Moment(Case(0, (), 1))], [Draw()])[0]) < 1.0


def test_verdicts_that_begin_alike_are_told_apart_where_they_differ() -> None:
    model = fresh()
    template = Template.model_validate({"asks": "taken", "source": "${item} ?", "target": "${verdict}", "verdicts": ("like", "likes")})
    found = model.judge(template, [Moment(Case(0, (), 1))], [Draw()])
    assert 0.0 < float(found[0]) < 1.0


def test_the_expected_rating_is_the_mean_over_the_scale() -> None:
    """P10: forced to '5' it is 5, and that answer is not lost; forced to nothing, it lies inside the scale."""
    model = fresh()
    template = family_of("rating").templates["rating-1"]
    moment = Moment(Case(0, (), 1))
    inside = float(model.stars(template, [moment])[0])
    assert 1.0 < inside < 5.0
    [token] = model.lexicon.word("5")
    force(model, token, beyond=model.lexicon.end)
    assert math.isclose(float(model.stars(template, [moment])[0]), 5.0, abs_tol=1e-2)


def test_a_log_without_ratings_has_no_scale_to_rate_by() -> None:
    model = fresh()
    model.sentences.scale = ()
    with pytest.raises(ConfigError, match="no scale"):
        model.stars(family_of("rating").templates["rating-1"], [Moment(Case(0, (), 1))])


def fresh() -> P5:
    """An untrained P5 of its own."""
    from fathom.p5.identifiers import Identifiers
    from fathom.p5.sentences import Sentences, SentenceSettings

    told = [f"person is {word} for the item like likes yes no maybe stars of 1 2 3 4 5 ?" for word in ("a", "b")]
    ids = Identifiers([(f"‹item_{item}›",) for item in range(1, N_ITEMS + 1)])
    lexicon = train_lexicon(told * 9, 400, added=ids.added)
    with noise_from(1):
        network = build(NetworkSettings(width=32), lexicon)
    sentences = Sentences(catalogue(), ids, ring().users, (1.0, 2.0, 3.0, 4.0, 5.0), SentenceSettings())
    return P5(network, lexicon, sentences, P5Training(), ())


class _Forced(torch.nn.Module):
    """Says one token first and another one after it, whatever it is asked."""

    def __init__(self, size: int, first: int, beyond: int) -> None:
        super().__init__()
        self.size, self.first, self.beyond, self.seen = size, first, beyond, 0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*hidden.shape[:-1], self.size)
        logits[..., self.first if self.seen == 0 else self.beyond] = 30.0
        self.seen += 1
        return logits


def force(model: P5, first: int, *, beyond: int = 0) -> None:
    """Put a head that says `first` and then `beyond` in the place of the model's."""
    model.network.t5.set_output_embeddings(_Forced(model.lexicon.size, first, beyond))


@pytest.mark.slow
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    short = settings(fit={"epochs": 2, "batch_size": 32, "checkpoint_seconds": 0})
    goes_on(lambda run: trained(short, run=run).network, tmp_path, at=5)


@pytest.mark.slow
def test_the_loss_of_every_family_is_logged_and_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    joint = settings(
        templates=("continuation", "rating", "direct"),
        sampling={
            "continuation": {"next": 1},
            "rating": {"stars": 0.2, "stars-right": 0, "liked": 0},
            "direct": {"candidates": 1, "taken": 1},
        },
        fit={"epochs": 1, "batch_size": 16},
    )
    first, second = (trained(joint, run=Run(tmp_path / name)) for name in ("a", "b"))
    lines = Run(tmp_path / "a").metrics("p5")
    names = {name for line in lines for name in line if "loss/" in name}
    assert names == {"p5/loss/continuation", "p5/loss/rating", "p5/loss/direct"}
    assert all(torch.equal(tensor, second.network.state_dict()[name]) for name, tensor in first.network.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("alike", [True, False])
def test_cutting_a_batch_changes_nothing_but_rounding(tmp_path: Path, alike: bool) -> None:
    """Micro-batch = batch, whether every lesson counts alike or every token."""
    told = []
    for rows in (24, 7):
        run = Run(tmp_path / str(rows))
        trained(settings(rows_at_once=rows, answers_alike=alike, fit={"epochs": 1, "batch_size": 24, "precision": "float32"}), run=run)
        told.append(run.metrics("p5")[:4])
    for whole, cut in zip(*told, strict=True):
        for name in ("p5/loss", "p5/gradient_norm", "p5/loss/continuation"):
            assert math.isclose(whole[name], cut[name], rel_tol=1e-3), (name, whole[name], cut[name])


@pytest.mark.slow
def test_shuffled_targets_are_not_learned() -> None:
    """The same histories with their items in random order: nothing can be foretold, and nothing is."""
    log = ring()
    rng = np.random.default_rng(5)
    items = np.concatenate([rng.permutation(N_ITEMS)[:10] + 1 for _ in range(log.n_users)]).astype(np.int64)
    model = trained(settings(), log=Interactions(log.users, log.offsets, items, log.ratings))
    moments, wanted = places()
    found = model.rank(CONTINUATION, moments, 5, exclude=nobody(moments))
    assert np.mean(found.items[:, 0] == wanted) < 0.3


@pytest.mark.slow
def test_titles_are_chosen_among_candidates_five_times_better_than_at_random() -> None:
    """P14: purchased titles, candidate titles, an answer; the ring is planted in them."""
    model = trained(
        settings(
            "title",
            templates=("titles",),
            sampling={"titles": {"candidates": 20}},
            candidate_titles=10,
            sentences={"history_length": 3},
            fit={"epochs": 8, "batch_size": 32, "learning_rate": 0.01, "optimizer": "muon", "average": 0.99},
        )
    )
    moments, wanted = places(3)
    rng = np.random.default_rng(0)
    lists = []
    for item in wanted:
        others = rng.permutation([other for other in range(1, N_ITEMS + 1) if other != item])[:9].tolist()
        lists.append(tuple(rng.permutation([item, *others]).tolist()))
    scores = model.choose(family_of("titles").templates["titles-1"], moments, lists)
    hits = [listed[int(np.argmax(told))] == item for listed, told, item in zip(lists, scores, wanted, strict=True)]
    assert np.mean(hits) >= 0.5


@pytest.mark.parametrize(("name", "parameters"), [("small", 60e6), ("base", 220e6)])
def test_the_shapes_are_those_of_t5(name: str, parameters: float) -> None:
    """With the vocabulary of T5, 32,128 tokens, as many weights as the papers count."""
    lexicon = train_lexicon(["a b c"], 200, added=[f"‹item_{item}›" for item in range(31_900)])
    with torch.device("meta"):
        network = build(NetworkSettings(model=name), lexicon)
    count = sum(weight.numel() for weight in network.t5.parameters())
    assert abs(count / parameters - 1) < 0.03


def test_a_recipe_may_name_a_model_of_ones_own_and_shapes_only_new_ones(tmp_path: Path) -> None:
    lexicon = train_lexicon(["a b c"], 200, added=())
    build(NetworkSettings(width=16, layers=1), lexicon).t5.save_pretrained(tmp_path)
    recipe = P5Recipe.model_validate(
        {"method": "p5", "name": "own", "world": {}, "models": {"popularity": None}, "p5": {"network": {"model": str(tmp_path)}}}
    )
    [training] = recipe.trainings.values()  # every setting stands in it, written or not
    assert build(training.network, lexicon).t5.config.d_model == 16
    for setting in ({"width": 16}, {"layers": 1}, {"spread": 0.1}):
        with pytest.raises(ConfigError, match="width, layers and spread shape models from random weights"):
            build(NetworkSettings(model=str(tmp_path), **setting), lexicon)


def test_new_vectors_are_as_far_apart_as_the_settings_say() -> None:
    lexicon = train_lexicon(["a b c"], 200, added=[f"‹item_{item}›" for item in range(500)])
    for chosen, spread in ((NetworkSettings(), 0.2), (NetworkSettings(spread=0.05), 0.05)):
        network = build(chosen, lexicon)
        for vectors in (network.t5.get_input_embeddings().weight, network.whole.weight):
            assert float(vectors.detach().std()) == pytest.approx(spread, rel=0.05)


def test_a_shape_that_cannot_be_is_refused(tmp_path: Path) -> None:
    lexicon = train_lexicon(["a b c"], 200, added=())
    with pytest.raises(ConfigError, match="multiple of 4"):
        build(NetworkSettings(width=33), lexicon)
    with pytest.raises(ConfigError, match="lora is 4"):
        build(NetworkSettings(lora=4), lexicon)
    with pytest.raises(ModelError, match="no T5 can be read"):
        build(NetworkSettings(model=str(tmp_path)), lexicon)
    assert set(SHAPES) == {"tiny", "small", "base"}


@pytest.mark.parametrize(
    "beams", [{"beams": 1}, {"beams": 4}, {"beams": 6, "groups": 3, "diversity": 0.5}, {"beams": 2, "repetition": 1.5}]
)
def test_texts_keep_their_lengths_and_do_not_depend_on_batch_mates(beams: dict[str, float]) -> None:
    model = fresh()
    chosen = WritingSettings.model_validate({"shortest": 3, "longest": 8, **beams})
    template = family_of("explanation").templates["explanation-1"]
    moments = [Moment(Case(user, (), 1 + user)) for user in range(4)]
    together = model.write(template, moments, chosen)
    assert [model.write(template, [moment], chosen)[0] for moment in moments] == together
