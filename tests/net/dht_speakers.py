"""DHT nodes on loopback, each an endpoint with its process, and the records that they publish."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from towpath import addresses
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath._native.session import Session
from towpath.discovery.dht import Dht
from towpath.discovery.records import Advertisement, Capacity, sign
from towpath.errors import DhtError, DialError


@dataclass
class Speaker:
    """One endpoint and its DHT."""

    endpoint: Endpoint
    seed: bytes
    dht: Dht
    port: int
    told: list[tuple[str, str]] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    """What the gossip brought, when it takes part in that."""

    @property
    def address(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{addresses.peer_id_to_text(self.endpoint.peer_id)}"

    def advertisement(self, seq: int = 1) -> tuple[str, bytes]:
        """The DHT key of its advertisement, and one."""
        now = int(time.time())
        record = Advertisement(
            v=1,
            peer_id=self.endpoint.peer_id,
            addrs=(addresses.to_bytes(f"/ip4/127.0.0.1/tcp/{self.port or 4001}"),),
            mode="dedicated",
            capacity=Capacity(),
            load=0,
            price=0,
            last_seen=now,
            seq=seq,
            not_after=now + 3600,
        )
        return f"/relays/available/{addresses.peer_id_to_text(record.peer_id)}", sign(record, self.seed)


@contextlib.asynccontextmanager
async def speaker(
    reactor: Reactor, *, serve: bool = True, public: bool = False, gossip: bool = False, cache: bytes | None = None
) -> AsyncIterator[Speaker]:
    """A server, or a client that listens nowhere."""
    seed = os.urandom(32)
    endpoint = Endpoint(reactor, seed)
    endpoint.ask_identify = True

    async def dial(peer_id: bytes, places: list[bytes]) -> Session:
        for place in places:
            where = addresses.parse(addresses.to_text(place))
            with contextlib.suppress(Exception):
                return await endpoint.dial(where.host, where.port, peer_id)
        raise DialError("no connection")

    told: list[tuple[str, str]] = []
    heard: list[bytes] = []
    dht = Dht(
        endpoint,
        dial=dial,
        serve=serve,
        public=public,
        heard=(lambda data, neighbour: heard.append(data)) if gossip else None,
        cache=cache,
        told=lambda kind, sentence: told.append((kind, sentence)),
    )
    port = 0
    if serve:
        port = endpoint.listen("127.0.0.1", 0)
        endpoint.set_addresses([addresses.to_bytes(f"/ip4/127.0.0.1/tcp/{port}")])
    await dht.start()
    try:
        yield Speaker(endpoint, seed, dht, port, told, heard)
    finally:
        await dht.stop()
        endpoint.close()


@contextlib.asynccontextmanager
async def reactors() -> AsyncIterator[Reactor]:
    reactor = Reactor(asyncio.get_running_loop())
    try:
        yield reactor
    finally:
        await asyncio.sleep(0)
        reactor.close()


@contextlib.asynccontextmanager
async def network(size: int, **options: bool) -> AsyncIterator[list[Speaker]]:
    """Servers that have found one another through the first."""
    async with reactors() as reactor, AsyncExitStack() as stack:
        speakers = await asyncio.gather(*(stack.enter_async_context(speaker(reactor, **options)) for _ in range(size)))
        await asyncio.gather(*(joined(one, speakers[0]) for one in speakers[1:]))
        yield list(speakers)


async def joined(one: Speaker, at: Speaker) -> None:
    """Returns once `one` has joined at `at`; its process may take long to begin on a busy machine."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(DhtError):
                if await one.dht.join([at.address]):
                    return
