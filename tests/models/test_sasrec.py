"""What SASRec's three trainings promise beside what every model does."""

from pathlib import Path

import numpy as np
import pytest
from planted import CATALOG, walks
from pydantic import ValidationError

from fathom.metrics import ndcg, ranks_of
from fathom.models.model import TrainingData
from fathom.models.sasrec import SASRecPlus, SASRecPlusTraining
from fathom.training.run import Run

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


def test_what_smooths_over_all_items_cannot_draw_some() -> None:
    with pytest.raises(ValidationError, match=r"smoothing 0\.1 spreads over all items, but negatives draws 5"):
        SASRecPlusTraining(smoothing=0.1, negatives=5)
