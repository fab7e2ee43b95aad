"""A node behind a relay, seen from the other end of a circuit: the inner handshake, streams and their ends."""

import os
from collections.abc import AsyncIterator

import pytest

from tests.net.conftest import StartRelay
from tests.peerlab import Link, Peer, Refused, RelayProcess, Status, eventually, meanwhile, within
from tests.peerlab.circuit import STOP, StopType, hop_message, peer, stop_request
from tests.peerlab.inner import initiate_inside, respond_inside
from tests.peerlab.keys import from_base58
from tests.peerlab.peer import PING, NotSupported
from tests.peerlab.upgrade import Manner
from towpath import Node, Settings, Stream
from towpath.errors import DialError, StreamReset, TowpathError

ECHO = "/echo/1"
SIZE = 3_000_000


async def echo(stream: Stream) -> None:
    """Says everything again, then closes."""
    async with stream:
        while part := await stream.read():
            stream.write(part)
            await stream.drain()
        await stream.close_write()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    # Under its own id, at once: who waits here takes one circuit.
    async with Node(Settings.load({"client.hide_ip": False})) as node:
        node.set_stream_handler(ECHO, echo)
        yield node


async def inside(alice: Peer, relay: RelayProcess, node: Node) -> Link:
    """Alice's end-to-end connection to the node, which must prove to be the one she asked for."""
    circuit = await (await alice.dial(relay)).connect(from_base58(node.peer_id))
    link = await initiate_inside(alice, circuit)
    assert link.their_id == from_base58(node.peer_id)
    return link


@pytest.mark.parametrize(
    "manner", [Manner(), Manner(muxers=()), Manner(one_write=False)], ids=["early", "late", "slow"]
)
async def test_a_node_is_reached_through_its_relay(relay: RelayProcess, node: Node, manner: Manner) -> None:
    await node.reserve(relay.addresses[0])
    async with Peer(manner=manner) as alice:
        link = await inside(alice, relay, node)
        stream = await link.open(ECHO)
        data = os.urandom(SIZE)
        async with meanwhile(stream.write(data, fin=True)):
            assert await stream.read_rest() == data
        ping = await link.open(PING)
        await ping.write(b"p" * 32)
        assert await ping.read(32) == b"p" * 32


async def test_nobody_may_reserve_at_a_node_through_a_circuit(relay: RelayProcess, node: Node) -> None:
    await node.reserve(relay.addresses[0])
    async with Peer() as alice:
        link = await inside(alice, relay, node)
        with pytest.raises((NotSupported, Refused), match=r"/hop$|PERMISSION_DENIED"):
            await link.reserve()
        with pytest.raises((NotSupported, Refused), match=r"/hop$|PERMISSION_DENIED"):
            await link.connect(alice.peer_id)


async def test_a_node_takes_circuits_from_its_relay_alone(relay: RelayProcess, node: Node) -> None:
    await node.reserve(relay.addresses[0])
    async with Peer() as alice:
        link = await inside(alice, relay, node)
        stream = await link.open(STOP, hop_message((1, StopType.CONNECT), (2, peer(alice.peer_id))))
        assert stop_request(await stream.read_message()).status == Status.PERMISSION_DENIED


async def test_a_node_reaches_a_peer_through_a_relay(relay: RelayProcess, node: Node) -> None:
    async with Peer() as bob:
        bob.handlers[ECHO] = bob.handlers[PING]
        at_relay = await bob.dial(relay)
        await at_relay.reserve()

        async def be_reached() -> Link:
            return await respond_inside(bob, await at_relay.accept())

        async with meanwhile(be_reached()) as reached:
            stream = await node.connect_to_peer_via_relay(bob.identity.text, ECHO, via=relay.addresses[0])
            assert (await reached).their_id == from_base58(node.peer_id)
            assert stream.peer_id == bob.identity.text
            data = os.urandom(SIZE)

            async def send() -> None:
                for at in range(0, SIZE, 100_000):
                    stream.write(data[at : at + 100_000])
                    await stream.drain()
                await stream.close_write()

            async with within(15, "an echo"), meanwhile(send()):
                assert await stream.readexactly(SIZE) == data
            await stream.close()


async def test_a_node_does_not_talk_to_someone_else_in_the_targets_place(relay: RelayProcess, node: Node) -> None:
    async with Peer() as bob, Peer() as mallory:
        at_relay = await bob.dial(relay)
        await at_relay.reserve()

        async def let_mallory_answer() -> None:
            await respond_inside(mallory, await at_relay.accept())

        async with meanwhile(let_mallory_answer()):
            with pytest.raises(DialError):
                await node.connect_to_peer_via_relay(bob.identity.text, ECHO, via=relay.addresses[0])


@pytest.mark.parametrize("ending", ["reset", "half a handshake", "garbage"])
async def test_a_target_that_breaks_off_inside_the_circuit_is_an_error_that_says_so(
    relay: RelayProcess, node: Node, ending: str
) -> None:
    async with Peer() as bob:
        at_relay = await bob.dial(relay)
        await at_relay.reserve()

        async def break_off() -> None:
            stream = await at_relay.accept()
            if ending == "garbage":
                await stream.write(os.urandom(500))
            elif ending == "half a handshake":
                await stream.write(b"\x13/multistream/1.0.0\n", fin=True)
            else:
                await stream.reset()

        async with meanwhile(break_off()):
            with pytest.raises(TowpathError):
                await node.connect_to_peer_via_relay(bob.identity.text, ECHO, via=relay.addresses[0])


async def test_a_node_keeps_its_reservation_beyond_its_time(start_relay: StartRelay, node: Node) -> None:
    relay = start_relay({"relay.reservation_ttl": "3s"})
    held = await node.reserve(relay.addresses[0])
    first = held.expires_at
    await eventually(lambda: held.expires_at > first + 1, "a refresh")
    async with Peer() as alice:
        await inside(alice, relay, node)


async def test_a_reset_by_the_relay_is_a_reset_for_the_nodes_streams(start_relay: StartRelay, node: Node) -> None:
    relay = start_relay()
    async with Peer() as bob:
        bob.handlers[ECHO] = bob.handlers[PING]
        at_relay = await bob.dial(relay)
        await at_relay.reserve()

        async def be_reached() -> Link:
            return await respond_inside(bob, await at_relay.accept())

        async with meanwhile(be_reached()) as reached:
            stream = await node.connect_to_peer_via_relay(bob.identity.text, ECHO, via=relay.addresses[0])
            await reached
            await at_relay.leave(abruptly=True)
            async with within(5, "a reset"):
                with pytest.raises(StreamReset):
                    await stream.read()
