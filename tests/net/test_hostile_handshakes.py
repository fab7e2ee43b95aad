"""Whatever a stranger sends before it is anybody: its own connection ends, and nobody else notices."""

import os
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.peerlab import Identity, Peer, RelayProcess, within
from tests.peerlab.keys import public_key
from tests.peerlab.noise import Handshake, payload
from tests.peerlab.protobuf import Fields, message
from tests.peerlab.upgrade import MULTISTREAM, NOISE, Manner, expect_line, line, proposal
from tests.peerlab.wire import Wire

NOISE_MAX = 65535


pytestmark = pytest.mark.usefixtures("bystanders")


def noise_message(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


@asynccontextmanager
async def at_noise(relay: RelayProcess) -> AsyncIterator[Wire]:
    """A connection on which Noise has been agreed."""
    async with await Wire.dial(relay.address) as wire:
        await reach_noise(wire)
        yield wire


async def reach_noise(wire: Wire) -> Wire:
    await wire.send(proposal(NOISE))
    await expect_line(wire, MULTISTREAM)
    await expect_line(wire, NOISE)
    return wire


async def up_to_the_third_message(wire: Wire) -> Handshake:
    """A handshake in which the third message, ours, comes next."""
    noise = Handshake(initiator=True)
    await wire.send(noise_message(noise.write()))
    (size,) = struct.unpack(">H", await wire.read(2))
    noise.read(await wire.read(size))
    return noise


PREFACES = {
    "http": b"GET / HTTP/1.1\r\nHost: relay\r\n" + b"X-Padding: padding\r\n" * 10,
    "tls": bytes.fromhex("160301020001000001fc0303") + bytes(500),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(100),
    "another multistream": line("/multistream/9.9.9") + line(NOISE),
    "an empty line": b"\0" * 10,
    "a line without a newline": b"\x13/multistream/1.0.0!",
    "a line that is too long": b"\xff\xff\x03" + b"a" * 5000,
    "a length without an end": b"\xff" * 100,
    "an enormous length": b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"a" * 100,
    "a length in a longer form than needed": b"\x93\x80\x80\x00/multistream/1.0.0\n",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("what", PREFACES)
async def test_whoever_does_not_speak_multistream_is_cut_off(relay: RelayProcess, what: str) -> None:
    async with await Wire.dial(relay.address) as wire:
        await wire.send(PREFACES[what])
        await wire.ended()


FIRST_MESSAGES = {
    "an empty message": noise_message(b""),
    "too short a key": noise_message(bytes(31)),
    "a key of zeros": noise_message(bytes(32)),
    "a key of low order": noise_message(b"\1" + bytes(31)),
    "random bytes": noise_message(os.urandom(200)),
    "the longest message": noise_message(os.urandom(NOISE_MAX)),
}


@pytest.mark.parametrize("what", FIRST_MESSAGES)
async def test_a_bad_first_message_goes_nowhere(relay: RelayProcess, what: str) -> None:
    """Random bytes are a valid key, and a first message may carry a payload: then the third message settles it."""
    async with at_noise(relay) as wire:
        await wire.send(FIRST_MESSAGES[what] + noise_message(os.urandom(100)))
        await wire.ended()


def a_changed_third_message(noise: Handshake, identity: Identity) -> bytes:
    out = bytearray(noise.write(payload(identity, noise.static_public)))
    out[random.randrange(len(out))] ^= 0x40
    return bytes(out)


def a_third_message_cut_short(noise: Handshake, identity: Identity) -> bytes:
    return noise.write(payload(identity, noise.static_public))[:-1]


def a_third_message_with_more_behind(noise: Handshake, identity: Identity) -> bytes:
    return noise.write(payload(identity, noise.static_public)) + b"!"


def an_empty_third_message(noise: Handshake, identity: Identity) -> bytes:
    return b""


def the_longest_third_message(noise: Handshake, identity: Identity) -> bytes:
    return noise.write(payload(identity, noise.static_public) + message([(9, bytes(60_000))]))


@pytest.mark.parametrize(
    "forge",
    [
        a_changed_third_message,
        a_third_message_cut_short,
        a_third_message_with_more_behind,
        an_empty_third_message,
        the_longest_third_message,
    ],
    ids=lambda forge: forge.__name__,
)
async def test_a_bad_third_message_ends_the_handshake(
    relay: RelayProcess, forge: Callable[[Handshake, Identity], bytes]
) -> None:
    async with at_noise(relay) as wire:
        noise = await up_to_the_third_message(wire)
        await wire.send(noise_message(forge(noise, Identity.ed25519())))
        await wire.ended()


VICTIM = Identity.ed25519()


def replaced(identity: Identity, static: bytes, **changes: bytes | None) -> bytes:
    """The honest payload with its key or signature exchanged or left out."""
    fields = Fields(payload(identity, static))
    values = {"key": fields.binary(1), "signature": fields.binary(2)} | changes
    both = ((1, values["key"]), (2, values["signature"]))
    return message((number, value) for number, value in both if value is not None)


def signed_as(kind: int, key: bytes) -> Callable[[Identity, bytes], bytes]:
    return lambda identity, static: replaced(identity, static, key=public_key(kind, key))


PAYLOADS: dict[str, Callable[[Identity, bytes], bytes]] = {
    "another's key": lambda identity, static: replaced(identity, static, key=VICTIM.public_pb),
    "a signature of another static key": lambda identity, static: payload(identity, bytes(32)),
    "a changed signature": lambda identity, static: replaced(identity, static, signature=bytes(64)),
    "an empty signature": lambda identity, static: replaced(identity, static, signature=b""),
    "no signature": lambda identity, static: replaced(identity, static, signature=None),
    "no key": lambda identity, static: replaced(identity, static, key=None),
    "an empty key": lambda identity, static: replaced(identity, static, key=b""),
    "nothing": lambda identity, static: b"",
    "garbage": lambda identity, static: b"\xff" * 200,
    "a key of an unknown type": signed_as(9, bytes(32)),
    "an Ed25519 key that is too short": signed_as(1, bytes(31)),
    "an Ed25519 key of zeros": signed_as(1, bytes(32)),
    "a secp256k1 key that is no point": signed_as(2, b"\2" + b"\xff" * 32),
    "an ECDSA key that is no DER": signed_as(3, bytes(91)),
    "an RSA key that is no DER": signed_as(0, bytes(294)),
    "a payload that is too long": lambda identity, static: payload(identity, static) + message([(9, bytes(5000))]),
}


@pytest.mark.parametrize("what", PAYLOADS)
async def test_nobody_gets_in_on_a_bad_payload(relay: RelayProcess, what: str) -> None:
    async with Peer(manner=Manner(payload=PAYLOADS[what])) as mallory:
        link = await mallory.dial(relay)
        assert await link.end() in ("closed", "reset")


@pytest.mark.parametrize("bits", [1024, 1536])
async def test_rsa_keys_that_are_too_small_are_refused(relay: RelayProcess, bits: int) -> None:
    async with Peer(Identity.rsa(bits)) as mallory:
        assert await (await mallory.dial(relay)).end() in ("closed", "reset")


@pytest.mark.parametrize("abruptly", [False, True])
async def test_a_handshake_may_be_broken_off_anywhere(relay: RelayProcess, abruptly: bool) -> None:
    def leave(wire: Wire) -> None:
        if abruptly:
            wire.abort()

    identity = Identity.ed25519()
    first = proposal(NOISE) + noise_message(Handshake(initiator=True).write())
    for cut in range(len(first)):
        async with await Wire.dial(relay.address) as wire:
            await wire.send(first[:cut])
            leave(wire)
    for cut in range(0, 200, 7):
        async with at_noise(relay) as wire:
            noise = await up_to_the_third_message(wire)
            await wire.send(noise_message(noise.write(payload(identity, noise.static_public)))[:cut])
            leave(wire)


async def test_random_bytes_at_any_stage_end_the_connection(relay: RelayProcess) -> None:
    chance = random.Random(7)
    for _ in range(50):
        async with await Wire.dial(relay.address) as wire:
            await wire.send(b"\xff" + chance.randbytes(chance.randrange(1, 3000)) + b"\xff" * 10)
            wire.finish()
            await wire.ended()
    for _ in range(50):
        async with at_noise(relay) as wire:
            await wire.send(chance.randbytes(chance.randrange(40, 3000)))
            wire.finish()
            await wire.ended()


async def test_hundreds_of_silent_connections_keep_nobody_waiting(relay: RelayProcess) -> None:
    async with AsyncExitStack() as silent:
        for number in range(300):
            wire = await silent.enter_async_context(await Wire.dial(relay.address))
            if number % 2:
                await reach_noise(wire)
        async with within(2, "a good handshake"), Peer() as peer:
            await (await peer.dial(relay)).reserve()
