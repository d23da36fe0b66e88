"""Items that nobody has taken are ranked by their texts, without training."""

from pathlib import Path

import numpy as np
import pytest
from planted import CATALOG, N_ITEMS, walks

from fathom.models.model import TrainingData
from fathom.models.sasrec_text import SASRecText, SASRecTextTraining
from fathom.records import Catalog, cases_of
from fathom.training.run import Run

SETTINGS = SASRecTextTraining.model_validate(
    {
        "encoder": "hashing",
        "experts": 2,
        "model": {"width": 32, "length": 16, "dropout": 0.1},
        "fit": {"epochs": 30, "batch_size": 16, "learning_rate": 0.003, "average": 0.9},
    }
)
NEW = Catalog(("n1", "n2"), ("Red thing 10", "Grey thing 10"), {"colour": (("red",), ("grey",))})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> SASRecText:
    data = TrainingData(walks()[0], (), CATALOG, Run(tmp_path_factory.mktemp("text")), "sasrec-text")
    return SASRecText.fit(data, SETTINGS)


def test_a_new_item_is_ranked_among_its_like_and_changes_nothing_else(fitted: SASRecText, tmp_path: Path) -> None:
    cases = cases_of([(1, 2, 3), (51, 52, 53)])  # red ones, grey ones
    before = fitted.score(cases)
    fitted.save(tmp_path / "grown")
    grown = SASRecText.load(tmp_path / "grown")
    assert grown.add_items(NEW) == range(N_ITEMS + 1, N_ITEMS + 3)
    after = grown.score(cases)
    assert np.allclose(after[:, 1 : N_ITEMS + 1], before[:, 1:], atol=1e-5)
    red, grey = grown.recommend(cases, 12).items.tolist()
    assert (N_ITEMS + 1 in red, N_ITEMS + 2 in red) == (True, False)
    assert (N_ITEMS + 1 in grey, N_ITEMS + 2 in grey) == (False, True)
    assert grown.recommend(cases_of([(1, N_ITEMS + 1)]), 5).items.min() > 0  # it can be read, too
    grown.save(tmp_path / "again")
    assert np.array_equal(SASRecText.load(tmp_path / "again").score(cases).numpy(), after.numpy())
    assert fitted.n_items == N_ITEMS
