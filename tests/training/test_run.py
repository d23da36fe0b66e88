import math

import pytest
import torch

from fathom.errors import DataError, ModelError
from fathom.training.run import Run, noise_from


def test_what_was_logged_comes_back_by_stage(tmp_path):
    run = Run(tmp_path)
    run.log("sasrec", 1, {"loss": 5.0})
    run.log("lm", 1, {"loss": 7.0})
    run.log("sasrec", 2, {"loss": math.nan, "norm": 1.0})
    assert run.metrics("sasrec") == [{"step": 1, "sasrec/loss": 5.0}, {"step": 2, "sasrec/norm": 1.0}]


def test_a_line_that_a_killed_process_left_unfinished_is_replaced(tmp_path):
    run = Run(tmp_path)
    run.log("a", 1, {"loss": 5.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "a", "st')
    assert len(run.metrics("a")) == 1, "readers pass over it"
    run.log("a", 2, {"loss": 4.0})
    assert [line["step"] for line in run.metrics("a")] == [1, 2]


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "a", "step": 1}\nnonsense\n')
    with pytest.raises(DataError, match="line 2"):
        Run(tmp_path).metrics("a")


def test_a_checkpoint_returns_what_was_saved(tmp_path):
    checkpoint = Run(tmp_path).checkpoint("stage")
    assert checkpoint.load() is None
    checkpoint.save(7, {"w": torch.arange(3.0)}, {"epoch": 2})
    step, tensors, state = checkpoint.load()
    assert (step, tensors["w"].tolist(), state) == (7, [0.0, 1.0, 2.0], {"epoch": 2})
    checkpoint.clear()
    assert checkpoint.load() is None


def test_loading_a_checkpoint_forgets_what_was_logged_after_it(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2, 3):
        run.log("stage", step, {"loss": 1.0})
    run.log("other", 9, {"loss": 1.0})
    checkpoint = run.checkpoint("stage")
    checkpoint.save(2, {}, None)
    checkpoint.load()
    assert [line["step"] for line in run.metrics("stage")] == [1, 2]
    assert len(run.metrics("other")) == 1


def test_a_cut_checkpoint_is_an_error_that_names_the_file(tmp_path):
    checkpoint = Run(tmp_path).checkpoint("stage")
    checkpoint.save(1, {"w": torch.zeros(100)}, None)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:50])
    with pytest.raises(ModelError, match=r"stage\.safetensors"):
        checkpoint.load()


def test_noise_comes_from_the_seed_and_leaves_no_trace():
    before = torch.get_rng_state()
    with noise_from(3):
        first = torch.rand(4)
    with noise_from(3):
        assert torch.equal(torch.rand(4), first)
    assert torch.equal(torch.get_rng_state(), before)
