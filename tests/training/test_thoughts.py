"""Reasonings before rewards name what the model itself ranks first."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reasoning import CATALOG, tiny_head

from fathom.reasoners.prompts import PERHAPS
from fathom.reasoners.reasoning import as_text, reason
from fathom.reasoners.recommender import R2ec
from fathom.records import Case
from fathom.training.preferences import facts
from fathom.training.thoughts import HOTTEST, LIKE, ThoughtSettings, honest_temperature, thought, thoughts

CASES = [Case(0, (1, 2), 3), Case(0, (1, 2, 3), 4), Case(1, (7,), 8), Case(2, (9, 4, 5), 6)]


def named(words: str) -> list[str]:
    return [line.removeprefix(PERHAPS) for line in words.splitlines() if line.startswith(PERHAPS)]


def test_a_cold_draw_names_what_is_ranked_first_outside_the_history() -> None:
    head = tiny_head()
    said = thoughts(head, CASES, CATALOG, seed=0, settings=ThoughtSettings(titles=3, temperature=1e-4))
    with head.at_rest():
        logits = head.logits(head.read([as_text(one) for one in reason(head, CASES, CATALOG, budget=0)]))
    for case, words, row in zip(CASES, said, logits, strict=True):
        row[list(case.history)] = -torch.inf
        assert named(words) == [CATALOG.title(item) for item in row.topk(3).indices.tolist()]


def test_a_warm_draw_follows_the_probabilities_and_the_seed() -> None:
    head, many = tiny_head(), [Case(user, (1, 2), 3) for user in range(2000)]
    settings = ThoughtSettings(titles=1, temperature=2.0)
    said = thoughts(head, many, CATALOG, seed=0, settings=settings)
    with head.at_rest():
        logits = head.logits(head.read([as_text(reason(head, many[:1], CATALOG, budget=0)[0])]))[0] / 2.0
    logits[[1, 2]] = -torch.inf
    expected = torch.softmax(logits, 0).numpy()
    counts = np.array([sum(one == f"{PERHAPS}{title}\n" for one in said) for title in ("", *CATALOG.titles)]) / len(many)
    assert np.abs(counts - expected).max() < 4 * np.sqrt(0.25 / len(many))
    assert thoughts(head, many[:3], CATALOG, seed=0, settings=settings) == said[:3]
    assert thoughts(head, many, CATALOG, seed=1, settings=settings) != said


def test_the_first_title_may_be_described_and_nobody_is_named_twice() -> None:
    words = thought((3, 4), CATALOG, rng=np.random.default_rng(0), values=1)
    first, second, values = words.splitlines()
    assert (first, second) == (f"{PERHAPS}{CATALOG.title(3)}", f"{PERHAPS}{CATALOG.title(4)}")
    assert values.removeprefix(LIKE) in [value for value, _ in facts(CATALOG, 3)]
    [said] = thoughts(tiny_head(), [Case(0, tuple(range(1, CATALOG.n_items)), 1)], CATALOG, seed=0, settings=ThoughtSettings(titles=5))
    assert named(said) == [CATALOG.title(CATALOG.n_items)], "one is left"
    assert thought((), CATALOG, rng=np.random.default_rng(0), values=2) == ""


def test_what_is_known_by_heart_is_drawn_hotter_until_it_is_right_no_more_often_than_elsewhere() -> None:
    head, settings = tiny_head(), ThoughtSettings(titles=2, temperature=0.3)
    plain = [Case(user, (1 + user % 40, 1 + (user + 7) % 40), 1) for user in range(400)]
    best = R2ec(head, CATALOG, budget=0).recommend(plain, 30).items
    rng = np.random.default_rng(0)
    learned = [replace(case, target=int(row[rng.integers(0, 2)])) for case, row in zip(plain, best, strict=True)]
    held = [replace(case, target=int(row[rng.integers(0, 8)])) for case, row in zip(plain, best, strict=True)]

    def right(cases: list[Case], temperature: float, seed: int) -> float:
        said = thoughts(head, cases, CATALOG, seed=seed, settings=settings.model_copy(update={"temperature": temperature}))
        return float(np.mean([CATALOG.title(case.target) in named(words) for case, words in zip(cases, said, strict=True)]))

    hot = honest_temperature(head, learned, held, CATALOG, seed=0, settings=settings)
    assert hot > settings.temperature
    assert right(learned, settings.temperature, 1) > right(held, settings.temperature, 1) + 0.1
    assert right(learned, hot, 1) == pytest.approx(right(held, settings.temperature, 1), abs=0.06)
    assert honest_temperature(head, held, learned, CATALOG, seed=0, settings=settings) == settings.temperature, "never colder"
    assert honest_temperature(head, learned, [], CATALOG, seed=0, settings=settings) == settings.temperature, "nothing to compare"
    hopeless = [replace(case, target=case.history[0]) for case in plain]  # never named
    assert honest_temperature(head, learned, hopeless, CATALOG, seed=0, settings=settings) == HOTTEST * settings.temperature
