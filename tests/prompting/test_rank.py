"""Candidates in order by asking: what is asked, of whom, how often; what happens to what is not named (L2, L4, L5, L8, R3 to R7)."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from prompted import babbling, first_liked, wanting
from worlds import Scripted, film_catalog, ring_world

from fathom.contracts import Policy
from fathom.errors import ConfigError, ModelError
from fathom.prompting.orders import WAYS
from fathom.prompting.rank import PromptedRanker, RankedCandidates, RankerSettings, read_choice
from fathom.records import Case, Catalog

RING, _ = ring_world(30)
CASES = [Case(user, tuple((user + step) % 30 + 1 for step in range(4)), (user + 4) % 30 + 1) for user in range(12)]
CANDIDATES = [tuple((case.target - 1 + 7 * place) % 30 + 1 for place in range(9, -1, -1)) for case in CASES]
"""Ten items each, the target last."""


def follows(latest: str, title: str) -> float:
    """How near on the ring a stop is behind the latest one, from 10 for the next."""
    return 10 - ((int(title.split()[1]) - int(latest.split()[1]) - 1) % 30) / 3 if latest else 0.0


def asked(
    policy: Policy, cases: list[Case] = CASES, candidates: list[tuple[int, ...]] = CANDIDATES, catalog: Catalog = RING, **settings: object
) -> list[RankedCandidates]:
    return PromptedRanker(policy, catalog, RankerSettings.model_validate(settings)).rank(cases, candidates)


def prompts_to(policy: Scripted) -> list[str]:
    """All prompts, in order, without what a seed could change."""
    return [policy.decode(tokens) for conversation in policy.conversations for tokens in conversation.tokens]


@pytest.mark.parametrize("strategy", ["sequential", "recency"])
@pytest.mark.parametrize("way", WAYS)
def test_who_knows_puts_the_next_item_first_in_every_way(way: str, strategy: str) -> None:
    found = asked(wanting(follows), way=way, strategy=strategy, asking={"passes": 9, "window": 4, "step": 2})
    for case, items, ranked in zip(CASES, CANDIDATES, found, strict=True):
        assert ranked.items[0] == case.target
        assert sorted(ranked.items) == sorted(items)
        assert list(ranked.scores) == sorted(ranked.scores, reverse=True)


def test_the_in_context_history_lacks_its_newest_item_which_is_the_example() -> None:
    policy = wanting(follows)
    asked(policy, cases=CASES[:1], candidates=CANDIDATES[:1], strategy="in-context")
    [prompt] = prompts_to(policy)
    assert "oldest first:\n1. Stop 1\n2. Stop 2\n3. Stop 3\n\nWhich item was right to recommend next? It was Stop 4" in prompt


def test_what_is_not_named_stays_behind_as_it_came() -> None:
    def one(prompt: str, seed: int) -> list[str]:
        return ["1. Stop 20\n2. Stop 99\n3. Stop 20"]

    case, items = Case(0, (1,), 2), (5, 4, 20, 9)
    [ranked] = asked(Scripted(one), [case], [items])
    assert ranked.items == (20, 5, 4, 9)
    expected = {"questions": 1, "lines": 4, "unknown": 1, "repeated": 1, "missing": 3}
    assert {name: ranked.tally[name] for name in expected} == expected
    assert ranked.tally["compliant"] == ranked.tally["unreadable"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_who_babbles_leaves_everything_as_it_came_and_is_counted(way: str) -> None:
    for items, ranked in zip(CANDIDATES, asked(babbling(), way=way), strict=True):
        assert ranked.items == items
        assert ranked.tally["unreadable"] == ranked.tally["questions"] > 0


@pytest.mark.parametrize("way", WAYS)
def test_nothing_depends_on_what_came_next_nor_on_who_else_is_asked(way: str) -> None:
    whole, others, alone = wanting(follows), wanting(follows), wanting(follows)
    found = asked(whole, way=way)
    assert found == asked(others, cases=[replace(case, target=3) for case in CASES], way=way)
    assert prompts_to(whole) == prompts_to(others)
    assert asked(alone, cases=CASES[5:6], candidates=CANDIDATES[5:6], way=way) == found[5:6]
    assert set(prompts_to(alone)) <= set(prompts_to(whole))
    assert whole.drawn == others.drawn


@pytest.mark.parametrize("domain", [{}, {"singular": "song", "plural": "songs", "took": "heard", "take": "hear"}])
@pytest.mark.parametrize("history", ["true", "shuffled", "fake", "none"])
@pytest.mark.parametrize("strategy", ["sequential", "recency", "in-context"])
def test_every_strategy_goes_with_every_history_in_every_domain_round_by_round(strategy: str, history: str, domain: dict[str, str]) -> None:
    policy = wanting(follows)
    found = asked(policy, strategy=strategy, history=history, words=domain, asking={"rounds": 3})
    prompts = prompts_to(policy)
    assert len(prompts) == 3 * len(CASES)
    assert all(ranked.tally["questions"] == ranked.tally["compliant"] == 3 for ranked in found)
    assert all(sorted(ranked.items) == sorted(items) for ranked, items in zip(found, CANDIDATES, strict=True))
    lists = {prompt.partition("can be recommended next:\n")[2].partition("\n\n")[0] for prompt in prompts}
    assert len(lists) > 2 * len(CASES), "rounds and people have orders of their own"
    for prompt in prompts:
        assert "{" not in prompt
        assert ("song" in prompt) == bool(domain)
        assert ("Nothing is known" in prompt) == (history == "none")


def test_somebody_without_a_history_is_asked_about_too() -> None:
    policy = wanting(lambda latest, title: 1.0)
    [ranked] = asked(policy, [Case(0, (), 3)], [(3, 4, 5)], asking={"shuffled": False})
    assert ranked.items == (3, 4, 5)
    assert "Nothing is known of what a person took before." in prompts_to(policy)[0]


def test_who_likes_the_first_of_a_list_is_evened_out_by_fresh_orders_for_everybody_and_every_round() -> None:
    catalog, _ = ring_world(200)
    cases = [Case(user, (user % 200 + 1,), 0) for user in range(600)]
    lists = [tuple(int(item) for item in np.random.default_rng(user).permutation(200)[:20] + 1) for user in range(600)]

    def places(**asking: object) -> list[float]:
        """Share of people with whom what the retriever put first, sixth, 11th, 16th, last comes out among the first five."""
        found = asked(first_liked(), cases=cases, candidates=lists, catalog=catalog, asking=asking)
        return [float(np.mean([items[at] in one.items[:5] for items, one in zip(lists, found, strict=True)])) for at in (0, 5, 10, 15, 19)]

    assert places(shuffled=False) == [1.0, 0.0, 0.0, 0.0, 0.0]
    # Ties of a sum of three places go to what came first: they move a share by a few hundredths.
    assert all(abs(share - 0.25) < 0.08 for share in places(rounds=3))


@pytest.mark.parametrize("way", ["pairwise", "heapsort", "passes"])
def test_who_likes_the_first_of_two_changes_nothing(way: str) -> None:
    assert [one.items for one in asked(first_liked(), way=way)] == CANDIDATES


def test_labels_of_pairs_are_drawn_afresh() -> None:
    policy = first_liked()
    asked(policy, way="pairwise", cases=CASES[:1], candidates=CANDIDATES[:1])
    labels = Counter(line[0] for prompt in prompts_to(policy) for line in prompt.splitlines() if line[1:3] == ". " and line[0].isupper())
    assert len(labels) > 20
    assert max(labels.values()) < 20


def test_ablations_show_an_own_drawn_history_or_none_for_each_person() -> None:
    def shown(history: str) -> list[str]:
        policy = wanting(lambda latest, title: 1.0)
        asked(policy, history=history)
        return [prompt.partition("\n\n")[0] for prompt in prompts_to(policy)]

    true, shuffled, fake, none = (shown(kind) for kind in ("true", "shuffled", "fake", "none"))
    assert len(set(true)) == len(set(fake)) == 12
    assert all(
        sorted(line[3:] for line in a.splitlines()) == sorted(line[3:] for line in b.splitlines())
        for a, b in zip(true, shuffled, strict=True)
    )
    assert sum(a != b for a, b in zip(true, shuffled, strict=True)) > 8
    assert sum(a != b for a, b in zip(true, fake, strict=True)) == 12
    assert set(none) == {"Nothing is known of what a person took before."}
    # The same people, another order for each: no one's draw is another one's.
    orders = [[line[3:] for line in b.splitlines()[1:]] for b in shuffled]
    ranks = {tuple(sorted(range(4), key=lambda place, order=order: order[place])) for order in orders}
    assert len(ranks) > 4


def test_answers_by_likelihoods_need_no_words() -> None:
    likes = {"Stop 3\n": -1.0, "Stop 5\n": -0.5, "Stop 4\n": -2.0}
    policy = Scripted([], likes=lambda text: likes.get(text, -9.0))
    [ranked] = asked(policy, [Case(0, (1, 2), 3)], [(3, 4, 5)], answers="likelihoods", asking={"shuffled": False})
    assert ranked.items == (5, 3, 4)
    drawn = Scripted([], likes=lambda text: 0.0)
    assert [one.items for one in asked(drawn, way="pairwise", answers="likelihoods")] == CANDIDATES
    five = Scripted([], likes=lambda text: 0.0 if text == "5" else -50.0)
    assert asked(five, way="pointwise", answers="likelihoods")[0].scores == pytest.approx([5.0] * 10)


@pytest.mark.parametrize(
    ("reply", "chosen"),
    [
        ("K", 0),
        ("C", 1),
        ("**C**", 1),
        ("K.", 0),
        ("(C)", 1),
        ("K. Heat (1995)", 0),
        ("I think that the answer is C.", 1),
        ("Option K", 0),
        ("Heat", 0),
        ("Alien.", 1),
        ("K has more for them, but C is newer.\nAnswer: C", 1),
        ("<think>K or C? K</think>C", 1),
        ("", None),
        ("Both are good.", None),
        ("Kangaroos", None),
    ],
)
def test_a_choice_between_two_is_read(reply: str, chosen: int | None) -> None:
    assert read_choice(reply, ("K", "C"), ("Heat (1995)", "Alien (1979)")) == chosen


def test_a_letter_that_is_a_word_is_no_choice() -> None:
    assert read_choice("I would take a look at both of them.", ("I", "A"), ("Heat", "Alien")) is None


def test_what_cannot_be_asked_is_told() -> None:
    with pytest.raises(ConfigError, match="way 'listwize' is not known: write listwise, sliding"):
        asked(first_liked(), way="listwize")
    with pytest.raises(ConfigError, match="strategy 'sequentially'; did you mean 'sequential'"):
        asked(first_liked(), strategy="sequentially")
    with pytest.raises(ModelError, match="the case of user 0 has no candidates"):
        asked(first_liked(), cases=CASES[:1], candidates=[()])


def test_equal_titles_inside_others_and_odd_ones_are_told_apart() -> None:
    catalog = film_catalog(20)
    policy = wanting(lambda latest, title: len(title) / 10)
    [ranked] = asked(policy, [Case(0, (17, 18), 0)], [tuple(range(1, 17))], catalog=catalog)
    assert ranked.tally["compliant"] == 1
    lengths = [len(catalog.title(item)) for item in ranked.items]
    assert lengths == sorted(lengths, reverse=True)
