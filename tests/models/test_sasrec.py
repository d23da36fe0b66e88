"""What SASRec's three trainings promise beside what every model does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import CATALOG, walks
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from fathom.metrics import ndcg, ranks_of
from fathom.models.model import TrainingData
from fathom.models.registry import MODELS
from fathom.models.sasrec import SASRecPlus, SASRecPlusTraining
from fathom.recommenders.sasrec import SASRec
from fathom.records import PAD
from fathom.training.ranking_losses import RANKING_LOSSES, bce
from fathom.training.run import Run, noise_from
from fathom.training.sampled import SampledTraining, fit_sampled

SMALL = {"model": {"width": 32, "length": 16}, "fit": {"epochs": 20, "batch_size": 16, "learning_rate": 0.003, "average": 0.9}}


def test_a_softmax_over_drawn_rivals_ranks_nearly_as_well_as_over_all(tmp_path: Path) -> None:
    log, asked = walks()
    targets = np.array([case.target for case in asked])
    found = {}
    for drawn in (0, 20):
        settings = SASRecPlusTraining.model_validate(SMALL | {"negatives": drawn})
        model = SASRecPlus.fit(TrainingData(log, (), CATALOG, Run(tmp_path / str(drawn)), "sasrec+"), settings)
        found[drawn] = float(ndcg(ranks_of(model.recommend(asked, 10), targets), 10).mean())
    assert 0.9 * found[0] < found[20] != found[0]


def test_the_paper_s_own_loss_is_one_drawn_rival_for_each_event_by_binary_cross_entropy(tmp_path: Path) -> None:
    log, _ = walks(16)
    settings = SampledTraining.model_validate(
        {"model": SMALL["model"] | {"dropout": 0.0}, "fit": {"epochs": 1, "batch_size": 64, "precision": "float32"}}
    )
    assert MODELS["sasrec"].settings_type() is SampledTraining
    network = SASRec(CATALOG.n_items, settings.model)
    heard: list[tuple[torch.Tensor, ...]] = []

    def noted(true: torch.Tensor, logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        heard.append((true.detach(), logits.detach(), counts))
        return bce(true, logits, counts)

    run = Run(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RANKING_LOSSES, "bce", noted)
        fit_sampled(network, log, (), settings=settings, run=run, stage="sasrec")
    [(true, logits, counts)] = heard
    assert logits.shape == (len(true), 1), "one rival"
    assert len(true) == len(log.items), "for each event, the first of a history too"
    by_hand = -(torch.sigmoid(true).log() + torch.where(counts[:, 0], torch.sigmoid(-logits[:, 0]).log(), 0.0)).mean()
    assert next(iter(run.metrics("sasrec")))["sasrec/loss"] == pytest.approx(float(by_hand), rel=1e-4)


def test_all_items_are_rivals_where_none_are_drawn(tmp_path: Path) -> None:
    log, _ = walks(16)
    chosen = {"model": SMALL["model"] | {"dropout": 0.0}, "fit": {"epochs": 1, "batch_size": 64, "precision": "float32"}}
    settings = SASRecPlusTraining.model_validate(chosen)
    with noise_from(settings.fit.seed):
        start = SASRec(CATALOG.n_items, settings.model).eval()
    histories = np.split(log.items, log.offsets[1:-1])
    with torch.no_grad():
        expected = [start(torch.tensor([[PAD, *history[:-1]]]))[0] @ start.items.weight[1:].T for history in histories]
    targets = torch.from_numpy(log.items - 1)
    run = Run(tmp_path)
    SASRecPlus.fit(TrainingData(log, (), CATALOG, run, "sasrec+"), settings)
    by_hand = float(cross_entropy(torch.cat(expected), targets))
    assert next(iter(run.metrics("sasrec+")))["sasrec+/loss"] == pytest.approx(by_hand, rel=1e-4)


def test_what_smooths_over_all_items_cannot_draw_some() -> None:
    with pytest.raises(ValidationError, match=r"smoothing 0\.1 spreads over all items, but negatives draws 5"):
        SASRecPlusTraining(smoothing=0.1, negatives=5)
