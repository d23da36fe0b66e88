"""RecPO: whose advantage reaches what, rewards by hand, and a reasoning that learns from the ranking."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import goes_on
from reasoning import CASES, CATALOG, many_cases, tiny_head
from torch import Tensor

from fathom.errors import ConfigError
from fathom.reasoners.dual_head import DualHead, side_by_side
from fathom.reasoners.reasoning import as_text, reason
from fathom.records import Case
from fathom.training.contrastive import shares_of
from fathom.training.recpo import (
    ADVANTAGES,
    RecPOSettings,
    Rivals,
    Rollout,
    Rollouts,
    item_logprobs,
    judged,
    recpo,
    recpo_loss,
    target_gains,
    winners,
)
from fathom.training.run import Run
from fathom.training.supervised import FitSettings

FIT = FitSettings(epochs=1, batch_size=4, learning_rate=1e-3, schedule="constant", precision="float32")
SETTINGS = RecPOSettings(fit=FIT, samples=4, micro_batch=64)
SHARES = shares_of([case.target for case in CASES], CATALOG.n_items)


def settings(**values: object) -> RecPOSettings:
    return SETTINGS.model_copy(update=values)


def rollout(head: DualHead, people: int = 3, given: RecPOSettings = SETTINGS) -> Rollout:
    cases = [case for case in CASES[:people] for _ in range(given.samples)]
    with head.policy.decoder.heated(given.sampling_temperature):
        reasonings = reason(head, cases, CATALOG, temperature=1.0, seeds=range(len(cases)))
        rivals = Rivals.of(CASES[:people], shares=SHARES, popularity=given.popularity)
        return judged(head, reasonings, rivals, given)[0]


def gradient(head: DualHead, part: Rollout, given: RecPOSettings = SETTINGS) -> Tensor:
    """Of the loss of some trajectories, as one vector."""
    head.zero_grad()
    with head.policy.decoder.heated(given.sampling_temperature):
        loss, _ = recpo_loss(head, part, given)
    loss.backward()
    return torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in head.policy.model.parameters()])


def only(part: Rollout, advantages: list[float], *, won: list[bool] | None = None) -> Rollout:
    held = torch.tensor(advantages)
    return replace(part, advantages=held, winners=torch.tensor(won or [False] * len(advantages)))


def test_the_token_gradient_of_a_trajectory_is_proportional_to_its_own_advantage() -> None:
    head = tiny_head()
    part = rollout(head, people=1)
    ones = [gradient(head, only(part, [float(place == row) for place in range(4)])) for row in range(4)]
    assert all(float(one.norm()) > 1e-6 for one in ones)
    for advantages in ([1.0, 0, 0, 0], [-0.5, 2.0, 0, 0], [0.3, -1.1, 0.9, -0.1]):
        expected = sum(a * one for a, one in zip(advantages, ones, strict=True))
        assert torch.allclose(gradient(head, only(part, advantages)), expected, atol=1e-6)  # type: ignore[arg-type]


def test_equal_rewards_teach_nothing_at_all() -> None:
    head = tiny_head()
    part = rollout(head, people=1)
    for name, rule in ADVANTAGES.items():
        advantages = rule(torch.full((4,), 0.1), torch.zeros(4, dtype=torch.long))
        assert torch.equal(advantages, torch.zeros(4)), name
        won = winners(advantages, torch.zeros(4, dtype=torch.long), 1)
        assert not bool(won.any())
        assert float(gradient(head, replace(part, advantages=advantages, winners=won)).abs().max()) == 0.0


def test_the_item_gradient_is_that_of_the_winner_alone() -> None:
    head = tiny_head()
    part = rollout(head, people=2)
    logits: list[Tensor] = []

    def kept(people: Tensor, table: Tensor | None = None) -> Tensor:
        found = DualHead.logits(head, people, table)
        found.retain_grad()
        logits.append(found)
        return found

    head.logits = kept  # type: ignore[method-assign]
    advantages = torch.tensor([0.1, 0.9, -0.5, -0.5, 0.2, 0.2, -0.2, -0.2])
    won = winners(advantages, torch.arange(8) // 4, 1)
    assert won.nonzero().squeeze(1).tolist() == [1, 4], "ties go to the first"
    gradient(head, replace(part, advantages=advantages, winners=won))
    [found] = logits
    assert found.grad is not None
    assert found.grad.abs().amax(dim=1).nonzero().squeeze(1).tolist() == [1, 4]


def test_the_item_part_reaches_reasoning_and_item_prompts() -> None:
    head = tiny_head()
    part = only(rollout(head, people=2), [1.0] + [0.0] * 7, won=[True] + [False] * 7)
    head.zero_grad()
    people = torch.randn(8, head.table.shape[1])  # vectors of people that no weight made
    items = head.item_vectors(part.rivals.items)
    item_logprobs(head, people, items, part.rivals, [one.case for one in part.reasonings], SETTINGS)[0].backward()
    assert any(float(w.grad.abs().max()) > 0 for w in head.policy.model.parameters() if w.grad is not None)
    assert float(gradient(head, part).norm()) > 0


@pytest.mark.parametrize("given", [{}, {"item_weight": 0.0}, {"reduction": "paper_sum"}, {"winners": 3}, {"advantage": "rloo"}], ids=str)
def test_the_gradient_is_that_of_finite_differences(given: Mapping[str, object]) -> None:
    head = tiny_head()
    chosen = settings(**given)
    part = rollout(head, given=chosen)
    found = gradient(head, part, chosen)
    weights = list(head.policy.model.parameters())
    direction = found / found.norm()

    def loss_at(distance: float) -> float:
        start = 0
        for weight in weights:
            weight.data += distance * direction[start : start + weight.numel()].view_as(weight)
            start += weight.numel()
        with torch.no_grad(), head.policy.decoder.heated(chosen.sampling_temperature):
            value = float(recpo_loss(head, part, chosen)[0])
        start = 0
        for weight in weights:
            weight.data -= distance * direction[start : start + weight.numel()].view_as(weight)
            start += weight.numel()
        return value

    step = 2e-3 / float(found.norm())
    slope = (loss_at(step) - loss_at(-step)) / (2 * step)
    assert slope == pytest.approx(float(found.norm()), rel=0.01)


def test_cutting_a_batch_changes_nothing() -> None:
    head = tiny_head()
    part = rollout(head)
    whole = gradient(head, part)
    for most in (1, 5):
        pieces = part.pieces(most)
        assert [one for piece in pieces for one in piece.reasonings] == list(part.reasonings)
        shares = [float(recpo_loss(head, piece, SETTINGS)[1]) for piece in pieces]
        assert sum(shares) == pytest.approx(1.0)
        assert torch.allclose(sum(gradient(head, piece) for piece in pieces), whole, atol=1e-5 * float(whole.abs().max()))  # type: ignore[arg-type]


def test_the_vector_of_a_trajectory_is_the_same_in_reward_training_and_service() -> None:
    head = tiny_head()
    part = rollout(head)
    caught: list[Tensor] = []
    usual = head.vectors
    head.vectors = lambda *given: caught.append(usual(*given)) or caught[-1]  # type: ignore[method-assign,func-returns-value]
    with torch.no_grad():
        recpo_loss(head, part, SETTINGS)
    head.vectors = usual  # type: ignore[method-assign]
    with head.at_rest():
        for row, one in enumerate(part.reasonings):
            assert torch.allclose(caught[0][row], head.read([as_text(one)])[0], atol=1e-5)


def test_ratios_are_one_at_first_and_clipped_when_the_weights_have_moved() -> None:
    head = tiny_head()
    part = only(rollout(head, people=1), [1.0, 0, 0, 0], won=[True, False, False, False])
    tokens = sum(part.reasonings[0].tape.sampled)
    with head.policy.decoder.heated(1.5), torch.no_grad():
        first = float(recpo_loss(head, part, SETTINGS)[0])
    assert first == pytest.approx(-tokens / part.tokens - 1.0, abs=1e-4)
    for old, expected in ((-1.0, 1.2), (1.0, math.exp(-1.0))):  # ratios e and 1/e, advantage 1: only the upper one is clipped
        tape = part.reasonings[0].tape
        moved = replace(tape, logprobs=tuple(value + old if own else 0.0 for value, own in zip(tape.logprobs, tape.sampled, strict=True)))
        reasonings = (replace(part.reasonings[0], tape=moved), *part.reasonings[1:])
        with head.policy.decoder.heated(1.5), torch.no_grad():
            told = replace(part, reasonings=reasonings, old_items=part.old_items + old)
            loss = float(recpo_loss(head, told, SETTINGS)[0])
        assert loss == pytest.approx(-expected * (tokens / part.tokens + 1.0), abs=1e-3)


def test_titles_under_constraint_have_ratios_of_one_too() -> None:
    head = tiny_head(titles=2, reasoning_tokens=40)
    part = only(rollout(head, people=1), [1.0, 0, 0, 0], won=[True, False, False, False])
    tokens = sum(part.reasonings[0].tape.sampled)
    with head.policy.decoder.heated(1.5), torch.no_grad():
        assert float(recpo_loss(head, part, SETTINGS)[0]) == pytest.approx(-tokens / part.tokens - 1.0, abs=1e-4)


def test_what_the_environment_wrote_is_not_learned() -> None:
    head = tiny_head()
    part = rollout(head, people=1)
    tape = part.reasonings[0].tape
    silent = replace(tape, sampled=(False,) * len(tape.sampled))
    mute = only(replace(part, reasonings=(replace(part.reasonings[0], tape=silent), *part.reasonings[1:])), [1.0, 0, 0, 0])
    assert float(gradient(head, mute).abs().max()) == 0.0


def test_rewards_by_hand() -> None:
    nothing = -torch.inf
    logits = torch.tensor([[nothing, 3.0, 2.0, 1.0, 0.0]]).expand(4, 5)
    gains, probabilities, ranks = target_gains(logits, torch.tensor([1, 2, 3, 4]), depth=3)
    assert gains.tolist() == pytest.approx([1.0, 1 / math.log2(3), 0.5, 0.0])
    assert ranks.tolist() == [1, 2, 3, 4]
    assert float(probabilities.sum()) == pytest.approx(1.0)
    assert target_gains(logits[:1], torch.tensor([4]), depth=1000)[0].tolist() == pytest.approx([1 / math.log2(5)])


def test_ties_by_either_rule() -> None:
    logits = torch.tensor([[-torch.inf, *[1.0] * 6, 0.0]])
    pessimistic, _, rank = target_gains(logits, torch.tensor([3]), depth=1000)
    expected, _, _ = target_gains(logits, torch.tensor([3]), depth=1000, ties="expected")
    assert int(rank) == 6
    assert float(pessimistic) == pytest.approx(1 / math.log2(7))
    assert float(expected) == pytest.approx(np.mean([1 / math.log2(place + 1) for place in range(1, 7)]))


def test_ranks_equal_those_of_double_precision() -> None:
    head = tiny_head()
    people = torch.nn.functional.normalize(torch.randn(50, head.table.shape[1], generator=torch.Generator().manual_seed(0)), dim=1)
    targets = torch.arange(50) % 40 + 1
    _, _, ranks = target_gains(head.logits(people), targets, depth=1000)
    exact = people.double() @ head.table[1:].double().T
    own = exact.gather(1, targets[:, None] - 1)
    assert ranks.tolist() == (1 + (exact > own).sum(dim=1)).tolist()


def test_the_history_is_no_rival_and_a_target_of_the_history_keeps_its_place() -> None:
    head = tiny_head()
    rival, target = 5, 9
    case = Case(0, (rival, target), target)
    people = torch.nn.functional.normalize(head.table[[rival]] + 0.5 * head.table[[target]], dim=1)
    given = head.item_vectors([rival, target]).detach()
    both = Rivals((rival, target), torch.zeros(2))
    alone = item_logprobs(head, people, given, both, [case], SETTINGS)
    beside = item_logprobs(head, people, given, both, [case], settings(exclude_history=False))
    assert float(alone) == 0.0
    assert float(beside) < -0.1


def test_the_item_part_takes_popularity_off() -> None:
    cases = [Case(0, (1,), 2), Case(1, (3,), 2), Case(2, (5,), 4)]
    shares = torch.tensor([0, 0, 0.25, 0, 0.5, 0.25])
    # Among three people's true items is 2 with probability 1 - .75 ** 3, 4 with 1 - .5 ** 3.
    logarithms = [-math.log(1 - 0.75**3), -math.log(1 - 0.5**3)]
    half = Rivals.of(cases, shares=shares, popularity=0.5)
    assert half.items == (2, 4)
    assert half.rarity.tolist() == pytest.approx([value / 2 for value in logarithms])
    assert Rivals.of(cases, shares=shares, popularity=0.0).rarity.tolist() == [0.0, 0.0]
    head = tiny_head()
    people, live = head.table[[7]], head.table[[2, 4]]
    weighed = head.logits(people, live)[0] + half.rarity
    [found] = item_logprobs(head, people, live, half, cases[:1], SETTINGS).tolist()
    assert found == pytest.approx(float(weighed.log_softmax(0)[0]), abs=1e-5)


def test_the_reasonings_of_a_person_share_the_prompt_and_nothing_else() -> None:
    head = tiny_head()
    part = rollout(head)
    texts = [as_text(reasoning) for reasoning in part.reasonings]
    tokens, positions, ends, _ = side_by_side(texts)
    assert tokens.shape[1] == sum(texts[person * 4][1] for person in range(3)) + sum(len(text) - prompt for text, prompt in texts)
    with head.at_rest():
        states = head.policy.hidden(tokens, positions)[0, ends]
        alone = [head.policy.hidden(torch.tensor([text]))[0, -1] for text, _ in texts]
    assert torch.allclose(states, torch.stack(alone), atol=1e-5)
    residual = tiny_head(readout="residual")  # it also reads the prompt's end, wherever that stands
    with residual.at_rest():
        assert torch.allclose(residual.read(texts), torch.cat([residual.read([text]) for text in texts]), atol=1e-5)


@pytest.mark.parametrize("size", range(2, 9))
def test_advantages_by_their_definitions(size: int) -> None:
    rewards = torch.rand(3 * size, generator=torch.Generator().manual_seed(size))
    groups = torch.arange(3 * size) // size
    standard, one_out = ADVANTAGES["grpo"](rewards, groups), ADVANTAGES["rloo"](rewards, groups)
    for group in range(3):
        mine = rewards[groups == group].double()
        assert torch.allclose(standard[groups == group].double(), (mine - mine.mean()) / mine.std(), atol=1e-4)
        others = torch.stack([(mine.sum() - reward) / (size - 1) for reward in mine])
        assert torch.allclose(one_out[groups == group].double(), mine - others, atol=1e-6)
        assert float(one_out[groups == group].sum()) == pytest.approx(0.0, abs=1e-5)


def test_the_rows_of_the_true_items_are_fresh_before_the_reward_and_the_others_when_their_time_has_come(tmp_path: Path) -> None:
    head = tiny_head()
    refreshed: list[int] = []
    usual = head.refresh

    def counted(items: object = None) -> None:
        refreshed.append(head.n_items if items is None else len(tuple(items)))  # type: ignore[arg-type]
        usual(items)  # type: ignore[arg-type]

    head.refresh = counted  # type: ignore[method-assign]
    given = settings(refresh_every=2, fit=FIT.model_copy(update={"batch_size": 3}))
    batches = Rollouts(head, CASES, CATALOG, given, epoch=0, rng=np.random.default_rng(0), run=Run(tmp_path), stage="rl")
    assert len(batches) == 4
    for batch in range(4):
        with torch.no_grad():
            for weight in head.policy.model.parameters():
                weight.mul_(1.02)
        part = batches[batch]
        with head.at_rest():
            assert torch.allclose(head.table[list(part.rivals.items)], head.item_vectors(part.rivals.items), atol=1e-6)
    assert refreshed == [40, 3, 40, 3]


def test_every_case_is_met_once_and_the_last_batch_is_as_it_comes(tmp_path: Path) -> None:
    given = settings(fit=FIT.model_copy(update={"batch_size": 4}), passes=2)
    head = tiny_head()
    batches = Rollouts(head, many_cases(10), CATALOG, given, epoch=0, rng=np.random.default_rng(0), run=Run(tmp_path), stage="rl")
    assert len(batches) == 6
    parts = [batches[place] for place in range(6)]
    assert [len(part.reasonings) for part in parts] == [16, 16, 16, 16, 8, 8]
    assert parts[0] is parts[1]
    texts = [one.tape.tokens[one.tape.prompt :] for part in parts[::2] for one in part.reasonings]
    assert len(set(texts)) > len(texts) // 2, "trajectories differ from step to step"


def test_a_model_that_does_not_reason_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train it by `contrastive` instead"):
        recpo(tiny_head(reasoning_tokens=0), CASES, CATALOG, settings=SETTINGS, run=Run(tmp_path), stage="rl")


@pytest.mark.parametrize("changed", [{}, {"passes": 2}, {"advantage": "rloo", "beta": 0.0, "ties": "expected"}, {"beta": 1.0}], ids=str)
def test_a_training_runs_and_an_interrupted_one_goes_on_to_the_same_weights(tmp_path: Path, changed: Mapping[str, object]) -> None:
    fit = FIT.model_copy(update={"epochs": 2, "checkpoint_seconds": 0, "batch_size": 5})
    given = settings(fit=fit, refresh_every=2, **changed)

    def train(run: Run) -> DualHead:
        head = tiny_head()
        first = head.table.clone()
        recpo(
            head, CASES, CATALOG, settings=given, run=run, stage="rl", validate=lambda: {"ndcg@10": float((head.table - first).abs().sum())}
        )
        return head

    start = tiny_head()
    whole = goes_on(train, tmp_path, at=6)
    assert not torch.equal(start.table, whole.get_buffer("table"))

    def numbers(folder: Path) -> list[dict[str, float]]:
        return [{name: value for name, value in line.items() if "seconds" not in name} for line in Run(folder).metrics("rl")]

    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")
