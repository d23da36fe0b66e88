"""RecPO: reasoning and ranking learn together from where the true item ends up (R²ec, arXiv:2505.16994, section 3.3 and appendix F).

    for every batch of people:
        # 1. Reason: each person several times, by the present weights.
        # 2. Reward: the rank of the true item among the whole catalogue, a little of its probability; rewards become advantages.
        # 3. Learn: the reasoning tokens of all trajectories, and the item match of each person's best one, by one clipped objective.

    J = mean over people of  1/G sum_i [ sum_t l(r_it, A_i) + (i is the winner) l(r_i,item, A_i) ],   l(r, A) = min(r A, clip(r) A)

Where this departs from the released code: an advantage reaches the tokens of its own trajectory and no others, and the item match of
the winner alone (there, sums over the group cancel the former and spread the latter); ratios are against the log-probabilities at
sampling; the true items are encoded anew before the reward. From the paper: the token part is a mean over the batch's sampled tokens
unless `reduction` says otherwise, so that long reasonings do not outweigh the item part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.agents.play import row_seed
from fathom.contracts import Validate
from fathom.errors import ConfigError
from fathom.language.choices import Choices
from fathom.language.documents import followed
from fathom.reasoners.dual_head import DualHead, side_by_side
from fathom.reasoners.reasoning import as_text, reason
from fathom.records import Case, Catalog, Reasoning
from fathom.settings import Settings
from fathom.training.advantages import centred, groups_that_differ, leave_one_out
from fathom.training.contrastive import rarity, shares_of
from fathom.training.losses import policy_loss
from fathom.training.memory import announce, expected
from fathom.training.processes import in_shares, processes, rows_at_once
from fathom.training.run import Run
from fathom.training.supervised import FitReport, FitSettings, fit

SMALLEST_SPREAD = 1e-6
"""Below this standard deviation the rewards of a person's trajectories count as equal: nothing is learned from them."""


class RecPOSettings(Settings):
    """How reasoning and ranking learn from ranks. One example of `fit.batch_size` is one person."""

    fit: FitSettings = FitSettings(epochs=3, batch_size=24, learning_rate=1e-5, schedule="constant", warmup_share=0.03, patience=1)
    """The loop. 1e-5 is right for billions of weights, about 1e-4 for the small built-in model."""
    samples: int = Field(default=4, ge=2)
    """Reasonings written for each person (G)."""
    passes: int = Field(default=1, ge=1)
    """Steps of the optimiser for each batch of reasonings; from the second on the clip range matters."""
    micro_batch: int = Field(default=16, ge=1)
    """Reasonings in one pass through the model; it changes memory, not results."""
    sampling_temperature: float = Field(default=1.5, gt=0, le=2)
    """Logits of words are divided by it when reasonings are sampled and when they are learned from alike."""
    beta: float = Field(default=0.05, ge=0, le=1)
    """Share of the reward that is the true item's probability; the rest is its NDCG. 0: rank alone; 1: probability alone."""
    depth: int = Field(default=1000, ge=1)
    """Beyond this rank the NDCG is 0; at most the catalogue's size."""
    ties: Literal["pessimistic", "expected"] = "pessimistic"
    """What the true item gets for items of the very same score: the last place among them, or the mean of all."""
    advantage: Literal["grpo", "rloo"] = "grpo"
    """Rewards minus the person's mean over their standard deviation, or minus the mean of the person's other trajectories."""
    winners: int = Field(default=1, ge=1)
    """How many of a person's best trajectories teach the item match; more than 1 departs from the paper."""
    item_weight: float = Field(default=1.0, ge=0)
    """Weight of the item part beside the token part; 0: the ranking learns through the reasoning alone."""
    popularity: float = Field(default=1.0, ge=0, le=1)
    """How much of an item's log-probability to be among a batch's true items is taken off its logits in the item part: 0, the paper's
    objective, in which an item that many took is held against everybody; 1, unbiased."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """The probability ratio counts down to 1 minus this."""
    clip_high: float = Field(default=0.2, gt=0)
    """The probability ratio counts up to 1 plus this."""
    reduction: Literal["token_mean", "paper_sum"] = "token_mean"
    """`token_mean` divides the token part by the batch's sampled tokens and the item part by its people; `paper_sum` both by its
    trajectories."""
    refresh_every: int = Field(default=50, ge=1)
    """Batches of people after which all items are encoded anew; the batch's own true items always are."""
    exclude_history: bool = True
    """Items of the history are no rivals of the true item, in the reward and in the item part: right where nothing is taken twice."""
    shuffle_rewards: bool = False
    """The control of honest learning: rewards are dealt out to the reasonings of a batch at random, so nothing should improve."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """What the item part's softmax of a batch is over."""

    items: tuple[int, ...]
    """The distinct true items of the whole batch, ascending, however the batch is cut."""
    rarity: Tensor
    """(U,) float32, added to their logits; zeros, as in the paper, where `popularity` is 0."""

    @classmethod
    def of(cls, cases: Sequence[Case], *, shares: Tensor, popularity: float) -> "Rivals":
        """Those of a batch's cases, one a person; `shares` (N + 1,): each item's of all that people took."""
        items = tuple(sorted({case.target for case in cases}))
        return cls(items, popularity * rarity(shares[list(items)], len(cases)))


@dataclass(frozen=True, slots=True)
class Rollout:
    """Trajectories to learn from, those of one person side by side."""

    reasonings: tuple[Reasoning, ...]
    advantages: Tensor
    """(R,) one each."""
    winners: Tensor
    """(R,) whether its item match is learned."""
    old_items: Tensor
    """(R,) log-probability of the true item among `rivals` when it was sampled."""
    rivals: Rivals
    """Of the whole batch."""
    tokens: int
    """Sampled tokens of the whole batch."""
    trajectories: int
    """Of the whole batch."""

    def pieces(self, most: int) -> "list[Rollout]":
        """The same trajectories, at most so many at a time and shared out among the processes of the run."""
        rows = rows_at_once(len(self.reasonings), most)
        found = []
        for start in range(0, len(self.reasonings), rows):
            part = slice(start, start + rows)
            held = self.reasonings[part], self.advantages[part], self.winners[part], self.old_items[part]
            found.append(Rollout(*held, self.rivals, self.tokens, self.trajectories))
        return found


def recpo(
    head: DualHead,
    cases: Sequence[Case],
    catalog: Catalog,
    *,
    settings: RecPOSettings,
    run: Run,
    stage: str,
    validate: Validate | None = None,
) -> FitReport:
    """Train `head` in place on `cases`, whose targets it has not been told. Metrics go to `run`; an interrupted call goes on.

    `validate` is called with a fresh table, before the first step too; the weights of its best figure are kept, and the table is fresh
    at the end.
    """
    if not head.settings.reasoning_tokens:
        raise ConfigError("reasoning_tokens is 0: a model that does not reason has nothing to sample; train it by `contrastive` instead")

    def loss(_: nn.Module, part: Rollout) -> tuple[Tensor, Tensor]:
        return recpo_loss(head, part, settings)

    people = rows_at_once(settings.fit.batch_size * settings.samples, settings.micro_batch)
    prompts = -(-people // settings.samples) * head.settings.prompt_tokens  # each is read once for all reasonings behind it
    tokens = prompts + people * (head.longest - head.settings.prompt_tokens) + settings.fit.batch_size * max(map(len, head.items))
    needed = expected(head, head.probe, tokens=tokens, averaged=bool(settings.fit.average))
    announce(stage, needed, device=head.table.device, smaller="recpo.micro_batch")
    with head.policy.decoder.heated(settings.sampling_temperature):
        report = fit(
            head,
            batches=lambda epoch, rng: Rollouts(head, cases, catalog, settings, epoch=epoch, rng=rng, run=run, stage=stage),
            loss=loss,
            settings=settings.fit,
            run=run,
            stage=stage,
            validate=head.refreshed(validate),
            micro_batches=lambda rollout: rollout.pieces(settings.micro_batch),
            together=settings.passes,
            start_counts=True,
        )
    head.refresh()
    return report


class Rollouts(Sequence[Rollout]):
    """The batches of one epoch, each sampled by the weights of the moment when it is first asked for: every case once, the last
    batch as it comes."""

    def __init__(
        self,
        head: DualHead,
        cases: Sequence[Case],
        catalog: Catalog,
        settings: RecPOSettings,
        *,
        epoch: int,
        rng: np.random.Generator,
        run: Run,
        stage: str,
    ) -> None:
        self._head, self._catalog, self._settings = head, catalog, settings
        self._run, self._stage = run, stage
        self._cases = [cases[place] for place in rng.permutation(len(cases))]
        self._shares = shares_of([item for case in cases for item in (*case.history, case.target)], head.n_items)
        self._batches = -(-len(cases) // settings.fit.batch_size)
        self._before = epoch * self._batches
        self._held: tuple[int, Rollout] | None = None

    def __len__(self) -> int:
        return self._batches * self._settings.passes

    def __getitem__(self, index: int | slice) -> Rollout:  # type: ignore[override]
        assert isinstance(index, int)
        if not 0 <= index < len(self):
            raise IndexError(index)
        batch = index // self._settings.passes
        if self._held is None or self._held[0] != batch:
            self._held = batch, self._sampled(batch)
        return self._held[1]

    def _sampled(self, batch: int) -> Rollout:
        settings, number = self._settings, self._before + batch
        size, samples = settings.fit.batch_size, settings.samples
        people = self._cases[batch * size : (batch + 1) * size]
        rivals = Rivals.of(people, shares=self._shares, popularity=settings.popularity)
        # Before the reward, or it would be that of older items.
        self._head.refresh(None if number % settings.refresh_every == 0 else rivals.items)
        first = number * size * samples
        wanted = [
            (case, row_seed(settings.fit.seed, first + place * samples + sample))
            for place, case in enumerate(people)
            for sample in range(samples)
        ]

        def share(part: Sequence[tuple[Case, int]]) -> list[Reasoning]:
            seeds = [seed for _, seed in part]
            return reason(self._head, [case for case, _ in part], self._catalog, temperature=1.0, seeds=seeds)

        reasonings = in_shares(share, wanted)
        rollout, figures = judged(self._head, reasonings, rivals, settings, number=number)
        if processes().is_main_process:
            self._run.log(self._stage, number * settings.passes + 1, figures)
        return rollout


def judged(
    head: DualHead, reasonings: Sequence[Reasoning], rivals: Rivals, settings: RecPOSettings, *, number: int = 0
) -> tuple[Rollout, dict[str, float]]:
    """The trajectories with rewards, advantages and winners, and what is logged of them. The table's rows of `rivals` must be fresh.

    `number` is the batch's, for `shuffle_rewards`.
    """
    cases = [reasoning.case for reasoning in reasonings]
    with head.at_rest():
        people = head.read([as_text(reasoning) for reasoning in reasonings])
        targets = torch.tensor([case.target for case in cases], device=people.device)
        logits = head.logits(people)
        if settings.exclude_history:
            logits = without_history(logits, cases, {item: item for item in range(1, head.n_items + 1)})
        gains, probabilities, ranks = target_gains(logits, targets, depth=settings.depth, ties=settings.ties)
        old = item_logprobs(head, people, head.table[list(rivals.items)], rivals, cases, settings).cpu()
    rewards = (settings.beta * probabilities + (1 - settings.beta) * gains).cpu()
    earned = rewards
    if settings.shuffle_rewards:
        order = np.random.default_rng([settings.fit.seed, number]).permutation(len(rewards))
        rewards = rewards[torch.from_numpy(order)]
    groups = torch.arange(len(rewards)) // settings.samples
    advantages = ADVANTAGES[settings.advantage](rewards, groups)
    written = [reasoning.written for reasoning in reasonings]
    figures = {
        "reward": float(earned.mean()),
        "reward/ndcg": float(gains.mean()),
        "reward/probability": float(probabilities.mean()),
        "rank": float(ranks.float().mean()),
        "written_tokens": float(np.mean(written)),
        "forced": float(np.mean([reasoning.forced for reasoning in reasonings])),
        "groups_that_differ": groups_that_differ(rewards, groups),
    }
    won = winners(advantages, groups, settings.winners)
    return Rollout(tuple(reasonings), advantages, won, old, rivals, sum(written), len(reasonings)), figures


def recpo_loss(head: DualHead, part: Rollout, settings: RecPOSettings) -> tuple[Tensor, Tensor]:
    """Minus J for some trajectories of a batch, and which share of the batch's trajectories they are; shares add up to 1."""
    tapes = [reasoning.tape for reasoning in part.reasonings]
    row = side_by_side([as_text(reasoning) for reasoning in part.reasonings], alone=head.alone)
    device = head.table.device
    places = torch.tensor(
        [
            end + 1 - len(tape.tokens) + place
            for tape, end in zip(tapes, row.ends.tolist(), strict=True)
            for place in np.flatnonzero(tape.sampled)
        ],
        dtype=torch.long,
    )
    with head.policy.decoder.autocast():
        hidden = head.policy.hidden(row.tokens, row.positions)[0]
        before = followed(row.positions)[0, places]
        choices = Choices.of(tapes, head.trie, head.policy.vocabulary, device) if head.settings.titles else None
        logprobs = head.policy.chunked_logprobs(hidden[before.to(device)], row.tokens[0, places].to(device), choices)
    old = torch.tensor([value for tape in tapes for value, own in zip(tape.logprobs, tape.sampled, strict=True) if own])
    advantages = part.advantages.to(device)
    each = torch.repeat_interleave(advantages, torch.tensor([sum(tape.sampled) for tape in tapes], device=device))
    clip = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
    said = policy_loss(logprobs[:, None], old[:, None].to(device), each, mask_B_T=torch.ones_like(logprobs[:, None]), **clip)
    share = torch.tensor(len(part.reasonings) / part.trajectories, device=device)
    if settings.reduction == "paper_sum":
        per_token = per_person = float(part.trajectories)
    else:
        per_token, per_person = float(max(part.tokens, 1)), part.trajectories / settings.samples
    if not settings.item_weight:  # words alone: no item is encoded
        return said / per_token, share
    with head.policy.decoder.autocast():
        spans = torch.tensor([len(tape.tokens) - tape.prompt for tape in tapes])
        people = head.served(hidden, row, spans)
        items = head.item_vectors(part.rivals.items)
    cases = [reasoning.case for reasoning in part.reasonings]
    matched = policy_loss(
        item_logprobs(head, people, items, part.rivals, cases, settings)[:, None],
        part.old_items[:, None].to(device),
        advantages,
        mask_B_T=part.winners[:, None].to(device),
        **clip,
    )
    return said / per_token + settings.item_weight * matched / per_person, share


def item_logprobs(head: DualHead, people: Tensor, live: Tensor, rivals: Rivals, cases: Sequence[Case], settings: RecPOSettings) -> Tensor:
    """(R,) float32 log-probability of each case's target for `people` (R, d) among the batch's `rivals`, whose vectors are `live` (U, d).

    With `exclude_history` the items of a person's own history leave that person's softmax, the target never does.
    """
    logits = head.logits(people, live) + rivals.rarity.to(people.device)
    place = {item: column for column, item in enumerate(rivals.items)}
    if settings.exclude_history:
        logits = without_history(logits, cases, place)
    wanted = torch.tensor([place[case.target] for case in cases], device=logits.device)
    return logits.log_softmax(dim=1).gather(1, wanted[:, None]).squeeze(1)


def without_history(logits: Tensor, cases: Sequence[Case], column: Mapping[int, int]) -> Tensor:
    """`logits` (R, n), with -inf where an item is in the case's history and is not its target; `column`: item -> where it stands, if so."""
    pairs = [(row, column[item]) for row, case in enumerate(cases) for item in set(case.history) if item != case.target and item in column]
    if not pairs:
        return logits
    rows, columns = torch.tensor(pairs, device=logits.device).T
    return logits.index_put((rows, columns), logits.new_tensor(-torch.inf))


def target_gains(
    logits: Tensor, targets: Tensor, *, depth: int, ties: Literal["pessimistic", "expected"] = "pessimistic"
) -> tuple[Tensor, Tensor, Tensor]:
    """(R,) each: NDCG of the target's rank, its probability, its pessimistic rank; `logits` (R, N + 1) float32, -inf where not allowed.

    NDCG is 1 / log2(rank + 1) up to rank min(depth, N), 0 beyond.

    >>> target_gains(torch.tensor([[-torch.inf, 2.0, 1.0, 1.0]]), torch.tensor([2]), depth=1000)[2]
    tensor([3])
    """
    own = logits.gather(1, targets[:, None])
    above = (logits > own).sum(dim=1)
    beside = (logits == own).sum(dim=1) - 1
    items = logits.shape[1] - 1
    ranks = torch.arange(items + 1, device=logits.device)
    gain = torch.where((ranks >= 1) & (ranks <= min(depth, items)), 1 / torch.log2(ranks.float() + 1), 0.0)
    pessimistic = 1 + above + beside
    if ties == "pessimistic":
        gains = gain[pessimistic]
    else:
        total = gain.double().cumsum(0)
        gains = ((total[pessimistic] - total[above]) / (beside + 1)).float()
    return gains, logits.softmax(dim=1).gather(1, targets[:, None]).squeeze(1), pessimistic


def grpo(rewards: Tensor, groups: Tensor) -> Tensor:
    """(R,) rewards minus their group's mean over its standard deviation (of the sample); 0 where that is next to nothing.

    >>> grpo(torch.tensor([2.0, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 1]))
    tensor([ 0.7071, -0.7071,  0.0000,  0.0000])
    """
    spread = _spread(rewards, groups)
    return torch.where(spread < SMALLEST_SPREAD, 0.0, centred(rewards, groups) / spread.clamp_min(SMALLEST_SPREAD))


def rloo(rewards: Tensor, groups: Tensor) -> Tensor:
    """(R,) rewards minus the mean of the others of their group (arXiv:2402.14740); 0 where they all are equal but for rounding.

    >>> rloo(torch.tensor([3.0, 0.0, 0.0, 0.1, 0.1, 0.1]), torch.tensor([0, 0, 0, 1, 1, 1]))
    tensor([ 3.0000, -1.5000, -1.5000,  0.0000,  0.0000,  0.0000])
    """
    return torch.where(_spread(rewards, groups) < SMALLEST_SPREAD, 0.0, leave_one_out(rewards, groups, torch.ones_like(groups)))


def _spread(rewards: Tensor, groups: Tensor) -> Tensor:
    """(R,) the standard deviation, of the sample, of each reward's group."""
    squares = centred(rewards, groups) ** 2
    sums = torch.zeros(int(groups.max()) + 1).index_add(0, groups, squares)
    return (sums / (torch.bincount(groups) - 1).clamp(min=1)).sqrt()[groups]


def winners(advantages: Tensor, groups: Tensor, count: int) -> Tensor:
    """(R,) whether a trajectory is among the `count` best of its group, ties to the first; none of a group whose advantages are all 0."""
    won = torch.zeros(len(advantages), dtype=torch.bool)
    for group in groups.unique().tolist():
        mine = (groups == group).nonzero().squeeze(1)
        if bool((advantages[mine] != 0).any()):
            won[mine[torch.argsort(advantages[mine], descending=True, stable=True)[:count]]] = True
    return won


ADVANTAGES = {"grpo": grpo, "rloo": rloo}
