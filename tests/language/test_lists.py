"""Lists written under constraint: only titles, none twice, none forbidden; the likelihoods are those among what was allowed."""

import numpy as np
import pytest
import torch

from fathom.errors import ModelError
from fathom.language.choices import Choices
from fathom.language.policy import LocalPolicy
from fathom.language.trie import Pen, TitleTrie
from fathom.records import PAD, Choice, Tape, Written

PROMPTS = ("User:\nHeat (1995)\n<think>\n", "User:\nAlien (1979)\nThe Matrix\nRan\n<think>\n", "User:\n<think>\n")
NUMBERS = ("\n1. ", "2. ", "3. ")


def lists(
    policy: LocalPolicy,
    titles: tuple[str, ...],
    *,
    rows: tuple[int, ...] = (0, 1, 2),
    temperature: float = 1.0,
    forbidden: frozenset[int] = frozenset({1, 2}),
    limit: int = 100,
    seed: int = 0,
    forked: bool = False,
) -> tuple[list[Written], list[tuple[int, ...]]]:
    talk = policy.converse([PROMPTS[row] for row in rows], temperature=temperature, seeds=[seed + row for row in rows])
    count = len(rows)
    written = talk.write_list(
        range(count), titles, numbers=NUMBERS, closing="</think>", forbidden=[forbidden] * count, limits=[limit] * count, forked=forked
    )
    return written, [talk.tokens(row) for row in range(count)]


@pytest.mark.parametrize("forked", [False, True])
def test_only_allowed_titles_are_written_and_none_twice(policy: LocalPolicy, titles: tuple[str, ...], forked: bool) -> None:
    for seed in range(0, 60, 3):
        for one, tokens in zip(*lists(policy, titles, seed=seed, forked=forked), strict=True):
            assert one.whole
            assert one.text.startswith("\n1. ")
            assert one.text.endswith("\n</think>")
            named = [line.partition(". ")[2] for line in one.text.removesuffix("</think>").strip().split("\n")]
            assert len(set(named)) == 3
            assert set(named) <= set(titles[2:])
            assert tokens[-len(one.tokens) :] == one.tokens
            assert policy.decode(one.tokens) == one.text


def test_every_allowed_title_can_come(policy: LocalPolicy, titles: tuple[str, ...]) -> None:
    seen = "".join(one.text for seed in range(0, 300, 3) for one in lists(policy, titles, seed=seed)[0])
    assert all(title in seen for title in titles[2:])


def test_likelihoods_are_those_among_what_was_allowed_and_those_of_training(policy: LocalPolicy, titles: tuple[str, ...]) -> None:
    written, everything = lists(policy, titles)
    trie = policy.table.trie(titles)
    for one, tokens in zip(written, everything, strict=True):
        before = len(tokens) - len(one.tokens)
        places = [before + place for place, own in enumerate(one.sampled) if own]
        tape = Tape(
            tokens, (False,) * before + one.sampled, (0.0,) * before + one.logprobs, before, dict(zip(places, one.choices, strict=True))
        )
        mask = torch.tensor([tape.sampled])
        choices = Choices.of([tape], trie, policy.vocabulary, policy.device)
        assert choices is not None
        with torch.no_grad():
            again = policy.logprobs(torch.tensor([tokens]), mask, choices)[0].numpy()
            packed, entropies = policy.logprobs_and_entropies(torch.tensor([tokens]), torch.arange(len(tokens))[None], mask, choices)
            plain = policy.model(torch.tensor([tokens])).logits[0].log_softmax(dim=-1).exp().double().numpy()
        assert again == pytest.approx(np.asarray(tape.logprobs), abs=1e-4)
        assert packed.numpy() == pytest.approx(again[places], abs=1e-5)
        for place, choice, logprob, entropy in zip(places, one.choices, again[places], entropies.tolist(), strict=True):
            allowed = trie.added([choice], policy.vocabulary)[0] == 0
            chances = plain[place - 1][allowed] / plain[place - 1][allowed].sum()
            assert np.exp(logprob) == pytest.approx(plain[place - 1][tokens[place]] / plain[place - 1][allowed].sum(), rel=1e-3)
            assert entropy == pytest.approx(-(chances * np.log(chances)).sum(), abs=1e-3)


def test_chunks_change_nothing(policy: LocalPolicy) -> None:
    hidden, targets = torch.randn(9, policy.embeddings.shape[1]), torch.arange(9) + 300
    added = torch.full((3, policy.vocabulary), -torch.inf)
    added[:, 300:310] = 0
    choices = Choices(torch.tensor([1, 4, 8]), added)
    with torch.no_grad():
        whole = policy.chunked_logprobs(hidden, targets, choices)
        assert policy.chunked_logprobs(hidden, targets, choices, chunk=4).tolist() == pytest.approx(whole.tolist(), abs=1e-6)
        free = policy.chunked_logprobs(hidden, targets)
    assert [place for place in range(9) if abs(float(free[place] - whole[place])) > 1e-3] == [1, 4, 8]


@pytest.mark.parametrize("forked", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_list_does_not_depend_on_its_batch_mates(policy: LocalPolicy, titles: tuple[str, ...], temperature: float, forked: bool) -> None:
    together, _ = lists(policy, titles, temperature=temperature, forked=forked)
    alone = [lists(policy, titles, rows=(row,), temperature=temperature, forked=forked)[0][0] for row in range(3)]
    assert [one.text for one in alone] == [one.text for one in together]


@pytest.mark.parametrize("forked", [False, True])
def test_a_limit_cuts_a_list_off(policy: LocalPolicy, titles: tuple[str, ...], forked: bool) -> None:
    whole, _ = lists(policy, titles, temperature=0.0, forked=forked)
    for limit in range(len(whole[0].tokens)):
        [one], [tokens] = lists(policy, titles, rows=(0,), temperature=0.0, limit=limit, forked=forked)
        assert not one.whole
        assert len(one.tokens) <= limit
        assert whole[0].tokens[: len(one.tokens)] == one.tokens == tokens[len(tokens) - len(one.tokens) :]
    enough = lists(policy, titles, rows=(0,), temperature=0.0, limit=len(whole[0].tokens), forked=forked)[0][0]
    assert (enough.whole, enough.tokens) == (True, whole[0].tokens)


def test_a_catalogue_without_titles_left_ends_the_list(policy: LocalPolicy, titles: tuple[str, ...]) -> None:
    everything_but_two = frozenset(range(3, len(titles) + 1))
    for one in lists(policy, titles, forbidden=everything_but_two)[0]:
        assert not one.whole
        assert {line.partition(". ")[2] for line in one.text.strip().split("\n")} == {*titles[:2], ""}


def test_a_pen_blocks_beginnings_without_a_title_left() -> None:
    trie = TitleTrie([(1, 2, 9), (1, 3, 9), (4, 9)])
    pen = Pen(trie, forbidden=[2])
    assert pen.choice() == Choice(0)
    assert [pen.write(1), pen.choice()] == [PAD, Choice(1, blocked=(3,))]
    assert [pen.write(2), pen.inside, pen.write(9), pen.inside] == [PAD, True, 1, False]
    assert pen.choice() == Choice(0, blocked=(1,))
    assert [pen.write(4), pen.write(9), pen.choice()] == [PAD, 3, None]
    no = -np.inf
    assert trie.added([Choice(0, blocked=(1,)), Choice(1)], 5).tolist() == [[no, no, no, no, 0], [no, no, 0, 0, no]]
    assert trie.added([Choice(None, blocked=(1,))], 5).tolist() == [[0, no, 0, 0, 0]], "any token but one"


def test_a_pen_favours_every_token_of_a_title_by_the_best_one_behind_it() -> None:
    trie = TitleTrie([(1, 2, 9), (1, 3, 9), (4, 9), (5, 9)])
    pen = Pen(trie, forbidden=[4], favour={1: 0.5, 2: 2.0, 3: 1.0, 4: 9.0})
    first = pen.choice()
    assert first == Choice(0, blocked=(5,), favoured=((1, 2.0), (4, 1.0)))
    assert trie.added([first], 6).tolist() == [[-np.inf, 2.0, -np.inf, -np.inf, 1.0, -np.inf]]
    pen.write(1)
    assert pen.choice() == Choice(1, favoured=((2, 0.5), (3, 2.0)))
    pen.write(3)
    assert [pen.write(9), pen.choice()] == [2, Choice(0, blocked=(5,), favoured=((1, 0.5), (4, 1.0)))]


def test_what_is_favoured_is_chosen_as_often_as_it_was_said(policy: LocalPolicy, titles: tuple[str, ...]) -> None:
    """At the first place: the likelihood of a title that no other shares a token with, against what its logits say."""
    first = [policy.encode(title + "\n")[0] for title in titles]
    lone = next(item for item, token in enumerate(first, start=1) if first.count(token) == 1)
    plain, favoured = (_chances(policy, titles, favour) for favour in ({}, {lone: 1.5}))
    odds = plain[lone] / (1 - plain[lone]) * np.exp(1.5)
    assert favoured[lone] == pytest.approx(odds / (1 + odds), rel=1e-3)


def _chances(policy: LocalPolicy, titles: tuple[str, ...], favour: dict[int, float]) -> dict[int, float]:
    """How likely the first token of each item's title is at the first place of a list."""
    trie = policy.table.trie(titles)
    talk = policy.converse(PROMPTS[:1], temperature=0.0, seeds=[0])
    talk.extend([0], [NUMBERS[0]])
    choice = Pen(trie, (), favour).choice()
    assert choice is not None
    with torch.no_grad():
        logits = policy.model(torch.tensor([talk.tokens(0)])).logits[0, -1]
    chances = (logits + torch.from_numpy(trie.added([choice], policy.vocabulary)[0])).softmax(dim=-1)
    return {item: float(chances[trie.token[list(trie.path(item))[-2]]]) for item in range(1, len(titles) + 1)}


def test_titles_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be told apart"):
        TitleTrie([(1, 2), (1, 2, 3)])
    with pytest.raises(ModelError, match="item 2"):
        TitleTrie([(1, 2, 3), (1, 2)])
