"""The recommendation head learns to match: one read-out behind every event, the same as behind a prompt that ends there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import goes_on
from reasoning import CASES, CATALOG, SETTINGS, ended, lessons_of, tiny_head, tiny_policy
from torch.nn.functional import cross_entropy
from worlds import ring_world

from fathom.language.policy import LocalPolicy
from fathom.reasoners.dual_head import DualHead
from fathom.reasoners.prompts import PERHAPS, READOUT, THOUGHTS, ReasonerSettings
from fathom.reasoners.reasoning import as_text, reason, shortened
from fathom.reasoners.recommender import R2ec
from fathom.records import PAD, Case, Catalog
from fathom.training.contrastive import (
    USUAL,
    ContrastiveSettings,
    Excerpt,
    Excerpts,
    Naming,
    Readings,
    Row,
    contrastive_loss,
    match,
    people_of,
)
from fathom.training.lessons import lessons_behind
from fathom.training.run import Run
from fathom.training.supervised import FitSettings

WALKS = tuple(Case(user, tuple(1 + (user * 7 + step * 3) % 40 for step in range(4 + user)), PAD) for user in range(9))
FIT = FitSettings(epochs=30, batch_size=8, learning_rate=3e-3, precision="float32")
PLAIN = ContrastiveSettings(words=0.0, popularity=0.0)
SHARES = torch.linspace(0.001, 0.05, 41)


def epoch(head: DualHead, *, length: int = 6, batch_size: int = 4, seed: int = 0) -> Excerpts:
    return Excerpts(people_of(head, WALKS, CATALOG), [], length=length, batch_size=batch_size, rng=np.random.default_rng(seed))


def whole(head: DualHead, **given: int) -> Readings:
    return epoch(head, **given)[0]


def people_in(head: DualHead, excerpts: Sequence[Excerpt]) -> torch.Tensor:
    row = Row.of(excerpts)
    with head.at_rest():
        return head.vectors(head.policy.hidden(row.tokens, row.positions)[0], row.positions, row.ends, row.spans)


def targets_of(batch: Readings) -> list[int]:
    return [target for one in batch.excerpts for target in one.targets]


def logits_in(head: DualHead, batch: Readings) -> tuple[torch.Tensor, torch.Tensor]:
    with head.at_rest():
        logits = people_in(head, batch.excerpts) @ head.item_vectors(batch.items).T / head.settings.temperature
    return logits, torch.tensor([batch.items.index(target) for target in targets_of(batch)])


@pytest.mark.parametrize(
    "settings",
    [{}, {"readout": "residual"}, {"readout": "mean"}, {"readout": "token"}, {"prompt": "long", "prompt_tokens": 400}],
    ids=["last", "residual", "mean", "token", "long"],
)
def test_a_read_out_behind_an_event_is_that_of_a_prompt_that_ends_there(settings: dict[str, object]) -> None:
    head = tiny_head(context=512, **settings)
    for number, history in enumerate(case.history[:7] for case in WALKS):
        [person] = people_of(head, [Case(number, history, PAD)], CATALOG)
        excerpt = person.window(0, len(history), asked=0)
        cases = [Case(0, history[:place], history[place]) for place in reversed(range(len(history)))]
        assert excerpt.targets == [case.target for case in cases]
        with head.at_rest():
            expected = head.read([as_text(one) for one in reason(head, cases, CATALOG, budget=0)])
        found = people_in(head, [excerpt])
        assert torch.allclose(found, expected, atol=1e-5)


def test_a_later_window_reads_the_events_before_it() -> None:
    head = tiny_head()
    history = tuple(range(1, 30))
    [person] = people_of(head, [Case(0, history, PAD)], CATALOG)
    excerpt = person.window(10, 17, asked=13)
    assert excerpt.targets == [history[16], history[15], history[14], history[13]]
    cases = [Case(0, history[10:stop], PAD) for stop in (16, 15, 14, 13)]
    with head.at_rest():
        expected = head.read([as_text(one) for one in reason(head, cases, CATALOG, budget=0)])
    assert torch.allclose(people_in(head, [excerpt]), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_every_event_is_asked_for_once_in_an_epoch(seed: int) -> None:
    head = tiny_head()
    asked = sorted(target for batch in epoch(head, length=5, seed=seed) for target in targets_of(batch))
    assert asked == sorted(item for case in WALKS for item in case.history)


@pytest.mark.parametrize("titles", [0, 2, 3])
def test_what_followed_is_learned_as_a_reasoning_behind_which_nothing_is_matched(titles: int) -> None:
    head = tiny_head(titles=titles, reasoning_tokens=200, context=512)
    history = (17, 25, 35, 5)
    [person] = people_of(head, [Case(0, history, PAD)], CATALOG)
    plain, more = person.window(0, 4, asked=1), person.window(0, 4, asked=1, named=[1, 2])
    assert more.tokens[: len(plain.tokens)] == plain.tokens
    assert (more.targets, more.ends, more.spans) == (plain.targets, plain.ends, plain.spans)
    told = []
    for event in (2, 1):
        [prompt] = [one.tape.tokens[: one.tape.prompt] for one in reason(head, [Case(0, history[:event], 1)], CATALOG, budget=0)]
        named = history[event : event + (titles or USUAL)]
        lines = [head.policy.encode(f"{PERHAPS}{CATALOG.title(item)}\n") for item in named]
        words = (*(token for line in lines for token in line), *head.policy.encode(READOUT))
        told.append((prompt, words))
    added = more.tokens[len(plain.tokens) :]
    learned = tuple(token for token, weight in zip(added, more.weights[len(plain.tokens) :], strict=True) if weight)
    assert learned == tuple(token for _, words in told for token in words)
    with torch.no_grad():
        states = head.policy.hidden(torch.tensor([more.tokens]), torch.tensor([more.positions]))[0]
        end = len(plain.tokens)
        for prompt, words in told:  # each branch sees what a prompt that ends there shows, and itself
            end += len(head.policy.encode(THOUGHTS)) + len(words)
            alone = head.policy.hidden(torch.tensor([[*prompt, *words]]))[0, -1]
            assert torch.allclose(states[end - 1], alone, atol=1e-5)
    assert end == len(plain.tokens) + len(added)


def test_a_reasoning_that_is_too_long_to_be_learned_is_cut_and_does_not_end() -> None:
    head = tiny_head(reasoning_tokens=3)
    words = Naming.by(head, CATALOG).of([17, 25])
    assert words == head.policy.encode(f"{PERHAPS}{CATALOG.title(17)}\n")[:3]


def test_a_share_of_the_events_is_named_the_same_in_every_process_and_attempt() -> None:
    head = tiny_head()
    people = people_of(head, WALKS, CATALOG)

    def drawn(seed: int, named: float) -> list[list[float]]:
        batches = Excerpts(people, [], length=6, batch_size=4, named=named, rng=np.random.default_rng(seed))
        return [one.weights for batch in batches for one in batch.excerpts]

    assert drawn(0, 0.3) == drawn(0, 0.3) != drawn(1, 0.3)
    fewest, some, all_of_them = (sum(map(len, drawn(0, share))) for share in (0.0, 0.3, 1.0))
    assert 0.1 < (some - fewest) / (all_of_them - fewest) < 0.5


def test_the_loss_is_cross_entropy_over_the_distinct_items_of_the_batch() -> None:
    head = tiny_head()
    batch = whole(head)
    assert batch.items == tuple(sorted(set(targets_of(batch))))
    with torch.no_grad():
        loss, share = contrastive_loss(head, batch, shares=SHARES, settings=PLAIN)
    logits, wanted = logits_in(head, batch)
    assert torch.allclose(loss, cross_entropy(logits, wanted), rtol=1e-5)
    assert float(share) == 1.0


def test_a_share_of_the_items_is_read_without_titles_the_same_in_every_process_and_attempt() -> None:
    head = tiny_head()
    people = people_of(head, WALKS, CATALOG)

    def drawn(seed: int) -> list[Readings]:
        return list(Excerpts(people, [], length=6, batch_size=4, untitled=0.3, rng=np.random.default_rng(seed)))

    batches = drawn(0)
    bare = [without for batch in batches for without in batch.untitled]
    assert 0.1 < np.mean(bare) < 0.5
    assert [batch.untitled for batch in drawn(0)] == [batch.untitled for batch in batches]
    assert [batch.untitled for batch in drawn(1)] != [batch.untitled for batch in batches]
    assert not any(without for batch in epoch(head) for without in batch.untitled), "none unless told so"
    batch = batches[0]
    assert 0 < sum(batch.untitled) < len(batch.items)
    with head.at_rest():
        rows = [
            head.read([((head.untitled if bare else head.items)[item], 0)]) for item, bare in zip(batch.items, batch.untitled, strict=True)
        ]
        logits = people_in(head, batch.excerpts) @ torch.cat(rows).T / head.settings.temperature
        loss, _ = contrastive_loss(head, batch, shares=SHARES, settings=PLAIN)
    wanted = torch.tensor([batch.items.index(target) for target in targets_of(batch)])
    assert torch.allclose(loss, cross_entropy(logits, wanted), rtol=1e-5)


def test_the_correction_is_the_logarithm_of_being_among_the_batch() -> None:
    head = tiny_head()
    batch = whole(head)
    with torch.no_grad():
        loss, _ = contrastive_loss(head, batch, shares=SHARES, settings=PLAIN.model_copy(update={"popularity": 1.0}))
    logits, wanted = logits_in(head, batch)
    present = 1 - (1 - SHARES[list(batch.items)].double()) ** len(targets_of(batch))
    assert torch.allclose(loss.double(), cross_entropy(logits.double() - present.log(), wanted), rtol=1e-5)


def test_words_are_learned_as_a_language_model_of_transformers_would() -> None:
    head = tiny_head()
    cases = [Case(0, (17, 18), 5), Case(1, (20,), 6)]
    lessons = lessons_of(head, cases, ["Lately: Comedy.", "Drama and Crime."], CATALOG)
    batch = Readings.of(lessons)
    with torch.no_grad():
        plain, _ = contrastive_loss(head, batch, shares=SHARES, settings=PLAIN)
        both, _ = contrastive_loss(head, batch, shares=SHARES, settings=PLAIN.model_copy(update={"words": 0.5}))
        losses = []
        for lesson in lessons:
            asked = torch.tensor(lesson.weights) > 0
            labels = torch.where(asked, torch.tensor(lesson.tokens), -100)
            logits = head.policy.model(torch.tensor([lesson.tokens])).logits[0, :-1]
            losses.append(cross_entropy(logits, labels[1:], reduction="sum"))
    words = torch.stack(losses).sum() / sum(sum(lesson.weights) for lesson in lessons)
    assert torch.allclose(both - plain, 0.5 * words, rtol=1e-4)


@pytest.mark.parametrize("readout", ["residual", "mean"])
def test_a_lesson_is_read_out_where_the_reasoning_it_teaches_would_be(readout: str) -> None:
    head = tiny_head(readout=readout)
    case = Case(0, (17, 18), 5)
    words = head.policy.encode("Lately: Comedy.")
    [lesson] = lessons_of(head, [case], ["Lately: Comedy."], CATALOG)
    with head.at_rest():  # what stands behind the prompt is the reasoning, as `as_text` has it
        expected = head.read([(lesson.tokens, len(lesson.tokens) - len(words) - len(head.tail))])
    assert torch.allclose(people_in(head, [lesson]), expected, atol=1e-5)
    assert lesson.tokens[-len(words) - len(head.tail) :] == [*words, *head.tail]
    assert lesson.weights == [0.0] * (len(lesson.tokens) - len(words) - len(head.tail)) + [1.0] * (len(words) + len(head.tail))


@pytest.mark.parametrize("cut", [0.0, 1.0])
def test_behind_its_own_words_the_model_is_read_as_in_service(cut: float) -> None:
    head = tiny_head()
    cases = [Case(0, (17, 25), 5), Case(1, (3,), 9), Case(2, (35, 36, 17), 1)]
    reasonings = reason(head, cases, CATALOG, temperature=1.0, seeds=[4, 5, 6])
    lessons = lessons_behind(head, reasonings, CATALOG, own_weight=0.5, rng=np.random.default_rng(0), cut=cut)
    fewer = [shortened(one, head, sum(weight > 0 for weight in lesson.weights)) for one, lesson in zip(reasonings, lessons, strict=True)]
    if not cut:
        assert [one.written for one in fewer] == [one.written for one in reasonings]
    else:
        assert sum(one.written for one in fewer) < sum(one.written for one in reasonings)
    with torch.no_grad():
        row = Row.of(lessons)
        hidden = head.policy.hidden(row.tokens, row.positions)[0]
        assert torch.allclose(
            head.vectors(hidden, row.positions, row.ends, row.spans), head.read([as_text(one) for one in fewer]), atol=1e-5
        )
    assert row.targets.tolist() == [5, 9, 1]
    assert set(row.weights.tolist()) == {0.0, 0.5}


def test_a_reasoning_that_ended_by_itself_is_read_out_once() -> None:
    head = tiny_head()
    reasonings = ended(head, CASES[:3], "Lately: Comedy.")
    lessons = lessons_behind(head, reasonings, CATALOG, own_weight=0.5, rng=np.random.default_rng(0), cut=0.0)
    assert [tuple(lesson.tokens) for lesson in lessons] == [one.tape.tokens for one in reasonings]
    assert [lesson.weights for lesson in lessons] == [[0.5 * own for own in one.tape.sampled] for one in reasonings]
    assert all(lesson.ends == [len(one.tape.tokens) - 1] for lesson, one in zip(lessons, reasonings, strict=True))


def test_neighbouring_cases_share_a_history_and_are_read_as_if_each_stood_alone() -> None:
    head = tiny_head(history_length=8)
    chain = [Case(3, (17, 25, 35), 5), Case(3, (17, 25, 35, 5), 9), Case(3, (17, 25, 35, 5, 9), 1)]
    words = ["Lately: Comedy.", "Drama and Crime.", "Comedy and 1977."]
    [together] = lessons_of(head, chain, words, CATALOG)
    alone = [lessons_of(head, [case], [said], CATALOG)[0] for case, said in zip(chain, words, strict=True)]
    assert len(together.tokens) < sum(len(one.tokens) for one in alone)
    assert sum(together.weights) == sum(sum(one.weights) for one in alone)
    assert together.targets[::-1] == [target for one in alone for target in one.targets]
    with torch.no_grad():
        assert torch.allclose(people_in(head, [together]).flip(0), people_in(head, alone), atol=1e-5)
        given = {"shares": SHARES, "settings": PLAIN.model_copy(update={"words": 1.0})}
        one, other = (contrastive_loss(head, Readings.of(part), **given)[0] for part in ([together], alone))
    assert torch.allclose(one, other, rtol=1e-4)


def test_cases_that_do_not_follow_each_other_stand_alone() -> None:
    head = tiny_head()
    cases = [Case(0, (17,), 5), Case(1, (17, 5), 9), Case(1, (17, 5, 9, 8), 1)]
    assert len(lessons_of(head, cases, ["Comedy."] * 3, CATALOG)) == 3


def test_a_lesson_with_a_long_history_keeps_its_latest_events_whole() -> None:
    head = tiny_head(history_length=30, prompt_tokens=20)
    case = Case(0, tuple(1 + place % 40 for place in range(30)), 7)
    [lesson] = lessons_of(head, [case], ["Comedy."], CATALOG)
    [plain] = reason(head, [case], CATALOG, budget=0)
    assert tuple(lesson.tokens[: plain.tape.prompt]) == plain.tape.tokens[: plain.tape.prompt]


def test_the_same_target_twice_is_one_item_and_alone_in_its_batch_costs_nothing() -> None:
    head = tiny_head()
    people = people_of(head, [Case(0, (5,), PAD), Case(1, (5,), PAD)], CATALOG)
    [batch] = Excerpts(people, [], length=6, batch_size=2, rng=np.random.default_rng(0))
    assert batch.items == (5,)
    with torch.no_grad():
        assert float(contrastive_loss(head, batch, shares=SHARES, settings=PLAIN)[0]) == 0.0


def ring_head(seed: int = 1) -> tuple[DualHead, Catalog, tuple[Case, ...]]:
    catalog, interactions = ring_world(12, users=24)
    walks = tuple(Case(user, tuple(interactions.history(user).tolist()), PAD) for user in range(interactions.n_users))
    policy = tiny_policy(seed)
    head = DualHead(
        LocalPolicy(policy.model, policy.tokenizer), catalog, ReasonerSettings.model_validate(SETTINGS.model_dump(exclude_unset=True))
    )
    return head, catalog, walks


def test_a_planted_pattern_is_found_and_unseen_people_are_served_by_it(tmp_path: Path) -> None:
    head, catalog, walks = ring_head()
    asked = [Case(-1, (start % 12 + 1, (start + 1) % 12 + 1), (start + 2) % 12 + 1) for start in range(12)]

    def hits() -> float:
        return float(np.mean(R2ec(head, catalog, budget=0).recommend(asked, 1).items[:, 0] == [case.target for case in asked]))

    head.refresh()
    assert hits() < 0.5
    match(head, walks, catalog, settings=ContrastiveSettings(fit=FIT), run=Run(tmp_path), stage="match")
    assert hits() == 1.0


def test_an_interrupted_fit_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    settings = ContrastiveSettings(fit=FIT.model_copy(update={"epochs": 2, "checkpoint_seconds": 0}))

    def train(run: Run) -> DualHead:
        head, catalog, walks = ring_head()
        match(head, walks, catalog, settings=settings, run=run, stage="match")
        return head

    goes_on(train, tmp_path, at=4)
