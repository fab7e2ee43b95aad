"""A stream of the node's as py-libp2p wants one, and the messages of kad-dht on it: lengths bounded, time limited."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID

__all__ = [
    "MAX_ANSWER",
    "MAX_REQUEST",
    "Exchange",
    "ProtocolError",
    "Request",
    "frame",
    "read_message",
    "without_seals",
]

MAX_REQUEST: Final = 16384
MAX_ANSWER: Final = 65536
"""20 peers and 20 providers with a handful of addresses each are 16 KiB."""
MAX_PEERS: Final = 40
"""Of each kind in one message."""
MAX_ADDRESSES: Final = 8
_MAX_PREFIX: Final = 3
_READ: Final = 16384


class ProtocolError(Exception):
    """A peer sent what is no message of the protocol, or one that is too long."""


class Buffered:
    """A socket read in large pieces."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    async def fill(self) -> bool:
        """More bytes in the buffer; False at the end."""
        try:
            data = await self.stream.receive_some(_READ)
        except trio.BrokenResourceError:
            return False
        self.buffer += data
        return bool(data)


async def read_message(source: Buffered, most: int, body_s: float) -> bytes | None:
    """The next length-prefixed message, None at the end. Once it has begun it must be there within `body_s` seconds.

    ProtocolError for one over `most` bytes, before it is taken in, and for one that stays away or is cut off.
    """
    if not source.buffer and not await source.fill():
        return None
    with trio.move_on_after(body_s):
        while True:
            needed = _needed(source.buffer, most)
            if needed is not None and len(source.buffer) >= needed[1]:
                head, whole = needed
                message = bytes(source.buffer[head:whole])
                del source.buffer[:whole]
                return message
            if not await source.fill():
                raise ProtocolError("a message was cut off")
    raise ProtocolError("a message did not come to its end in time")


def _needed(buffer: bytearray, most: int) -> tuple[int, int] | None:
    # Where the message begins and ends; None while its length is not complete.
    length = 0
    for at, byte in enumerate(buffer[:_MAX_PREFIX]):
        length |= (byte & 0x7F) << (7 * at)
        if not byte & 0x80:
            if length > most:
                raise ProtocolError(f"a message of {length} bytes; at most {most} are taken")
            return at + 1, at + 1 + length
    if len(buffer) >= _MAX_PREFIX:
        raise ProtocolError("a message's length is too long")
    return None


def frame(message: bytes) -> bytes:
    """With its length before it."""
    length = len(message)
    head = bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + message


def without_seals(data: bytes) -> bytes:
    """The message without py-libp2p's own additions to the protocol, the signed peer records.

    We hold no key here to sign any, and believe no address more for one. Peers and addresses beyond what anybody needs
    are left out, too. ProtocolError for what is no message.
    """
    message = Message()
    try:
        message.ParseFromString(data)
    except Exception as error:
        raise ProtocolError("not a message of kad-dht") from error
    message.ClearField("senderRecord")
    del message.closerPeers[MAX_PEERS:]
    del message.providerPeers[MAX_PEERS:]
    for peer in (*message.closerPeers, *message.providerPeers):
        peer.ClearField("signedRecord")
        del peer.addrs[MAX_ADDRESSES:]
    return bytes(message.SerializeToString())


class Exchange:
    """A stream on which we ask: what py-libp2p writes goes out as one message when it reads or closes.

    `by` is the trio time by which all must be done: a peer that does not answer costs that long and no longer. `told`
    hears whether it answered, in the protocol.
    """

    metric_send_channel = None

    def __init__(
        self, stream: trio.SocketStream, peer_id: ID, by: float, told: Callable[[bool], None] = lambda answered: None
    ) -> None:
        self._told = told
        self.muxed_conn = SimpleNamespace(peer_id=peer_id)
        self._in = Buffered(stream)
        self._out = bytearray()
        self._by = by
        self._answer: bytes | None = None
        """What is left of the one message that answers."""

    async def write(self, data: bytes) -> None:
        """Queues."""
        self._out += data

    async def read(self, n: int | None = None) -> bytes:
        """Bytes of the answer; b"" at its end. trio.TooSlowError when it is late."""
        if self._answer is None:
            self._answer = b""
            answered = False
            try:
                with trio.fail_at(self._by):
                    await self._flush()
                    answer = await read_message(self._in, MAX_ANSWER, max(0.0, self._by - trio.current_time()))
                if answer is not None:
                    self._answer = frame(without_seals(answer))
                    answered = True
            except trio.Cancelled:
                # Somebody else was faster: no reason to think ill of this one.
                answered = True
                raise
            finally:
                if not answered or self._answer:
                    self._told(answered)
        data = self._answer if n is None else self._answer[:n]
        self._answer = self._answer[len(data) :]
        return data

    async def _flush(self) -> None:
        data, self._out = bytes(self._out), bytearray()
        if data:
            needed = _needed(bytearray(data[:_MAX_PREFIX]), len(data))
            if needed is None or needed[1] != len(data):
                raise ProtocolError("py-libp2p did not write one whole message")
            data = frame(without_seals(data[needed[0] :]))
            await self._in.stream.send_all(data)

    async def close(self) -> None:
        """Sends what was written, and ends both ways."""
        try:
            with trio.move_on_at(self._by):
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._flush()
        finally:
            self._in.stream.socket.close()

    async def reset(self) -> None:
        """Ends both ways at once."""
        self._in.stream.socket.close()


class Request:
    """One message of a peer's as a stream to py-libp2p, which reads it, then the end, and writes the answer."""

    metric_send_channel = None

    def __init__(self, message: bytes, peer_id: ID) -> None:
        self.muxed_conn = SimpleNamespace(peer_id=peer_id)
        plain = without_seals(message)
        self.wants_none = Message.FromString(plain).type == Message.MessageType.ADD_PROVIDER
        """Nobody answers ADD_PROVIDER but py-libp2p."""
        self._message = frame(plain)
        self._answer = bytearray()
        self.refused = False
        """py-libp2p reset the stream."""

    async def read(self, n: int | None = None) -> bytes:
        """What is left of the message."""
        data = self._message if n is None else self._message[:n]
        self._message = self._message[len(data) :]
        return data

    async def write(self, data: bytes) -> None:
        """Collects."""
        self._answer += data

    async def close(self) -> None:
        """Nothing: the stream goes on."""

    async def reset(self) -> None:
        """Remembers."""
        self.refused = True

    def answer(self) -> bytes:
        """What goes back to the peer, framed; b"" when nothing does."""
        data = bytes(self._answer)
        needed = _needed(bytearray(data[:_MAX_PREFIX]), len(data)) if data else None
        return b"" if needed is None else frame(without_seals(data[needed[0] : needed[1]]))
