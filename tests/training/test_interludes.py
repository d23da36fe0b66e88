"""Interludes are what a conversation has between a history and the first title of the answer."""

import numpy as np
import pytest
from worlds import film_catalog

from fathom.agents.protocol import HISTORY_CLOSE, HISTORY_OPEN, MARKERS, ProtocolSettings
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import Catalog
from fathom.training.interludes import Interludes, InterludeSettings

CATALOG = film_catalog()
TOKENIZER = train_tokenizer([title + "\n" for title in CATALOG.titles] * 20, 500, markers=MARKERS)
POLICY = LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=512, seed=0), TOKENIZER)


def interludes(catalog: Catalog = CATALOG, every: float = 10.0) -> Interludes:
    return Interludes(POLICY, catalog, settings=InterludeSettings(every=every), protocol=ProtocolSettings())


def test_the_words_are_those_of_a_conversation() -> None:
    values = {value for item in range(1, CATALOG.n_items + 1) for value in CATALOG.values(item)}
    rng = np.random.default_rng(0)
    for _ in range(20):
        text = POLICY.decode(interludes().draw(rng))
        said, ended, rest = text.removeprefix(f"{HISTORY_CLOSE}Fits best: ").partition(".\n")
        assert ended
        assert rest == "</think>\n<recommendation_list>\n1. "
        assert said == "these" or any(value in said for value in values)


def test_a_catalogue_of_which_nothing_is_known_has_interludes_too() -> None:
    bare = Catalog(("a", "b"), ("One", "Two"))
    assert "Fits best: these.\n" in POLICY.decode(interludes(bare).draw(np.random.default_rng(0)))


def test_how_often_follows_from_the_setting() -> None:
    assert interludes(every=40.0).rate == pytest.approx(1 / 40)
    assert HISTORY_OPEN == "User:\n"
