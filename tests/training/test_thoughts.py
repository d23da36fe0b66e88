"""Made-up reasonings name what really followed, and nothing else."""

import numpy as np
from worlds import film_catalog

from fathom.records import Case
from fathom.training.preferences import facts
from fathom.training.thoughts import ThoughtSettings, followers, thought, thoughts

CATALOG = film_catalog()
CHAIN = (Case(0, (1, 2), 3), Case(0, (1, 2, 3), 4), Case(0, (1, 2, 3, 4), 5), Case(1, (7,), 8), Case(1, (7, 8, 9), 6))


def test_followers_are_those_of_the_same_person_in_order() -> None:
    assert followers(CHAIN, 0, 5) == (4, 5)
    assert followers(CHAIN, 0, 1) == (4,)
    assert followers(CHAIN, 2, 5) == ()
    assert followers(CHAIN, 3, 5) == (), "an event between them is not known"


def test_a_thought_is_made_of_titles_and_values() -> None:
    settings = ThoughtSettings(titles=2, values=1)
    [said, *_] = thoughts(CHAIN, CATALOG, seed=0, settings=settings)
    first, second, values = said.splitlines()
    assert (first, second) == (f"Maybe: {CATALOG.title(3)}", f"Maybe: {CATALOG.title(4)}")
    assert values.removeprefix("Like: ") in [value for value, _ in facts(CATALOG, 3)]
    assert thoughts(CHAIN, CATALOG, seed=0, settings=settings)[0] == said


def test_a_thought_may_be_of_one_kind_or_empty() -> None:
    rng = np.random.default_rng(0)
    assert thought(CHAIN[0], (4,), CATALOG, rng=rng, settings=ThoughtSettings(titles=1, values=0)) == f"Maybe: {CATALOG.title(3)}\n"
    assert thought(CHAIN[0], (4,), CATALOG, rng=rng, settings=ThoughtSettings(titles=0, values=0)) == ""
    assert CATALOG.title(3) not in thought(CHAIN[0], (4,), CATALOG, rng=rng, settings=ThoughtSettings(titles=0, values=2))
