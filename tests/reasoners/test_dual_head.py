"""One model, two heads: vectors do not depend on batch mates, tables on what they were made by."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reasoning import CASES, CATALOG, tiny_head, tiny_policy
from torch.nn.functional import normalize
from worlds import film_catalog

from fathom.errors import ConfigError, DataError, ModelError
from fathom.reasoners.dual_head import FACTS_FILE, DualHead
from fathom.reasoners.prompts import READ_TOKEN, READOUT, user_prompt
from fathom.reasoners.reasoning import as_text, reason
from fathom.reasoners.recommender import R2ec
from fathom.records import PAD, Case, Catalog, cases_of

READOUTS = ("last", "residual", "mean", "token")


@pytest.mark.parametrize("readout", READOUTS)
def test_a_vector_does_not_depend_on_its_batch_mates(readout: str) -> None:
    head = tiny_head(readout=readout)
    texts = [as_text(one) for one in reason(head, CASES, CATALOG)]
    with head.at_rest():
        together = head.read(texts)
        alone = torch.cat([head.read([text]) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)
    assert together.dtype == torch.float32


def test_a_vector_is_the_last_hidden_state_of_transformers_own_forward_under_either_padding() -> None:
    head = tiny_head()
    texts = [tokens for tokens, _ in (as_text(one) for one in reason(head, CASES[:4], CATALOG))]
    longest = max(map(len, texts)) + 3
    model = head.policy.model.eval()
    for side in ("left", "right"):
        rows = [
            (0,) * (longest - len(text)) + text if side == "left" else text + (0,) * (longest - len(text)) for text in map(tuple, texts)
        ]
        mask = [[0] * (longest - len(t)) + [1] * len(t) if side == "left" else [1] * len(t) + [0] * (longest - len(t)) for t in texts]
        places = (torch.tensor(mask).cumsum(1) - 1).clamp(min=0)
        with torch.no_grad():
            states = model.get_decoder()(torch.tensor(rows), attention_mask=torch.tensor(mask), position_ids=places).last_hidden_state
        last = [-1 if side == "left" else len(text) - 1 for text in texts]
        expected = normalize(torch.stack([states[row, place] for row, place in enumerate(last)]), dim=1)
        with head.at_rest():
            assert torch.allclose(head.read([(text, 0) for text in texts]), expected, atol=1e-5), side


def test_the_mean_is_over_reasoning_and_read_out() -> None:
    head = tiny_head(readout="mean")
    [one] = reason(head, CASES[:1], CATALOG)
    with torch.no_grad():
        states = head.policy.hidden(torch.tensor([one.tape.tokens]))[0]
        assert torch.allclose(head.read([as_text(one)])[0], normalize(states[one.tape.prompt :].mean(0), dim=0), atol=1e-5)


def test_a_residual_read_out_adds_what_stood_at_the_end_of_the_prompt_and_to_an_item_nothing() -> None:
    head = tiny_head(readout="residual")
    [one] = reason(head, CASES[:1], CATALOG)
    with torch.no_grad():
        states = head.policy.hidden(torch.tensor([one.tape.tokens]))[0]
        assert torch.allclose(head.read([as_text(one)])[0], normalize(states[one.tape.prompt - 1] + states[-1], dim=0), atol=1e-5)
        item = head.policy.hidden(torch.tensor([head.items[1]]))[0]
        assert torch.allclose(head.item_vectors([1])[0], normalize(item[-1], dim=0), atol=1e-5)


@pytest.mark.parametrize("given", [{}, {"readout": "residual"}, {"readout": "mean"}, {"similarity": "dot", "temperature": 1.0}])
def test_beside_adds_what_would_be_read_without_a_word(given: dict[str, object]) -> None:
    head, plain = tiny_head(beside=True, **given), tiny_head(**given)
    tail = head.tail
    prompt, words = head.policy.encode(user_prompt(CASES[0], CATALOG, head.settings)), head.policy.encode("Lately: Comedy")
    spoken, silent = ((*prompt, *words, *tail), len(prompt)), ((*prompt, *tail), len(prompt))
    with head.at_rest(), plain.at_rest():
        parts = plain.read([spoken, silent])
        sums = parts.sum(dim=0, keepdim=True)
        expected = sums / sums.norm() if head.settings.similarity == "cosine" else sums / 2
        assert torch.allclose(head.read([spoken]), expected, atol=1e-5)
        assert torch.allclose(head.read([silent, spoken, silent, spoken])[[0, 2]], plain.read([silent] * 2), atol=1e-5)
        assert torch.allclose(head.read([silent, spoken, silent, spoken])[[1, 3]], expected.expand(2, -1), atol=1e-5)
    assert torch.allclose(head.table, plain.table)  # of an item nothing is said


def test_logits_are_the_documented_formula_in_float32_and_the_pad_row_is_never_ranked() -> None:
    head = tiny_head()
    people = torch.randn(3, head.table.shape[1], generator=torch.Generator().manual_seed(1))
    logits = head.logits(people)
    expected = (people.double() @ head.table.double().T / 0.05).float()
    assert logits.dtype == torch.float32
    assert torch.allclose(logits[:, 1:], expected[:, 1:], rtol=1e-5, atol=1e-4)
    assert bool(torch.isneginf(logits[:, PAD]).all())


def test_cosine_vectors_are_of_unit_norm_and_those_of_an_inner_product_are_not() -> None:
    assert torch.allclose(tiny_head().table[1:].norm(dim=1), torch.ones(CATALOG.n_items))
    raw = tiny_head(similarity="dot", temperature=1.0).table[1:]
    assert bool((raw.norm(dim=1) > 1.5).all())


def test_refreshing_some_items_leaves_the_others() -> None:
    head = tiny_head()
    before = head.table.clone()
    with torch.no_grad():
        for weight in head.policy.model.parameters():
            weight.mul_(1.1)
    head.refresh([3, 7])
    changed = (head.table != before).any(dim=1).nonzero().squeeze(1).tolist()
    assert changed == [3, 7]
    with head.at_rest():
        assert torch.allclose(head.table[[3, 7]], head.item_vectors([3, 7]))


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    head = tiny_head()
    head.save(tmp_path / "model")
    again = DualHead.load(tmp_path / "model", CATALOG)
    mine, theirs = (R2ec(one, CATALOG).recommend(CASES, 10) for one in (head, again))
    assert np.array_equal(mine.items, theirs.items)
    assert np.array_equal(mine.scores, theirs.scores)


def test_an_interrupted_save_leaves_the_old_model_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    tiny_head().save(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("fathom.reasoners.dual_head.save_file", full)
    with pytest.raises(OSError, match="no space"):
        tiny_head(seed=5).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing half written is left behind"


def test_a_table_of_other_weights_or_another_catalogue_is_refused(tmp_path: Path) -> None:
    head, folder = tiny_head(), tmp_path / "model"
    head.save(folder)
    with pytest.raises(ModelError, match="its table has 40 items, the catalogue 39"):
        DualHead.load(folder, film_catalog(39))
    renamed = Catalog(CATALOG.names, (*CATALOG.titles[:-1], "Another"), CATALOG.attributes)
    with pytest.raises(ModelError, match="load it with the catalogue it was saved with"):
        DualHead.load(folder, renamed)
    tiny_policy(seed=5).save(tmp_path / "other")
    (folder / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="made by other weights, of other items or with other settings"):
        DualHead.load(folder, CATALOG)
    with pytest.raises(ModelError, match="not the folder of a model that reasons and ranks"):
        DualHead.load(tmp_path / "other", CATALOG)


def test_a_table_of_older_weights_is_neither_served_nor_saved(tmp_path: Path) -> None:
    head = tiny_head()
    with torch.no_grad():
        for weight in head.policy.model.parameters():
            weight.mul_(1.1)
    with pytest.raises(ModelError, match=r"call refresh\(\) on the head first"):
        R2ec(head, CATALOG).recommend(CASES, 10)
    head.save(tmp_path / "model")
    assert head.fresh
    with head.at_rest():
        assert torch.allclose(DualHead.load(tmp_path / "model", CATALOG).table[1:], head.item_vectors(range(1, 41)), atol=1e-6)


def test_a_table_of_another_similarity_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_head().save(folder)
    facts = json.loads((folder / FACTS_FILE).read_text())
    facts["settings"] |= {"similarity": "dot", "temperature": 1.0}
    (folder / FACTS_FILE).write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="made by other weights, of other items or with other settings"):
        DualHead.load(folder, CATALOG)


def test_a_new_item_is_encoded_and_recommended_without_training() -> None:
    head = tiny_head(film_catalog(30))
    recommender = R2ec(head, film_catalog(30))
    before = head.table.clone()
    whole = film_catalog(40)
    new = Catalog(whole.names[30:], whole.titles[30:], {name: column[30:] for name, column in whole.attributes.items()})
    assert len(head.untitled) == 31
    assert recommender.add_items(new) == range(31, 41)
    assert head.untitled == tiny_head(whole).untitled
    assert torch.equal(head.table[:31], before)
    assert torch.allclose(head.table, tiny_head(whole).table, atol=1e-6)
    assert sorted(recommender.recommend(cases_of([(17, 35)]), 38).items[0].tolist()) == sorted({*range(1, 41)} - {17, 35})


def test_a_new_item_may_be_known_by_all_but_its_title_whenever_the_table_is_refreshed(tmp_path: Path) -> None:
    head, known, whole = tiny_head(film_catalog(30)), film_catalog(30), film_catalog(40)
    recommender = R2ec(head, known)
    for start, titled in ((30, False), (35, True)):
        new = {name: column[start : start + 5] for name, column in whole.attributes.items()}
        recommender.add_items(Catalog(whole.names[start : start + 5], whole.titles[start : start + 5], new), titled=titled)
    added = head.table.clone()
    head.refresh()
    assert torch.allclose(head.table, added, atol=1e-6)
    expected = tiny_head(whole)
    assert torch.allclose(added[31:36], expected.item_vectors(range(31, 36), untitled=[True] * 5), atol=1e-6)
    assert torch.allclose(added[36:], expected.table[36:], atol=1e-6)
    head.save(tmp_path / "model")
    again = DualHead.load(tmp_path / "model", whole)
    again.refresh()
    assert torch.allclose(again.table, added, atol=1e-6)
    renamed = Catalog(whole.names, (*whole.titles[:29], "Renamed", *whole.titles[30:]), whole.attributes)
    with pytest.raises(ModelError, match="the first 40 items of the new catalogue"):
        head.add_items(renamed)


def test_an_item_that_is_there_already_is_refused() -> None:
    recommender = R2ec(tiny_head(), CATALOG)
    with pytest.raises(DataError, match="already has an item named 'tt0001'"):
        recommender.add_items(CATALOG)
    with pytest.raises(DataError, match="share one title"):
        recommender.add_items(Catalog(("new",), (CATALOG.titles[0],)))


def test_a_classifier_takes_no_new_items() -> None:
    head = tiny_head(items="learned")
    assert head.learned is not None
    with pytest.raises(ModelError, match="a classifier has no vector for an item it was not trained on"):
        R2ec(head, CATALOG).add_items(Catalog(("new",), ("New",)))


def test_a_long_item_loses_its_end_and_never_the_read_out() -> None:
    head = tiny_head(item_tokens=3)
    readout = head.policy.encode(READOUT)
    assert all(tokens[-len(readout) :] == readout and len(tokens) == 3 + len(readout) for tokens in head.items[1:])
    assert head.shortened_items == CATALOG.n_items
    assert tiny_head().shortened_items == 0


def test_what_does_not_fit_into_the_context_is_refused() -> None:
    with pytest.raises(ConfigError, match="but the model reads 256"):
        tiny_head(reasoning_tokens=400)


def test_a_dedicated_token_must_be_one() -> None:
    head = tiny_head(readout="token")
    assert head.tail == (*head.policy.encode(READOUT), *head.policy.encode(READ_TOKEN))
    assert len(head.policy.encode(READ_TOKEN)) == 1


def test_more_items_are_asked_for_than_there_are() -> None:
    ranking = R2ec(tiny_head(film_catalog(17)), film_catalog(17)).recommend([Case(0, (1, 2), 3)], 50)
    assert sorted(ranking.items[0][:15].tolist()) == list(range(3, 18))
    assert set(ranking.items[0][15:].tolist()) == {PAD}
