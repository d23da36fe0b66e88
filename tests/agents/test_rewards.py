"""Rewards against numbers worked by hand (formulas: r_Format ... r_Point of DeepRec's released code, K = 10)."""

from collections.abc import Sequence

import numpy as np
import pytest
from worlds import Scripted, Shelves, asks, film_case, film_catalog

from fathom.agents.play import play
from fathom.agents.protocol import ProtocolSettings
from fathom.agents.rewards import (
    REWARDS,
    RememberedTexts,
    RewardSettings,
    Similarity,
    diversity,
    effective_calls,
    hit,
    invocation,
    ndcg_of_target,
    off_list_rate,
    point,
    rank,
    scored_ndcg_of_target,
    stage1,
    stage2,
    target_retrieved,
    weighted,
    well_formed,
)
from fathom.errors import ModelError
from fathom.records import PAD, Case, Ending, Episode, Turn

SETTINGS = RewardSettings()
TEN = tuple(range(1, 11))
# Four directions; 'almost east' has cosine 0.96 with east, 'half east' 0.6.
COMPASS = {
    "east": (1.0, 0.0, 0.0),
    "EAST": (0.0, 0.0, 1.0),
    "north": (0.0, 1.0, 0.0),
    "up": (0.0, 0.0, 1.0),
    "almost east": (0.96, 0.28, 0.0),
    "half east": (0.6, 0.8, 0.0),
}


def compass(texts: Sequence[str]) -> np.ndarray:
    return np.array([COMPASS[text] for text in texts], dtype=np.float32)


def episode(
    preferences: Sequence[str] = ("east",),
    answer: Sequence[int | None] = TEN,
    *,
    target: int = 1,
    faults: tuple[str, ...] = (),
    scored: tuple[int, ...] = (),
    shown: tuple[int, ...] = TEN,
) -> Episode:
    return Episode(
        case=Case(user=0, history=(90,), target=target),
        turns=tuple(Turn("thought", preference, shown) for preference in preferences),
        conclusion="so",
        lines=tuple(f"{place}. x" for place, _ in enumerate(answer, start=1)),
        answer=tuple(answer),
        scored=scored,
        faults=faults,
        ending=Ending.ANSWERED,
        text="",
    )


@pytest.mark.parametrize(("calls", "earned"), [(0, 0.0), (1, 0.0), (2, 0.5), (3, 1.0), (8, 1.0)])
def test_invocation_pays_half_for_the_second_and_the_third_call(calls: int, earned: float) -> None:
    assert invocation(calls, SETTINGS) == earned


@pytest.mark.parametrize(
    ("preferences", "new"),
    [
        ((), 0),
        (("east",), 1),
        (("east", "north"), 2),
        (("east", "north", "up"), 3),
        (("east", "east", "east"), 1),
        (("east", "EAST"), 1),  # the same words but for their case, although the vectors differ
        (("east", "almost east"), 1),  # cosine 0.96
        (("east", "half east"), 2),  # cosine 0.6
        (("east", "north", "east", "up"), 3),
    ],
)
def test_only_new_preferences_count_as_calls(preferences: Sequence[str], new: int) -> None:
    assert effective_calls(episode(preferences), compass, SETTINGS) == new
    assert effective_calls(episode(preferences), compass, RewardSettings(count_repeats=True)) == len(preferences)


@pytest.mark.parametrize(
    ("preferences", "earned"),
    [
        ((), 0.0),
        (("east",), 0.0),
        (("east", "east"), 0.0),
        (("east", "north"), 0.2),
        (("east", "north", "up"), 0.2),
        (("east", "half east"), 0.08),  # 0.2 * (1 - 0.6)
        (("east", "north", "half east"), 0.2 * (1 - (0 + 0.6 + 0.8) / 3)),
    ],
)
def test_diversity_is_one_minus_the_mean_cosine(preferences: Sequence[str], earned: float) -> None:
    assert diversity(episode(preferences), compass, SETTINGS) == pytest.approx(earned, abs=1e-6)


@pytest.mark.parametrize(("place", "earned"), [(1, 3.0), (3, 2.6), (10, 1.2)])
def test_hit_and_rank_together(place: int, earned: float) -> None:
    one = episode(target=place)
    assert hit(one, SETTINGS) + rank(one, SETTINGS) == pytest.approx(earned)


def test_a_target_that_is_not_in_the_answer_earns_nothing() -> None:
    one = episode(target=50)
    assert (hit(one, SETTINGS), rank(one, SETTINGS)) == (0.0, 0.0)


def test_an_unknown_target_is_never_hit_by_an_unresolved_line() -> None:
    one = episode(answer=[None, *range(2, 11)], target=PAD)
    assert (hit(one, SETTINGS), rank(one, SETTINGS), point(one, alike(0.5), SETTINGS)) == (0.0, 0.0, 0.0)


def alike(cosine: float, *, items: int = 60) -> Similarity:
    """Items whose vectors all have the cosine `cosine` with item 50, of any length, in both tables."""
    table = np.zeros((items + 1, 2), dtype=np.float32)
    table[1:] = (cosine, np.sqrt(1 - cosine**2))
    table[50] = (1, 0)
    return Similarity(table * 3, table * 0.5)


@pytest.mark.parametrize("cosine", [-0.4, 0.0, 0.3, 1.0])
def test_ten_items_of_one_similarity_earn_ten_times_it(cosine: float) -> None:
    assert point(episode(target=50), alike(cosine), SETTINGS) == pytest.approx(10 * cosine, abs=1e-5)


def test_one_alike_item_at_the_top_earns_its_weight() -> None:
    # sum of (1 - i/10)^2 for i = 0..9 is 3.85, so the top is worth 10 / 3.85.
    one = episode(answer=[50, *range(2, 11)], target=50)
    assert point(one, alike(0.0), SETTINGS) == pytest.approx(2.5974, abs=1e-4)


def test_ten_copies_of_one_title_are_paid_once() -> None:
    copies = episode(answer=[50] * 10, target=50)
    assert point(copies, alike(0.0), RewardSettings(gate="none")) == pytest.approx(2.5974, abs=1e-4)


def test_an_unresolved_line_is_worth_nothing() -> None:
    # Without the first line the other nine of similarity 1 weigh 2.85 of 3.85.
    assert point(episode(answer=[None, *range(2, 11)], target=50), alike(1.0), SETTINGS) == pytest.approx(10 * 2.85 / 3.85, abs=1e-4)


def test_similarity_is_the_mean_of_both_cosines() -> None:
    text = np.array([[0, 0], [2, 0], [0, 3]], dtype=np.float32)
    item = np.array([[0, 0], [1, 0], [3, 4]], dtype=np.float32)  # cosine 0.6
    assert Similarity(text, item).to(1, [1, 2, PAD]).tolist() == pytest.approx([1.0, 0.3, 0.0])


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="3 text vectors but 4 item vectors"):
        Similarity(np.zeros((3, 2), np.float32), np.zeros((4, 2), np.float32))
    with pytest.raises(ModelError, match="row 0 of the item vectors is not zero"):
        Similarity(np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32))


def test_stage_one_of_a_malformed_response_is_minus_one_exactly() -> None:
    broken = episode(("east", "north", "up"), faults=("answer_lines",))
    assert stage1(SETTINGS, compass)(broken) == {"format": -1.0, "invocation": 0.0, "diversity": 0.0, "total": -1.0}


def test_stage_one_keeps_its_parts() -> None:
    assert stage1(SETTINGS, compass)(episode(("east", "north", "up"))) == pytest.approx(
        {"format": 0.0, "invocation": 1.0, "diversity": 0.2, "total": 1.2}
    )


def test_stage_two_pays_nothing_but_the_penalty_when_the_format_fails() -> None:
    assert stage2(SETTINGS, alike(1.0))(episode(faults=("script",))) == {
        "format": -1.0,
        "hit": 0.0,
        "rank": 0.0,
        "point": 0.0,
        "total": -1.0,
    }


def test_stage_two_of_a_fixed_episode() -> None:
    # Target at place 3: hit 1, rank 1.6; every item equals the target's direction: point 10.
    assert stage2(SETTINGS, alike(1.0))(episode(target=3)) == pytest.approx(
        {"format": 0.0, "hit": 1.0, "rank": 1.6, "point": 10.0, "total": 12.6}
    )


def test_no_stage_pays_for_what_the_other_trains() -> None:
    assert set(stage1(SETTINGS, compass)(episode())) == {"format", "invocation", "diversity", "total"}
    assert set(stage2(SETTINGS, alike(0.0))(episode())) == {"format", "hit", "rank", "point", "total"}


@pytest.mark.parametrize(
    ("gate", "faults", "paid"),
    [
        ("format", ("script",), False),
        ("protocol", ("script",), True),
        ("protocol", ("markers",), False),
        ("protocol", ("calls",), False),
        ("none", ("markers", "calls"), True),
    ],
)
def test_the_gate_decides_what_a_fault_costs(gate: str, faults: tuple[str, ...], paid: bool) -> None:
    parts = stage1(RewardSettings(gate=gate), compass)(episode(("east", "north"), faults=faults))  # type: ignore[arg-type]
    assert parts["format"] == -1.0
    assert parts["invocation"] == (0.5 if paid else 0.0)


def test_watched_figures() -> None:
    one = episode(target=3, scored=(5, 3))
    assert ndcg_of_target(one) == pytest.approx(0.5)  # 1 / log2(4)
    assert scored_ndcg_of_target(one) == pytest.approx(0.63093, abs=1e-5)  # 1 / log2(3)
    assert (target_retrieved(one), well_formed(one)) == (1.0, 1.0)
    assert off_list_rate(episode(answer=[1, None, 77, 2])) == 0.5
    missed = episode(target=77)
    assert (ndcg_of_target(missed), scored_ndcg_of_target(missed), target_retrieved(missed)) == (0.0, 0.0, 0.0)
    assert "ndcg_of_target" in REWARDS


def test_an_answer_that_names_the_target_twice_counts_its_first_line_once() -> None:
    twice = episode(answer=[2, 1, 1], target=1)
    assert ndcg_of_target(twice) == pytest.approx(0.63093, abs=1e-5)
    assert hit(twice, SETTINGS) == 1.0


def test_a_judge_of_ones_own_keeps_its_parts() -> None:
    judge = weighted(ndcg=(1.0, ndcg_of_target), format=(0.1, well_formed))
    assert judge(episode(target=3)) == pytest.approx({"ndcg": 0.5, "format": 0.1, "total": 0.6})


def test_each_text_is_encoded_once() -> None:
    encoded: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        encoded.extend(texts)
        return compass(texts)

    remembered = RememberedTexts(encode, most=2)
    assert remembered(["east", "north", "east"]).tolist() == compass(["east", "north", "east"]).tolist()
    assert remembered(["north"]).tolist() == compass(["north"]).tolist()
    assert encoded == ["east", "north"]
    assert remembered(["north", "up"]).tolist() == compass(["north", "up"]).tolist()
    assert len(remembered([])) == 0


def test_a_preference_that_was_not_executed_earns_nothing() -> None:
    settings = RewardSettings(gate="none")
    two, three = (
        play(Scripted([asks(wish) for wish in wishes]), Shelves(40), [film_case()], film_catalog(), ProtocolSettings(max_calls=2))[0]
        for wishes in (("east", "half east"), ("east", "half east", "up"))
    )
    assert three.ending is Ending.TOO_MANY_CALLS
    assert stage1(settings, compass)(three) == stage1(settings, compass)(two)
