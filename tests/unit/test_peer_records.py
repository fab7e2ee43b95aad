"""A peer's record on its way: made anew when its reservations change, given to its relays, published by them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from tests.unit.control_pair import relaying
from tests.unit.memory_dht import NOW, Clock, MemoryDht
from tests.unit.nodes import until
from tests.unit.said import advertisement, circuit, peer_record
from towpath import addresses
from towpath._native.endpoint import Endpoint
from towpath.client.relaying import request_reservation
from towpath.discovery import peer_records
from towpath.discovery.answers import InDht, KeptAnswers
from towpath.discovery.peer_records import HeldRecords, Place, RecordKeeper, next_record
from towpath.discovery.records import MAX_RECORD, peer_key, read_peer_record, sign
from towpath.errors import TowpathError
from towpath.identity import Identity
from towpath.relaystream.reasons import Answer
from towpath.store import Store

PEER = Identity(bytes((1,)) * 32)
ONE = Identity(bytes((2,)) * 32)
TWO = Identity(bytes((3,)) * 32)


def place(relay: Identity) -> Place:
    return Place(relay.peer_id, circuit(relay))


# --- the peer's part ----------------------------------------------------------------------------------------------


class Peer:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.places: list[Place] = [place(ONE), place(TWO)]
        self.given: list[tuple[bytes, bytes]] = []
        self.refusing: set[bytes] = set()
        self.silent: set[bytes] = set()
        self.keeper = self.another()

    def another(self) -> RecordKeeper:
        return RecordKeeper(
            PEER.seed, lambda: self.places, self.hand_over, self.store, clock=self.clock, rng=random.Random(1)
        )

    async def hand_over(self, relay_id: bytes, raw: bytes) -> None:
        if relay_id in self.refusing:
            raise TowpathError("not now")
        if relay_id in self.silent:
            await asyncio.Event().wait()
        self.given.append((relay_id, raw))

    def change(self, *relays: Identity) -> None:
        self.places = [place(relay) for relay in relays]
        self.keeper.changed()


@contextlib.asynccontextmanager
async def keeping() -> AsyncIterator[Peer]:
    store = await Store.open(None)
    made = Peer(store)
    made.keeper.start()
    try:
        yield made
    finally:
        await made.keeper.stop()
        await store.close()


async def test_every_relay_that_holds_a_reservation_gets_the_record_of_all_of_them() -> None:
    async with keeping() as peer:
        await until(lambda: len(peer.given) == 2)
        assert {relay for relay, _ in peer.given} == {ONE.peer_id, TWO.peer_id}
        (raw,) = {raw for _, raw in peer.given}
        record = read_peer_record(raw, NOW)
        assert record.circuits == (circuit(ONE), circuit(TWO))
        assert record.relay_ids == (ONE.peer_id, TWO.peer_id)
        assert peer.keeper.raw == raw


async def test_another_reservation_makes_another_record() -> None:
    async with keeping() as peer:
        await until(lambda: len(peer.given) == 2)
        peer.change(ONE)
        await until(lambda: len(peer.given) == 3)
        before, after = (read_peer_record(raw, NOW) for _, raw in peer.given[1:])
        assert after.seq > before.seq
        assert after.circuits == (circuit(ONE),)


async def test_nothing_new_is_nothing_to_say() -> None:
    async with keeping() as peer:
        await until(lambda: len(peer.given) == 2)
        peer.keeper.changed()
        peer.change(TWO, ONE)
        await asyncio.sleep(2 * peer_records._SETTLE_S)
        peer.change(ONE)
        await until(lambda: len(peer.given) == 3)
        assert [relay for relay, _ in peer.given[2:]] == [ONE.peer_id]


async def test_a_record_that_gets_old_is_made_anew() -> None:
    async with keeping() as peer:
        await until(lambda: len(peer.given) == 2)
        peer.clock.now += peer_records.REFRESH_S
        peer.keeper.changed()
        await until(lambda: len(peer.given) == 4)
        assert read_peer_record(peer.given[-1][1], peer.clock.now).issued == int(peer.clock.now)


async def test_a_relay_that_did_not_take_it_is_given_it_again_and_the_others_are_not() -> None:
    async with keeping() as peer:
        peer.refusing = {TWO.peer_id}
        await until(lambda: peer.keeper.failures)
        assert peer.keeper.failures == {TWO.peer_id: "not now"}
        peer.refusing = set()
        peer.keeper.changed()
        await until(lambda: len(peer.given) == 2)
        assert [relay for relay, _ in peer.given] == [ONE.peer_id, TWO.peer_id]
        assert not peer.keeper.failures


async def test_a_relay_that_fell_silent_keeps_no_other_waiting() -> None:
    async with keeping() as peer:
        await until(lambda: len(peer.given) == 2)
        peer.silent = {TWO.peer_id}
        three = Identity(bytes((4,)) * 32)
        peer.change(TWO, three)
        await until(lambda: len(peer.given) == 3)
        peer.keeper.changed()
        peer.change(ONE, three)
        await until(lambda: len(peer.given) == 5)
        last = {relay: read_peer_record(raw, NOW).circuits for relay, raw in peer.given[3:]}
        assert last == dict.fromkeys((ONE.peer_id, three.peer_id), (circuit(ONE), circuit(three)))


async def test_the_number_goes_on_after_a_restart() -> None:
    async with keeping() as peer:
        await until(lambda: len(peer.given) == 2)
        peer.clock.now -= 3600
        again = peer.another()
        again.start()
        await until(lambda: len(peer.given) == 4)
        first, second = (read_peer_record(raw, None) for raw in (peer.given[0][1], peer.given[2][1]))
        assert second.seq == first.seq + 1
        await again.stop()


async def test_a_peer_without_reservations_says_nothing() -> None:
    store = await Store.open(None)
    peer = Peer(store)
    peer.places = []
    peer.keeper.start()
    await asyncio.sleep(0)
    assert peer.keeper.raw is None
    peer.change(ONE)
    await until(lambda: peer.given)
    await peer.keeper.stop()
    await store.close()


def test_a_record_has_the_best_places_that_fit_into_it() -> None:
    relays = [Identity(bytes((n,)) * 32) for n in range(10, 30)]
    record = next_record(PEER.peer_id, [Place(b"", b"nowhere"), place(PEER), *map(place, [*relays, *relays])], 5, NOW)
    assert record.circuits == tuple(map(circuit, relays[:8]))
    assert len(sign(record, PEER.seed)) <= MAX_RECORD
    named = [
        addresses.to_bytes(f"/dns4/{one.text}.a-relay-with-a-long-name.example/tcp/1/p2p/{one.text}/p2p-circuit")
        for one in relays
    ]
    record = next_record(PEER.peer_id, [Place(b"", name) for name in named], 5, NOW)
    assert record.circuits == tuple(named[: len(record.circuits)])
    assert len(record.circuits) >= 4
    assert len(sign(record, PEER.seed)) <= MAX_RECORD


# --- a relay's part -----------------------------------------------------------------------------------------------


class Held:
    def __init__(self) -> None:
        self.dht = MemoryDht()
        self.reserved = {PEER.peer_id}
        self.records = HeldRecords(ONE.peer_id, self.reserved.__contains__, self.dht, clock=self.dht.clock)


async def test_a_record_is_published_and_answered() -> None:
    held = Held()
    raw = peer_record(PEER, at=[TWO, ONE])
    assert held.records.take(PEER.peer_id, raw) is Answer.DONE
    await until(lambda: held.records.published)
    assert held.dht.values == {peer_key(PEER.peer_id): raw}
    assert held.records.get(PEER.peer_id) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x" * 300,
        peer_record(TWO, at=[ONE]),
        peer_record(PEER, at=[TWO]),
        peer_record(PEER, at=[ONE], age=7201),
        advertisement(PEER),
    ],
    ids=["nothing", "noise", "another's", "met elsewhere", "expired", "another kind"],
)
async def test_what_is_no_record_of_the_client_at_this_relay_is_refused(raw: bytes) -> None:
    held = Held()
    assert held.records.take(PEER.peer_id, raw) is Answer.NOT_VALID
    assert held.records.get(PEER.peer_id) is None
    assert not held.dht.puts


async def test_an_older_record_does_not_take_the_place_of_a_newer_one() -> None:
    held = Held()
    new, old = peer_record(PEER, at=[ONE], seq=5), peer_record(PEER, at=[ONE, TWO], seq=5)
    assert held.records.take(PEER.peer_id, new) is Answer.DONE
    assert held.records.take(PEER.peer_id, old) is Answer.OUTDATED
    assert held.records.take(PEER.peer_id, new) is Answer.DONE
    assert held.records.get(PEER.peer_id) == new
    await until(lambda: held.records.published == 1)
    assert [value for _, value in held.dht.puts] == [new]


async def test_a_record_goes_with_the_reservation_and_with_its_time() -> None:
    held = Held()
    held.records.take(PEER.peer_id, peer_record(PEER, at=[ONE]))
    held.reserved.clear()
    assert held.records.get(PEER.peer_id) is None
    assert len(held.records) == 0
    held.reserved.add(PEER.peer_id)
    held.records.take(PEER.peer_id, peer_record(PEER, at=[ONE]))
    held.dht.clock.now += 7201
    assert held.records.get(PEER.peer_id) is None


async def test_those_who_left_are_forgotten_as_others_come() -> None:
    held = Held()
    held.records.take(PEER.peer_id, peer_record(PEER, at=[ONE]))
    held.reserved.clear()
    held.dht.clock.now += 61
    held.records.take(TWO.peer_id, peer_record(TWO, at=[ONE]))
    assert len(held.records) == 0


async def test_only_a_few_are_published_at_once_and_the_newest_of_each() -> None:
    held = Held()
    peers = [Identity(bytes((n,)) * 32) for n in range(10, 30)]
    held.reserved |= {one.peer_id for one in peers}
    held.dht.open.clear()
    for one in peers:
        held.records.take(one.peer_id, peer_record(one, at=[ONE]))
    for one in peers:
        held.records.take(one.peer_id, peer_record(one, at=[ONE, TWO], seq=2))
    await asyncio.sleep(0)
    held.dht.open.set()
    await until(lambda: len(held.dht.values) == 20 and held.dht.at_once == 0)
    assert held.dht.most_at_once == peer_records._PUTS_AT_ONCE
    assert held.dht.values == {peer_key(one.peer_id): peer_record(one, at=[ONE, TWO], seq=2) for one in peers}
    # The first few were under way already when their next record came.
    assert len(held.dht.puts) == 20 + peer_records._PUTS_AT_ONCE


async def test_a_dht_that_was_joined_later_gets_all_of_them() -> None:
    held = Held()
    raw = peer_record(PEER, at=[ONE])
    held.records.take(PEER.peer_id, raw)
    await until(lambda: held.records.published == 1)
    held.dht.values.clear()
    held.records.republish()
    await until(lambda: held.dht.values == {peer_key(PEER.peer_id): raw})


async def test_what_the_dht_did_not_take_is_put_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_records, "_TRY_AGAIN_S", 0.01)
    held = Held()
    held.dht.down = True
    held.records.take(PEER.peer_id, peer_record(PEER, at=[ONE]))
    await until(lambda: held.records._later)
    held.dht.down = False
    await until(lambda: held.records.published == 1)
    await held.records.close()


# --- both ---------------------------------------------------------------------------------------------------------


async def test_a_relay_publishes_the_record_of_a_client_that_reserved_there() -> None:
    dht = MemoryDht()

    def answers(endpoint: Endpoint) -> KeptAnswers:
        relay_id = endpoint.peer_id
        held = HeldRecords(relay_id, lambda _: True, dht, clock=dht.clock)
        return KeptAnswers(InDht(dht, clock=dht.clock), held, lambda: None, clock=dht.clock)

    store = await Store.open(None)
    async with relaying(answers) as relay:
        session, control = await relay.attached()
        await request_reservation(session, control)
        # The key of the pair's first client.
        client = Identity(bytes((1,)) * 32)
        relay_id = relay.endpoint.peer_id
        text = f"/ip4/127.0.0.1/tcp/{relay.port}/p2p/{addresses.peer_id_to_text(relay_id)}/p2p-circuit"
        keeper = RecordKeeper(
            client.seed,
            lambda: [Place(relay_id, addresses.to_bytes(text))],
            lambda _, raw: control.hand_over(session, raw),
            store,
            clock=dht.clock,
        )
        keeper.start()
        await until(lambda: dht.values)
        assert dht.values == {peer_key(client.peer_id): keeper.raw}
        other, asking = await relay.attached()
        assert await asking.look_up_peer(other, client.peer_id) == [keeper.raw]
        await keeper.stop()
    await store.close()
