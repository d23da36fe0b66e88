"""The warm start: weighted tokens, packed lessons, and histories in the mix."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from worlds import film_catalog

from fathom.agents.protocol import MARKERS
from fathom.errors import ModelError
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import Case, Ending, Episode
from fathom.training.imitate import ImitateSettings, history_lessons, imitate
from fathom.training.packing import Document, Epoch, weighted_loss
from fathom.training.pretrain import History, WindowSettings
from fathom.training.run import Run
from fathom.training.supervised import FitSettings
from fathom.training.traces import Trace

TITLES = film_catalog().titles
TOKENIZER = train_tokenizer([title + "\n" for title in TITLES] * 20, 400, markers=MARKERS)
EPISODE = Episode(Case(0, (), 1), (), "", (), (), (), (), Ending.ANSWERED, "")


def policy(context: int = 128) -> LocalPolicy:
    return LocalPolicy(tiny(TOKENIZER, width=32, layers=2, context=context, seed=1), TOKENIZER)


def lesson(length: int, seed: int) -> Document:
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.0, 0.5, 2.0], size=length).astype(np.float32)
    weights[0] = 0.0
    return Document(rng.integers(0, len(TOKENIZER), length), weights)


LESSONS = [lesson(length, seed) for seed, length in enumerate((9, 20, 14, 30, 5))]


def epoch(lessons: list[Document], *, row: int, batch_size: int = 8) -> Epoch:
    return Epoch(lessons, row=row, batch_size=batch_size, padding=0, rng=np.random.default_rng(0))


def test_packing_changes_no_loss() -> None:
    model = policy()
    packed = [weighted_loss(model, batch) for batch in epoch(LESSONS, row=40)]
    alone = [weighted_loss(model, epoch([one], row=len(one.tokens))[0]) for one in LESSONS]
    assert_close(sum(loss for loss, _ in packed), sum(loss for loss, _ in alone), rtol=1e-5, atol=1e-4)
    assert_close(sum(count for _, count in packed), sum(count for _, count in alone))


def test_the_loss_is_the_weighted_likelihood() -> None:
    model, one = policy(), LESSONS[1]
    tokens = torch.from_numpy(one.tokens)[None]
    logprobs = torch.log_softmax(model.model(input_ids=tokens).logits[0, :-1].float(), dim=-1).gather(1, tokens[0, 1:, None])[:, 0]
    loss, count = weighted_loss(model, epoch([one], row=20)[0])
    assert_close(loss, -(logprobs * torch.from_numpy(one.weights)[1:]).sum(), rtol=1e-5, atol=1e-4)
    assert_close(count, torch.tensor(one.weights.sum()))


def test_every_lesson_is_in_an_epoch_exactly_once() -> None:
    batches = epoch(LESSONS, row=40, batch_size=1)
    assert sum(float(batch.weights.sum()) for batch in batches) == pytest.approx(sum(float(one.weights.sum()) for one in LESSONS))


def test_histories_take_their_share() -> None:
    people = [History([5, 6], [[7, 8], [9]] * 10) for _ in range(50)]
    lessons = history_lessons(people, 300, WindowSettings(row=40), rng=np.random.default_rng(0), weight=0.25)
    read = sum(len(one.tokens) for one in lessons)
    assert 300 <= read < 300 + 80
    assert {float(weight) for one in lessons for weight in one.weights} == {0.0, 0.25}
    assert all(one.weights[:2].tolist() == [0.0, 0.0] for one in lessons), "the header is only read"


def settings(**values: float) -> ImitateSettings:
    return ImitateSettings(fit=FitSettings(epochs=60, batch_size=4, learning_rate=1e-2, precision="float32"), **values)


def test_imitation_learns_what_has_weight_and_nothing_else(tmp_path: Path) -> None:
    tokens = np.arange(100, 120)
    weights = np.zeros(20, dtype=np.float32)
    weights[10:] = 1.0
    model = policy()
    traces = [Trace(tokens, weights, EPISODE)]
    imitate(model, traces, [], settings=settings(histories=0.0), windows=WindowSettings(row=32), run=Run(tmp_path), stage="warm")
    mask = torch.ones(1, 20, dtype=torch.bool)
    mask[0, 0] = False
    logprobs = model.logprobs(torch.from_numpy(tokens)[None], mask)[0]
    assert logprobs[10:].mean() > -0.7
    assert logprobs[1:10].mean() < -4


def test_histories_in_the_mix_are_learned_too(tmp_path: Path) -> None:
    histories = [[f"{TITLES[place % 8 + 16]}\n" for place in range(start, start + 8)] for start in range(8)]
    model = policy()
    traces = [Trace(np.arange(100, 120), np.ones(20, dtype=np.float32) * (np.arange(20) > 0), EPISODE)] * 4
    before = history_logprob(model, histories[0])
    imitate(model, traces, histories, settings=settings(histories=0.5), windows=WindowSettings(row=64), run=Run(tmp_path), stage="warm")
    assert history_logprob(model, histories[0]) > before + 1


def history_logprob(model: LocalPolicy, history: list[str]) -> float:
    tokens = torch.tensor([model.encode("User:\n" + "".join(history))])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, :8] = False
    return float(model.logprobs(tokens, mask).detach().sum() / mask.sum())


def test_a_trace_that_the_model_cannot_read_is_told(tmp_path: Path) -> None:
    traces = [Trace(np.arange(200), np.ones(200, dtype=np.float32), EPISODE)]
    with pytest.raises(ModelError, match="a trace has 200 tokens, but the model reads 128"):
        imitate(policy(), traces, [], settings=settings(), windows=WindowSettings(row=32), run=Run(tmp_path), stage="warm")
