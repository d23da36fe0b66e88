"""What everything that is asked has in common: how much is shown, how the model writes, what an answer costs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

from pydantic import Field

from fathom.contracts import Conversation, Policy
from fathom.language.prompt import within
from fathom.prompting.prompts import Words
from fathom.settings import Settings


class AskingSettings(Settings):
    """What is shown, and how the model writes."""

    words: Words = Words()
    """What things of the catalogue are called."""
    history_length: int = Field(default=50, ge=1)
    """The latest events of the history that are shown."""
    temperature: float = Field(default=0.0, ge=0)
    """Of what the model writes; 0 is greedy."""
    prompt_tokens: int = Field(default=4096, ge=1)
    """Tokens of a question; the oldest events of the history are left out until it fits. Endpoints do not say how many there are."""
    reply_tokens: int = Field(default=512, ge=1)
    """Tokens of an answer, thoughts included."""
    seed: int = Field(default=42, ge=0)
    """Of whatever is drawn, and of sampling."""


class Answered(NamedTuple):
    """An answer, and what it cost."""

    text: str
    read: int
    """Tokens of the question."""
    written: int
    """Tokens of the answer."""


def fitted(events: Sequence[str], filled: Callable[[Sequence[str]], str], policy: Policy, settings: AskingSettings, *, name: str) -> str:
    """The prompt `filled` with as many of the latest events as `prompt_tokens` allow."""
    return within(events, filled, name=name, most=settings.prompt_tokens, count=lambda text: len(policy.encode(text)))


def opened(policy: Policy, prompts: Sequence[str], settings: AskingSettings, seeds: Sequence[int]) -> Conversation:
    """One conversation for each prompt, nothing said yet."""
    return policy.converse(prompts, temperature=settings.temperature, seeds=seeds)


def asked(policy: Policy, prompts: Sequence[str], settings: AskingSettings, seeds: Sequence[int]) -> list[Answered]:
    """One answer for each prompt."""
    replies = opened(policy, prompts, settings, seeds).reply(range(len(prompts)), (), [settings.reply_tokens] * len(prompts))
    costs = [reply.usage or (len(policy.encode(prompt)), len(reply.tokens)) for prompt, reply in zip(prompts, replies, strict=True)]
    return [Answered(reply.text, *cost) for reply, cost in zip(replies, costs, strict=True)]


def mark_of(*parts: object) -> int:
    """32 bits that follow from what the parts are, in any process: seeds that depend on nobody else.

    >>> mark_of(1, (2, 3)) == mark_of(1, (2, 3)) != mark_of(1, (3, 2))
    True
    """
    return crc32(repr(parts).encode())
