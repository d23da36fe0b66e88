"""A prompt that grows with a history is kept within what a model reads."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from fathom.errors import ConfigError

Count: TypeAlias = Callable[[str], int]
"""How many tokens a text has."""


def within(events: Sequence[str], filled: Callable[[Sequence[str]], str], *, name: str, most: int, count: Count | None) -> str:
    """The prompt `filled` with as many of the latest events as fit into `most` tokens, each whole; with all of them without `count`.

    A prompt that is too long without any event is a `ConfigError`, which calls it by `name`.
    """
    prompt = filled(events)
    while count is not None and (tokens := count(prompt)) > most:
        if not events:
            raise ConfigError(
                f"prompt_tokens is {most}, but the '{name}' prompt takes {tokens} tokens without any history: "
                f"write at least {tokens}, or a shorter prompt"
            )
        events = events[1:]
        prompt = filled(events)
    return prompt
