"""The event queue: simulated time, one random generator, and a count of what happened. Knows nothing of nodes."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Engine"]

_LOOK: Final = 8192
"""Events between two looks at whether somebody watches, or wants it to end."""


class Engine:
    """Runs events in the order of their times; those of one time in the order in which they were asked for.

    Equal seeds and equal calls give equal runs, on every machine. Times are Unix seconds, `begin` is the first.
    """

    __slots__ = ("_heap", "_number", "events", "now", "rng", "stopped")

    def __init__(self, seed: int | str, begin: float = 0.0) -> None:
        self.now = begin
        self.events = 0
        self.rng = random.Random(seed)
        self.stopped = False
        """True ends `run` after the present event; what was computed stays."""
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None:
        """Does it then; at once, if that is past."""
        self._number += 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._number, do, args))

    def after(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        """Does it so many seconds from now."""
        self._number += 1
        heapq.heappush(self._heap, (self.now + seconds, self._number, do, args))

    def stop(self) -> None:
        """Ends `run` after the present event."""
        self.stopped = True

    def run(self, until: float, watch: Callable[[float, int], None] | None = None) -> bool:
        """Everything up to and including that time; True when it came so far, False when it was stopped.

        `watch(now, events)` is called every few thousand events.
        """
        heap, pop = self._heap, heapq.heappop
        look_at = self.events + _LOOK
        while heap and heap[0][0] <= until and not self.stopped:
            self.now, _, do, args = pop(heap)
            self.events += 1
            do(*args)
            if self.events == look_at:
                look_at += _LOOK
                if watch is not None:
                    watch(self.now, self.events)
        if self.stopped:
            return False
        self.now = max(self.now, until)
        return True

    @property
    def waiting(self) -> int:
        """How many events are still to come."""
        return len(self._heap)
