"""What arrives at the same time is answered in one batch; while one is being answered, the next one gathers, so nobody waits idly."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, ParamSpec, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Given = ParamSpec("Given")
Made = TypeVar("Made")


class Together(Generic[Asked, Answer]):
    """Gathers questions for something that answers many at once, and one call at a time."""

    def __init__(self, answer: Callable[[Sequence[Asked]], Sequence[Answer]]) -> None:
        """`answer` gives as many answers as it is asked questions, in their order; it runs in a thread."""
        self._answer = answer
        self._gathered: list[Asked] = []
        self._batch: asyncio.Task[Sequence[Answer]] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, asked: Sequence[Asked]) -> Sequence[Answer]:
        """One answer for each question; an error reaches every request of its batch."""
        if self._batch is None:
            self._batch = asyncio.create_task(self._run())
        batch, start = self._batch, len(self._gathered)
        self._gathered.extend(asked)
        # Shielded: a client that goes away must not take the answers of the others with it.
        answers = await asyncio.shield(batch)
        return answers[start : start + len(asked)]

    async def alone(self, make: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """What `make` makes, in a thread; nothing is answered meanwhile."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(make, *args, **kwargs)

    async def _run(self) -> Sequence[Answer]:
        async with self._one_at_a_time:
            asked, self._gathered, self._batch = self._gathered, [], None
            return await asyncio.to_thread(self._answer, asked)
