"""Neighbours' questions passed on: a relay that has no DHT of its own, as it cannot be reached from outside, asks
relays that have one.

A newcomer whose bootstrap relays are all gone finds such a relay by mDNS, and through it everybody else. The question
goes out as ours, so nobody learns who asked. It goes from a private address to public ones only: who is asked never
passes it on again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable
from typing import TYPE_CHECKING, Final

from towpath.addresses import parse
from towpath.client.guide import RelayOffer
from towpath.errors import TowpathError
from towpath.internet import carries_ipv4
from towpath.relaystream.answering import TooManyAsk
from towpath.relaystream.framing import Pace

if TYPE_CHECKING:
    from towpath.discovery.lookups import Lookups
    from towpath.discovery.records import Advertisement, PeerRecord

__all__ = ["PassedOn", "leads_out", "may_pass_on"]

AT_ONCE: Final = 12
PER_S: Final = 0.5
"""Questions of all neighbours together: as many as a relay takes from one client, which we are to those we ask."""
_LONGEST_S: Final = 5.0
_MOST_KEPT: Final = 256


def may_pass_on(asker: str, public: Container[str]) -> bool:
    """Is this IP address a neighbour's: neither the Internet's nor one that an address of the Internet may be in?"""
    try:
        ip = ipaddress.ip_address(asker)
    except ValueError:
        return False
    return asker not in public and not carries_ipv4(ip)


def leads_out(offers: Iterable[RelayOffer], public: Container[str]) -> list[RelayOffer]:
    """The relays that have public addresses, with these alone."""
    found = []
    for relay in offers:
        addresses = tuple(text for text in relay.addresses if parse(text).host in public)
        if addresses:
            found.append(RelayOffer(relay.offer, addresses))
    return found


class PassedOn:
    """See answers.Sought: what relays answer us. `ready()` returns when they can be asked, or nobody can.

    When nobody answers, a record that was found before is given while it is current.
    """

    def __init__(
        self,
        lookups: Lookups,
        ready: Callable[[], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookups = lookups
        self._ready = ready
        self._clock = clock
        self._monotonic = monotonic
        self._pace = Pace(AT_ONCE, PER_S)
        self._found: dict[bytes, tuple[bytes, PeerRecord]] = {}

    async def record(self, peer_id: bytes) -> bytes | None:
        """See Sought. TooManyAsk when too much was asked lately."""
        before = self._found.get(peer_id)
        try:
            async with asyncio.timeout(_LONGEST_S):
                await self._may_ask()
                found = await self._lookups.record(peer_id)
        except (TowpathError, TimeoutError):
            if before is None or self._clock() > before[1].not_after:
                raise
            return before[0]
        self._found.pop(peer_id, None)
        if found is None:
            return None
        self._found[peer_id] = found
        while len(self._found) > _MOST_KEPT:
            del self._found[next(iter(self._found))]
        return found[0]

    async def relays(self, most: int) -> AsyncGenerator[tuple[bytes, Advertisement], None]:
        """See Sought."""
        await self._may_ask()
        async with contextlib.aclosing(self._lookups.relays(most)) as found:
            async for one in found:
                yield one

    async def _may_ask(self) -> None:
        if not self._pace.take(self._monotonic()):
            raise TooManyAsk("too much was asked for neighbours; ask again in a few seconds")
        await self._ready()
