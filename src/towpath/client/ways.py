"""Ways to a peer: through which relays it is tried, and in which order. No I/O but what the guide does.

A relay that the peer itself named is sure to know it; one we merely know costs a round trip to be told no.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from towpath.addresses import Address, parse, peer_id_to_text
from towpath.client.guide import Guide, RelayOffer

__all__ = ["GUESSES", "Plans", "Way", "way_of"]

GUESSES: Final = 4
"""Relays that are asked for a peer though nothing says that it is there, besides those we are connected to."""
_RECORD_FIRST_S: Final = 0.25
"""What the look-up of the peer's record gets before relays that are only connected are tried."""


class Way(NamedTuple):
    """Through one relay, or with `relay_id` None directly; `addresses` are that relay's, or the peer's own.

    `sure`: the peer itself, or whoever dials it, says that it is there.
    """

    relay_id: bytes | None
    addresses: tuple[Address, ...]
    bootstrap: bool = False
    sure: bool = True

    def __str__(self) -> str:
        if self.relay_id is None:
            return "directly"
        return str(self.addresses[0]) if self.addresses else peer_id_to_text(self.relay_id)


def way_of(relay: RelayOffer, *, sure: bool = True) -> Way:
    """The way through a relay."""
    return Way(relay.offer.relay_id, tuple(map(parse, relay.addresses)), relay.offer.bootstrap, sure)


class Plans:
    """The ways to one peer, in tiers: through relays of users, through bootstrap relays, through relays guessed at.

    `named`: relays that are known to lead there; `connected`: those we have a connection to; `last(way)`: is it to be
    tried after the others?
    """

    def __init__(
        self,
        guide: Guide,
        target: bytes,
        named: Iterable[Way],
        connected: Callable[[], Sequence[Way]],
        last: Callable[[Way], bool],
    ) -> None:
        self._guide = guide
        self._named = list(named)
        self._connected = connected
        self._last = last
        self._given: set[bytes | None] = set()
        self._looking = asyncio.ensure_future(self._look_up(target))
        self.found = False
        """Has the peer's record been found? Then it is a towpath node."""

    async def close(self) -> None:
        """Ends the look-up."""
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)

    async def known(self, seconds: float) -> bool:
        """Waits for the record so long; has it been found?"""
        await asyncio.wait([self._looking], timeout=seconds)
        return self.found

    async def users(self) -> AsyncIterator[Way]:
        """The named relays and those of the record; where there is none, those connected and the ranked ones."""
        kept_back: list[Way] = []
        for way in self._fresh(self._named, bootstrap=False):
            if self._last(way):
                kept_back.append(way)
            else:
                yield way
        await asyncio.wait([self._looking], timeout=_RECORD_FIRST_S)
        for guess in (False, True):
            if guess and self.found:
                break
            ways = [*self._named, *(self._connected() if guess else ())]
            for way in sorted([*kept_back, *self._fresh(ways, bootstrap=False)], key=self._last):
                yield way
            kept_back = []
        await asyncio.wait([self._looking])
        for way in sorted(self._fresh(self._named, bootstrap=False), key=self._last):
            yield way
        if not self.found:
            for way in self._guesses():
                yield way

    async def bootstrap(self) -> AsyncIterator[Way]:
        """Bootstrap relays, those first that are known to lead there."""
        known = [way_of(relay, sure=False) for relay in self._guide.offers() if relay.offer.bootstrap]
        for way in sorted(self._fresh([*self._named, *self._connected(), *known], bootstrap=True), key=self._last):
            yield way
        await asyncio.wait([self._looking])
        for way in self._fresh(self._named, bootstrap=True):
            yield way

    async def guesses(self) -> AsyncIterator[Way]:
        """What is left to try: the record may be older than the peer's last move."""
        for way in sorted(self._fresh(self._connected(), bootstrap=False), key=self._last):
            yield way
        for way in self._guesses():
            yield way

    def _guesses(self) -> list[Way]:
        ranked = [way_of(relay, sure=False) for relay in self._guide.offers() if not relay.offer.bootstrap]
        fresh = [way for way in ranked if way.relay_id not in self._given]
        return self._fresh(fresh[:GUESSES], bootstrap=False)

    def _fresh(self, ways: Iterable[Way], *, bootstrap: bool) -> list[Way]:
        # Those not given before, whose turn it is.
        found = []
        for way in ways:
            if way.bootstrap is bootstrap and way.relay_id not in self._given:
                self._given.add(way.relay_id)
                found.append(way)
        return found

    async def _look_up(self, target: bytes) -> None:
        relays = await self._guide.relays_of(target)
        if relays is not None:
            self.found = True
            self._named += [way_of(relay) for relay in relays]
