"""What a training is said to need is what it keeps, and where that is too much, it is said which setting to lower."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reasoning import CASES, CATALOG, many_cases, tiny_head

from fathom.pipeline.workshop import whole_histories
from fathom.reasoners.reasoning import reason
from fathom.records import Interactions
from fathom.training.contrastive import ContrastiveSettings, Readings, contrastive_loss, match, people_of
from fathom.training.memory import expected, saved_bytes
from fathom.training.recpo import RecPOSettings, Rivals, judged, recpo, recpo_loss
from fathom.training.run import Run
from fathom.training.supervised import FitSettings

FIT = FitSettings(epochs=1, batch_size=4, precision="float32")
PEOPLE = whole_histories(Interactions(tuple("abcd"), np.arange(0, 41, 10), np.arange(1, 41) % 40 + 1))


def test_weights_and_their_learning_are_counted_byte_by_byte() -> None:
    head = tiny_head()
    weights = sum(weight.numel() for weight in head.parameters())
    told = expected(head, head.probe, tokens=100, averaged=False)
    assert told.weights == 4 * (weights + sum(buffer.numel() for buffer in head.buffers()))
    assert told.learning == 4 * 4 * weights
    assert expected(head, head.probe, tokens=100, averaged=True).learning == 5 * 4 * weights
    assert told.total == told.weights + told.learning + told.activations
    assert expected(head, head.probe, tokens=200, averaged=False).activations == 2 * told.activations


@pytest.mark.parametrize("of", ["match", "recpo"])
def test_activations_are_those_of_a_real_batch(of: str) -> None:
    head = tiny_head()
    if of == "match":
        people = people_of(head, PEOPLE, CATALOG)
        part = Readings.of([person.window(0, len(person), asked=1) for person in people])
        tokens = sum(len(one.tokens) for one in part.excerpts) + sum(len(head.items[item]) for item in part.items)
        shares = torch.full((head.n_items + 1,), 1 / head.n_items)
        kept = saved_bytes(lambda: contrastive_loss(head, part, shares=shares, settings=ContrastiveSettings())[0], head)
    else:
        settings = RecPOSettings(fit=FIT)
        reasonings = reason(head, many_cases(16), CATALOG, temperature=1.0, seeds=range(16))
        rivals = Rivals.of(CASES, shares=torch.full((head.n_items + 1,), 1 / head.n_items), popularity=1.0)
        rollout, _ = judged(head, reasonings, rivals, settings)
        tokens = sum(len(one.tape.tokens) for one in reasonings) + sum(len(head.items[item]) for item in rivals.items)
        kept = saved_bytes(lambda: recpo_loss(head, rollout, settings)[0], head)
    assert expected(head, head.probe, tokens=tokens, averaged=False).activations == pytest.approx(kept, rel=0.2)


def test_it_is_said_before_training_and_what_to_lower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RecPOSettings(fit=FIT, samples=2, micro_batch=4)
    recpo(tiny_head(), many_cases(4), CATALOG, settings=settings, run=Run(tmp_path / "a"), stage="learns")
    told = capsys.readouterr().err
    assert "learns: about 0.0" in told
    assert "tokens at once" in told
    assert "warning" not in told
    monkeypatch.setattr("fathom.training.memory.free_bytes", lambda device: 1000)
    recpo(tiny_head(), many_cases(4), CATALOG, settings=settings, run=Run(tmp_path / "b"), stage="learns")
    assert "write a smaller recpo.micro_batch" in " ".join(capsys.readouterr().err.split())
    match(tiny_head(), PEOPLE, CATALOG, settings=ContrastiveSettings(fit=FIT), run=Run(tmp_path / "c"), stage="matches")
    assert "write a smaller fit.batch_size" in " ".join(capsys.readouterr().err.split())
