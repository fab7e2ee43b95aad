"""Ways tried side by side, each with a head start before the next: the first that leads there wins, the others end.

Knows nothing of relays: what a way is, and how it is tried, its caller says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from towpath.errors import TowpathError

__all__ = ["HEAD_START_S", "NEXT_TIER_S", "Lost", "Race", "Tier"]

HEAD_START_S: Final = 0.25
"""What a way gets before the next one of its tier begins beside it."""
NEXT_TIER_S: Final = 2.0
"""What a tier gets before the next one begins beside it."""

W = TypeVar("W")
R = TypeVar("R")


class Lost(Exception):
    """No way led there. `failures` holds each one that was tried, in the order in which they failed, with its error."""

    def __init__(self, failures: Sequence[tuple[object, BaseException]]) -> None:
        self.failures = list(failures)
        super().__init__(f"{len(self.failures)} ways failed")


class Tier(NamedTuple, Generic[W]):
    """Ways of one kind, in the order to try them; an iterator that waits holds only its own tier up."""

    ways: AsyncIterator[W]
    alone: bool = False
    """Begins only when every earlier tier has failed, never beside one."""


class Race(Generic[W, R]):
    """`attempt(way)` tries one; it may raise TowpathError or OSError, and leaves nothing behind when cancelled."""

    def __init__(
        self,
        attempt: Callable[[W], Awaitable[R]],
        *,
        head_start: float = HEAD_START_S,
        next_tier: float = NEXT_TIER_S,
    ) -> None:
        self._attempt = attempt
        self._head_start = head_start
        self._next_tier = next_tier
        self._failures: list[tuple[object, BaseException]] = []
        self.under_way: dict[asyncio.Task[R], W] = {}
        """What is being tried now; after a cancellation, what was."""

    @property
    def failures(self) -> list[tuple[object, BaseException]]:
        """What failed so far."""
        return list(self._failures)

    async def run(self, tiers: Sequence[Tier[W]]) -> R:
        """What the first way to succeed gave; Lost when none did. Cancelling it cancels every attempt, and waits."""
        waiting: set[asyncio.Task[R]] = set()
        begun: list[asyncio.Task[R]] = []
        left = list(tiers)
        try:
            while left or waiting:
                if left and not (waiting and left[0].alone):
                    task = asyncio.ensure_future(self._tier(left.pop(0).ways))
                    begun.append(task)
                    waiting.add(task)
                patience = self._next_tier if left and not left[0].alone else None
                done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None:
                        return task.result()
                    if not isinstance(error, Lost):
                        raise error
            raise Lost(self._failures)
        finally:
            await _end(begun)

    async def _tier(self, ways: AsyncIterator[W]) -> R:
        loop = asyncio.get_running_loop()
        attempts: set[asyncio.Task[R]] = set()
        begun: list[asyncio.Task[R]] = []
        feeding: asyncio.Task[W | None] | None = asyncio.ensure_future(_next(ways))
        free_at = loop.time()
        ready: W | None = None
        try:
            while attempts or feeding is not None or ready is not None:
                if ready is not None and (not attempts or loop.time() >= free_at):
                    task = asyncio.ensure_future(self._try(ready))
                    self.under_way[task] = ready
                    begun.append(task)
                    attempts.add(task)
                    free_at, ready = loop.time() + self._head_start, None
                    feeding = asyncio.ensure_future(_next(ways))
                watched: set[asyncio.Task[Any]] = {*attempts, *([] if feeding is None else [feeding])}
                patience = None if ready is None else max(0.0, free_at - loop.time())
                done, _ = await asyncio.wait(watched, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if feeding is not None and feeding in done:
                    ready, feeding = feeding.result(), None
                for task in [task for task in begun if task in done]:
                    attempts.discard(task)
                    way = self.under_way.pop(task)
                    error = task.exception()
                    if error is None:
                        return task.result()
                    if not isinstance(error, (TowpathError, OSError)):
                        raise error
                    self._failures.append((way, error))
                    free_at = loop.time()
            raise Lost(self._failures)
        finally:
            await _end([*begun, *([] if feeding is None else [feeding])])
            close = getattr(ways, "aclose", None)
            if close is not None:
                await close()

    async def _try(self, way: W) -> R:
        return await self._attempt(way)


async def _next(ways: AsyncIterator[W]) -> W | None:
    return await anext(ways, None)


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    # What a cancelled attempt holds is let go of before anybody else goes on.
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
