"""The audit: every known trick is played, and what it earns is what the rewards promise."""

from collections.abc import Mapping

import pytest
from typer.testing import CliRunner

from fathom.agents.audit import HONEST, Verdict, audit
from fathom.agents.rewards import RewardSettings
from fathom.cli.rewards import app
from fathom.items.encoders import HashingEncoder


def audited(**settings: str | bool) -> Mapping[str, Verdict]:
    found = audit(HashingEncoder().encode, RewardSettings.model_validate(settings))
    return {verdict.trick.name: verdict for verdict in found}


FATHOM = audited()
RELEASED = audited(gate="none", count_repeats=True)


def test_the_honest_reference_is_well_formed_and_earns_every_part() -> None:
    honest = FATHOM[HONEST]
    assert honest.episode.well_formed
    assert honest.earned["stage 1"]["invocation"] == 1.0
    assert honest.earned["stage 2"]["hit"] + honest.earned["stage 2"]["rank"] == pytest.approx(2.6)


def test_no_trick_pays_in_the_outcome() -> None:
    assert [name for name, verdict in FATHOM.items() if "stage 2" in verdict.pays] == []


def test_only_calls_about_nothing_can_match_the_honest_process_reward() -> None:
    assert {name for name, verdict in FATHOM.items() if "stage 1" in verdict.pays} <= {"spam calls"}


@pytest.mark.parametrize(
    ("trick", "fault"),
    [
        ("repeated titles", "answer_lines"),
        ("over-long list", "answer_lines"),
        ("prompt echo", "echo"),
        ("empty thought", "conclusion"),
        ("forged item list", "markers"),
        ("no call at all", "calls"),
    ],
)
def test_a_trick_against_the_format_earns_minus_one(trick: str, fault: str) -> None:
    assert FATHOM[trick].episode.faults == (fault,)
    assert {parts["total"] for parts in FATHOM[trick].earned.values()} == {-1.0}


def test_the_same_wish_again_is_no_further_call() -> None:
    assert FATHOM["repeated preference"].earned["stage 1"]["total"] == pytest.approx(0.0, abs=1e-6)
    assert RELEASED["repeated preference"].earned["stage 1"]["invocation"] == 1.0
    assert FATHOM["paraphrased preference"].earned["stage 1"]["total"] < FATHOM[HONEST].earned["stage 1"]["total"] - 0.5


@pytest.mark.parametrize("trick", ["target as a substring", "many titles a line"])
def test_a_title_among_other_words_is_no_hit(trick: str) -> None:
    for found in (FATHOM, RELEASED):
        assert found[trick].earned["stage 2"]["hit"] == found[trick].earned["stage 2"]["rank"] == 0.0


def test_ten_copies_are_paid_once_even_without_the_gate() -> None:
    assert RELEASED["repeated titles"].earned["stage 2"]["point"] == pytest.approx(10 / 3.85, abs=1e-3)


def test_without_the_gate_a_malformed_response_is_paid() -> None:
    assert RELEASED["empty thought"].earned["stage 1"]["total"] > 0


def test_the_command_prints_every_trick_and_says_which_pay() -> None:
    result = CliRunner().invoke(app, ["audit"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert all(name in result.output for name in FATHOM)
    assert "tricks pay" in result.output
