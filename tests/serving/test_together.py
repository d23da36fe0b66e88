"""Questions that arrive at the same time are answered together; who goes away, asks wrongly or comes too late harms nobody else."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from fathom.serving.together import Busy, Together


class Doubling:
    """Doubles numbers, keeps its batches, and waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, asked: Sequence[int]) -> list[int]:
        self.batches.append(list(asked))
        self.free.wait(10)
        if 666 in asked:
            raise ValueError("unlucky")
        return [2 * number for number in asked]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def test_answers_go_to_those_who_asked() -> None:
    async def play() -> None:
        doubling = Doubling()
        together = Together(doubling)
        found = await asyncio.gather(*(together.answer([number, number + 100]) for number in range(20)), together.answer([]))
        assert found == [*([2 * number, 2 * number + 200] for number in range(20)), []]
        assert len(doubling.batches) == 1, "they had all arrived when the first batch began"

    asyncio.run(play())


def test_batches_are_as_large_as_they_may_and_in_order() -> None:
    async def play() -> None:
        doubling = Doubling()
        together = Together(doubling, at_once=3)
        await asyncio.gather(*(together.answer([number]) for number in range(7)), together.answer([7, 8, 9, 10]), together.answer([11]))
        assert doubling.batches == [[0, 1, 2], [3, 4, 5], [6], [7, 8, 9, 10], [11]]

    asyncio.run(play())


def test_too_many_that_wait_are_sent_away_and_later_ones_are_served() -> None:
    async def play() -> None:
        doubling = Doubling()
        together = Together(doubling, at_once=1, waiting=2)
        doubling.free.clear()
        tasks = [asyncio.create_task(together.answer([0]))]
        await until(lambda: len(doubling.batches) == 1)
        tasks += [asyncio.create_task(together.answer([number])) for number in (1, 2)]
        await until(lambda: together.waiting == 2)
        with pytest.raises(Busy):
            await together.answer([3])
        doubling.free.set()
        assert await asyncio.gather(*tasks) == [[0], [2], [4]]
        assert await together.answer([3]) == [6]

    asyncio.run(play())


def test_who_goes_away_takes_nothing_with_them() -> None:
    async def play() -> None:
        doubling = Doubling()
        together = Together(doubling)
        doubling.free.clear()
        first, gone = asyncio.create_task(together.answer([1])), asyncio.create_task(together.answer([2]))
        await until(lambda: len(doubling.batches) == 1)
        waits, leaves = asyncio.create_task(together.answer([3])), asyncio.create_task(together.answer([4]))
        await until(lambda: together.waiting == 2)
        gone.cancel()
        leaves.cancel()
        doubling.free.set()
        assert await asyncio.gather(first, waits) == [[2], [6]]
        assert doubling.batches == [[1, 2], [3]], "what nobody waits for is not asked"

    asyncio.run(play())


def test_an_error_reaches_its_batch_and_no_other() -> None:
    async def play() -> None:
        together = Together(Doubling(), at_once=1)
        found = await asyncio.gather(together.answer([1]), together.answer([666]), together.answer([2]), return_exceptions=True)
        assert (found[0], found[2]) == ([2], [4])
        assert isinstance(found[1], ValueError)

    asyncio.run(play())


def test_nothing_is_answered_while_somebody_works_alone() -> None:
    async def play() -> None:
        doubling, began, over = Doubling(), threading.Event(), threading.Event()

        def work() -> str:
            began.set()
            assert over.wait(10)
            return "done"

        together = Together(doubling)
        alone = asyncio.create_task(together.alone(work))
        await until(began.is_set)
        asked = asyncio.create_task(together.answer([1]))
        await asyncio.sleep(0.02)
        assert doubling.batches == []
        over.set()
        assert (await alone, await asked) == ("done", [2])

    asyncio.run(play())
