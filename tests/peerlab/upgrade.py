"""From a TCP connection to a secured one: multistream-select, Noise, muxer, on either side and in any manner."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.peerlab.keys import Identity, peer_id_of
from tests.peerlab.noise import PLAIN_MAX, TAG, Cipher, Handshake, check_payload, payload
from tests.peerlab.protobuf import prefixed, read_varint
from tests.peerlab.wire import Wire

MULTISTREAM = "/multistream/1.0.0"
NOISE = "/noise"
YAMUX = "/yamux/1.0.0"
NOT_AVAILABLE = "na"


class Reads(Protocol):
    """Anything with bytes to come: a socket, what is behind its Noise, a stream."""

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""


class UpgradeError(Exception):
    """The other side broke the upgrade's rules."""


@dataclass(frozen=True)
class Manner:
    """How a peer conducts its half of the upgrade."""

    muxers: Sequence[str] = (YAMUX,)
    """offered in the Noise payload; empty: the muxer is negotiated behind Noise"""
    one_write: bool = True
    """proposals go out together with the multistream header, as go and rust send them"""
    before_yamux: Sequence[str] = ()
    """muxers proposed behind Noise, and expected to be declined, before yamux is"""
    payload: Callable[[Identity, bytes], bytes] | None = None
    """makes the Noise payload from the identity and the static key, to lie in it"""


def line(text: str) -> bytes:
    """A line of multistream-select."""
    return prefixed(text.encode() + b"\n")


def proposal(protocol: str) -> bytes:
    """What a dialer writes to begin with a protocol."""
    return line(MULTISTREAM) + line(protocol)


async def read_line(reader: Reads) -> str:
    """The next line of multistream-select, its newline checked and taken off."""
    length = bytearray(await reader.read(1))
    while length[-1] & 0x80:
        length += await reader.read(1)
    text = await reader.read(read_varint(length)[0])
    if not text.endswith(b"\n"):
        raise UpgradeError(f"a multistream line without a newline: {text!r}")
    return text[:-1].decode()


async def expect_line(reader: Reads, text: str) -> None:
    """Reads a line and complains when it is another."""
    if (got := await read_line(reader)) != text:
        raise UpgradeError(f"expected {text!r}, got {got!r}")


class Secure:
    """A connection behind its Noise handshake: one `send` is one Noise message, or more if it is long."""

    def __init__(self, wire: Wire, sending: Cipher, receiving: Cipher, their_key: bytes, muxer: str | None) -> None:
        self.wire = wire
        self.sending, self.receiving = sending, receiving
        self.their_id = peer_id_of(their_key)
        self.muxer = muxer
        self._ahead = bytearray()

    def seal(self, data: bytes) -> bytes:
        """The bytes on the wire that carry this plaintext."""
        parts = [data[at : at + PLAIN_MAX] for at in range(0, len(data), PLAIN_MAX)] or [b""]
        return b"".join(struct.pack(">H", len(part) + TAG) + self.sending.seal(part) for part in parts)

    async def send(self, data: bytes) -> None:
        await self.wire.send(self.seal(data))

    async def receive(self) -> bytes:
        """What the next Noise message holds, behind anything `read` has left over."""
        if self._ahead:
            data = bytes(self._ahead)
            self._ahead.clear()
            return data
        return await self._next_message()

    async def _next_message(self) -> bytes:
        (size,) = struct.unpack(">H", await self.wire.read(2))
        return self.receiving.open(await self.wire.read(size))

    async def read_some(self, limit: int) -> bytes:
        """What has come, at least one byte and at most `limit`."""
        while not self._ahead:
            self._ahead += await self.receive()
        data = bytes(self._ahead[:limit])
        del self._ahead[:limit]
        return data

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes of plaintext."""
        while len(self._ahead) < size:
            self._ahead += await self._next_message()
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data


async def _propose(channel: Wire | Secure, protocol: str, manner: Manner, declined: Sequence[str] = ()) -> None:
    if manner.one_write and not declined:
        await channel.send(proposal(protocol))
        await expect_line(channel, MULTISTREAM)
    else:
        await channel.send(line(MULTISTREAM))
        await expect_line(channel, MULTISTREAM)
        for other in declined:
            await channel.send(line(other))
            await expect_line(channel, NOT_AVAILABLE)
        await channel.send(line(protocol))
    await expect_line(channel, protocol)


async def _accept(channel: Wire | Secure, protocol: str) -> None:
    await expect_line(channel, MULTISTREAM)
    await channel.send(line(MULTISTREAM))
    while (got := await read_line(channel)) != protocol:
        await channel.send(line(NOT_AVAILABLE))
        if not got.startswith("/"):
            raise UpgradeError(f"proposed {got!r}")
    await channel.send(line(protocol))


async def _send_noise(wire: Wire, data: bytes) -> None:
    await wire.send(struct.pack(">H", len(data)) + data)


async def _read_noise(wire: Wire) -> bytes:
    (size,) = struct.unpack(">H", await wire.read(2))
    return await wire.read(size)


def _payload_of(identity: Identity, noise: Handshake, manner: Manner) -> bytes:
    if manner.payload:
        return manner.payload(identity, noise.static_public)
    return payload(identity, noise.static_public, manner.muxers)


async def initiate(wire: Wire, identity: Identity, manner: Manner = Manner()) -> Secure:
    """The dialer's half, up to a muxed connection."""
    await _propose(wire, NOISE, manner)
    noise = Handshake(initiator=True)
    await _send_noise(wire, noise.write())
    key, muxers = check_payload(noise.read(await _read_noise(wire)), noise.their_static or b"")
    await _send_noise(wire, noise.write(_payload_of(identity, noise, manner)))
    early = next((muxer for muxer in manner.muxers if muxer in muxers), None)
    secure = Secure(wire, *noise.split(), key, early)
    if not early:
        await _propose(secure, YAMUX, manner, manner.before_yamux)
    return secure


async def respond(wire: Wire, identity: Identity, manner: Manner = Manner()) -> Secure:
    """The listener's half, up to a muxed connection."""
    await _accept(wire, NOISE)
    noise = Handshake(initiator=False)
    noise.read(await _read_noise(wire))
    await _send_noise(wire, noise.write(_payload_of(identity, noise, manner)))
    key, muxers = check_payload(noise.read(await _read_noise(wire)), noise.their_static or b"")
    early = next((muxer for muxer in muxers if muxer in manner.muxers), None)
    secure = Secure(wire, *noise.split(), key, early)
    if not early:
        await _accept(secure, YAMUX)
    return secure
