"""People are reasoned about, many at once: the model writes until the read-out string, or until its tokens run out.

A tape is the encoded prompt, the ids as sampled, and the read-out's ids where the model did not write them itself; nothing is ever
decoded and encoded again. A token that runs past the read-out string is replaced by the ids that end with it, which nobody sampled.
With `titles` the model chooses titles alone; the marks before them and the read-out are written for it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fathom.agents.play import row_seed
from fathom.reasoners.dual_head import DualHead, Text
from fathom.reasoners.prompts import PERHAPS, READOUT, user_prompt
from fathom.records import Case, Catalog, Choice, Reasoning, Reply, Tape, Written


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
    drawn = [row_seed(0, place) for place in range(len(cases))] if seeds is None else seeds
    found: list[Reasoning] = []
    for start in range(0, len(cases), policy.at_once):
        began = time.perf_counter()
        chunk = cases[start : start + policy.at_once]
        prompts = [user_prompt(case, catalog, settings, count=lambda text: len(policy.encode(text))) for case in chunk]
        cut = [prompt != user_prompt(case, catalog, settings) for prompt, case in zip(prompts, chunk, strict=True)]
        said: list[Reply | Written] = []
        if not room:
            made = [(_tape(prompt, (), (), head.tail), "", False, 0) for prompt in policy.table.encode_many(prompts)]
        else:
            conversation = policy.converse(prompts, temperature=temperature, seeds=drawn[start : start + len(chunk)])
            rows, limits = range(len(chunk)), [room] * len(chunk)
            if settings.titles:
                marks, histories = [PERHAPS] * settings.titles, [case.history for case in chunk]
                said += conversation.write_list(rows, catalog.titles, numbers=marks, closing=READOUT, forbidden=histories, limits=limits)
            else:
                said += conversation.reply(rows, [READOUT], limits)
            made = [_read(head, conversation.tokens(row), one) for row, one in enumerate(said)]
        share = (time.perf_counter() - began) / len(chunk)
        found += [
            Reasoning(case, text, tape, words, forced, share, shorter)
            for case, (tape, text, forced, words), shorter in zip(chunk, made, cut, strict=True)
        ]
        if progress is not None:
            progress(len(chunk))
    return found


def shortened(reasoning: Reasoning, head: DualHead, budget: int) -> Reasoning:
    """The same reasoning, read out after at most `budget` of its tokens."""
    tape = reasoning.tape
    if reasoning.words <= budget:
        return reasoning
    own = slice(tape.prompt, tape.prompt + budget)
    choices = {place: choice for place, choice in tape.choices.items() if place < own.stop}
    cut = _tape(tape.tokens[: tape.prompt], tape.tokens[own], tape.logprobs[own], head.tail, tape.sampled[own], choices)
    share = budget / reasoning.words
    text = head.policy.decode(tape.tokens[own])
    return replace(reasoning, text=text, tape=cut, words=budget, forced=True, seconds=reasoning.seconds * share)


def as_text(reasoning: Reasoning) -> Text:
    """The tape as the head reads it, the mean beginning with the reasoning."""
    return reasoning.tape.tokens, reasoning.tape.prompt


def _read(head: DualHead, tokens: Sequence[int], said: Reply | Written) -> tuple[Tape, str, bool, int]:
    """The tape of what stands on a row and ends with what was `said`, its text, whether the read-out was forced, how many are its words."""
    policy, closing = head.policy, len(head.policy.encode(READOUT))
    prompt = tokens[: len(tokens) - len(said.tokens)]
    if isinstance(said, Written):
        own, ended, sampled = len(said.tokens), said.whole, said.sampled
        chosen = [len(prompt) + place for place, sampled_there in enumerate(sampled) if sampled_there]
        choices = dict(zip(chosen, said.choices, strict=True))
    else:
        own, ended = len(said.tokens) - said.spill, said.stop is not None
        sampled, choices = (True,) * own, {}
    behind = said.tokens[own:] + (head.tail[closing:] if ended else head.tail)
    ends = np.cumsum([len(policy.table.bytes_of[token]) for token in said.tokens])
    words = int((ends <= ends[-1] - len(READOUT)).sum()) if ended else len(said.tokens)
    text = said.text.removesuffix(READOUT) if ended else said.text
    return _tape(prompt, said.tokens[:own], said.logprobs[:own], behind, sampled, choices), text, not ended, words


def _tape(
    prompt: Sequence[int],
    own: Sequence[int],
    logprobs: Sequence[float],
    behind: Sequence[int],
    sampled: Sequence[bool] = (),
    choices: Mapping[int, Choice] | None = None,
) -> Tape:
    """Prompt, what was said, of which the model `sampled` some tokens between `choices`, and what nobody sampled."""
    tokens = (*prompt, *own, *behind)
    chosen = (*(False for _ in prompt), *sampled, *(False for _ in behind))
    return Tape(tokens, chosen, (*(0.0 for _ in prompt), *logprobs, *(0.0 for _ in behind)), len(prompt), choices or {})
