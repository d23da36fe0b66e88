"""AttRec's attention and distances."""

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import CATALOG, walks

from fathom.models.attrec import AttRec, AttRecSettings, Network, before, clipped, hinge
from fathom.models.model import TrainingData
from fathom.records import PAD, Case, Interactions
from fathom.training.run import Run, noise_from


def network(**settings: object) -> Network:
    with noise_from(2):
        return Network(3, 9, AttRecSettings.model_validate({"width": 4, "latest": 4} | settings)).eval()


def test_nobody_attends_to_itself_nor_to_padding() -> None:
    with torch.no_grad():
        weights = network().attention(torch.tensor([[1, 2, 3, 0], [5, 0, 0, 0], [1, 2, 3, 4]]))
    assert weights[0].diagonal().tolist() == [0.0] * 4
    assert weights[0, :3].sum(dim=1).tolist() == pytest.approx([1.0] * 3)
    assert weights[:, :, 3][:2].abs().max() == 0.0
    assert weights[2].diagonal().tolist() == [0.0] * 4
    assert weights[1, 0].tolist() == [1.0, 0, 0, 0], "an item that is alone speaks for itself"


def test_the_moment_is_the_mean_of_what_attention_gives_without_the_time_signal() -> None:
    model = network()
    ids = torch.tensor([[1, 2, 3, 0]])
    with torch.no_grad():
        weights, vectors = model.attention(ids)[0, :3, :3], clipped(model.items.weight)[[1, 2, 3]]
        assert torch.allclose(model.moment(ids)[0], (weights @ vectors).mean(dim=0), atol=1e-6)


def test_scores_fall_as_distances_grow_and_no_vector_is_longer_than_one() -> None:
    model = network(taste=0.3)
    with torch.no_grad():
        for table in (model.tastes, model.items, model.people):
            table.weight.mul_(9.0)
    cases = [Case(1, (3, 4), PAD), Case(-1, (3, 4), PAD)]
    [known, stranger] = AttRec(model).score(cases)
    with torch.no_grad():
        moments = model.moment(torch.tensor([[3, 4, 0, 0]] * 2))
        every = torch.arange(1, 10).expand(2, -1)
        far = model.distances(model.taste(cases), moments, every)
    for row, scores in enumerate((known, stranger)):
        assert torch.allclose(scores[1:].diff(), -far[row].diff(), atol=1e-5)
    assert torch.allclose(model.taste(cases)[1], clipped(model.tastes.weight)[[3, 4]].mean(dim=0))
    for vectors in (model.taste(cases), moments, model.table()[:, :4], model.table()[:, 4:8]):
        assert bool((vectors.norm(dim=1) <= 1 + 1e-6).all())
    assert float(model.taste(cases)[0].detach().norm()) == pytest.approx(1), "nine times as long, and cut"


def test_what_came_before_is_the_same_person_s() -> None:
    log = Interactions(("u", "v"), np.array([0, 4, 7]), np.array([1, 2, 3, 4, 5, 6, 7]))
    assert before(log, np.array([1, 3, 5, 6]), 2).tolist() == [[1, 0], [2, 3], [5, 0], [5, 6]]


def test_a_rival_that_is_not_far_enough_costs_what_is_missing() -> None:
    distances = torch.tensor([[0.2, 0.3, 0.9, 0.1], [0.5, 0.4, 0.6, 0.5]])
    counts = torch.tensor([[True, True, False], [True, False, True]])
    # (.5 + .2 - .3) + 0 of the first, an own item left out; (.5 + .5 - .4) + (.5 + .5 - .5) of the second
    assert float(hinge(distances, counts, 0.5)) == pytest.approx(0.4 + 0.0 + 0.6 + 0.5)


def test_it_is_trained_by_what_is_missing_to_its_margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = walks(16)
    heard: list[tuple[torch.Tensor, torch.Tensor, float]] = []

    def noted(distances: torch.Tensor, counts: torch.Tensor, margin: float) -> torch.Tensor:
        heard.append((distances.detach(), counts, margin))
        return hinge(distances, counts, margin)

    monkeypatch.setattr("fathom.models.attrec.hinge", noted)
    settings = AttRecSettings.model_validate({"margin": 0.3, "negatives": 2, "fit": {"epochs": 1, "batch_size": 4096}})
    run = Run(tmp_path)
    AttRec.fit(TrainingData(log, (), CATALOG, run, "attrec"), settings)
    [(distances, counts, margin)] = heard
    assert margin == 0.3
    assert distances.shape == (log.n_events - log.n_users, 3)
    missing = (0.3 + distances[:, :1] - distances[:, 1:]).clamp(min=0)[counts].mean()
    assert next(iter(run.metrics("attrec")))["attrec/loss"] == pytest.approx(float(missing), rel=1e-4)
