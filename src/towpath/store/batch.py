"""Changes that are not in the file yet: collected on the event loop, written by the writer thread.

A batch is owned by the loop until it is handed to the writer, and comes back to the loop when it could not be
written. All of it is bounded, because a full disk may keep it here for days.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

from towpath.store.schema import KEPT

__all__ = ["MAX_PEERS", "MAX_VALUE", "Batch", "Value", "check_row"]

MAX_PEERS: Final = 10_000
MAX_VALUE: Final = 64 * 1024
"""Bytes of one text or blob of a row."""
_MAX_MINUTES: Final = 2_880
_MAX_WAITING_EVENTS: Final = 500

Event = tuple[float, str, str, str]
"""When, kind, sentence, facts as JSON."""
Value = int | float | str | bytes | None


def check_row(table: str, key: tuple[Value, ...], values: tuple[Value, ...] | None) -> None:
    """ValueError for a row that cannot be written: in the file it would hold up everything that is told beside it."""
    if len(key) != KEPT.get(table):
        raise ValueError(f"{table!r} is no table that rows are kept in by {len(key)} columns")
    for value in (*key, *(values or ())):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{table}: {value} is more than SQLite's integers hold")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{table}: {value} is no number that can be kept")
        if isinstance(value, str | bytes) and len(value if isinstance(value, bytes) else value.encode()) > MAX_VALUE:
            raise ValueError(f"{table}: a value of more than {MAX_VALUE} bytes")


class Batch:
    """What `Store` was told since the last flush."""

    __slots__ = ("durable", "events", "minutes", "peers", "rows", "state", "waiters")

    def __init__(self) -> None:
        self.minutes: dict[int, dict[str, int]] = {}
        self.peers: dict[str, list[int]] = {}  # received, sent, circuits, last seen
        self.state: dict[str, str | None] = {}  # JSON; None removes it
        self.events: deque[Event] = deque(maxlen=_MAX_WAITING_EVENTS)
        self.rows: dict[tuple[str, tuple[Value, ...]], tuple[Value, ...] | None] = {}  # None removes it
        self.durable = False  # state and rows must survive a power cut
        self.waiters: list[asyncio.Future[bool]] = []

    def __bool__(self) -> bool:
        return bool(self.minutes or self.peers or self.state or self.rows or self.events or self.waiters)

    def count(self, minute: int, amounts: dict[str, int]) -> None:
        """Adds to the counters of a minute (Unix time, a multiple of 60)."""
        bucket = self.minutes.get(minute)
        if bucket is None:
            self.minutes[minute] = dict(amounts)
            if len(self.minutes) > _MAX_MINUTES:
                # No amount is lost, only when exactly it was.
                oldest = self.minutes.pop(min(self.minutes))
                self.count(min(self.minutes), oldest)
            return
        for name, amount in amounts.items():
            bucket[name] = bucket.get(name, 0) + amount

    def count_peer(self, peer_id: str, received: int, sent: int, circuits: int, now: int) -> None:
        """Adds to what one peer had."""
        known = self.peers.pop(peer_id, None)
        if known is not None:
            received, sent, circuits, now = (
                received + known[0],
                sent + known[1],
                circuits + known[2],
                max(now, known[3]),
            )
        elif len(self.peers) >= MAX_PEERS:
            del self.peers[next(iter(self.peers))]
        self.peers[peer_id] = [received, sent, circuits, now]

    def absorb(self, later: Batch) -> None:
        """Takes what came after it, so that both are written together."""
        for minute, amounts in later.minutes.items():
            self.count(minute, amounts)
        for peer_id, numbers in later.peers.items():
            self.count_peer(peer_id, *numbers)
        self.state |= later.state
        self.rows |= later.rows
        self.events.extend(later.events)
        self.durable = self.durable or later.durable
        self.waiters += later.waiters
