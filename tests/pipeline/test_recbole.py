"""A RecBole configuration becomes a recipe, and what it leaves out is told."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fathom.cli import app
from fathom.errors import ConfigError
from fathom.pipeline.methods import recipe_at
from fathom.pipeline.sequential.recbole import NAMES, adopt, translated
from fathom.pipeline.sequential.recipe import SequentialRecipe

CONFIG = """
model: SASRec
dataset: shop
data_path: somewhere
USER_ID_FIELD: user_id
user_inter_num_interval: "[5,inf)"
item_inter_num_interval: "[3,inf)"
val_interval: {rating: "[4,inf)"}
MAX_ITEM_LIST_LENGTH: 50
hidden_size: 32
n_layers: 1
hidden_dropout_prob: 0.3
attn_dropout_prob: 0.5
loss_type: CE
epochs: 7
train_batch_size: 2048
stopping_step: 3
eval_args: {split: {LS: valid_and_test}, order: TO, mode: uni100}
"""


def test_what_has_a_counterpart_is_taken_and_the_rest_told(tmp_path: Path) -> None:
    (tmp_path / "recbole.yaml").write_text(CONFIG)
    told = CliRunner().invoke(app, ["adopt", str(tmp_path / "recbole.yaml"), "--to", str(tmp_path / "mine.yaml")], catch_exceptions=False)
    said = " ".join(told.stdout.split())
    assert "taken hidden_size: 32 -> models.sasrec+.model.width" in said
    assert "left train_batch_size: 2048 (a batch here holds whole histories" in said
    assert "left USER_ID_FIELD: user_id (it has no counterpart)" in said
    assert "left eval_args.mode: uni100 (all items are always ranked" in said
    recipe = recipe_at(tmp_path / "mine.yaml")
    assert isinstance(recipe, SequentialRecipe)
    assert recipe.models.names == ("popularity", "sasrec+")
    settings = recipe.models.settings_of("sasrec+")
    assert settings is not None
    assert settings.model_dump()["model"] | {"width": 32, "layers": 1, "length": 50, "dropout": 0.3} == settings.model_dump()["model"]
    assert (settings.model_dump()["fit"]["epochs"], settings.model_dump()["fit"]["patience"]) == (7, 3)
    assert recipe.source is not None
    assert (recipe.source.name, recipe.source.core, recipe.source.least_rating) == ("somewhere/shop", 5, 4.0)
    assert (tmp_path / "mine.yaml").read_text().startswith("# From RecBole's recbole.yaml. Left out:\n#   eval_args.mode: uni100")


@pytest.mark.parametrize("model", NAMES)
def test_every_setting_that_is_taken_is_one_of_the_model(model: str) -> None:
    values = {key: 1 if not key.endswith("prob") and key != "mask_ratio" else 0.5 for key in NAMES[model][1]}
    values |= {key: 2 for key in ("hidden_size", "MAX_ITEM_LIST_LENGTH") if key in values}
    found = translated({"model": model, "dataset": "x"} | values, where=lambda key: key)
    recipe = SequentialRecipe.model_validate(found.recipe)
    assert NAMES[model][0] in recipe.models.names
    assert not found.left


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("model: SASRec", "model: SASRek"), "line 2: model 'SASRek' has no counterpart here; did you mean 'SASRec'?"),
        (("dataset: shop\n", ""), "names its dataset; write  dataset: ...  into it"),
        (("{LS: valid_and_test}, order: TO", "{RS: [8,1,1]}, order: RO"), "line 18: split .* in the order RO mixes past and future"),
        (('"[5,inf)"', '"five"'), "line 6: user_inter_num_interval is 'five', which is no interval such as"),
        (("epochs: 7", "epochs: 0"), r"as a recipe it cannot be: models\.sasrec\+\.fit\.epochs: .* \(given: 0\)"),
        (('{rating: "[4,inf)"}', '{price: "[4,inf)"}'), "val_interval of 'price': only ratings can be filtered here"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(changed: tuple[str, str], said: str, tmp_path: Path) -> None:
    assert changed[0] in CONFIG
    (tmp_path / "recbole.yaml").write_text(CONFIG.replace(*changed))
    with pytest.raises(ConfigError, match=said):
        adopt(tmp_path / "recbole.yaml", to=tmp_path / "mine.yaml")
    assert not (tmp_path / "mine.yaml").exists()


def test_ratios_in_the_order_of_time_become_one_moment() -> None:
    found = translated({"model": "Pop", "dataset": "x", "eval_args": {"split": {"RS": [8, 1, 1]}, "order": "TO"}}, where=lambda key: key)
    assert SequentialRecipe.model_validate(found.recipe).split == "global-time"
