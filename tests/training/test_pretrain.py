from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathom.errors import ConfigError
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.training.packing import Document, Epoch, pack, weighted_loss
from fathom.training.pretrain import History, WindowSettings, pretrain
from fathom.training.run import Run
from fathom.training.supervised import FitSettings

RING = tuple(f"Film number {name}" for name in "ABCDEFGH")


def policy(seed: int = 0) -> LocalPolicy:
    tokenizer = train_tokenizer(["User:\n" + "".join(title + "\n" for title in RING)] * 9, 400, markers=["<think>"])
    return LocalPolicy(tiny(tokenizer, width=64, layers=2, context=128, seed=seed), tokenizer)


def fitting(**changes: float) -> FitSettings:
    return FitSettings.model_validate({"epochs": 3, "batch_size": 4, "learning_rate": 3e-3, "precision": "float32", **changes})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=60), st.integers(16, 40), st.floats(0, 0.9), st.integers(0, 9))
def test_every_event_is_asked_for_exactly_once_and_whole(lengths: list[int], row: int, overlap: float, seed: int) -> None:
    numbers = iter(range(100, 10_000))
    events = [[next(numbers) for _ in range(length)] for length in lengths]
    documents = History([1, 2], events).windows(row, overlap=overlap, rng=np.random.default_rng(seed))
    asked = Counter(token for document in documents for token in document.tokens[document.weights > 0].tolist())
    assert asked == Counter(token for event in events for token in event)
    firsts = {event[0] for event in events}
    for document in documents:
        assert len(document.tokens) <= row
        assert document.tokens[:2].tolist() == [1, 2]
        assert int(document.tokens[2]) in firsts, "a window begins with an event"
        assert int(document.tokens[document.weights > 0][0]) in firsts
        assert document.tokens[2:].tolist() == list(range(int(document.tokens[2]), int(document.tokens[-1]) + 1)), "nothing is left out"


def test_cuts_fall_elsewhere_in_another_epoch_and_overlap_as_much_as_said() -> None:
    person = History([1], [[token] for token in range(10, 210)])
    one, other = (person.windows(41, overlap=0.5, rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert [len(document.tokens) for document in one] != [len(document.tokens) for document in other]
    assert all(np.count_nonzero(document.weights) == 20 and len(document.tokens) == 41 for document in one[1:-1])


def test_an_event_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ConfigError, match="row is 16 tokens, but one event of a history needs 21"):
        History([1], [list(range(20))]).windows(16, overlap=0.5, rng=np.random.default_rng(0))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_packing_keeps_every_document_and_fits_the_row(lengths: list[int]) -> None:
    rows = pack(np.asarray(lengths), 20)
    assert sorted(document for row in rows for document in row) == list(range(len(lengths)))
    assert all(sum(lengths[document] for document in row) <= 20 for row in rows)
    assert len(rows) <= 2 * sum(lengths) / 20 + 1


def test_documents_in_one_row_do_not_see_each_other() -> None:
    one = policy()
    documents = [
        Document.asked_from(np.asarray(one.encode(text)), 1)
        for text in ("User:\nFilm number A\n", "User:\nFilm number B\nFilm number C\n", "xyz\n")
    ]
    (packed,) = Epoch(documents, row=32, batch_size=9, padding=0, rng=np.random.default_rng(0))
    with torch.no_grad():
        total, count = weighted_loss(one, packed)
        alone = 0.0
        for document in documents:
            ids = torch.from_numpy(document.tokens)[None]
            mask = torch.ones_like(ids, dtype=torch.bool)
            mask[:, 0] = False
            alone -= float(one.logprobs(ids, mask).sum())
    assert float(total) == pytest.approx(alone, rel=1e-5)
    assert int(count) == sum(len(document.tokens) - 1 for document in documents)


def test_the_model_learns_the_ring_from_histories_and_texts(tmp_path: Path) -> None:
    one = policy()
    histories = [[RING[(start + step) % len(RING)] + "\n" for step in range(30)] for start in range(len(RING))]
    text = "Film number A is a film about the letter A"
    run = Run(tmp_path)
    report = pretrain(one, histories, texts=[text] * 4, windows=WindowSettings(row=48), settings=fitting(epochs=40), run=run, stage="lm")
    losses = [line["lm/loss"] for line in run.metrics("lm") if "lm/loss" in line]
    assert report.epochs == 40
    assert losses[-1] < losses[0] / 10
    talk = one.converse(["User:\nFilm number C\nFilm number D\n", "Film number A is a"], temperature=0.0, seeds=[0, 0])
    following, ending = talk.reply([0, 1], [RING[5] + "\n"], [20, 30])
    assert following.text == RING[4] + "\n" + RING[5] + "\n"
    assert ending.text == " film about the letter A"
    assert ending.tokens[-1] == one.tokenizer.eos_token_id


def test_rows_at_once_change_nothing_but_rounding(tmp_path: Path) -> None:
    histories = [[RING[(start + step) % len(RING)] + "\n" for step in range(20)] for start in range(len(RING))]
    weights = []
    for cut in (1, 32):
        one = policy()
        layout = WindowSettings(row=32, rows_at_once=cut)
        pretrain(one, histories, windows=layout, settings=fitting(epochs=1), run=Run(tmp_path / str(cut)), stage="lm")
        weights.append(one.embeddings.detach())
    assert torch.allclose(*weights, atol=1e-4)
