"""Nothing that one side receives contains the other's address; who keeps to oneself loses nothing by it."""

import asyncio
import os
import socket

import pytest

from tests.net.conftest import meeting_at
from tests.peerlab import Link, Peer, RelayProcess, Stream, circuit_between, meanwhile
from tests.peerlab.circuit import connect_message
from tests.peerlab.identify import IDENTIFY, PUSH, Identify
from tests.peerlab.multiaddr import to_bytes
from tests.peerlab.peer import NotSupported, say_nothing
from tests.peerlab.protobuf import prefixed

ALICE, BOB = "127.77.66.55", "127.88.99.44"


def traces_of(host: str, port: int, heard: bytes) -> list[str]:
    """In which forms an address occurs in what somebody heard."""
    forms = {
        "the packed address": socket.inet_aton(host),
        "its text": host.encode(),
        "the address mapped into IPv6": b"\xff\xff" + socket.inet_aton(host),
        "the port in a multiaddr": b"\x06" + port.to_bytes(2),
        "the port's text": f"/tcp/{port}".encode(),
    }
    return [name for name, form in forms.items() if form in heard]


def own_address(link: Link) -> bytes:
    """From where we dialed, as a multiaddr."""
    host, port = link.wire.local
    return to_bytes(f"/ip4/{host}/tcp/{port}")


def everything_heard(peer: Peer) -> bytes:
    """All plaintext and ciphertext that reached a peer."""
    return b"\n".join(bytes(link.heard or b"") + b"\n" + bytes(link.wire.heard or b"") for link in peer.links)


async def test_neither_side_ever_receives_the_others_address(relay: RelayProcess) -> None:
    alice, bob = Peer(source=ALICE, record=True), Peer(source=BOB, record=True)
    async with meeting_at(relay, alice, bob) as met:
        for link in (met.to_relay, met.at_relay):
            await link.identify()
            own = Identify(link.peer.identity.public_pb, [own_address(link)], [IDENTIFY])
            push = await link.open(PUSH, prefixed(own.encode()))
            await push.finish()
            await link.ping()
        address = own_address(met.to_relay)
        async with meanwhile(met.to_relay.ask_hop(connect_message(bob.peer_id, [address]))) as asking:
            there = await met.at_relay.accept()
            here, _ = await asking
        await here.write(b"a word")
        assert await there.read(6) == b"a word"
        await here.reset()
        await there.end()
        await met.to_relay.identify()
        await met.at_relay.identify()
        local = {ALICE: met.to_relay.wire.local, BOB: met.at_relay.wire.local}
        assert traces_of(*local[ALICE], everything_heard(alice)), "the search would not find a known trace"
        assert not traces_of(*local[ALICE], everything_heard(bob))
        assert not traces_of(*local[BOB], everything_heard(alice))


@pytest.mark.parametrize("manner", ["refuse it", "agree and say nothing"])
async def test_peers_that_never_answer_identify_reserve_and_connect_at_once(relay: RelayProcess, manner: str) -> None:
    alice, bob = Peer(), Peer()
    for peer in (alice, bob):
        if manner == "refuse it":
            del peer.handlers[IDENTIFY]
        else:
            peer.handlers[IDENTIFY] = say_nothing
    async with asyncio.timeout(3), meeting_at(relay, alice, bob) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        data = os.urandom(100_000)
        await here.write(data)
        assert await there.read(len(data)) == data
        with pytest.raises(NotSupported):
            await met.to_relay.open("/nobody/speaks/this")


async def test_a_peer_may_answer_identify_with_nonsense(relay: RelayProcess) -> None:
    async def nonsense(link: Link, stream: Stream) -> None:
        await stream.write(prefixed(os.urandom(500)), fin=True)

    async def someone_elses(link: Link, stream: Stream) -> None:
        await stream.write(prefixed(Identify(relay.peer_id[2:]).encode()), fin=True)

    async def endless(link: Link, stream: Stream) -> None:
        await stream.write(b"\xff" * 100)

    for handler in (nonsense, someone_elses, endless):
        bob = Peer()
        bob.handlers[IDENTIFY] = handler
        async with meeting_at(relay, bob=bob) as met:
            await circuit_between(met.to_relay, met.at_relay)


async def test_identify_says_who_the_relay_is_and_what_it_can(relay: RelayProcess) -> None:
    async with Peer() as alice:
        link = await alice.dial(relay)
        told = await link.identify()
        assert told.public_key == relay.peer_id[2:]
        assert "/libp2p/circuit/relay/0.2.0/hop" in told.protocols
        assert {"/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"} <= set(told.protocols)
        assert told.observed == own_address(link)
        assert told.agent
        listening = {to_bytes(address.rpartition("/p2p/")[0]) for address in relay.addresses}
        assert listening <= {bytes(address) for address in told.addresses}


async def test_an_identify_push_is_taken(relay: RelayProcess) -> None:
    async with Peer() as alice:
        link = await alice.dial(relay)
        own = Identify(alice.identity.public_pb, [], ["/one/1"])
        push = await link.open(PUSH, prefixed(own.encode()))
        await push.finish()
        assert await push.end() in ("fin", "reset")
        await link.reserve()
