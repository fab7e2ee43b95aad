"""Standing reservations: at every relay of a list, now or as soon as it takes us.

A reservation that was made once is kept by the node itself; what stands here is the asking until then. Used by a node
with bootstrap relays and by `share`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

from towpath.client.reservations import back_off
from towpath.errors import NoRelaysAvailable, TowpathError

__all__ = ["Standing"]

GRACE: Final = 1.0
"""Seconds that other relays get to take us as well, once the first one did."""


class Standing:
    """Asks each of `relays` through `reserve` until it takes us, while the context lasts.

    `told(relay)` is called for each one that does.
    """

    def __init__(
        self,
        reserve: Callable[[str], Awaitable[object]],
        relays: Sequence[str],
        *,
        told: Callable[[str], None] = lambda _: None,
        wait: Callable[[int], float] = lambda failures: back_off(failures, random.random()),
    ) -> None:
        self.held: list[str] = []
        """Relays that took us, in the order in which they did."""
        self.failures: dict[str, str] = {}
        """Why a relay did not take us when it was asked last."""
        self._reserve = reserve
        self._relays = list(dict.fromkeys(relays))
        self._told = told
        self._wait = wait
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask(relay)) for relay in self._relays]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def some(self, timeout: float) -> list[str]:  # noqa: ASYNC109 - its end is an answer, not an error
        """All relays, those that took us first; returns when each one answered, or shortly after one took us.

        NoRelaysAvailable, with each relay's answer, when none took us within `timeout` seconds.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        graced = False
        while len(self.held) + len(self.failures) < len(self._relays):
            if self.held and not graced:
                graced, until = True, min(until, loop.time() + GRACE)
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                break
            self._changed.clear()
        if not self.held:
            raise NoRelaysAvailable([f"{relay}: {self.failures.get(relay, 'no answer')}" for relay in self._relays])
        return [*self.held, *(relay for relay in self._relays if relay not in self.held)]

    async def _ask(self, relay: str) -> None:
        failed = 0
        while True:
            try:
                await self._reserve(relay)
            except (TowpathError, OSError) as e:
                failed += 1
                self.failures[relay] = str(e)
                self._changed.set()
                await asyncio.sleep(self._wait(failed))
            else:
                self.failures.pop(relay, None)
                self.held.append(relay)
                self._changed.set()
                self._told(relay)
                return
