"""How our relay is found: its server in the DHT, its advertisement, its clients' records, its word to neighbours.

Everything here speaks as the relay identity, which is public. What is wanted is looked at anew whenever something that
decides it changed; carrying it out takes its time in one task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from towpath.addresses import parse
from towpath.client.dialing import Dialer
from towpath.discovery.advertising import Advertiser
from towpath.discovery.adverts import AdvertFacts
from towpath.discovery.answers import InDht, KeptAnswers, Sought
from towpath.discovery.candidates import usable_addresses
from towpath.discovery.peer_records import HeldRecords
from towpath.errors import DialError, TowpathError
from towpath.log import get_logger
from towpath.waiting import doubled

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.discovery.dht import Dht
    from towpath.discovery.mdns import Mdns
    from towpath.store import Store

__all__ = ["DhtDialer", "DhtSlot", "Presence", "Wanted"]

_CACHE: Final = "dht"
_JOIN_AGAIN_S: Final = (5.0, 60.0)
_log = get_logger("discovery")


class DhtSlot:
    """The DHT there is at the moment, for those who only ask and publish. TowpathError while there is none.

    Where none is `wanted()`, what is published goes nowhere, and that is no error.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self.dht: Dht | None = None
        self._wanted = wanted

    def _there(self) -> Dht:
        if self.dht is None:
            raise TowpathError("this node has no DHT of its own now")
        return self.dht

    async def put(self, key: str, value: bytes) -> int | None:
        """See Dht; None: it went nowhere."""
        return await self._there().put(key, value) if self.dht is not None or self._wanted() else None

    async def provide(self, key: bytes) -> int | None:
        """See Dht; None: it went nowhere."""
        return await self._there().provide(key) if self.dht is not None or self._wanted() else None

    async def get(self, key: str) -> bytes | None:
        """See Dht."""
        return await self._there().get(key)

    async def gossip(self, message: bytes) -> int | None:
        """See Dht; None: it went nowhere."""
        return await self._there().gossip(message) if self.dht is not None else None

    async def providers(self, key: bytes, most: int) -> list[tuple[bytes, list[bytes]]]:
        """See Dht."""
        return await self._there().providers(key, most)


class DhtDialer:
    """Dials for a DHT: addresses that `may_dial(peer_id, host)`, nothing else, whatever strangers say."""

    def __init__(self, endpoint: Endpoint, may_dial: Callable[[bytes, str], bool]) -> None:
        self._dialer = Dialer(endpoint)
        self._may_dial = may_dial

    async def __call__(self, peer_id: bytes, addresses: Sequence[bytes]) -> Session:
        """A session with this peer; DialError when none of the addresses may be dialed."""
        usable = usable_addresses(peer_id, addresses, lambda host: self._may_dial(peer_id, host))
        if not usable:
            raise DialError("no address of the peer may be dialed")
        return await self._dialer.connect(*map(parse, usable))


class Wanted:
    """What is wanted at a moment: a DHT server (and of the public DHT, too), an announcement at these addresses."""

    __slots__ = ("announce", "dht", "public")

    def __init__(self, dht: bool, public: bool, announce: tuple[str, ...]) -> None:
        self.dht = dht
        self.public = public
        self.announce = announce


class Presence:
    """Of one relay identity, between `start` and `stop`. `wanted()` and `facts()` answer at once.

    `contacts()` are multiaddrs with /p2p/ID to join the DHT at; by `for_neighbours` look-ups of `neighbours` are
    answered.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        seed: bytes,
        store: Store,
        *,
        wanted: Callable[[], Wanted],
        facts: Callable[[], AdvertFacts],
        contacts: Callable[[], Sequence[str]],
        may_dial: Callable[[bytes, str], bool],
        mdns: Callable[[], Mdns],
        told: Callable[[str, str], None],
        for_neighbours: Sought,
    ) -> None:
        self.slot = DhtSlot(lambda: wanted().dht)
        self.held = HeldRecords(endpoint.peer_id, self._reserved, self.slot)
        self.advertiser = Advertiser(facts, self.slot, seed, store)
        self.answers = KeptAnswers(InDht(self.slot), self.held, lambda: self.advertiser.raw)
        self.neighbours = KeptAnswers(for_neighbours, self.held, lambda: self.advertiser.raw)
        """Kept apart, so that nobody else is told what neighbours asked for."""
        self.heard: Callable[[bytes, bytes], None] = lambda data, neighbour: None
        """Called with each message that the gossip brings."""
        self._endpoint = endpoint
        self._store = store
        self._wanted = wanted
        self._contacts = contacts
        self._dial = DhtDialer(endpoint, may_dial)
        self._mdns = mdns
        self._told = told
        self._public = False
        self._announced: tuple[str, ...] = ()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on."""
        self._task = asyncio.create_task(self._run(), name="relay presence")
        self.advertiser.start()

    def changed(self) -> None:
        """Something that decides is different."""
        self._changed.set()
        self.advertiser.changed()

    async def stop(self) -> None:
        """Withdraws the advertisement and ends everything."""
        if self._task is None:
            return
        await self.advertiser.stop()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        await self.answers.close()
        await self.neighbours.close()
        await self.held.close()
        await self._without_dht()

    def _reserved(self, peer_id: bytes) -> bool:
        relay = self._endpoint.relay
        return relay is not None and peer_id in relay.reservations

    async def _run(self) -> None:
        failed = 0
        while True:
            self._changed.clear()
            wanted = self._wanted()
            await self._follow_mdns(wanted)
            await self._follow_dht(wanted)
            wait: float | None = None
            if self.slot.dht is not None and not self.slot.dht.size:
                wait = doubled(*_JOIN_AGAIN_S, failed)
                failed += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def _follow_mdns(self, wanted: Wanted) -> None:
        if wanted.announce != self._announced:
            try:
                await self._mdns().announce(wanted.announce)
                self._announced = wanted.announce
            except OSError as error:
                _log.info("not_announced", error=str(error))

    async def _follow_dht(self, wanted: Wanted) -> None:
        if self.slot.dht is not None and (not wanted.dht or wanted.public is not self._public):
            await self._without_dht()
        if wanted.dht and self.slot.dht is None:
            # Loaded by who needs it.
            from towpath.discovery.dht import Dht

            kept = self._store.get(_CACHE)
            cache = None
            with contextlib.suppress(ValueError):
                cache = bytes.fromhex(kept) if isinstance(kept, str) else None
            dht = Dht(
                self._endpoint,
                dial=self._dial,
                serve=True,
                public=wanted.public,
                heard=lambda data, neighbour: self.heard(data, neighbour),
                cache=cache,
                told=self._told,
            )
            try:
                await dht.start()
            except OSError as error:
                self._told("dht.failed", f"the DHT's process cannot be started: {error}")
                return
            self.slot.dht, self._public = dht, wanted.public
            # What could not be published while there was none.
            self.advertiser.changed()
        if self.slot.dht is not None and not self.slot.dht.size:
            await self._join(self.slot.dht)

    async def _join(self, dht: Dht) -> None:
        contacts = list(self._contacts())
        if not contacts:
            return
        try:
            answered = await dht.join(contacts)
        except TowpathError as error:
            _log.info("dht_not_joined", error=str(error))
            return
        if answered:
            _log.info("dht_joined", answered=answered)
            self.advertiser.republish()
            self.held.republish()
            self.answers.prepare()

    async def _without_dht(self) -> None:
        dht, self.slot.dht = self.slot.dht, None
        if dht is not None:
            self._store.put(_CACHE, dht.snapshot().hex())
            await dht.stop()
