"""Waiting: on events, never longer than a test may take, and always with a word on what was waited for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that any single wait may take unless the test says otherwise; on a busy machine slow is not wrong."""


class Impatient(AssertionError):
    """Something awaited did not happen in time."""


@asynccontextmanager
async def within(seconds: float, what: str = "this") -> AsyncIterator[None]:
    """Bounds a block; Impatient when it takes longer."""
    try:
        async with asyncio.timeout(seconds) as scope:
            yield
    except TimeoutError:
        if scope.expired():
            raise Impatient(f"{what} did not happen within {seconds:g} s") from None
        raise


async def eventually(holds: Callable[[], bool], what: str, patience: float = PATIENCE, every: float = 0.02) -> None:
    """Waits for a fact about another process, which nobody announces, by looking every so many seconds."""
    async with within(patience, what):
        while not holds():  # noqa: ASYNC110 - the fact has no event
            await asyncio.sleep(every)


async def asked_until(
    ask: Callable[[], Awaitable[bool]], what: str, patience: float = PATIENCE, every: float = 0.05
) -> None:
    """Asks again and again until the answer is yes, for what can be learned from outside only by trying."""
    async with within(patience, what):
        while not await ask():  # noqa: ASYNC110 - it can only be asked
            await asyncio.sleep(every)


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator["asyncio.Task[T]"]:
    """Runs something beside a block and cancels it when the block is left; how it ended is the block's business."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Changes:
    """Lets tasks wait until something about its owner has become true."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        """The owner has changed: whoever waits looks again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def until(self, holds: Callable[[], bool], what: str, patience: float | None = None) -> None:
        """Returns as soon as it holds; Impatient when that takes longer than `patience` seconds."""
        if holds():
            return
        async with within(PATIENCE if patience is None else patience, what):
            while not holds():
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiters.discard(waiter)
