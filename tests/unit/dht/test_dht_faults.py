"""What is wrong in py-libp2p's kad-dht. A test fails once that is mended: then its work-around in towpath/dht goes."""

from __future__ import annotations

import logging
import time

import pytest
import trio
import trio.testing
from libp2p.kad_dht import common
from libp2p.kad_dht.pb.kademlia_pb2 import Message, Record
from libp2p.peer.peerinfo import PeerInfo

from tests.unit.dht.library import (
    LOOPBACK,
    IdleStream,
    MemoryHost,
    MemoryStream,
    body,
    library,
    silent_closer,
    some_id,
)

KEY = b"/t/key"
Kind = Message.MessageType


def put(value: bytes) -> bytes:
    message = Message(type=Kind.PUT_VALUE, key=KEY, record=Record(key=KEY, value=value))
    return bytes(message.SerializeToString())


def test_protocol__a_prefix_changes_no_protocol_id() -> None:
    host = MemoryHost()
    library(host, protocol_prefix="/towpath")
    assert host.handled == ["/ipfs/kad/1.0.0"]


def test_idle__twelve_idle_streams_use_up_the_server() -> None:
    async def ask() -> None:
        kad = library()
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(kad.handle_stream, IdleStream(some_id()))
            await trio.testing.wait_all_tasks_blocked()
            late = MemoryStream(some_id(), silent_closer().SerializeToString())
            await kad.handle_stream(late)
            assert late.was_reset
            nursery.cancel_scope.cancel()

    trio.run(ask)


def test_seals__every_answer_is_signed_with_the_hosts_key() -> None:
    async def ask() -> None:
        stream = MemoryStream(some_id(), Message(type=Kind.GET_VALUE, key=KEY).SerializeToString())
        await library().handle_stream(stream)
        assert body(stream.written).HasField("senderRecord")

    trio.run(ask)


def test_echo__add_provider_is_answered() -> None:
    async def ask() -> None:
        stream = MemoryStream(some_id(), Message(type=Kind.ADD_PROVIDER, key=KEY).SerializeToString())
        await library().handle_stream(stream)
        assert stream.written

    trio.run(ask)


def test_hearsay__whoever_is_named_or_asks_enters_the_routing_table() -> None:
    async def ask() -> None:
        host = MemoryHost()
        kad = library(host)
        named = some_id()

        async def names(question: Message) -> Message:
            return silent_closer(named)

        server = host.knows(names)
        await kad.peer_routing._query_peer_for_closest(server, KEY)
        assert kad.routing_table.peer_in_table(named)
        client = some_id()
        host.store.add_addrs(client, [LOOPBACK], 3600)
        await kad.handle_stream(MemoryStream(client, Message(type=Kind.GET_VALUE, key=KEY).SerializeToString()))
        assert kad.routing_table.peer_in_table(client)

    trio.run(ask)


def test_split__every_full_bucket_is_split() -> None:
    async def fill() -> None:
        table = library().routing_table
        for _ in range(400):
            await table.add_peer(PeerInfo(some_id(), [LOOPBACK]))
        # Around us there would be 20 for each halving: some 120.
        assert table.size() > 300

    trio.run(fill)


def test_squat__the_first_providers_of_a_key_stay() -> None:
    store = library().provider_store
    first = [some_id() for _ in range(20)]
    for peer in [*first, some_id()]:
        store.add_provider(KEY, PeerInfo(peer, [LOOPBACK]))
    assert {one.peer_id for one in store.get_providers(KEY)} == set(first)


def test_repeated__providers_come_back_twice_and_enter_the_own_store() -> None:
    async def ask() -> None:
        host = MemoryHost()
        kad = library(host)
        provider = some_id()

        async def names(question: Message) -> Message:
            message = Message(type=question.type)
            if question.type == Kind.GET_PROVIDERS:
                message.providerPeers.add(id=provider.to_bytes(), addrs=[LOOPBACK.to_bytes()])
            return message

        host.knows(names)
        host.knows(names)
        found = await kad.provider_store.find_providers(KEY)
        assert [one.peer_id for one in found] == [provider, provider]
        assert kad.provider_store.get_providers(KEY)

    trio.run(ask)


def test_stale__values_are_believed_and_served_without_another_look() -> None:
    async def ask() -> None:
        kad = library()
        kad.value_store.put(KEY, b"bad")
        assert await kad.get_value(KEY.decode()) == b"bad"
        stream = MemoryStream(some_id(), Message(type=Kind.GET_VALUE, key=KEY).SerializeToString())
        await kad.handle_stream(stream)
        assert body(stream.written).record.value == b"bad"

    trio.run(ask)


def test_room__what_a_store_may_hold_is_more_than_a_node_has() -> None:
    assert common.MAX_VALUE_STORE_SIZE * common.MAX_RECORD_SIZE > 1 << 30


def test_again__a_value_put_a_second_time_is_refused() -> None:
    async def give() -> None:
        kad = library()
        first, second = (MemoryStream(some_id(), put(b"same")) for _ in range(2))
        await kad.handle_stream(first)
        await kad.handle_stream(second)
        assert (first.was_reset, second.was_reset) == (False, True)

    trio.run(give)


def test_rounds__a_look_up_waits_for_the_slowest() -> None:
    async def ask() -> None:
        host = MemoryHost()
        kad = library(host)

        async def answers(question: Message) -> Message:
            return silent_closer()

        async def does_not(question: Message) -> Message:
            await trio.sleep_forever()
            raise AssertionError

        for _ in range(3):
            host.knows(answers)
        host.knows(does_not)
        begun = trio.current_time()
        await kad.peer_routing.find_closest_peers_network(KEY)
        assert trio.current_time() - begun >= 10

    trio.run(ask, clock=trio.testing.MockClock(autojump_threshold=0))


def test_length__find_node_for_a_key_over_50_bytes_ends_the_stream() -> None:
    async def ask() -> None:
        stream = MemoryStream(some_id(), Message(type=Kind.FIND_NODE, key=b"/t/" + bytes(48)).SerializeToString())
        await library().handle_stream(stream)
        assert stream.was_reset

    trio.run(ask)


def test_endless__get_value_asks_as_long_as_somebody_names_new_peers() -> None:
    async def ask() -> None:
        host = MemoryHost()
        kad = library(host)

        many = trio.CancelScope(deadline=trio.current_time() + 30)

        async def names(question: Message) -> Message:
            if host.asked >= 500:
                many.cancel()
            message = silent_closer(*(host.knows(names) for _ in range(2)))
            message.type = question.type
            return message

        host.knows(names)
        with many:
            await kad.get_value(KEY.decode())
        assert host.asked >= 500

    trio.run(ask)


def test_logs__a_value_that_is_refused_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def give() -> None:
        with caplog.at_level(logging.WARNING, "libp2p"):
            await library().handle_stream(MemoryStream(some_id(), put(b"bad")))

    trio.run(give)
    assert b"bad".hex() in caplog.text


def test_ping__a_full_bucket_is_locked_while_its_oldest_is_asked() -> None:
    async def fill() -> None:
        host = MemoryHost()
        table = library(host).routing_table

        async def never(question: Message) -> Message:
            await trio.sleep_forever()
            raise AssertionError

        bucket = table.buckets[0]
        for _ in range(bucket.bucket_size):
            bucket.peers[host.knows(never)] = (PeerInfo(some_id(), [LOOPBACK]), time.time())
        with trio.move_on_after(5):
            await bucket.add_peer(PeerInfo(some_id(), [LOOPBACK]))
        assert host.asked == 1

    trio.run(fill, clock=trio.testing.MockClock(autojump_threshold=0))
