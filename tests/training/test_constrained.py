"""Episodes whose answers are decoded under constraint: always well numbered, learned from with the likelihoods that were sampled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from worlds import Shelves, asks, film_case, film_catalog

from fathom.agents.play import SPENT, Finish, play
from fathom.agents.protocol import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    BEGIN_PREF,
    MARKERS,
    THINK_CLOSE,
    ProtocolSettings,
    answer_lines,
    opening,
)
from fathom.data.titles import TitleIndex
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import Ending, Episode
from fathom.training.preflight import logprob_faults, mask_faults
from fathom.training.reinforce import ReinforceSettings, reinforce
from fathom.training.rollouts import Player, divergence, tape_of
from fathom.training.run import Run

CATALOG = film_catalog()
PROTOCOL = ProtocolSettings(
    constrained=True, answer_length=4, items_per_call=4, segment_tokens=60, trajectory_tokens=300, prompt_tokens=200, max_calls=2
)
RANKED = PROTOCOL.model_copy(update={"answer": "plackett_luce"})
CASES = tuple(film_case(history=(17 + place, 20), target=1 + place) for place in range(8))
CALL, END = asks("Drama"), f"Fits best: Drama.\n{THINK_CLOSE}\n{ANSWER_OPEN}"
WORDS = [*(opening(case, CATALOG, PROTOCOL) for case in CASES), CALL, END, answer_lines(range(1, 41), CATALOG)]
TOKENIZER = train_tokenizer(WORDS, 500, markers=MARKERS)


def taught(*conversations: Sequence[str]) -> LocalPolicy:
    """A tiny model that says these words in turn, a list between them, one conversation as often as another; it knows nothing of films."""
    policy = LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=512, seed=1), TOKENIZER)
    learner = torch.optim.Adam(policy.model.parameters(), lr=1e-2)
    for _ in range(60):
        learner.zero_grad()
        loss = torch.zeros(())
        for case in CASES[:2]:
            for words in conversations:
                parts = [opening(case, CATALOG, PROTOCOL), words[0]]
                for said in words[1:]:
                    parts += ["\n<|begin_of_item_list|>\n1. x\n<|end_of_item_list|>\n", said]
                encoded = [policy.encode(part) for part in parts]
                tokens = torch.tensor([[token for ids in encoded for token in ids]])
                mask = torch.tensor([[place % 2 == 1 for place, ids in enumerate(encoded) for _ in ids]])
                loss = loss - policy.logprobs(tokens, mask).sum()
        loss.backward()
        learner.step()
    policy.model.eval()
    return policy


@pytest.fixture(scope="module")
def warm() -> LocalPolicy:
    """It calls once and then opens its answer."""
    return taught((CALL, END))


@pytest.fixture(scope="module")
def insatiable() -> LocalPolicy:
    """Behind two lists it rather calls again than answers."""
    return taught(*[(CALL, CALL, CALL)] * 3, (CALL, CALL, END))


def test_every_opened_answer_is_a_list_of_new_titles(warm: LocalPolicy) -> None:
    episodes = play(warm, Shelves(CATALOG.n_items), CASES, CATALOG, PROTOCOL, temperature=1.0, finish="both", batch_size=3)
    opened = [episode for episode in episodes if episode.ending is Ending.ANSWERED]
    assert len(opened) >= len(CASES) // 2
    for episode in opened:
        named = [item for item in episode.answer if item is not None]
        assert len(set(named)) == len(episode.lines) == PROTOCOL.answer_length
        assert not set(named) & set(episode.case.history)
        assert "answer_lines" not in episode.faults
        assert bool(episode.scored) == bool(episode.retrieved)


@pytest.mark.parametrize("protocol", [PROTOCOL, RANKED])
def test_batches_and_the_scored_finish_change_no_written_answer(warm: LocalPolicy, protocol: ProtocolSettings) -> None:
    def texts(size: int, finish: str) -> list[str]:
        shelves = Shelves(CATALOG.n_items)
        return [e.text for e in play(warm, shelves, CASES, CATALOG, protocol, temperature=1.0, batch_size=size, finish=finish)]  # type: ignore[arg-type]

    assert texts(1, "written") == texts(8, "written") == texts(3, "both")


def test_the_model_owns_the_titles_and_the_environment_the_numbers(warm: LocalPolicy) -> None:
    [episode] = play(warm, Shelves(CATALOG.n_items), CASES[:1], CATALOG, PROTOCOL)
    assert episode.tape is not None
    tape = episode.tape
    first = min(tape.choices)
    own = "".join(warm.decode([tape.tokens[place]]) for place in range(first, len(tape.tokens)) if tape.sampled[place])
    inserted = warm.decode([tape.tokens[place] for place in range(first, len(tape.tokens)) if not tape.sampled[place]])
    assert inserted == f"2. 3. 4. {ANSWER_CLOSE}"
    assert own == "".join(f"{CATALOG.title(item)}\n" for item in episode.answer if item is not None)
    assert set(tape.choices) == {place for place, own in enumerate(tape.sampled) if own and place >= first}


@pytest.mark.parametrize("protocol", [PROTOCOL, RANKED])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_likelihoods_are_those_of_training(warm: LocalPolicy, temperature: float, protocol: ProtocolSettings) -> None:
    player = Player(warm, Shelves(CATALOG.n_items), CASES, CATALOG, protocol, TitleIndex(CATALOG), 4, 1)
    with warm.decoder.heated(temperature):
        episodes = player.play([prompt for prompt in range(4) for _ in range(4)], list(range(4)) * 4)
        assert any(episode.tape is not None and episode.tape.choices for episode in episodes)
        assert logprob_faults(episodes, warm, CATALOG) == []
        assert mask_faults(episodes, warm, CATALOG, protocol=protocol) == []
        assert max(divergence(warm, episodes, CATALOG)) < 1e-6
    assert (max(divergence(warm, episodes, CATALOG)) < 1e-6) == (temperature == 1)


def test_a_model_whose_calls_are_spent_answers(insatiable: LocalPolicy) -> None:
    shelves = Shelves(CATALOG.n_items)
    free = play(insatiable, shelves, CASES[:2], CATALOG, PROTOCOL.model_copy(update={"constrained": False}))
    assert {episode.ending for episode in free} == {Ending.TOO_MANY_CALLS}
    kept = play(insatiable, shelves, CASES[:2], CATALOG, PROTOCOL.model_copy(update={"trajectory_tokens": 400}))
    assert [(episode.ending, len(episode.turns), episode.faults) for episode in kept] == [(Ending.ANSWERED, 2, ())] * 2


def test_what_it_could_not_say_counts_neither_when_sampled_nor_when_trained(insatiable: LocalPolicy) -> None:
    player = Player(insatiable, Shelves(CATALOG.n_items), CASES, CATALOG, PROTOCOL, TitleIndex(CATALOG), 4, 1)
    episodes = player.play([0, 1, 2, 3] * 4, list(range(16)))
    barred = [choice.blocked for episode in episodes for choice in tape_of(episode).choices.values() if choice.node is None]
    assert set(barred) == {tuple(token for marker in SPENT for token in insatiable.encode(marker))}
    assert logprob_faults(episodes, insatiable, CATALOG) == []
    conversation = insatiable.converse(["User:\n"], temperature=0.0, seeds=[0])
    assert conversation.reply([0], [], [3], None, ("two tokens or more", BEGIN_PREF))[0].barred == insatiable.encode(BEGIN_PREF)


def test_a_greedy_ranking_is_by_the_likelihood_of_the_first_place(warm: LocalPolicy) -> None:
    """The titles of this catalogue share their first tokens: so the first title is greedy, and each one after it beats what is below."""
    settings = RANKED.model_copy(update={"answer_length": 10})
    [episode] = play(warm, Shelves(CATALOG.n_items), CASES[:1], CATALOG, settings)
    tape = episode.tape
    assert tape is not None
    assert tape.fork is not None
    assert not episode.faults
    trunk = list(tape.tokens[: tape.fork])
    taken: set[int] = set(episode.case.history)
    for item in episode.answer:
        assert item is not None
        title = warm.encode(f"{CATALOG.title(item)}\n")
        for place, token in enumerate(title):
            with torch.no_grad():
                logits = warm.model(torch.tensor([[*trunk, *title[:place]]])).logits[0, -1]
            left = [
                other[place]
                for number in range(1, CATALOG.n_items + 1)
                if number not in taken and (other := warm.encode(f"{CATALOG.title(number)}\n"))[:place] == title[:place]
            ]
            assert float(logits[token]) == pytest.approx(float(logits[left].max()), abs=1e-5)
        taken.add(item)


@pytest.mark.parametrize("answer", ["sequential", "plackett_luce"])
@pytest.mark.parametrize("listed", [0.0, 1.5])
def test_reminded_episodes_keep_all_of_this(warm: LocalPolicy, listed: float, answer: str) -> None:
    settings = PROTOCOL.model_copy(update={"reminded": 1, "listed": listed, "answer": answer})
    shelves = Shelves(CATALOG.n_items)
    head = f"{ANSWER_OPEN}\nUser:\n{CATALOG.title(20)}\n"

    def played(size: int, finish: Finish) -> list[Episode]:
        return play(warm, shelves, CASES, CATALOG, settings, temperature=1.0, batch_size=size, finish=finish)

    episodes = played(8, "both")
    answered = [episode for episode in episodes if episode.ending is Ending.ANSWERED]
    assert answered
    for episode in answered:
        assert episode.text.count(head) == 1
        assert "answer_lines" not in episode.faults
        assert episode.text.partition(head)[2].startswith(f"{episode.lines[0]}\n2. ")
        assert sorted(episode.scored) == sorted(episode.retrieved)
    assert mask_faults(episodes, warm, CATALOG, protocol=settings) == []
    assert logprob_faults(episodes, warm, CATALOG) == []
    assert [one.text for one in played(1, "written")] == [one.text for one in played(3, "written")] == [one.text for one in episodes]
    for one in played(2, "scored"):
        if one.ending is Ending.ANSWERED:
            assert one.answer == one.scored[: settings.answer_length]
            assert one.text.count(head) == 1


@pytest.mark.parametrize("reminded", [0, 1])
def test_a_scored_answer_follows_from_what_was_asked_and_is_nothing_to_learn_from(warm: LocalPolicy, reminded: int) -> None:
    settings = RANKED.model_copy(update={"reminded": reminded, "listed": 1.5})
    player = Player(warm, Shelves(CATALOG.n_items), CASES, CATALOG, settings, TitleIndex(CATALOG), 4, 1, "scored")
    episodes = player.play([prompt for prompt in range(4) for _ in range(4)], list(range(4)) * 4)
    answers: dict[tuple[object, ...], object] = {}
    for episode in episodes:
        if episode.ending is not Ending.ANSWERED:
            continue
        assert episode.tape is not None
        own = "".join(warm.decode([token]) for token, sampled in zip(episode.tape.tokens, episode.tape.sampled, strict=True) if sampled)
        assert own.endswith(ANSWER_OPEN)
        assert not episode.tape.choices
        asked = (episode.case.target, *(turn.shown for turn in episode.turns), own)
        assert answers.setdefault(asked, episode.answer) == episode.answer
    answered = [episode for episode in episodes if episode.ending is Ending.ANSWERED]
    assert 0 < len(answers) < len(answered), "some conversations are the same, and then their answers are"
    assert mask_faults(episodes, warm, CATALOG, protocol=settings, finish="scored") == []
    assert logprob_faults(episodes, warm, CATALOG) == []
    tape = tape_of(answered[0])
    assert tape.fork is not None
    claimed = (*tape.sampled[: tape.fork], *[True] * (len(tape.tokens) - tape.fork))
    for sampled in (claimed, (False,) * len(tape.tokens)):
        forged = replace(answered[0], tape=replace(tape, sampled=sampled))
        assert mask_faults([forged], warm, CATALOG, protocol=settings, finish="scored") != []


@pytest.mark.parametrize("answer", ["sequential", "plackett_luce"])
def test_a_retriever_that_is_sure_enough_orders_the_written_answer(warm: LocalPolicy, answer: str) -> None:
    """The shelves say a hundredth of a nat more of each smaller id: a hundred nats here, more than any language model says."""
    settings = PROTOCOL.model_copy(update={"reminded": 1, "listed": 10_000.0, "answer": answer})
    episodes = play(warm, Shelves(CATALOG.n_items), CASES, CATALOG, settings)
    answered = [episode for episode in episodes if episode.ending is Ending.ANSWERED]
    assert answered
    for episode in answered:
        sure = sorted(episode.retrieved)[:-1]  # nothing is added to the last of what was shown
        assert list(episode.answer[: len(sure)]) == sure[: settings.answer_length]


def reinforced(
    warm: LocalPolicy,
    folder: Path,
    protocol: ProtocolSettings,
    settings: ReinforceSettings,
    rewards: Callable[[Episode], Mapping[str, float]],
) -> list[Mapping[str, float]]:
    """The log of a copy of `warm` that is trained to earn `rewards`."""
    run = Run(folder)
    warm.save(folder / "warm")
    policy, shelves = LocalPolicy.load(folder / "warm"), Shelves(CATALOG.n_items)
    reinforce(policy, shelves, CASES, CATALOG, protocol=protocol, rewards=rewards, heldout=low_ids, settings=settings, run=run, stage="rl")
    return run.metrics("rl")


def risen(log: Sequence[Mapping[str, float]]) -> float:
    """By how much the last three batches earned more than the first three."""
    rewards = [line["rl/reward/total"] for line in log]
    return (sum(rewards[-3:]) - sum(rewards[:3])) / 3


def low_ids(episode: Episode) -> Mapping[str, float]:
    return {"total": sum(item is not None and item <= 12 for item in episode.answer) / PROTOCOL.answer_length}


def asks_twice(episode: Episode) -> Mapping[str, float]:
    return {"total": float(episode.ending is Ending.ANSWERED and len(episode.turns) == 2)}


@pytest.mark.parametrize(("protocol", "kl"), [(PROTOCOL, 0.0), (RANKED, 0.0), (RANKED, 0.001)])
def test_reinforcement_learns_which_titles_to_choose(warm: LocalPolicy, tmp_path: Path, protocol: ProtocolSettings, kl: float) -> None:
    settings = ReinforceSettings(
        steps=24, prompts=4, samples=8, updates=2, micro_batch=8, learning_rate=3e-3, temperature=0.9, seed=1, kl=kl
    )
    log = reinforced(warm, tmp_path, protocol, settings, low_ids)
    assert log[0]["rl/kl"] < 1e-6, "the start is the same policy, at the same temperature"
    assert risen(log) > 0.4


def test_reinforcement_learns_from_scored_answers_how_often_to_ask(warm: LocalPolicy, tmp_path: Path) -> None:
    settings = ReinforceSettings(
        steps=24, prompts=4, samples=8, micro_batch=8, learning_rate=1e-3, seed=1, finish="scored", preflight="warn"
    )
    assert risen(reinforced(warm, tmp_path, RANKED, settings, asks_twice)) > 0.25


def test_a_server_cannot_score_answers() -> None:
    with pytest.raises(ValueError, match="finish is scored, and a server gives no likelihoods of titles: write finish: written"):
        ReinforceSettings(vllm="http://localhost:8000", finish="scored")
