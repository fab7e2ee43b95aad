"""Records published in a DHT of real processes, read back out of its shards, and answered on a control stream."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.net.dht_speakers import Speaker, network
from tests.unit.control_pair import Policy
from tests.unit.nodes import until
from towpath import addresses
from towpath._native.endpoint import Endpoint
from towpath.client.relaying import request_reservation
from towpath.discovery.advertising import Advertiser
from towpath.discovery.adverts import AdvertFacts
from towpath.discovery.answers import InDht, KeptAnswers
from towpath.discovery.lookups import ControlRelay, Lookups
from towpath.discovery.peer_records import HeldRecords, Place, RecordKeeper
from towpath.discovery.reading import read_shards
from towpath.discovery.records import read_peer_record
from towpath.identity import Identity
from towpath.relaystream.client import ClientSide
from towpath.relaystream.relay import RelaySide
from towpath.store import Store

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def advertised(relay: Speaker) -> AsyncIterator[Advertiser]:
    """What an advertiser says of this relay."""
    store = await Store.open(None)
    facts = AdvertFacts(True, (addresses.to_bytes(f"/ip4/127.0.0.1/tcp/{relay.port}"),))
    advertiser = Advertiser(lambda: facts, relay.dht, relay.seed, store)
    advertiser.start()
    try:
        await until(lambda: advertiser.said is not None and advertiser._published, 30)
        yield advertiser
    finally:
        await advertiser.stop()
        await store.close()


async def test_relays_that_advertise_are_found_in_the_shards_until_they_withdraw() -> None:
    async with network(3) as (a, b, reader):
        async with advertised(a) as first, advertised(b):
            began = time.monotonic()
            found = {said.peer_id: said async for _, said in read_shards(reader.dht, 100)}
            print(f"all shards of 3 nodes read in {time.monotonic() - began:.2f} s")
            assert set(found) == {a.endpoint.peer_id, b.endpoint.peer_id}
            assert found[a.endpoint.peer_id] == first.said
        assert all([said.withdrawn async for _, said in read_shards(reader.dht, 100)])


class Reached:
    """A relay with a control stream that answers by its DHT."""

    def __init__(self, relay: Speaker) -> None:
        self.speaker = relay
        relay.endpoint.start_relaying(Policy())
        held = HeldRecords(relay.endpoint.peer_id, self._reserved, relay.dht)
        self.answers = KeptAnswers(InDht(relay.dht), held, lambda: None)
        self.side = RelaySide(relay.endpoint, answers=lambda _: self.answers)

    def _reserved(self, peer_id: bytes) -> bool:
        return self.speaker.endpoint.relay is not None and peer_id in self.speaker.endpoint.relay.reservations

    async def close(self) -> None:
        self.side.close()
        await self.answers.close()


async def test_a_peer_that_reserved_at_one_relay_is_found_through_others() -> None:
    async with network(3) as speakers:
        relays = [Reached(one) for one in speakers]
        peer, asker = (Endpoint(speakers[0].endpoint.reactor, bytes((n,)) * 32) for n in (1, 2))
        who = Identity(bytes((1,)) * 32)
        for client in (peer, asker):
            client.ask_identify = True
        store = await Store.open(None)

        async def connected(client: Endpoint, to: Speaker) -> ControlRelay:
            session = await client.dial("127.0.0.1", to.port, to.endpoint.peer_id)
            await until(lambda: session.protocols is not None)
            return ControlRelay(ClientSide(client), session)

        at = speakers[0]
        session = await peer.dial("127.0.0.1", at.port, at.endpoint.peer_id)
        await until(lambda: session.protocols is not None)
        control = ClientSide(peer)
        await request_reservation(session, control)
        circuit = addresses.to_bytes(f"{at.address}/p2p-circuit")
        keeper = RecordKeeper(
            who.seed,
            lambda: [Place(at.endpoint.peer_id, circuit)],
            lambda _, raw: control.hand_over(session, raw),
            store,
        )
        keeper.start()
        await until(lambda: relays[0].answers._held.published == 1, 30)
        asked = [await connected(asker, one) for one in speakers[1:]]
        began = time.monotonic()
        record = await Lookups(lambda: asked).peer(who.peer_id)
        print(f"a peer looked up through two relays in {time.monotonic() - began:.2f} s")
        assert keeper.raw is not None
        assert record == read_peer_record(keeper.raw, time.time())
        assert record.circuits == (circuit,)
        assert await Lookups(lambda: asked).peer(Identity(bytes((9,)) * 32).peer_id) is None
        await keeper.stop()
        await store.close()
        for relay in relays:
            await relay.close()
        for client in (peer, asker):
            client.close()
            client.abort()
