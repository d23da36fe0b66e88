"""People are reasoned about, many at once: the model writes until the read-out string, or until its tokens run out.

A tape is the encoded prompt, the ids as sampled, and the read-out's ids where the model did not write them itself; nothing is ever
decoded and encoded again. A token that runs past the read-out string is replaced by the ids that end with it, which nobody sampled.
"""

import time
from collections.abc import Callable, Sequence

from fathom.agents.play import row_seed
from fathom.reasoners.dual_head import DualHead, Text
from fathom.reasoners.prompts import READOUT, user_prompt
from fathom.records import Case, Catalog, Reasoning, Tape


def reason(
    head: DualHead,
    cases: Sequence[Case],
    catalog: Catalog,
    *,
    temperature: float = 0.0,
    seeds: Sequence[int] | None = None,
    budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Reasoning]:
    """One finished reasoning per case, in their order; the same whatever the cases beside it.

    `temperature` 0 is greedy; otherwise case i samples by `seeds[i]`. `budget` takes the place of the settings' `reasoning_tokens`;
    with 0 nothing is written: the read-out stands right behind the prompt. `Reasoning.seconds` is a case's share of the wall clock.
    """
    policy, settings = head.policy, head.settings
    room = settings.reasoning_tokens if budget is None else min(budget, settings.reasoning_tokens)
    closing = len(policy.encode(READOUT))
    drawn = [row_seed(0, place) for place in range(len(cases))] if seeds is None else seeds
    found: list[Reasoning] = []
    for start in range(0, len(cases), policy.at_once):
        began = time.perf_counter()
        chunk = cases[start : start + policy.at_once]
        prompts = [user_prompt(case, catalog, settings, count=lambda text: len(policy.encode(text))) for case in chunk]
        if not room:
            tapes = [(_tape(prompt, (), (), head.tail), "", False) for prompt in policy.table.encode_many(prompts)]
        else:
            conversation = policy.converse(prompts, temperature=temperature, seeds=drawn[start : start + len(chunk)])
            replies = conversation.reply(range(len(chunk)), [READOUT], [room] * len(chunk))
            tapes = []
            for row, reply in enumerate(replies):
                forced = reply.stop is None
                own = len(reply.tokens) - reply.spill
                prompt = conversation.tokens(row)[: len(conversation.tokens(row)) - len(reply.tokens)]
                behind = reply.tokens[own:] + (head.tail if forced else head.tail[closing:])
                tape = _tape(prompt, reply.tokens[:own], reply.logprobs[:own], behind)
                tapes.append((tape, reply.text.removesuffix(READOUT) if not forced else reply.text, forced))
        share = (time.perf_counter() - began) / len(chunk)
        found += [Reasoning(case, text, tape, forced, share) for case, (tape, text, forced) in zip(chunk, tapes, strict=True)]
        if progress is not None:
            progress(len(chunk))
    return found


def shortened(reasoning: Reasoning, head: DualHead, budget: int) -> Reasoning:
    """The same reasoning, read out after at most `budget` of its tokens."""
    tape = reasoning.tape
    if reasoning.written <= budget:
        return reasoning
    own = slice(tape.prompt, tape.prompt + budget)
    cut = _tape(tape.tokens[: tape.prompt], tape.tokens[own], tape.logprobs[own], head.tail)
    share = budget / reasoning.written
    return Reasoning(reasoning.case, head.policy.decode(tape.tokens[own]), cut, True, reasoning.seconds * share)


def as_text(reasoning: Reasoning) -> Text:
    """The tape as the head reads it, the mean beginning with the reasoning."""
    return reasoning.tape.tokens, reasoning.tape.prompt


def _tape(prompt: Sequence[int], own: Sequence[int], logprobs: Sequence[float], behind: Sequence[int]) -> Tape:
    """Prompt, what the model sampled, and what it did not."""
    tokens = (*prompt, *own, *behind)
    sampled = (*(False for _ in prompt), *(True for _ in own), *(False for _ in behind))
    return Tape(tokens, sampled, (*(0.0 for _ in prompt), *logprobs, *(0.0 for _ in behind)), len(prompt))
