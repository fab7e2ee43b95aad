"""Getting a connection: every key type, every manner of negotiating, both address families; pings on it."""

import asyncio
import os
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.net.conftest import Meeting, meeting_at
from tests.peerlab import Identity, Peer, RelayProcess, circuit_between, yamux
from tests.peerlab.circuit import HOP
from tests.peerlab.peer import PING, NotSupported
from tests.peerlab.upgrade import MULTISTREAM, Manner, expect_line, line, proposal, read_line
from tests.peerlab.wire import Wire

IDENTITIES: dict[str, Callable[[], Identity]] = {
    "Ed25519": Identity.ed25519,
    "secp256k1": Identity.secp256k1,
    "ECDSA P-256": Identity.ecdsa,
    "ECDSA P-384": lambda: Identity.ecdsa(ec.SECP384R1()),
    "ECDSA P-521": lambda: Identity.ecdsa(ec.SECP521R1()),
    "RSA 2048": Identity.rsa,
    "RSA 3072": lambda: Identity.rsa(3072),
}

MANNERS = {
    "as go dials": Manner(),
    "muxer negotiated behind Noise": Manner(muxers=()),
    "line by line": Manner(one_write=False),
    "line by line, muxer behind Noise": Manner(muxers=(), one_write=False),
    "another muxer preferred": Manner(muxers=("/mplex/6.7.0", "/yamux/1.0.0")),
    "only unknown muxers offered early": Manner(muxers=("/quantum/1",)),
}


@pytest.mark.parametrize("kind", IDENTITIES)
async def test_peers_with_keys_of_every_type_reserve_and_meet(relay: RelayProcess, kind: str) -> None:
    async with meeting_at(relay, bob=Peer(IDENTITIES[kind]())) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        await here.write(b"hello")
        assert await there.read(5) == b"hello"


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_the_largest_rsa_key_is_taken(relay: RelayProcess) -> None:
    async with meeting_at(relay, bob=Peer(await asyncio.to_thread(Identity.rsa, 8192))) as met:
        await circuit_between(met.to_relay, met.at_relay)


@pytest.mark.parametrize("manner", MANNERS)
async def test_every_manner_of_dialing_works(relay: RelayProcess, manner: str) -> None:
    async with Peer(manner=MANNERS[manner]) as peer:
        link = await peer.dial(relay)
        await link.reserve()


@pytest.mark.parametrize("family", ["ip4", "ip6"])
async def test_both_address_families_are_served(relay: RelayProcess, family: str) -> None:
    async with Peer() as alice, Peer() as bob:
        at_relay = await bob.dial(relay.listening_on(family))
        await at_relay.reserve()
        here, there = await circuit_between(await alice.dial(relay.listening_on(family)), at_relay)
        await here.write(b"hello", fin=True)
        assert await there.read_rest() == b"hello"


async def test_peers_of_different_address_families_meet(relay: RelayProcess) -> None:
    async with Peer() as alice, Peer() as bob:
        at_relay = await bob.dial(relay.listening_on("ip6"))
        await at_relay.reserve()
        here, there = await circuit_between(await alice.dial(relay.listening_on("ip4")), at_relay)
        data = os.urandom(1_000_000)
        _, got = await asyncio.gather(here.write(data, fin=True), there.read_rest())
        assert got == data


async def test_unknown_security_protocols_are_declined_until_noise_is_proposed(relay: RelayProcess) -> None:
    async with await Wire.dial(relay.address) as wire:
        await wire.send(line(MULTISTREAM) + line("/tls/1.0.0"))
        await expect_line(wire, MULTISTREAM)
        await expect_line(wire, "na")
        await wire.send(line("/plaintext/2.0.0"))
        await expect_line(wire, "na")
        await wire.send(line("/noise"))
        await expect_line(wire, "/noise")


async def test_unknown_muxers_are_declined_until_yamux_is_proposed(relay: RelayProcess) -> None:
    async with Peer(manner=Manner(muxers=(), before_yamux=("/mplex/6.7.0", "/quantum/1"))) as peer:
        await (await peer.dial(relay)).reserve()


async def test_unknown_protocols_are_declined_and_the_stream_goes_on(meeting: Meeting) -> None:
    with pytest.raises(NotSupported):
        await meeting.to_relay.open("/nobody/speaks/this")
    stream = await meeting.to_relay.open_stream()
    await stream.write(proposal("/one/1") + line("/two/2") + line(PING))
    assert [await read_line(stream) for _ in range(4)] == [MULTISTREAM, "na", "na", PING]
    await stream.write(b"p" * 32)
    assert await stream.read(32) == b"p" * 32


async def test_a_protocol_may_be_proposed_in_the_frame_that_opens_the_stream(meeting: Meeting) -> None:
    stream = await meeting.to_relay.open_stream(early=proposal(PING) + b"q" * 32)
    await expect_line(stream, MULTISTREAM)
    await expect_line(stream, PING)
    assert await stream.read(32) == b"q" * 32


async def test_streams_are_acknowledged(meeting: Meeting) -> None:
    stream = await meeting.to_relay.open(PING)
    await stream.changes.until(lambda: stream.acked, "an acknowledgement")


async def test_a_ping_stream_says_everything_again_until_it_is_closed(meeting: Meeting) -> None:
    stream = await meeting.to_relay.open(PING)
    for _ in range(5):
        data = os.urandom(32)
        await stream.write(data)
        assert await stream.read(32) == data
    await stream.finish()
    assert await stream.end() in ("fin", "reset")


async def test_a_ping_in_pieces_is_one_ping(meeting: Meeting) -> None:
    stream = await meeting.to_relay.open(PING)
    await stream.write(b"first half, ", frame=1)
    await stream.write(b"then the other half.", frame=7)
    assert await stream.read(32) == b"first half, then the other half."


@pytest.mark.parametrize("value", [0, 1, 0xFFFFFFFF])
async def test_a_yamux_ping_is_answered_with_its_value(meeting: Meeting, value: int) -> None:
    link = meeting.to_relay
    await link.send(yamux.ping(value))
    await link.changes.until(lambda: value in link.pongs, "a pong")


async def test_fifty_pings_at_once_are_all_answered(meeting: Meeting) -> None:
    link = meeting.to_relay
    await link.send(b"".join(yamux.ping(1000 + number) for number in range(50)))
    await link.changes.until(lambda: len(link.pongs) == 50, "fifty pongs")


async def test_a_peer_may_have_several_connections(relay: RelayProcess) -> None:
    async with Peer() as peer:
        links = [await peer.dial(relay) for _ in range(5)]
        for link in links:
            await link.identify()
            await link.open(HOP)


async def test_three_hundred_connections_come_and_go(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met:
        before = relay.descriptors()
        for _ in range(6):
            async with Peer() as crowd:
                await asyncio.gather(*(crowd.dial(relay) for _ in range(50)))
        await relay.has_descriptors(before)
        await circuit_between(met.to_relay, met.at_relay)


async def test_a_goodbye_ends_the_connection_or_leaves_its_circuits_alone(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    await here.write(b"before", fin=True)
    assert await there.read_rest() == b"before"
    await meeting.to_relay.send(yamux.frame(yamux.GO_AWAY, 0, 0, 0))
    await there.write(b"behind", fin=True)
    assert await here.end() in ("fin", "reset", "lost")
    await meeting.at_relay.reserve()
