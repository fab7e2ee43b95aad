"""What the owner is told while a node runs: the last events, and subscriptions to those that come.

Belongs to the loop's thread. Publishing never waits: who reads too slowly loses the oldest, and is told how many.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

__all__ = ["Event", "EventHub"]

Event = dict[str, Any]
"""`id` (grows, over restarts too), `at` (Unix time), `kind` (a stable word), `sentence` (for people), facts by name."""

KEPT: Final = 256
"""How many past events a hub remembers, and how many a slow subscriber may be behind."""


class EventHub:
    """Where events are published and followed.

    `recorded(kind, sentence, facts)`, if given, takes every event for good (the store).
    """

    def __init__(self, recorded: Callable[[str, str, dict[str, Any]], None] | None = None) -> None:
        self.recorded = recorded
        self._past: deque[Event] = deque(maxlen=KEPT)
        self._followers: set[_Follower] = set()
        self._last_id = 0

    def publish(self, kind: str, sentence: str, **facts: Any) -> None:
        """Tells everybody. Facts are JSON values."""
        now = time.time()
        # Milliseconds, so that one who comes back with an id of the last run is told what happened since.
        self._last_id = max(self._last_id + 1, int(now * 1000))
        event: Event = {"id": self._last_id, "at": round(now, 3), "kind": kind, "sentence": sentence, **facts}
        self._past.append(event)
        if self.recorded is not None:
            self.recorded(kind, sentence, facts)
        for follower in self._followers:
            follower.put(event)

    def recent(self, limit: int = KEPT) -> list[Event]:
        """The last events, oldest first."""
        return list(self._past)[-limit:] if limit > 0 else []

    async def subscribe(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events from the first step of the iteration on, without end; an event of kind `missed` stands for lost ones.

        With `after` the remembered events of a higher id come first, none twice and none left out.
        """
        follower = _Follower()
        for event in () if after is None else list(self._past):
            if event["id"] > after:
                follower.put(event)
        self._followers.add(follower)
        try:
            while True:
                yield await follower.next()
        finally:
            self._followers.discard(follower)


class _Follower:
    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._missed = 0
        self._some = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._waiting) == KEPT:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append(event)
        self._some.set()

    async def next(self) -> Event:
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            sentence = f"{missed} events came too fast to be told"
            first = self._waiting[0]
            return {"id": first["id"] - 1, "at": first["at"], "kind": "missed", "sentence": sentence, "missed": missed}
        return self._waiting.popleft()
