"""What arrives at the same time is answered in one batch; while one is being answered, the next one gathers, so nobody waits idly."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, ParamSpec, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Given = ParamSpec("Given")
Made = TypeVar("Made")


class Busy(Exception):
    """As many questions wait as may: ask again later."""


class Together(Generic[Asked, Answer]):
    """Gathers questions for something that answers many at once, and one call at a time."""

    def __init__(self, answer: Callable[[Sequence[Asked]], Sequence[Answer]], *, at_once: int = 0, waiting: int = 0) -> None:
        """`answer` gives as many answers as it is asked questions, in their order; it runs in a thread.

        `at_once`: questions of one batch, of which the first are the first to be answered; `waiting`: those that may wait, beyond which it
        is `Busy`; 0: any number. One request's questions stay together, whatever their number.
        """
        self._answer = answer
        self._at_once = at_once
        self._waiting = waiting
        self._gathered: list[tuple[Sequence[Asked], asyncio.Future[Sequence[Answer]]]] = []
        self._going: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return sum(len(asked) for asked, _ in self._gathered)

    async def answer(self, asked: Sequence[Asked]) -> Sequence[Answer]:
        """One answer for each question; an error reaches every request of its batch. `Busy` where too many wait already."""
        if not asked:
            return []
        if self._waiting and self.waiting + len(asked) > self._waiting:
            raise Busy
        future: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        self._gathered.append((asked, future))
        if self._going is None or self._going.done():
            self._going = asyncio.create_task(self._run())
        return await future

    async def alone(self, make: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """What `make` makes, in a thread; nothing is answered meanwhile."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(make, *args, **kwargs)

    async def _run(self) -> None:
        """Answer batch after batch until nothing waits."""
        while self._gathered:
            async with self._one_at_a_time:
                batch = self._next()
                asked = [one for questions, _ in batch for one in questions]
                if not asked:
                    continue
                try:
                    answers = await asyncio.to_thread(self._answer, asked)
                except Exception as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
            start = 0
            for questions, future in batch:
                if not future.done():
                    future.set_result(answers[start : start + len(questions)])
                start += len(questions)

    def _next(self) -> list[tuple[Sequence[Asked], "asyncio.Future[Sequence[Answer]]"]]:
        """The requests of the next batch, oldest first; those that nobody waits for any more are dropped."""
        self._gathered = [one for one in self._gathered if not one[1].done()]
        count = held = 0
        for count, (asked, _) in enumerate(self._gathered, start=1):
            held += len(asked)
            if self._at_once and held > self._at_once:
                count = max(1, count - 1)
                break
        batch, self._gathered = self._gathered[:count], self._gathered[count:]
        return batch
