"""Reasonings before rewards name what the model itself ranks first."""

import numpy as np
import torch
from reasoning import CATALOG, tiny_head

from fathom.reasoners.prompts import PERHAPS
from fathom.reasoners.reasoning import as_text, reason
from fathom.records import Case
from fathom.training.preferences import facts
from fathom.training.thoughts import LIKE, ThoughtSettings, thought, thoughts

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
