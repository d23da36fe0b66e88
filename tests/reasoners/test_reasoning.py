"""Reasonings: greedy or sampled, forced or not, alone or beside others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reasoning import CASES, CATALOG, ended, tiny_head
from torch.nn.functional import normalize

from fathom.language.choices import Choices
from fathom.reasoners.prompts import PERHAPS, READOUT, user_prompt
from fathom.reasoners.reasoning import as_text, reason, shortened
from fathom.reasoners.recommender import R2ec
from fathom.records import Case


def test_the_same_whatever_stands_beside_it() -> None:
    head = tiny_head()
    for temperature in (0.0, 1.0):
        together = reason(head, CASES, CATALOG, temperature=temperature, seeds=range(len(CASES)))
        for place, case in enumerate(CASES[:5]):
            [alone] = reason(head, [case], CATALOG, temperature=temperature, seeds=[place])
            assert alone.tape.tokens == together[place].tape.tokens
            assert np.allclose(alone.tape.logprobs, together[place].tape.logprobs, atol=1e-5)


def test_a_tape_is_prompt_reasoning_and_read_out() -> None:
    head = tiny_head()
    readout = head.policy.encode(READOUT)
    for one in reason(head, CASES, CATALOG, temperature=1.0, seeds=range(len(CASES))):
        assert one.tape.tokens[: one.tape.prompt] == head.policy.encode(user_prompt(one.case, CATALOG, head.settings))
        assert one.tape.tokens[-len(readout) :] == readout
        assert not any(one.tape.sampled[: one.tape.prompt])
        assert one.written <= head.settings.reasoning_tokens
        if one.forced:  # what the environment appended was not sampled
            assert not any(one.tape.sampled[-len(readout) :])


@pytest.mark.parametrize("titles", [0, 2])
def test_the_log_probabilities_of_sampling_are_those_of_training(titles: int) -> None:
    head = tiny_head(titles=titles, reasoning_tokens=40)
    with head.policy.decoder.heated(1.5):
        for one in reason(head, CASES[:6], CATALOG, temperature=1.0, seeds=range(6)):
            tokens, mask = torch.tensor([one.tape.tokens]), torch.tensor([one.tape.sampled])
            with torch.no_grad():
                again = head.policy.logprobs(tokens, mask, Choices.of([one.tape], head.trie, head.policy.vocabulary, head.policy.device))[0]
            assert torch.allclose(again, torch.tensor(one.tape.logprobs), atol=1e-4)


def test_a_reasoning_of_titles_names_some_of_the_catalogue_none_twice_and_none_of_the_history() -> None:
    head = tiny_head(titles=3, reasoning_tokens=60)
    for temperature in (0.0, 1.0):
        for one in reason(head, CASES, CATALOG, temperature=temperature, seeds=range(len(CASES))):
            marks, titles = zip(*((line[: len(PERHAPS)], line[len(PERHAPS) :]) for line in one.text.splitlines()), strict=True)
            assert set(marks) == {PERHAPS}
            assert len(set(titles)) == 3
            assert set(titles) <= set(CATALOG.titles) - {CATALOG.title(item) for item in one.case.history}
            assert not one.forced
            own = one.tape.tokens[one.tape.prompt : one.tape.prompt + one.words]
            assert head.policy.decode(own) == one.text
            assert one.tape.tokens[one.tape.prompt + one.words :] == head.tail
            sampled = head.policy.decode([token for token, own in zip(one.tape.tokens, one.tape.sampled, strict=True) if own])
            assert sampled.splitlines() == list(titles), "the marks and the read-out are written for it"
            fewer = shortened(one, head, 4)
            assert fewer.tape.tokens == (*one.tape.tokens[: one.tape.prompt + 4], *head.tail)
            assert fewer.tape.sampled[: one.tape.prompt + 4] == one.tape.sampled[: one.tape.prompt + 4]


def test_where_no_title_is_left_or_no_token_the_reasoning_is_read_out_there() -> None:
    head = tiny_head(titles=3, reasoning_tokens=60)
    [one] = reason(head, [Case(0, tuple(range(1, CATALOG.n_items)), 1)], CATALOG)
    assert one.forced
    assert CATALOG.title(CATALOG.n_items) in one.text
    [short] = reason(head, CASES[:1], CATALOG, budget=2)
    assert short.forced
    assert short.tape.tokens[-len(head.tail) :] == head.tail


def test_a_budget_of_nothing_reads_out_right_behind_the_prompt() -> None:
    head = tiny_head()
    for one in reason(head, CASES, CATALOG, budget=0):
        assert one.tape.tokens == (*head.policy.encode(user_prompt(one.case, CATALOG, head.settings)), *head.tail)
        assert (one.written, one.text, one.forced) == (0, "", False)


def test_a_forced_read_out_is_the_same_vector_as_an_emitted_one_on_the_same_ids() -> None:
    head = tiny_head()
    [one] = reason(head, CASES[:1], CATALOG, budget=4)
    assert one.forced
    emitted = (one.tape.tokens, one.tape.prompt)
    with head.at_rest():
        assert torch.equal(head.read([as_text(one)]), head.read([emitted]))


def test_a_token_that_runs_past_the_read_out_leaves_the_canonical_tokens() -> None:
    head = tiny_head()
    words, readout = head.policy.encode("so"), head.policy.encode(READOUT)
    [one] = ended(head, CASES[:1], "so", spill=len(readout))
    prompt = head.policy.encode(user_prompt(CASES[0], CATALOG, head.settings))
    assert one.tape.tokens == (*prompt, *words, *readout)
    assert one.tape.sampled == (False,) * len(prompt) + (True,) * len(words) + (False,) * len(readout)
    assert (one.text, one.forced, one.words) == ("so", False, len(words))


def test_a_title_that_holds_the_read_out_string_does_not_move_it() -> None:
    catalog = replace(CATALOG, titles=(f"1{READOUT} 2", *CATALOG.titles[1:]))
    head = tiny_head(catalog)
    [one] = reason(head, [Case(0, (1, 17), 3)], catalog, budget=0)
    assert one.tape.tokens == (*head.policy.encode(f"User:\n1{READOUT} 2\n{CATALOG.title(17)}\nThoughts:\n"), *head.tail)
    with head.at_rest():
        states = head.policy.hidden(torch.tensor([one.tape.tokens]))[0]
        assert torch.allclose(head.read([as_text(one)])[0], normalize(states[-1], dim=0), atol=1e-5)


def test_recommending_excludes_the_history_and_an_empty_one_is_answered() -> None:
    ranking = R2ec(tiny_head(), CATALOG).recommend([Case(-1, (), 0), CASES[0]], 36)
    assert len(set(ranking.items[0].tolist())) == 36
    assert not set(ranking.items[1].tolist()) & set(CASES[0].history)
    assert 0 not in ranking.items[1].tolist()
    assert bool((np.diff(ranking.scores, axis=1) <= 0).all())
