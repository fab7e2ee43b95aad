"""How much of what this process moves is its owner's own: everything but what the relay's sockets move."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from towpath._native.budget import Budget
    from towpath._native.reactor import Reactor
    from towpath.store import Store

__all__ = ["OwnTraffic", "smoothed"]

_TICK_S: Final = 1.0
_MEMORY_S: Final = 3.0
"""How long a burst shows in the rate."""


def smoothed(rate: float, moved: int, seconds: float) -> float:
    """The rate, in bytes a second, after `moved` bytes more in so many seconds."""
    if seconds <= 0:
        return rate
    kept = math.exp(-seconds / _MEMORY_S)
    found = rate * kept + moved / seconds * (1 - kept)
    # Less than a byte in a minute is none.
    return found if found > 1 / 60 else 0.0


class OwnTraffic:
    """Counts into the store as `own_received` and `own_sent` between `start` and `stop`. On the loop."""

    def __init__(self, reactor: Reactor, relay: Budget, store: Store) -> None:
        self._reactor = reactor
        self._relay = relay
        self._store = store
        self._counted = (0, 0)
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.rate: tuple[float, float] = (0.0, 0.0)
        """Bytes received and sent each second, smoothed."""

    def start(self) -> None:
        """Begins to count."""
        self._counted = self._moved()
        self._at = asyncio.get_running_loop().time()
        self._tick()

    def stop(self) -> None:
        """Counts what is left to count."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._count()

    def _tick(self) -> None:
        self._count()
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _moved(self) -> tuple[int, int]:
        return self._reactor.bytes_read - self._relay.received, self._reactor.bytes_sent - self._relay.sent

    def _count(self) -> None:
        now, moved = asyncio.get_running_loop().time(), self._moved()
        # The two counters do not grow in the same instant.
        received, sent = (max(0, at - before) for at, before in zip(moved, self._counted, strict=True))
        self._counted = (self._counted[0] + received, self._counted[1] + sent)
        elapsed, self._at = now - self._at, now
        self.rate = (smoothed(self.rate[0], received, elapsed), smoothed(self.rate[1], sent, elapsed))
        if received or sent:
            self._store.count(own_received=received, own_sent=sent)
