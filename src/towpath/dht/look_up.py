"""Iterative look-ups: who is closest to a key, asked side by side, with patience for nobody in particular."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio
from libp2p.kad_dht.utils import sort_peer_ids_by_distance
from libp2p.peer.id import ID

from towpath.dht.host import Host

__all__ = ["AT_ONCE", "CLOSEST", "MOST_QUERIES", "SETTLE_S", "Enough", "LookUp", "Question"]

AT_ONCE: Final = 10
MOST_QUERIES: Final = 80
"""Of one look-up, whatever peers name."""
SETTLE_S: Final = 0.7
"""After the closest have answered, how long others are waited for; also after a first value or provider."""
CLOSEST: Final = 3

Question = Callable[[ID, bytes], Awaitable[list[ID]]]
"""To a server, about a key; whom it named."""


class LookUp:
    """One look-up: `run` once."""

    def __init__(self, host: Host, key: bytes, count: int, ask: Question, settle_s: float) -> None:
        self._settle_s = settle_s
        self._host = host
        self._key = key
        self._count = count
        self._ask = ask
        self._begun = trio.current_time()
        self._heard: set[ID] = {host.get_id()}
        self._waiting: list[ID] = []
        self._under_way: set[ID] = set()
        self._answered: list[ID] = []
        self._left = MOST_QUERIES
        self._changed = trio.Event()

    async def run(self, known: list[ID]) -> list[ID]:
        """Begins with the peers known; the `count` closest of those that answered, the closest first."""
        self._hear(known)
        async with trio.open_nursery() as nursery:
            while True:
                while self._waiting and len(self._under_way) < AT_ONCE and self._left and self._wanted():
                    peer = self._waiting.pop(0)
                    self._under_way.add(peer)
                    self._left -= 1
                    nursery.start_soon(self._query, peer)
                if not self._under_way:
                    break
                changed = self._changed = trio.Event()
                with trio.move_on_after(self._settle_s if self._settled() else float("inf")) as patience:
                    await changed.wait()
                if patience.cancelled_caught:
                    break
            nursery.cancel_scope.cancel()
        return self._answered[: self._count]

    def _hear(self, peers: list[ID]) -> None:
        new = [peer for peer in dict.fromkeys(peers) if peer not in self._heard and not self._host.failed_lately(peer)]
        self._heard.update(new)
        self._waiting = sort_peer_ids_by_distance(self._key, [*self._waiting, *new])[: 4 * self._count]

    def _wanted(self) -> bool:
        # Is the next one closer than the farthest that is to be found?
        if len(self._answered) < self._count:
            return True
        last = self._answered[self._count - 1]
        return sort_peer_ids_by_distance(self._key, [self._waiting[0], last])[0] != last

    def _settled(self) -> bool:
        # Have the closest of all that were heard of answered?
        if len(self._answered) < CLOSEST:
            return False
        pending = [*self._under_way, *self._waiting[:1]]
        best = sort_peer_ids_by_distance(self._key, [*self._answered[:CLOSEST], *pending])[:CLOSEST]
        return best == self._answered[:CLOSEST] or not self._waiting

    async def _query(self, peer: ID) -> None:
        try:
            found = await self._ask(peer, self._key)
            if self._host.answered_at(peer) >= self._begun:
                self._answered = sort_peer_ids_by_distance(self._key, [*self._answered, peer])
            self._hear(found)
        finally:
            self._under_way.discard(peer)
            self._changed.set()


class Enough:
    """When to stop looking: at once with `wanted`, and SETTLE_S after the first."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._first = float("inf")
        self.scope = trio.CancelScope()

    def have(self, count: int) -> None:
        """So many were found by now."""
        if count and self._first == float("inf"):
            self._first = trio.current_time()
            self.scope.deadline = self._first + SETTLE_S
        if count >= self._wanted:
            self.scope.cancel()
