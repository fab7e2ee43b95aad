"""The work-arounds at work: the same peers that lead py-libp2p astray lead ours nowhere."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing
from libp2p.kad_dht.pb.kademlia_pb2 import Message, Record
from libp2p.peer.id import ID

from tests.unit.dht.library import LOOPBACK, Anything, silent_closer, some_id
from tests.unit.dht.ours import Ours, answers, ours
from towpath.dht.compat import ASKER, Kad, Namespaces, Values
from towpath.dht.look_up import MOST_QUERIES
from towpath.dht.messages import KAD, Opened
from towpath.dht.serving import Pace, Server
from towpath.dht.streams import Request

KEY = b"/t/key"
Kind = Message.MessageType
PLACE = [LOOPBACK.to_bytes()]


def clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0.02)


async def served(kad: Kad, message: Message, asker: ID | None = None) -> Request:
    request = Request(message.SerializeToString(), asker or some_id())
    await kad._do_handle_stream(request)  # type: ignore[arg-type]
    return request


def read(request: Request) -> Message:
    answer = request.answer()
    at = next(index for index, byte in enumerate(answer) if not byte & 0x80) + 1
    return Message.FromString(answer[at:])


def test_streams_speak_the_protocol_of_the_network() -> None:
    async def ask() -> None:
        async with ours() as one:
            one.knows(answers())
            await one.kad.get_value(KEY.decode())
            assert one.link.protocols == {KAD}

    trio.run(ask)


def test_no_message_is_signed() -> None:
    asked = []

    async def peer(question: Message) -> Message:
        asked.append(question)
        return Message(type=question.type, key=question.key)

    async def ask() -> None:
        async with ours() as one:
            one.host.is_at(PLACE)
            one.knows(peer)
            await one.kad.put(KEY.decode(), b"value")
            await one.kad.provider_store.publish(KEY)
            await one.kad.get_value(KEY.decode())
            answer = read(await served(one.kad, Message(type=Kind.GET_VALUE, key=KEY)))
            assert {question.type for question in asked} == {
                Kind.FIND_NODE,
                Kind.PUT_VALUE,
                Kind.ADD_PROVIDER,
                Kind.GET_VALUE,
            }
            for message in [*asked, answer]:
                assert not message.HasField("senderRecord")
                assert not message.record.author
                assert not message.record.signature
                assert not any(peer.HasField("signedRecord") for peer in message.providerPeers)

    trio.run(ask)


def test_who_is_named_or_asks_stays_out_of_the_routing_table_and_who_answers_is_in() -> None:
    async def ask() -> None:
        async with ours() as one:
            named = some_id()
            server = one.knows(answers(closerPeers=silent_closer(named).closerPeers))
            assert await one.kad.peer_routing.find_closest_peers_network(KEY) == [server]
            assert one.kad.routing_table.get_peer_ids() == [server]
            client = some_id()
            one.places.learn(client, PLACE)
            await served(one.kad, Message(type=Kind.GET_VALUE, key=KEY), client)
            assert one.kad.routing_table.get_peer_ids() == [server]

    trio.run(ask)


def test_the_routing_table_keeps_whom_it_heard_of_lately_and_halves_only_around_us() -> None:
    async def fill() -> None:
        async with ours() as one:
            table = one.kad.routing_table
            for _ in range(600):
                table.admit(some_id(), PLACE)
            # Buckets of 20 for each halving that there are peers for: log2(600 / 20), and a few more by chance.
            assert table.size() < 240
            others = [bucket for bucket in table.buckets if not bucket.peer_id_in_range(table.local_id)]
            full = next(bucket for bucket in others if bucket.size() == bucket.bucket_size)
            residents = set(full.peer_ids())
            while not full.peer_id_in_range(late := some_id()):
                pass
            assert not table.admit(late, PLACE)
            oldest = full.get_oldest_peer()
            assert oldest is not None
            full.peers[oldest] = (full.peers[oldest][0], time.time() - 4000)
            assert table.admit(late, PLACE)
            assert set(full.peer_ids()) == residents - {oldest} | {late}

    trio.run(fill)


def test_a_look_up_waits_for_no_silent_peer() -> None:
    async def ask() -> None:
        async with ours() as one:
            servers = {one.knows(answers()) for _ in range(4)}
            for _ in range(5):
                one.knows(None)
            begun = trio.current_time()
            found = await one.kad.peer_routing.find_closest_peers_network(KEY)
            assert set(found) == servers
            assert trio.current_time() - begun < 5

    trio.run(ask, clock=clock())


def test_a_peer_that_cannot_be_reached_is_left_alone_for_a_while() -> None:
    async def ask() -> None:
        async with ours() as one:
            gone = some_id()
            one.places.learn(gone, PLACE)
            for _ in range(5):
                assert await one.kad.peer_routing.find_closest_peers_network(KEY) == []
            assert one.link.opened == [gone.to_bytes()]
            await trio.sleep(60)
            await one.kad.peer_routing.find_closest_peers_network(KEY)
            assert len(one.link.opened) == 2

    trio.run(ask, clock=clock())


def test_peers_that_name_new_peers_for_ever_are_asked_a_bounded_number_of_times() -> None:
    async def ask() -> None:
        async with ours() as one:

            async def names(question: Message) -> Message:
                message = silent_closer(*(one.knows(names) for _ in range(3)))
                message.type = question.type
                return message

            one.knows(names)
            with trio.fail_after(60):
                assert await one.kad.get_value(KEY.decode()) is None
            assert len(one.link.opened) <= MOST_QUERIES + 20

    trio.run(ask)


def test_providers_are_told_once_each_and_stay_out_of_the_own_store() -> None:
    async def ask() -> None:
        async with ours() as one:
            provider = some_id()
            named = silent_closer(provider).closerPeers
            for _ in range(3):
                one.knows(answers(providerPeers=named))
            assert [found.peer_id for found in await one.kad.provider_store.find_providers(KEY)] == [provider]
            assert one.kad.provider_store.get_providers(KEY) == []

    trio.run(ask)


def test_add_provider_is_taken_from_the_provider_alone_and_not_answered() -> None:
    async def ask() -> None:
        async with ours() as one:
            ASKER.set(b"\x0a\x00\x01")
            asker = some_id()
            message = Message(type=Kind.ADD_PROVIDER, key=KEY)
            message.providerPeers.add(id=asker.to_bytes(), addrs=PLACE)
            message.providerPeers.add(id=some_id().to_bytes(), addrs=PLACE)
            request = await served(one.kad, message, asker)
            assert request.wants_none
            assert not request.refused
            assert [found.peer_id for found in one.kad.provider_store.get_providers(KEY)] == [asker]

    trio.run(ask)


def test_the_newest_providers_stay() -> None:
    async def ask() -> None:
        async with ours() as one:
            for number in range(400):
                ASKER.set(number.to_bytes(3))
                asker = some_id()
                message = Message(type=Kind.ADD_PROVIDER, key=KEY)
                message.providerPeers.add(id=asker.to_bytes(), addrs=PLACE)
                await served(one.kad, message, asker)
            assert {found.peer_id for _ in range(200) for found in one.kad.provider_store.get_providers(KEY)} > {asker}

    trio.run(ask)


def test_a_value_no_longer_valid_is_neither_believed_nor_served() -> None:
    async def ask() -> None:
        async with ours() as one:
            one.kad.value_store.put(KEY, b"bad")
            answer = read(await served(one.kad, Message(type=Kind.GET_VALUE, key=KEY)))
            assert not answer.HasField("record")
            one.kad.value_store.put(KEY, b"bad")
            one.knows(answers(record=Record(key=KEY, value=b"bad")))
            assert await one.kad.get_value(KEY.decode()) is None

    trio.run(ask)


def test_the_value_that_counts_wins_over_the_own_one_and_over_most() -> None:
    async def ask() -> None:
        async with ours() as one:
            one.kad.value_store.put(KEY, b"1")
            for value in (b"2", b"3", b"2"):
                one.knows(answers(record=Record(key=KEY, value=value)))
            assert await one.kad.get_value(KEY.decode(), quorum=4) == b"3"

    trio.run(ask)


def test_a_value_put_again_is_taken_again_and_an_older_one_is_refused() -> None:
    async def give() -> None:
        async with ours() as one:
            refused = [
                (
                    await served(one.kad, Message(type=Kind.PUT_VALUE, key=KEY, record=Record(key=KEY, value=value)))
                ).refused
                for value in (b"2", b"2", b"1", b"3", b"bad")
            ]
            assert refused == [False, False, True, False, True]

    trio.run(give)


def test_equal_values_count_as_the_last_of_them() -> None:
    names = Namespaces({"t": Anything()}, strict_validation=True)
    assert names.select("/t/x", [b"a", b"a"]) == 1
    assert names.select("/t/x", [b"b", b"a"]) == 0


def test_values_are_bounded_in_number_and_bytes_and_of_one_prefix_and_the_nearest_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Values, "MOST", 50)
    monkeypatch.setattr(Values, "MOST_BYTES", 4000)
    monkeypatch.setattr(Values, "MOST_OF_PREFIX", 30)

    async def fill() -> None:
        async with ours() as one:
            store = one.kad.value_store
            for number in range(200):
                ASKER.set(b"one" if number % 2 else b"two")
                store.put(b"/t/%d" % number, bytes(50))
            assert store.size() == 50
            distances = [_distance(one, b"/t/%d" % number) for number in range(200)]
            kept = [_distance(one, key) for key in store._kept]
            # Not exactly the 50 nearest: neither prefix has more than 30.
            assert max(kept) <= sorted(distances)[75]
            assert min(kept) == min(distances)
            store.put(b"/t/large", bytes(3500))
            assert store._bytes <= 4000
            ASKER.set(b"three")
            for number in range(100):
                store.put(b"/t/three/%d" % number, b"x")
            assert store._of_prefix[b"three"] <= 30
            for key in list(store._kept):
                store.remove(key)
            assert (store._bytes, store._of_prefix) == (0, {})

    trio.run(fill)


def _distance(one: Ours, key: bytes) -> int:
    from towpath.dht.compat import _position

    return _position(key) ^ _position(one.host.get_id().to_bytes())


def test_a_stream_that_asks_and_idles_holds_nobody_up() -> None:
    async def ask() -> None:
        async with ours() as one, trio.open_nursery() as nursery:
            server = Server(one.kad, Pace())
            ends = []
            for _ in range(40):
                here, there = trio.socket.socketpair()
                ends.append(trio.SocketStream(here))
                opened = Opened(0, some_id().to_bytes(), KAD)
                nursery.start_soon(server.serve, opened, trio.SocketStream(there))
            for end in ends[:-1]:
                await end.send_all(b"\x7fhalf")
            message = Message(type=Kind.FIND_NODE, key=some_id().to_bytes()).SerializeToString()
            with trio.fail_after(5):
                await ends[-1].send_all(bytes([len(message)]) + message)
                assert await ends[-1].receive_some(1000)
            for end in ends:
                await end.aclose()

    trio.run(ask)


def test_a_message_too_long_or_never_finished_ends_its_stream() -> None:
    async def ask() -> None:
        async with ours() as one, trio.open_nursery() as nursery:
            for beginning in (b"\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x05\xff\xff\xff\xff\xff", b"\x7fhalf"):
                here, there = trio.socket.socketpair()
                server = Server(one.kad, Pace())
                opened = Opened(0, some_id().to_bytes(), KAD)
                nursery.start_soon(server.serve, opened, trio.SocketStream(there))
                async with trio.SocketStream(here) as end:
                    await end.send_all(beginning)
                    with trio.fail_after(30):
                        assert await end.receive_some(1000) == b""

    trio.run(ask, clock=clock())
