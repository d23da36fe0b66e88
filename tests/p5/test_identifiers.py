"""Ids are unique, reversible and blind to what is asked for (checklist P3, P4)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fathom.data.sources import read
from fathom.data.splits import SPLITS
from fathom.errors import DataError
from fathom.language.trie import TitleTrie
from fathom.p5.clusters import co_occurrence, spectral_paths
from fathom.p5.identifiers import SCHEMES, Identifiers, numbers, walked
from fathom.p5.leak import next_number_hits
from fathom.p5.lexicon import train_lexicon
from fathom.p5.quantised import residual_codes
from fathom.records import PAD, Interactions, Ints
from tests.texttotext import N_ITEMS, named, ring


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ids_are_unique_and_lead_back_and_their_tokens_make_a_trie(scheme: str) -> None:
    ids = named(scheme)
    assert [ids.item(text) for text in ids.texts] == list(range(1, N_ITEMS + 1))
    assert ids.item("‹nobody's›") == PAD
    lexicon = train_lexicon(ids.texts, 300, added=ids.added)
    trie = TitleTrie(ids.sequences(lexicon))
    assert sorted(trie.item[trie.item != PAD].tolist()) == list(range(1, N_ITEMS + 1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_seed_gives_the_same_ids(scheme: str) -> None:
    assert named(scheme).texts == named(scheme).texts


@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_held_out_items_change_no_id(scheme: str) -> None:
    """P4: what is asked for, of everybody, may be anything else without an id noticing."""
    log = ring()
    split = SPLITS["leave-one-out"](log)
    places = np.concatenate([log.offsets[1:] - 1, log.offsets[1:] - 2])
    items = log.items.copy()
    items[places] = np.random.default_rng(1).permutation(items[places])
    assert not np.array_equal(items, log.items)
    other = SPLITS["leave-one-out"](replace(log, items=items))
    assert named(scheme, split.train).texts == named(scheme, other.train).texts


def _walked_whole(log: Interactions, n_items: int) -> Ints:
    """P5's own order, as in its release: whole histories are walked, the events that are asked for included."""
    return walked(log, n_items)


def test_the_papers_own_numbering_is_not_blind() -> None:
    log = ring()
    items = log.items.copy()
    last = log.offsets[1:] - 1
    items[last] = np.roll(items[last], 1)
    assert not np.array_equal(_walked_whole(log, N_ITEMS), _walked_whole(replace(log, items=items), N_ITEMS))


def newcomers(people: int = 300, events: int = 6) -> Interactions:
    """Everybody takes random items out of many: nothing can be foretold."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.choice(6000, size=events, replace=False) + 1 for _ in range(people)])
    return Interactions(tuple(map(str, range(people))), np.arange(0, people * events + 1, events), items.astype(np.int64))


def test_the_next_number_foretells_under_the_papers_numbering_and_not_under_ours() -> None:
    log = newcomers()
    ours, chance = SPLITS["leave-one-out"](log).train, 10 / 6000
    assert next_number_hits(_walked_whole(log, 6000), log) > 0.5, "an item that is new to all is numbered right behind the one before"
    assert next_number_hits(walked(ours, 6000), log) < 0.02
    shuffled = np.random.default_rng(1).permutation(6000) + 1
    assert next_number_hits(shuffled, log) <= 3 * chance + 1 / 300


@pytest.mark.data
def test_the_next_number_foretells_little_of_video_games(measured_data: Path) -> None:
    """On a sparse shop: numbers by training prefixes stay far below the paper's, random ones at chance."""
    log = read(measured_data / "amazon-games").interactions
    n_items, train = int(log.items.max()), SPLITS["leave-one-out"](log).train
    leaking, ours = next_number_hits(_walked_whole(log, n_items), log), next_number_hits(walked(train, n_items), log)
    assert ours < 0.02 < leaking
    assert next_number_hits(np.random.default_rng(0).permutation(n_items) + 1, log) <= 3 * 10 / n_items


@pytest.mark.parametrize("order", ["file", "short-to-long", "long-to-short", "random"])
def test_every_item_is_walked_once_whatever_the_order(order: str) -> None:
    log = Interactions(("a", "b"), np.array([0, 3, 5]), np.array([4, 2, 4, 7, 2]))
    found = walked(log, 8, order=order, seed=3)  # type: ignore[arg-type]
    assert sorted(found.tolist()) == list(range(1, 9))
    first = {"file": [4, 2, 7], "short-to-long": [7, 2, 4], "long-to-short": [4, 2, 7]}
    assert order == "random" or found[:3].tolist() == first[order]


def test_numbers_have_equally_many_digits_in_pairs() -> None:
    assert numbers(np.array([3, 1, 2])) == [("1002",), ("1003",), ("1001",)]
    assert {len(text) for (text,) in numbers(np.arange(1, 9_500))} == {6}


def test_co_occurrence_is_counted_both_ways() -> None:
    """By hand: a has 1 2 3, b has 1 2, c has 3 alone; a pair counts once for each person who has both."""
    log = Interactions(("a", "b", "c"), np.array([0, 3, 5, 6]), np.array([1, 2, 3, 2, 1, 3]))
    want = np.array([[0, 2, 1, 0], [2, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert (co_occurrence(log, 4).toarray() == want).all()
    assert (co_occurrence(log, 4, window=1).toarray() == np.array([[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])).all()


def test_planted_clusters_are_found_and_strangers_lie_apart() -> None:
    """Four groups of eight that are taken among themselves, and five items that nobody took."""
    rng = np.random.default_rng(0)
    people = [rng.permutation(8)[:6] + 1 + 8 * (person % 4) for person in range(80)]
    log = Interactions(tuple(map(str, range(80))), np.arange(0, 481, 6), np.concatenate(people).astype(np.int64))
    paths = spectral_paths(co_occurrence(log, 37), clusters=4, leaf=8, seed=0)
    groups = [{path[0] for path in paths[start : start + 8]} for start in range(0, 32, 8)]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == 4
    assert {path[0] for path in paths[32:]}.isdisjoint(set.union(*groups))


def test_no_cluster_is_larger_than_a_leaf_even_where_nothing_tells_items_apart() -> None:
    everybody = sparse.csr_array(np.ones((50, 50)) - np.eye(50))
    paths = spectral_paths(everybody, clusters=3, leaf=6, seed=0)
    assert max(paths.count(path) for path in set(paths)) <= 6


def test_residual_codes_tell_groups_first_and_what_is_left_after() -> None:
    """Two far groups of two near points each: the first code says the group, the second the point."""
    vectors = np.array([[0, 0], [0, 1], [9, 0], [9, 1]], dtype=np.float32)
    codes = residual_codes(vectors, levels=2, codes=2, seed=0)
    assert codes[0, 0] == codes[1, 0] != codes[2, 0] == codes[3, 0]
    assert codes[0, 1] == codes[2, 1] != codes[1, 1] == codes[3, 1]


def test_ids_that_collide_or_are_empty_are_refused() -> None:
    with pytest.raises(DataError, match="items 1 and 3 have one id, 'a b'"):
        Identifiers([("a b",), ("c",), ("a b",)])
    with pytest.raises(DataError, match="item 2 has an empty id"):
        Identifiers([("a",), (" ",)])
    strange = Identifiers([("☃",), ("☂",)])
    lexicon = train_lexicon(["a b"], 200, added=())  # it has neither character
    with pytest.raises(DataError, match="have the same tokens"):
        strange.sequences(lexicon)


def test_an_end_stands_behind_ids_where_one_begins_another() -> None:
    ids = Identifiers([("thing one",), ("thing one more",)])
    lexicon = train_lexicon(["thing one more"] * 9, 300, added=())
    assert all(tokens[-1] == lexicon.end for tokens in ids.sequences(lexicon))
    apart = Identifiers([("thing one",), ("thing more",)])
    assert all(tokens[-1] != lexicon.end for tokens in apart.sequences(lexicon))


def test_the_next_numbers_by_hand() -> None:
    """Numbers as they stand; of four people the first two end one or two further, the third behind the largest, the last elsewhere."""
    events = [[1, 2, 3], [4, 7, 9], [8, 2, 9], [5, 6, 1]]
    log = Interactions(("a", "b", "c", "d"), np.arange(0, 13, 3), np.array(events).ravel())
    assert next_number_hits(np.arange(1, 10), log, k=2) == 3 / 4
    assert next_number_hits(np.arange(1, 10), log, k=1) == 1 / 4
