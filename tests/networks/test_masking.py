"""What is hidden and asked for (T9 to T13)."""

import pytest
import torch
from pydantic import ValidationError

from fathom.networks.masking import Masking, MaskingSettings, masked_places, spans
from fathom.records import PAD

LENGTHS = torch.tensor([1, 2, 3, 10, 10, 7])
IDS = torch.where(torch.arange(10) < LENGTHS[:, None], torch.randint(1, 30, (6, 10), generator=torch.Generator().manual_seed(0)), PAD)


def masking(**settings: object) -> Masking:
    return Masking(4, MaskingSettings.model_validate(settings))


def test_clm_asks_for_the_next_item_after_every_event_but_the_last() -> None:
    asked = masking().training_of(torch.randn(6, 10, 4), IDS)
    for row, length in enumerate(LENGTHS.tolist()):
        assert asked.labels[row, : length - 1].tolist() == IDS[row, 1:length].tolist()
        assert asked.labels[row, length - 1 :].tolist() == [PAD] * (11 - length)
    last = masking(last_only=True).training_of(torch.randn(6, 10, 4), IDS).labels
    assert (last != PAD).sum(dim=1).tolist() == [0, 1, 1, 1, 1, 1]
    assert last[3, 8] == IDS[3, 9]


@pytest.mark.parametrize("objective", ["mlm", "rtd"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.97])
def test_something_is_masked_and_something_seen_in_every_row_of_two_events_or_more(objective: str, share: float) -> None:
    lengths = LENGTHS.repeat(300)
    for seed in range(3):
        torch.manual_seed(seed)
        chosen = masked_places(lengths, 10, MaskingSettings.model_validate({"objective": objective, "share": share}))
        counts = chosen.sum(dim=1)
        assert (counts[lengths > 1] >= 1).all()
        assert (counts[lengths > 1] < lengths[lengths > 1]).all()
        assert (counts[lengths == 1] == 0).all()
        assert not (chosen & (torch.arange(10) >= lengths[:, None])).any()


@pytest.mark.parametrize("objective", ["mlm", "rtd"])
def test_the_masked_share_is_what_was_asked_for(objective: str) -> None:
    lengths = torch.full((4000,), 40)
    torch.manual_seed(0)
    chosen = masked_places(lengths, 40, MaskingSettings.model_validate({"objective": objective, "share": 0.25, "ends": 0.0}))
    assert abs(float(chosen.float().mean()) - 0.25) < 3 * (0.25 * 0.75 / 160_000) ** 0.5 + 1e-4


def test_some_rows_are_asked_as_whoever_is_served() -> None:
    lengths = torch.full((4000,), 12)
    torch.manual_seed(0)
    chosen = masked_places(lengths, 15, MaskingSettings(objective="mlm", share=0.4, ends=0.3))
    last_alone = chosen[:, 11] & (chosen.sum(dim=1) == 1)
    assert abs(float(last_alone.float().mean()) - 0.3) < 0.03


def test_masked_inputs_are_the_mask_vector_and_labels_stand_there_alone() -> None:
    made = masking(objective="mlm", share=0.4)
    inputs = torch.randn(6, 10, 4)
    asked = made.training_of(inputs, IDS)
    hidden = asked.labels != PAD
    assert torch.equal(asked.inputs[hidden], made.mask.expand(int(hidden.sum()), -1))
    assert torch.equal(asked.inputs[~hidden], inputs[~hidden])
    assert torch.equal(asked.labels[hidden], IDS[hidden])
    assert asked.skipped == 1
    assert not asked.inside[0].any(), "a row of one event is skipped"


@pytest.mark.parametrize("permute_all", [False, True])
def test_a_target_sees_neither_itself_nor_a_later_target_and_nobody_who_is_seen_sees_one(permute_all: bool) -> None:
    torch.manual_seed(1)
    asked = masking(objective="plm", share=0.3, span=3, permute_all=permute_all).training_of(torch.randn(6, 10, 4), IDS)
    assert asked.perm_mask is not None
    assert asked.target_mapping is not None
    for row in range(1, 6):
        places = asked.target_mapping[row].argmax(dim=1)[asked.target_mapping[row].sum(dim=1) > 0].tolist()
        assert IDS[row, places].tolist() == [label for label in asked.labels[row].tolist() if label != PAD]
        length = int(LENGTHS[row])
        assert 0 < len(places) < length
        assert not permute_all or len(places) == length - 1
        forbidden = asked.perm_mask[row].bool()
        for place in range(length):
            assert bool(forbidden[place, place]) == (place in places)
            for other in places:
                if place not in places:
                    assert forbidden[place, other]
                elif place != other:
                    assert forbidden[place, other] != forbidden[other, place], "of two targets one comes first"
            seen = [other for other in range(length) if other not in places]
            assert not forbidden[place, seen].any()
    assert asked.target_mapping[0].sum() == 0


def test_spans_are_runs_of_the_drawn_lengths_and_about_the_asked_share() -> None:
    lengths = torch.full((3000,), 60)
    torch.manual_seed(0)
    settings = MaskingSettings(objective="plm", share=1 / 6, span=5)
    chosen = spans(lengths, 60, settings)
    assert 0.12 < float(chosen.float().mean()) < 0.2
    edges = torch.diff(chosen.int(), dim=1, prepend=torch.zeros(3000, 1, dtype=torch.int), append=torch.zeros(3000, 1, dtype=torch.int))
    starts, ends = (edges == 1).nonzero()[:, 1], (edges == -1).nonzero()[:, 1]
    lone = torch.bincount((ends - starts).clamp(max=11))
    assert set(range(1, 6)) <= set(lone.nonzero()[:, 0].tolist())
    assert int(lone[6:].sum()) < 0.1 * int(lone.sum()), "two spans touch now and then"


def test_no_row_is_looked_at_by_itself() -> None:
    """A batch eight times as large asks torch for as many operations as the small one."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.calls += 1
            return function(*args, **(kwargs or {}))

    counts = []
    for rows in (64, 512):
        ids = torch.randint(1, 30, (rows, 20))
        for objective in ("mlm", "plm"):
            made, inputs = masking(objective=objective), torch.randn(rows, 20, 4)
            with Counting() as counting, torch.no_grad():
                made.training_of(inputs, ids)
            counts.append(counting.calls)
    assert counts[:2] == counts[2:]


@pytest.mark.parametrize("objective", ["clm", "mlm", "rtd", "plm"])
def test_a_question_reads_what_came_before_and_nothing_else(objective: str) -> None:
    made = masking(objective=objective)
    inputs = torch.randn(6, 10, 4)
    lengths = torch.tensor([1, 0, 2, 9, 10, 3])
    asked, at = made.question_of(inputs, lengths)
    other, _ = made.question_of(torch.where(torch.arange(10)[:, None] < lengths[:, None, None], inputs, 9.0), lengths)
    assert torch.equal(asked.inputs, other.inputs)
    assert asked.inside.sum(dim=1).tolist() == (lengths.clamp(min=1) if objective == "clm" else lengths + 1).tolist()
    if objective == "clm":
        assert at.tolist() == [0, 0, 1, 8, 9, 2]
    elif objective != "plm":
        assert at.tolist() == lengths.tolist()
        assert torch.equal(asked.inputs[torch.arange(6), at], made.mask.expand(6, -1))
    else:
        assert asked.target_mapping is not None
        assert asked.target_mapping.argmax(dim=2).squeeze(1).tolist() == lengths.tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"objective": "clm", "share": 0.4},
            "share 0.4 says nothing to the objective 'clm', only to 'mlm' or 'plm' or 'rtd': leave it out",
        ),
        ({"objective": "mlm", "span": 3}, "span 3 says nothing to the objective 'mlm', only to 'plm': leave it out"),
        ({"objective": "plm", "tied": False}, "tied False says nothing to the objective 'plm', only to 'rtd': leave it out"),
        (
            {"objective": "plm", "permute_all": True, "last_only": True},
            "permute_all asks for all events of a row, last_only for its last one",
        ),
    ],
)
def test_what_the_objective_does_not_read_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MaskingSettings.model_validate(given)


@pytest.mark.parametrize("objective", ["clm", "mlm", "plm", "rtd"])
def test_written_out_settings_are_settings(objective: str) -> None:
    made = MaskingSettings.model_validate({"objective": objective})
    assert MaskingSettings.model_validate(made.model_dump()) == made
