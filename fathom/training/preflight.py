"""Dry episodes before training: one is shown in colours, and what could not be learned from is refused."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import torch
from accelerate import PartialState
from rich.console import Console
from rich.panel import Panel
from rich.text import Text
from torch import Tensor

from fathom.agents.play import Finish
from fathom.agents.protocol import ANSWER_CLOSE, ProtocolSettings, answer_body, item_block, reminder
from fathom.errors import ModelError
from fathom.language.choices import Choices
from fathom.language.policy import LocalPolicy
from fathom.records import Catalog, Ending, Episode
from fathom.training.advantages import groups_that_differ
from fathom.training.losses import policy_loss
from fathom.training.rollouts import Judge, Player, is_judged, judged_again, tape_of

LARGEST_GAP = {"float32": 1e-3, "bfloat16": 5e-2}
"""How far a sampled token's log-probability may be from the one computed again: the largest gap in float32, the mean one in bfloat16."""


def preflight(player: Player, rewards: Judge, *, prompts: int, refuse: bool = True, console: Console | None = None) -> list[str]:
    """Play the first batch without learning from it; returns what is wrong with it.

    With `refuse`, anything wrong is a `ModelError` that says what to do; otherwise it is printed. Checked are: the mask
    says who wrote what, log-probabilities at sampling are those of training, rewards differ within some prompt.
    """
    console = console or Console(stderr=True, quiet=not PartialState().is_main_process)
    pairs = [(prompt, sample) for prompt in range(prompts) for sample in range(player.samples)]
    episodes = player.play([prompt for prompt, _ in pairs], [sample for _, sample in pairs])
    groups = [prompt for prompt, _ in pairs]
    wrong = [
        *mask_faults(episodes, player.policy, player.catalog, protocol=player.protocol, finish=player.finish),
        *logprob_faults(episodes, player.policy, player.catalog),
        *reward_faults(episodes, rewards, groups),
    ]
    shown = max(episodes, key=lambda episode: (episode.well_formed, len(episode.turns)))
    console.print(Panel(coloured(shown, player.policy), title="a dry episode", subtitle=_earned(shown, rewards)))
    if wrong and refuse:
        raise ModelError("training is refused, because nothing could be learned:\n- " + "\n- ".join(wrong))
    for fault in wrong:
        console.print(f"[yellow]warning:[/] {fault}")
    return wrong


def mask_faults(
    episodes: Sequence[Episode], policy: LocalPolicy, catalog: Catalog, *, protocol: ProtocolSettings, finish: Finish = "written"
) -> list[str]:
    """What is wrong with who is said to have written which token: the environment's words and only they must be masked."""
    for number, episode in enumerate(episodes):
        tape = tape_of(episode)
        if any(tape.sampled[: tape.prompt]):
            return [f"mask: in episode {number} the prompt is marked as written by the model: report this, no setting mends it"]
        inserted = [text for own, text in runs(episode, policy) if not own]
        lists = [item_block(turn.shown, catalog, protocol) for turn in episode.turns]
        end = reminder(episode.case, catalog, protocol) if protocol.reminded else ""
        if finish == "scored":
            end += answer_body([item for item in episode.answer if item is not None], catalog, protocol) + ANSWER_CLOSE
        if end and episode.ending is Ending.ANSWERED:
            lists.append(end)
        found = [text for text in inserted if any(text.endswith(block) for block in lists)]
        if len(found) != len(lists) or not all(text.endswith(block) for text, block in zip(found, lists, strict=True)):
            return [
                f"mask: in episode {number} an item list, the reminder or a scored answer is not marked as inserted whole: "
                "report this, no setting mends it"
            ]
        if not policy.decode(tape.tokens[tape.prompt :]).startswith(episode.text):
            return [f"mask: in episode {number} the tokens do not spell what was judged: report this, no setting mends it"]
    return []


def logprob_faults(
    episodes: Sequence[Episode], policy: LocalPolicy, catalog: Catalog, *, chunk: int = 8, served: bool = False
) -> list[str]:
    """Whether the model in training finds the sampled tokens as likely as it did when it sampled them, or when a server did (`served`)."""
    every = torch.cat([(now - before).abs()[sampled] for now, sampled, before in judged_again(policy, episodes, catalog, chunk=chunk)])
    if not len(every):
        return ["episodes: the model wrote no token at all: warm it up on traces first"]
    precision = "bfloat16" if served else policy.precision  # a server computes by other kernels, in whatever precision it was started with
    gap = float(every.max() if precision == "float32" else every.mean())
    if gap <= LARGEST_GAP[precision]:
        return []
    mend = "start the server with --logprobs-mode processed_logprobs and without quantization" if served else "set precision to float32"
    return [
        f"log-probabilities: sampled and recomputed ones differ by {gap:.3g}, more than {LARGEST_GAP[precision]:g}: "
        f"the sampler does not use the weights that are trained; {mend}"
    ]


def reward_faults(episodes: Sequence[Episode], rewards: Judge, groups: Sequence[int]) -> list[str]:
    """Whether some prompt has episodes that earn differently: nothing else teaches anything."""
    totals = torch.tensor([rewards(episode)["total"] if is_judged(episode) else torch.nan for episode in episodes])
    if totals.isnan().all():
        return ["rewards: the retriever failed in every episode: check that it runs"]
    if groups_that_differ(totals, torch.tensor(groups)) > 0:
        return []
    return [
        f"rewards: all episodes of each prompt earn the same (mean {float(totals.nanmean()):.3g}): "
        "take more samples, harder cases, a reward that differs, or warm the model up on traces first"
    ]


def check_loss(
    loss: float,
    batch: Mapping[str, Tensor],
    policy: LocalPolicy,
    choices: Choices | None,
    *,
    positions: Tensor,
    tokens: float,
    limits: tuple[float, float],
) -> None:
    """Compare the trainer's loss of one micro-batch with `policy_loss` over `tokens`; another number is a `ModelError`.

    `batch` is as TRL hands it to its loss: prompts padded on the left, completions on the right; `positions` (B, T) are those of
    rows padded on the right alone. `limits` are the clip range.
    """
    inside = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1).bool()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    sampled = torch.cat([torch.zeros_like(batch["prompt_mask"]), batch["completion_mask"] * batch["tool_mask"]], dim=1).bool()
    old = torch.cat([torch.zeros_like(batch["prompt_mask"]).float(), batch["old_per_token_logps"]], dim=1)
    order = torch.argsort((~inside).int(), dim=1, stable=True)  # what is inside first: padding moves to the right
    ids, sampled, old = (part.gather(1, order) for part in (ids, sampled, old))
    with torch.no_grad():
        now = policy.logprobs(ids, sampled, choices, positions)
        expected = float(policy_loss(now, old, batch["advantages"], mask_B_T=sampled, clip_low=limits[0], clip_high=limits[1]) / tokens)
    if not abs(loss - expected) <= LARGEST_GAP[policy.precision] * max(1.0, abs(expected)):
        raise ModelError(
            f"training is refused: the trainer's first loss is {loss:.6g}, but the documented formula gives {expected:.6g}; "
            "install the TRL version that pyproject.toml names"
        )


def runs(episode: Episode, policy: LocalPolicy) -> Iterator[tuple[bool, str]]:
    """The response in pieces of one writer each: whether the model wrote it, and its text."""
    tape = tape_of(episode)
    pairs = zip(tape.sampled[tape.prompt :], tape.tokens[tape.prompt :], strict=True)
    for own, run in groupby(pairs, key=lambda pair: pair[0]):
        yield own, policy.decode([token for _, token in run])


def coloured(episode: Episode, policy: LocalPolicy) -> Text:
    """The episode for a terminal: the prompt dim, the model's words (mask 1) green, inserted words (mask 0) blue."""
    tape = tape_of(episode)
    text = Text("green: the model's tokens, learned from   blue: inserted, masked   dim: the prompt, masked\n\n", style="italic")
    text.append(policy.decode(tape.tokens[: tape.prompt]), style="dim")
    for own, words in runs(episode, policy):
        text.append(words, style="green" if own else "blue")
    return text


def _earned(episode: Episode, rewards: Judge) -> str:
    """One line on what became of the episode."""
    parts = "  ".join(f"{name} {value:.2f}" for name, value in rewards(episode).items())
    return f"{episode.ending}  faults: {', '.join(episode.faults) or 'none'}  {parts}"
