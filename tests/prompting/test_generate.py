"""Titles out of a model's own head: all that is shown is of the catalogue, seen and repeated ones go, lists are filled (S1 to S6)."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from reasoning import TOKENIZER
from worlds import Scripted, film_catalog

from fathom.contracts import Policy
from fathom.errors import ConfigError
from fathom.items.embed import item_vectors
from fathom.items.encoders import HashingEncoder
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.prompting.answers import read_titles
from fathom.prompting.generate import Generated, Generator, GeneratorSettings, generated_figures, order_sensitivity
from fathom.prompting.ground import Grounder
from fathom.recommenders.textual import TextRecommender
from fathom.records import Case

CATALOG = film_catalog(40)
ENCODER = HashingEncoder()
VECTORS = item_vectors(CATALOG, ENCODER, None)
FALLBACK = TextRecommender(VECTORS)
CASES = [Case(0, (17, 18, 19), 20), Case(1, (1, 5, 9), 2), Case(2, (), 3)]


def generator(policy: Policy, *, vectors: bool = True, **settings: object) -> Generator:
    told = VECTORS if vectors else None
    grounder = Grounder(CATALOG, ENCODER if vectors else None, told, alike=0.75)
    return Generator(policy, CATALOG, grounder, FALLBACK, GeneratorSettings.model_validate(settings), vectors=told)


def saying(*lines: str) -> Scripted:
    return Scripted(["\n".join(f"{rank}. {line}" for rank, line in enumerate(lines, start=1))])


def first(policy: Scripted, k: int = 5, case: Case = CASES[0], *, vectors: bool = True, **settings: object) -> Generated:
    [told] = generator(policy, vectors=vectors, **settings).generate([case], k)
    return told


def test_titles_are_found_by_their_way_and_the_way_is_recorded() -> None:
    told = first(saying("Doom", "amelie!", "Dr Strangelove", "Mision: Impossible", "10 things I hate about you"))
    assert [(CATALOG.title(one.item), one.by) for one in told.items] == [
        ("Doom", "exact"),
        ("Amélie", "alias"),
        ("Dr. Strangelove", "alias"),
        ("Mission: Impossible", "fuzzy"),
        ("10 Things I Hate About You", "alias"),
    ]
    assert all(one.score == 1.0 for one in told.items if one.by in ("exact", "alias"))
    assert all(0.8 < one.score < 1.0 for one in told.items if one.by == "fuzzy")


def test_a_text_that_says_the_same_is_found_by_its_vector_where_there_are_vectors() -> None:
    told = first(saying("About the things I hate: 10 of them, you"), k=1)
    assert (told.items[0].by, CATALOG.title(told.items[0].item)) == ("neighbour", "10 Things I Hate About You")
    loose = Grounder(CATALOG, ENCODER, VECTORS, alike=0.3)
    [grounded], _, _ = loose.find([("About the things I hate: 10 of them, you",)], hidden=())
    assert (grounded.by, CATALOG.title(grounded.item)) == ("vector", "10 Things I Hate About You")
    assert first(saying("About the things I hate: 10 of them, you"), k=1, vectors=False).items[0].by == "retriever"


@pytest.mark.parametrize("prompts", ["next", "next-compact"])
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_under_constraint_all_that_is_named_is_there_new_and_named_once(prompts: str, temperature: float) -> None:
    policy = LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=1024, seed=2), TOKENIZER)
    given = {"prompts": prompts, "constrained": True, "temperature": temperature}
    found = generator(policy, **given).generate(CASES, 8)
    for case, told in zip(CASES, found, strict=True):
        assert [one.by for one in told.items] == ["exact"] * 8
        assert [one.text for one in told.items] == [CATALOG.title(one.item) for one in told.items]
        assert not {one.item for one in told.items} & set(case.history)
        assert len({one.item for one in told.items}) == 8
        wanted = {"named": 8, "unknown": 0, "repeated": 0, "seen": 0, "filled": 0}
        assert {name: told.tally[name] for name in wanted} == wanted
        assert told.tally["written"] > 8
        lines = [line.removeprefix(f"{place}. ") for place, line in enumerate(told.reply.splitlines(), start=1)]
        assert lines == [one.text for one in told.items]
        assert told.reply.startswith("1. ") == (prompts == "next")
    short = generator(policy, **given, reply_tokens=12).generate(CASES, 8)
    assert all(0 < told.tally["filled"] < 8 and len(told.items) == 8 for told in short), "what does not fit is filled up"
    assert all(told.tally["unknown"] == 0 for told in short), "and half a title names nothing"


def test_the_likeliest_title_is_named_first_under_constraint() -> None:
    """Greedily, token by token, and never one of the history."""
    policy = LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=1024, seed=2), TOKENIZER)
    [told] = generator(policy, prompts="next-compact", constrained=True).generate(CASES[:1], 1)
    text, left = "", {CATALOG.title(item) + "\n" for item in range(1, 41) if item not in CASES[0].history}
    ids = {title: policy.encode(title) for title in left}
    prompt, place = policy.encode(told.prompt), 0
    with torch.no_grad():
        while len(ids) > 1:
            logits = policy.model(torch.tensor([[*prompt, *policy.encode(text)[:place]]])).logits[0, -1]
            best = max({tokens[place] for tokens in ids.values()}, key=lambda token: float(logits[token]))
            ids = {title: tokens for title, tokens in ids.items() if tokens[place] == best}
            text, place = min(ids), place + 1
    assert told.items[0].text == next(iter(ids)).strip()


def test_what_is_seen_repeated_or_nowhere_is_dropped_counted_and_filled_up() -> None:
    told = first(saying("Film 17", "Doom", "doom", "Nothing of the Kind Whatsoever", "Emma [1996]"), k=6)
    assert [one.item for one in told.items[:2]] == [1, 3]
    assert {name: told.tally[name] for name in ("named", "unknown", "repeated", "seen", "filled")} == {
        "named": 5,
        "unknown": 1,
        "repeated": 1,
        "seen": 1,
        "filled": 4,
    }
    items = [one.item for one in told.items]
    assert len(set(items)) == 6
    assert not set(items) & {17, 18, 19}
    assert told.items[2].by == "neighbour"


@pytest.mark.parametrize("lines", [(), ("Who knows",), tuple(f"Made Up {number}" for number in range(20)), tuple(["Doom"] * 9)])
@pytest.mark.parametrize("case", CASES)
def test_every_list_is_whole_and_of_the_catalogue_whatever_is_said(lines: Sequence[str], case: Case) -> None:
    for vectors in (True, False):
        told = first(saying(*lines), k=10, case=case, vectors=vectors)
        items = [one.item for one in told.items]
        assert len(items) == len(set(items)) == 10
        assert set(items) <= set(range(1, 41)) - set(case.history)
    ranking = generator(saying(*lines)).recommend(CASES, 10)
    assert (ranking.items > 0).all()


def test_the_intent_conditions_the_second_question_and_reasons_name_the_history() -> None:
    def answer(prompt: str, seed: int) -> list[str]:
        if "have in common" in prompt:
            return ["They want  a war\nfilm."]
        return ["1. 1942" if "after: They want a war film." in prompt else "1. Doom"]

    assert CATALOG.title(first(Scripted(answer), intent=True).items[0].item) == "1942"
    told = first(Scripted(answer), case=CASES[1], intent=False)
    assert told.intent == ""
    names = {CATALOG.title(item) for item in CASES[1].history}
    assert all(set(reason.split(" and ")) <= names for reason in told.reasons)
    assert first(Scripted(answer), case=CASES[2]).reasons == ("",) * 5


def test_what_the_order_changes_is_told() -> None:
    def minding(prompt: str, seed: int) -> list[str]:
        latest = prompt.partition("\n\n")[0].splitlines()[-1].partition(". ")[2]
        item = CATALOG.titles.index(latest) + 1 if latest in CATALOG.titles else 20
        return ["\n".join(f"{rank}. {CATALOG.title((item + 7 * rank) % 16 + 1)}" for rank in range(1, 9))]

    cases = [Case(user, tuple(np.random.default_rng(user).permutation(np.arange(17, 41))[:6].tolist()), 1) for user in range(12)]
    minded = [generator(Scripted(minding), shuffled=shuffled).generate(cases, 4) for shuffled in (False, True)]
    assert order_sensitivity(*minded) > 0.2
    deaf = [generator(saying("Doom", "1942", "Amélie"), shuffled=shuffled).generate(cases, 3) for shuffled in (False, True)]
    assert order_sensitivity(*deaf) == 0.0


def test_figures_are_shares_of_what_was_said() -> None:
    told = [first(saying("Film 17", "Doom", "doom", "Nothing of the Kind Whatsoever"), k=4)]
    figures = generated_figures(told)
    assert (figures["named"], figures["hallucinated"], figures["duplicate_items"], figures["seen_items"]) == (4, 0.25, 0.25, 0.25)
    assert figures["filled"] == 0.75
    assert figures["by/exact"] == 0.25
    assert figures["tokens"] == len(told[0].reply)
    assert figures["context_tokens"] == len(told[0].reply) + len(told[0].prompt.encode())


def test_old_items_are_never_what_was_asked_for() -> None:
    with pytest.raises(ConfigError, match="what is asked for is new"):
        generator(saying("Doom")).recommend(CASES, 3, exclude_history=False)


@pytest.mark.parametrize(
    ("reply", "titles"),
    [
        ("1. Heat\n2. Alien", ["Heat", "Alien"]),
        ("- Heat\n- Alien", ["Heat", "Alien"]),
        ('["Heat", "Alien"]', ["Heat", "Alien"]),
        ("Heat, Alien, Emma", ["Heat", "Alien", "Emma"]),
        ("Heat\nAlien", ["Heat", "Alien"]),
        ('Sure!\n1. **Heat** (1995) - good\n2. "Alien"', ["Heat", "Alien"]),
        ("<think>1. Emma\n2. Doom\n3. Ran</think>\n1. Heat", ["Heat"]),
        ("", []),
    ],
)
def test_lists_of_free_titles_are_read(reply: str, titles: list[str]) -> None:
    listed = read_titles(reply)
    assert len(listed) == len(titles)
    assert all(title in readings for title, readings in zip(titles, listed, strict=True))
