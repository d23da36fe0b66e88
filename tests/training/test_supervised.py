import pytest
import torch
from torch import nn

from fathom.errors import ConfigError, ModelError
from fathom.training.run import Run, noise_from
from fathom.training.supervised import FitSettings, computes_in_bfloat16, fit, learning_rate_at

SETTINGS = FitSettings(epochs=4, batch_size=8, learning_rate=0.05, precision="float32", checkpoint_seconds=0, select="fit", average=0.5)
INPUTS = torch.linspace(-1, 1, 40)[:, None]


class Killed(Exception):
    """The process ends here."""


def line_model() -> nn.Module:
    with noise_from(0):
        return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))


def batches(epoch, rng):
    order = torch.from_numpy(rng.permutation(40))
    return [order[start : start + 8] for start in range(0, 40, 8)]


def squared_error(module, rows):
    error = (module(INPUTS[rows]) - 3 * INPUTS[rows]) ** 2
    return error.sum(), torch.tensor(float(len(rows)))


def learn(folder, *, settings=SETTINGS, die_at=None, micro_batches=None, module=None):
    """Fit a curve; `die_at` raises in the loss of that call, as a killed process would stop there."""
    module = line_model() if module is None else module
    calls = 0

    def loss(module, rows):
        nonlocal calls
        calls += 1
        if calls == die_at:
            raise Killed
        return squared_error(module, rows)

    def validate():
        assert not module.training
        with torch.no_grad():
            return {"fit": -float(((module(INPUTS) - 3 * INPUTS) ** 2).mean())}

    run = Run(folder)
    report = fit(
        module, batches=batches, loss=loss, settings=settings, run=run, stage="line", validate=validate, micro_batches=micro_batches
    )
    return module, report, run


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def timeless(lines):
    return [{name: value for name, value in line.items() if name != "line/seconds"} for line in lines]


def test_the_curve_is_learned(tmp_path):
    module, report, run = learn(tmp_path)
    losses = [line["line/loss"] for line in run.metrics("line") if "line/loss" in line]
    assert len(losses) == report.steps == 20
    assert losses[-1] < losses[0] / 3
    assert not module.training


@pytest.mark.usefixtures("two_threads")
def test_same_seed_same_bytes(tmp_path):
    torch.manual_seed(1)
    first, _, _ = learn(tmp_path / "a")
    torch.manual_seed(2)
    second, _, _ = learn(tmp_path / "b")
    assert torch.equal(weights(first), weights(second))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_products_are_in_the_asked_precision_and_weights_and_losses_in_float32(tmp_path, precision):
    module, seen = nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 1)), set()
    module[0].register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    _, report, run = learn(tmp_path, module=module, settings=SETTINGS.model_copy(update={"precision": precision, "average": 0.0}))
    assert getattr(torch, precision) in seen
    assert computes_in_bfloat16(precision, torch.device("cpu")) == (precision == "bfloat16")
    assert {weight.dtype for weight in module.parameters()} == {torch.float32}
    losses = [line["line/loss"] for line in run.metrics("line") if "line/loss" in line]
    assert losses[-1] < losses[0] / 3
    assert report.steps == 20


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("cycles", [1, 2, 4])
def test_the_learning_rate_rises_and_goes_down_as_often_as_told(schedule, cycles):
    settings = FitSettings(learning_rate=1.0, warmup_share=0.2, schedule=schedule, cycles=cycles)
    assert learning_rate_at(0.1, settings) == pytest.approx(0.5)
    long = 0.8 / cycles
    for cycle in range(cycles):
        begins = 0.2 + cycle * long
        told = [learning_rate_at(begins + share * long, settings) for share in (1e-6, 0.25, 0.5, 1 - 1e-6)]
        quarter = 0.75 if schedule == "linear" else 0.5 * (1 + 0.5**0.5)
        assert told == pytest.approx([1.0, 0.02 + 0.98 * quarter, 0.51, 0.02], abs=1e-5)


def test_a_constant_learning_rate_rises_and_stays():
    settings = FitSettings(learning_rate=1.0, warmup_share=0.2, schedule="constant")
    assert [learning_rate_at(share, settings) for share in (0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.5, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_scheduled_rate_is_what_is_learned_by(tmp_path, monkeypatch, optimizer):
    settings = SETTINGS.model_copy(update={"optimizer": optimizer, "average": 0.0, "epochs": 1})
    start = weights(line_model())
    scheduled = iter([0.0, 0.0, 0.01, 0.0, 0.0])
    monkeypatch.setattr("fathom.training.supervised.learning_rate_at", lambda share, settings: next(scheduled))
    met = []

    def loss(module, rows):
        met.append(weights(module))
        return squared_error(module, rows)

    module = line_model()
    fit(module, batches=batches, loss=loss, settings=settings.model_copy(update={"select": ""}), run=Run(tmp_path), stage="line")
    moved = [not torch.equal(one, other) for one, other in zip(met, [*met[1:], weights(module)], strict=True)]
    assert torch.equal(met[0], start)
    assert moved == [False, False, True, False, False]


def test_another_seed_is_another_fit(tmp_path):
    first, _, _ = learn(tmp_path / "a")
    second, _, _ = learn(tmp_path / "b", settings=SETTINGS.model_copy(update={"seed": 7}))
    assert not torch.equal(weights(first), weights(second))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("die_at", [1, 3, 6, 13, 20])
def test_a_killed_fit_goes_on_as_if_nothing_had_happened(tmp_path, die_at, optimizer):
    settings = SETTINGS.model_copy(update={"optimizer": optimizer})
    whole, whole_report, whole_run = learn(tmp_path / "whole", settings=settings)
    with pytest.raises(Killed):
        learn(tmp_path / "killed", die_at=die_at, settings=settings)
    resumed, report, run = learn(tmp_path / "killed", settings=settings)
    assert torch.equal(weights(whole), weights(resumed))
    assert (report.best, report.best_epoch, report.steps) == (whole_report.best, whole_report.best_epoch, whole_report.steps)
    assert timeless(run.metrics("line")) == timeless(whole_run.metrics("line"))


def test_killed_between_checkpoints_loses_steps_but_changes_nothing(tmp_path):
    rarely = SETTINGS.model_copy(update={"checkpoint_seconds": 3600.0})
    whole, _, _ = learn(tmp_path / "whole", settings=rarely)
    with pytest.raises(Killed):
        learn(tmp_path / "killed", die_at=12, settings=rarely)
    resumed, _, run = learn(tmp_path / "killed", settings=rarely)
    assert torch.equal(weights(whole), weights(resumed))
    assert len([line for line in run.metrics("line") if "line/loss" in line]) == 20


def test_a_finished_fit_is_not_done_again(tmp_path):
    first, _, _ = learn(tmp_path)
    again, report, _ = learn(tmp_path, die_at=1)
    assert torch.equal(weights(first), weights(again))
    assert report.steps == 20


def test_other_settings_do_not_go_on_with_an_old_checkpoint(tmp_path):
    with pytest.raises(Killed):
        learn(tmp_path, die_at=5)
    with pytest.raises(ConfigError, match="other settings"):
        learn(tmp_path, settings=SETTINGS.model_copy(update={"learning_rate": 0.01}))


def test_another_model_does_not_go_on_with_an_old_checkpoint(tmp_path):
    with pytest.raises(Killed):
        learn(tmp_path, die_at=5)
    with pytest.raises(ModelError, match="differs in"):
        learn(tmp_path, module=nn.Sequential(nn.Linear(1, 1)))


def test_micro_batches_do_not_change_the_gradient(tmp_path):
    module = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))  # without dropout, whose noise follows the pieces
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    whole, _, _ = learn(tmp_path / "whole", module=module)
    expected = weights(whole).clone()
    module.load_state_dict(start)
    uneven, _, _ = learn(tmp_path / "pieces", module=module, micro_batches=lambda rows: (rows[:1], rows[1:6], rows[6:]))
    assert torch.allclose(weights(uneven), expected, atol=1e-5)


def test_the_best_weights_are_kept_and_patience_ends(tmp_path):
    figures = iter([0.1, 0.5, 0.4, 0.3, 0.2])
    module = line_model()
    seen = []

    def validate():
        seen.append(weights(module).clone())
        return {"fit": next(figures)}

    settings = SETTINGS.model_copy(update={"epochs": 9, "patience": 2})
    report = fit(module, batches=batches, loss=squared_error, settings=settings, run=Run(tmp_path), stage="line", validate=validate)
    assert (report.epochs, report.best_epoch, report.best) == (4, 2, {"fit": 0.5})
    assert torch.equal(weights(module), seen[1])


@pytest.mark.parametrize(("figures", "kept"), [([0.6, 0.5, 0.4], 0), ([0.3, 0.5, 0.4], 1)])
def test_the_start_may_count_and_is_kept_where_nothing_is_better(tmp_path, figures, kept):
    module, told = line_model(), iter(figures)
    seen = []

    def validate():
        seen.append(weights(module).clone())
        return {"fit": next(told)}

    settings, run = SETTINGS.model_copy(update={"epochs": 2}), Run(tmp_path)
    given = {"batches": batches, "loss": squared_error, "settings": settings, "run": run, "stage": "line", "validate": validate}
    report = fit(module, **given, start_counts=True)
    assert (report.epochs, report.best_epoch, report.best) == (2, kept, {"fit": max(figures)})
    assert torch.equal(weights(module), seen[kept])
    assert [line["line/epoch"] for line in run.metrics("line") if "line/fit" in line] == [0, 1, 2]


def test_an_unknown_figure_is_named(tmp_path):
    settings = SETTINGS.model_copy(update={"select": "fir"})
    with pytest.raises(ConfigError, match="did you mean 'fit'"):
        learn(tmp_path, settings=settings)


def test_a_diverging_loss_stops_with_advice(tmp_path):
    def loss(module, rows):
        return module(INPUTS[rows]).sum() * float("nan"), torch.tensor(1.0)

    with pytest.raises(ModelError, match="learning_rate"):
        fit(line_model(), batches=batches, loss=loss, settings=SETTINGS, run=Run(tmp_path), stage="line")


def test_no_examples_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="nothing to learn"):
        fit(line_model(), batches=lambda epoch, rng: [], loss=squared_error, settings=SETTINGS, run=Run(tmp_path), stage="line")


def test_tied_weights_are_kept_once_and_stay_tied(tmp_path):
    module = nn.ModuleDict({"table": nn.Embedding(4, 4), "head": nn.Linear(4, 4, bias=False)})
    module["head"].weight = module["table"].weight

    def loss(module, rows):
        logits = module["head"](module["table"](rows % 4))
        return nn.functional.cross_entropy(logits, rows % 4, reduction="sum"), torch.tensor(float(len(rows)))

    fit(module, batches=batches, loss=loss, settings=SETTINGS.model_copy(update={"average": 0.0}), run=Run(tmp_path), stage="tied")
    assert module["head"].weight is module["table"].weight
