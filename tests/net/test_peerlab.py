"""The instrument itself: our test peer agrees with itself, on either side of a connection and in every manner."""

import asyncio
import os
import socket
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec

from tests.peerlab import Identity, Peer, yamux
from tests.peerlab.keys import base58, from_base58
from tests.peerlab.multiaddr import to_bytes, to_text
from tests.peerlab.noise import Handshake, check_payload, payload
from tests.peerlab.peer import PING, NotSupported
from tests.peerlab.protobuf import Fields, message, read_varint, varint
from tests.peerlab.upgrade import Manner
from tests.peerlab.wire import Wire, unread_between

IDENTITIES: dict[str, Callable[[], Identity]] = {
    "ed25519": Identity.ed25519,
    "secp256k1": Identity.secp256k1,
    "ecdsa": Identity.ecdsa,
    "ecdsa-p384": lambda: Identity.ecdsa(ec.SECP384R1()),
    "rsa": Identity.rsa,
}


@pytest.mark.parametrize("kind", IDENTITIES)
def test_a_payload_proves_its_identity_and_nothing_else(kind: str) -> None:
    identity = IDENTITIES[kind]()
    static = bytes(range(32))
    key, muxers = check_payload(payload(identity, static, ["/yamux/1.0.0"]), static)
    assert (key, muxers) == (identity.public_pb, ["/yamux/1.0.0"])
    with pytest.raises(InvalidSignature):
        check_payload(payload(identity, static), bytes(32))


def test_a_changed_handshake_message_is_refused() -> None:
    dialer, listener = Handshake(initiator=True), Handshake(initiator=False)
    listener.read(dialer.write())
    answer = bytearray(listener.write(b"payload"))
    answer[-1] ^= 1
    with pytest.raises(InvalidTag):
        dialer.read(bytes(answer))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63 - 1])
def test_varints_and_fields_read_as_written(value: int) -> None:
    assert read_varint(varint(value)) == (value, len(varint(value)))
    fields = Fields(message([(1, value), (2, b"x" * 200), (2, b"y")]))
    assert fields.integer(1) == value
    assert fields.all_binary(2) == [b"x" * 200, b"y"]


def test_addresses_read_as_written() -> None:
    text = f"/ip4/127.0.0.1/tcp/4001/p2p/{Identity.ed25519().text}/p2p-circuit/p2p/{Identity.rsa().text}"
    assert to_text(to_bytes(text)) == text
    assert to_text(to_bytes("/ip6/::1/tcp/1")) == "/ip6/::1/tcp/1"
    assert from_base58(base58(b"\0\0\1\2")) == b"\0\0\1\2"


@pytest.mark.parametrize("dialer", [Manner(), Manner(muxers=()), Manner(one_write=False)])
@pytest.mark.parametrize("listener", [Manner(), Manner(muxers=())])
async def test_two_peers_meet_in_any_manner(dialer: Manner, listener: Manner) -> None:
    async with Peer(manner=dialer) as alice, Peer(manner=listener) as bob:
        await bob.listen()
        link = await alice.dial(bob)
        assert (await bob.next_link()).their_id == alice.peer_id
        assert (await link.identify()).public_key == bob.identity.public_pb
        await link.ping()


async def test_streams_carry_bulk_in_both_directions_at_once() -> None:
    async with Peer() as alice, Peer() as bob:
        await bob.listen("::1")
        stream = await (await alice.dial(bob)).open(PING)
        sent = os.urandom(3_000_000)
        writing = asyncio.create_task(stream.write(sent, fin=True))
        assert await stream.read_rest() == sent
        await writing


async def test_it_can_tell_what_the_other_side_has_not_read_yet() -> None:
    for host in ("127.0.0.1", "::1"):
        with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            async with await Wire.dial(listener.getsockname()[:2]) as wire:
                accepted, _ = listener.accept()
                with accepted:
                    await wire.send(b"x" * 1000)
                    assert unread_between(wire.remote, wire.local) == 1000
                    assert accepted.recv(2000) == b"x" * 1000
                    await wire.taken()


async def test_a_stream_ends_with_a_fin_or_with_a_reset() -> None:
    async with Peer() as alice, Peer() as bob:
        await bob.listen()
        link = await alice.dial(bob)
        there = await bob.next_link()
        finished = await link.open(PING)
        await finished.finish()
        assert await finished.end() == "fin"
        with pytest.raises(NotSupported):
            await link.open("/nobody/speaks/this")
        reset = await link.open(PING)
        await reset.reset()
        await link.ping()
        assert reset.id not in there.streams
        cut = await link.open(PING)
        await there.leave(abruptly=True)
        assert await cut.end() == "lost"
        assert link.ended == "reset"


async def test_a_write_over_the_window_and_a_stream_id_used_twice_are_noticed() -> None:
    async with Peer() as alice:
        bob = Peer(serves=False)
        await bob.listen()
        link = await alice.dial(bob)
        there = await bob.next_link()
        stream = await link.open_stream()
        await link.send(yamux.data(stream.id, bytes(yamux.WINDOW + 1)))
        await link.send(yamux.window_update(stream.id, flags=yamux.SYN))
        await link.ping()
        assert len(there.violations) == 2
        with pytest.raises(AssertionError, match="broke the rules"):
            await bob.__aexit__(None, None, None)
