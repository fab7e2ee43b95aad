"""What an AutoNAT v2 server does for whom: which address of a request it dials, what that costs, and how often.

Pure: the clock and chance are passed in. A server is a stranger's hand on the trigger of connections from this
machine: it dials public addresses only, one for each request, makes the client pay for one that is not its own, and
does so seldom.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from towpath.internet import prefix_of
from towpath.reachability.networks import Ip, Place, place_of

__all__ = ["PAY_MAX", "PAY_MIN", "REFUSED", "REJECTED", "Grant", "Limits", "Serving"]

REJECTED: Final = 100
"""E_REQUEST_REJECTED: too many requests."""
REFUSED: Final = 101
"""E_DIAL_REFUSED: none of the addresses can be dialed."""
PAY_MIN: Final = 30_000
PAY_MAX: Final = 100_000
"""Bytes, of the specification."""
_WAIT_MS: Final = 3000
"""A paid dial waits up to so long, so that many servers asked at once don't dial a victim at once."""
_MINUTE: Final = 60.0


class Limits(NamedTuple):
    """How much is done for others: requests a minute, and at once."""

    all: int = 60
    paid: int = 12
    of_network: int = 12
    at_once: int = 16
    of_peer_at_once: int = 2


class Grant(NamedTuple):
    """Dial this address of the request; the order is the native side's."""

    which: int
    host: str
    port: int
    owed: int
    """Bytes that the client pays first."""
    wait_ms: int


class Serving:
    """Decides about requests. `public` tells which addresses may be dialed, `routed` to which there is a way."""

    def __init__(
        self,
        public: Callable[[Ip], bool],
        routed: Callable[[Place], bool],
        chance: random.Random,
        clock: Callable[[], float],
        limits: Limits | None = None,
    ) -> None:
        self.public = public
        self._routed = routed
        self._chance = chance
        self._clock = clock
        self._limits = limits or Limits()
        self._taken: deque[tuple[float, bytes]] = deque()
        self._paid: deque[float] = deque()
        self._now: Counter[bytes] = Counter()

    def decide(self, peer_id: bytes, remote: bytes, addresses: Sequence[bytes]) -> int | Grant:
        """What becomes of a request from the peer at `remote`; a Grant holds until `done`."""
        now = self._clock()
        self._forget(now)
        origin = place_of(remote)
        limits = self._limits
        if origin is None or self._now.total() >= limits.at_once or self._now[peer_id] >= limits.of_peer_at_once:
            return REJECTED
        network = prefix_of(origin.ip)
        if len(self._taken) >= limits.all or sum(n == network for _, n in self._taken) >= limits.of_network:
            return REJECTED
        self._taken.append((now, network))
        chosen = self._choose(peer_id, addresses)
        if chosen is None:
            return REFUSED
        index, place = chosen
        owed = wait = 0
        if place.ip != origin.ip:
            if len(self._paid) >= limits.paid:
                return REJECTED
            self._paid.append(now)
            owed = self._chance.randint(PAY_MIN, PAY_MAX)
            wait = self._chance.randint(0, _WAIT_MS)
        self._now[peer_id] += 1
        return Grant(index, str(place.ip), place.port, owed, wait)

    def done(self, peer_id: bytes) -> None:
        """What was granted to a peer has ended."""
        self._now[peer_id] -= 1
        if self._now[peer_id] <= 0:
            del self._now[peer_id]

    def _choose(self, peer_id: bytes, addresses: Sequence[bytes]) -> tuple[int, Place] | None:
        for index, address in enumerate(addresses):
            place = place_of(address, peer_id)
            if place is not None and self.public(place.ip) and self._routed(place):
                return index, place
        return None

    def _forget(self, now: float) -> None:
        while self._taken and now - self._taken[0][0] >= _MINUTE:
            self._taken.popleft()
        while self._paid and now - self._paid[0] >= _MINUTE:
            self._paid.popleft()
