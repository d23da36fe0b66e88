"""Other validation and test items, and nothing that any stage learns from changes: held over the whole pipeline's inputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fathom.data.dataset import Dataset
from fathom.data.splits import SPLITS
from fathom.data.world import WorldSettings, build_world
from fathom.models.popularity import Popularity
from fathom.pipeline.deeprec import stages
from fathom.pipeline.deeprec.recipe import DeepRecRecipe
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.records import Case, EventColumn, Interactions, Ranking
from fathom.training.run import Run

WORLD = WorldSettings(films=60, users=40, events=12)
KEPT = 3
"""Events of a user that are never held out."""
WORDS = {"history_ratings": True, "history_times": True, "history_length": 10}
"""Everything that a history may say is said, so that a rating or a time from after the cut would be seen."""


class ByNumber:
    """Stands in for the retriever of the episodes: ranks by the distance from the last item taken, trained on nothing."""

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items

    def recommend(self, cases: Sequence[Case], k: int, *, exclude_history: bool = True) -> Ranking:
        rows = [sorted(range(1, self._n_items + 1), key=lambda item: abs(item - case.history[-1]))[:k] for case in cases]
        return Ranking(np.array(rows, dtype=np.int64), np.zeros((len(rows), k), dtype=np.float32))


def changed(interactions: Interactions, places: np.ndarray) -> Interactions:
    """The same log with another item and another rating at `places`."""
    items = interactions.items.copy()
    items[places] = items[places] % WORLD.films + 1
    ratings = interactions.ratings
    if ratings is not None:
        ratings = ratings.copy()
        ratings[places] = 6 - ratings[places]
    return replace(interactions, items=items, ratings=ratings)


def after_the_cut(interactions: Interactions, split: str) -> np.ndarray:
    """The places of all events that are not in train."""
    learned = np.diff(SPLITS[split](interactions).train.offsets)
    nth = np.arange(interactions.n_events) - np.repeat(interactions.offsets[:-1], np.diff(interactions.offsets))
    return np.flatnonzero(nth >= np.repeat(learned, np.diff(interactions.offsets)))


def learned_from(dataset: Dataset, folder: Path, split: str) -> dict[str, object]:
    """All that the stages from `sasrec` to `agent` learn from, of a run on `dataset`."""
    recipe = DeepRecRecipe.model_validate(
        {
            "name": "leaks",
            "world": WORLD,
            "split": split,
            "encoder": "hashing",
            "hold_out": {"share": 0.3, "most": 4, "keep": KEPT},
            "protocol": {"answer_length": 3, "items_per_call": 6, **WORDS},
            "rewards": {"answer_length": 3},
        }
    )
    dataset.save(folder / "dataset")
    work = DeepRecWorkshop(recipe, Run(folder))
    work.__dict__["episode_retriever"] = ByNumber(dataset.catalog.n_items)  # where the cached property would keep a trained one
    return {
        "sasrec, retriever": work.split.train.items.tolist(),
        "retriever-fit": work.fit_part.items.tolist(),
        "popularity": Popularity.of(work.split.train, dataset.catalog.n_items).score([Case(0, (1,), 2)]).tolist(),
        "counts": work.counts.tolist(),
        "lm-fit": work.histories(work.fit_part),
        "lm, agent": work.histories(work.split.train),
        "tokenizer": stages._corpus(work),
        "conversations of agent": work.episode_cases,
        "traces of agent-warm": work.trace_cases,
        "questions of agent-stage1 and agent-stage2": work.questions,
    }


@pytest.fixture(scope="module")
def world() -> Dataset:
    """With a column that says which part each event is of: everybody's last one is asked for, and the one before it."""
    made = build_world(WORLD).dataset
    log = made.interactions
    left = np.repeat(log.offsets[1:], np.diff(log.offsets)) - np.arange(log.n_events)
    parts = EventColumn(np.choose(np.minimum(left, 3), [0, 3, 2, 1]).astype(np.float32), ("train", "valid", "test"))
    return replace(made, interactions=replace(log, columns={"part": parts}))


@pytest.fixture
def learned(world: Dataset, tmp_path: Path) -> Callable[[Interactions, str], dict[str, object]]:
    made = iter(range(99))
    return lambda interactions, split: learned_from(replace(world, interactions=interactions), tmp_path / str(next(made)), split)


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_after_the_cut_reaches_any_training(
    world: Dataset, learned: Callable[[Interactions, str], dict[str, object]], split: str
) -> None:
    places = after_the_cut(world.interactions, split)
    assert len(places) > 40
    other = changed(world.interactions, places)
    assert {case.target for case in SPLITS[split](other).test} != {case.target for case in SPLITS[split](world.interactions).test}
    before, after = learned(world.interactions, split), learned(other, split)
    assert all(before.values()), "everything that is compared holds something"
    for name, value in before.items():
        assert value == after[name], name


def test_the_held_out_ends_reach_traces_and_questions_and_no_fit(
    world: Dataset, learned: Callable[[Interactions, str], dict[str, object]]
) -> None:
    long = np.diff(world.interactions.offsets) > KEPT + 2
    ends = world.interactions.offsets[1:][long] - 3  # the last training event of everybody who has more than is kept
    before, after = learned(world.interactions, "leave-one-out"), learned(changed(world.interactions, ends), "leave-one-out")
    for name in ("retriever-fit", "lm-fit"):
        assert before[name] == after[name], name
    for name in ("sasrec, retriever", "traces of agent-warm", "questions of agent-stage1 and agent-stage2"):
        assert before[name] != after[name], name


def test_traces_and_questions_are_of_different_people(world: Dataset, learned: Callable[[Interactions, str], dict[str, object]]) -> None:
    found = learned(world.interactions, "leave-one-out")
    traced = {case.user for case in found["traces of agent-warm"]}  # type: ignore[attr-defined]
    asked = {case.user for part in found["questions of agent-stage1 and agent-stage2"] for case in part}  # type: ignore[attr-defined]
    assert traced
    assert asked
    assert not traced & asked
