"""The other end of a connection in memory: Noise by peerlab, frames by hand, and the endpoint's frames checked."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import Any

from tests.peerlab import yamux
from tests.peerlab.keys import Identity
from tests.peerlab.noise import PLAIN_MAX, TAG, Cipher, Handshake, check_payload, payload
from tests.peerlab.protobuf import prefixed, read_varint
from tests.peerlab.upgrade import MULTISTREAM, NOISE, YAMUX, line, proposal
from tests.peerlab.yamux import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, WINDOW, WINDOW_UPDATE, Header
from tests.unit.native.still import World


class Broken(Exception):
    """The endpoint said less than expected, or something else."""


def take_line(data: bytearray) -> str:
    """Takes a line of multistream-select off the head."""
    try:
        length, at = read_varint(data)
    except IndexError:
        raise Broken(f"no line in {bytes(data)!r}") from None
    text = bytes(data[at : at + length])
    if len(text) < length or not text.endswith(b"\n"):
        raise Broken(f"no line in {bytes(data)!r}")
    del data[: at + length]
    return text[:-1].decode()


def take_message(data: bytearray) -> bytes:
    """Takes a message with its length off the head."""
    try:
        length, at = read_varint(data)
    except IndexError:
        raise Broken(f"no message in {bytes(data)!r}") from None
    if len(data) < at + length:
        raise Broken(f"{len(data)} of {at + length} bytes of a message")
    message = bytes(data[at : at + length])
    del data[: at + length]
    return message


class RawStream:
    """One stream as the raw end sees it."""

    def __init__(self, peer: RawPeer, stream_id: int, *, inbound: bool = False) -> None:
        self.peer, self.id, self.inbound = peer, stream_id, inbound
        self.credit = WINDOW
        """bytes we may still send"""
        self.granted = WINDOW
        """bytes they may still send"""
        self.received = bytearray()
        self.credited = 0
        """credit they gave us since the start, the first window apart"""
        self.acked = self.fin = self.reset_by_them = self.finished = self.left = False

    @property
    def ended(self) -> str | None:
        return "reset" if self.reset_by_them else "fin" if self.fin else None

    def send(self, data: bytes, flags: int = 0, frame: int = PLAIN_MAX - HEADER) -> None:
        """Sends bytes, all within our credit, and lets the endpoint act on them."""
        assert len(data) <= self.credit, f"{len(data)} bytes with a credit of {self.credit}"
        self.credit -= len(data)
        pieces = [data[at : at + frame] for at in range(0, len(data), frame)] or [b""]
        marks = [0] * len(pieces)
        marks[0] |= flags & (SYN | ACK)
        marks[-1] |= flags & ~(SYN | ACK)
        frames = [yamux.data(self.id, piece, mark) for piece, mark in zip(pieces, marks, strict=True)]
        self.peer.post(b"".join(frames))

    def grant(self, size: int) -> None:
        self.granted += size
        self.peer.post(yamux.window_update(self.id, size))

    def finish(self) -> None:
        self.finished = True
        self.peer.post(yamux.data(self.id, flags=FIN))

    def reset(self) -> None:
        self.left = True
        self.peer.post(yamux.window_update(self.id, flags=RST))

    def take_lines(self, *lines: str) -> None:
        for expected in lines:
            if (got := take_line(self.received)) != expected:
                raise Broken(f"{got!r} instead of {expected!r}")

    def take_message(self) -> bytes:
        return take_message(self.received)


class RawPeer:
    """Connected to an endpoint over memory: what is posted is sealed, fed, and answered before `post` returns.

    What the endpoint sends is decoded at once; whatever breaks yamux's rules or a window goes to `violations`.
    """

    def __init__(
        self,
        world: World,
        endpoint: Any,
        *,
        dials: bool = True,
        identity: Identity | None = None,
        remote: bytes = b"",
    ) -> None:
        self.world = world
        self.identity = identity or Identity.ed25519()
        self.dials = dials
        """we are the dialer"""
        self.heard = bytearray()
        """raw bytes not decoded yet"""
        self.plain = bytearray()
        """plaintext not parsed yet"""
        self.messages: list[int] = []
        """length of each plaintext received"""
        self.frames: list[Header] = []
        self.streams: dict[int, RawStream] = {}
        self.opened: deque[RawStream] = deque()
        self.violations: list[str] = []
        self.pongs: list[int] = []
        self.pings: list[int] = []
        self.go_away: int | None = None
        self.room: int | None = None
        """how many bytes are still taken from the endpoint, as by a socket that fills up; None: any"""
        self.dead = False
        """whatever the endpoint sends fails, as on a socket that was reset"""
        self._next_id = 1 if dials else 2
        self._sending: Cipher | None = None
        self._receiving: Cipher | None = None
        self.channel = endpoint.over_memory(not dials, self._sent, remote)
        world.run()

    def _sent(self, data: bytes) -> int:
        if self.dead:
            return -1
        taken = len(data) if self.room is None else min(len(data), self.room)
        if self.room is not None:
            self.room -= taken
        self.heard += data[:taken]
        return taken

    def take(self, room: int | None = None) -> None:
        """Takes so many bytes more, or all there will be."""
        self.room = room
        self.channel.resume()
        self.world.run()
        self._decode()

    @property
    def closed(self) -> bool:
        return bool(self.channel.closed)

    @property
    def peer_id(self) -> bytes:
        return self.identity.peer_id

    # The handshake ---------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Raw bytes, as they are."""
        self.channel.receive(data)
        self.world.run()

    def hear(self, size: int) -> bytes:
        if len(self.heard) < size:
            raise Broken(f"heard {len(self.heard)} of {size} bytes")
        data = bytes(self.heard[:size])
        del self.heard[:size]
        return data

    def hear_lines(self, *lines: str) -> None:
        for expected in lines:
            if (got := take_line(self.heard)) != expected:
                raise Broken(f"{got!r} instead of {expected!r}")

    def hear_noise(self) -> bytes:
        return self.hear(struct.unpack(">H", self.hear(2))[0])

    def feed_noise(self, data: bytes) -> None:
        self.feed(struct.pack(">H", len(data)) + data)

    def connect(self, *, early_muxer: bool = True) -> RawPeer:
        """The whole handshake, well-behaved."""
        muxers = (YAMUX,) if early_muxer else ()
        noise = Handshake(initiator=self.dials)
        if self.dials:
            self.feed(proposal(NOISE))
            self.hear_lines(MULTISTREAM, NOISE)
            self.feed_noise(noise.write())
            check_payload(noise.read(self.hear_noise()), noise.their_static or b"")
            self.feed_noise(noise.write(payload(self.identity, noise.static_public, muxers)))
        else:
            self.hear_lines(MULTISTREAM, NOISE)
            self.feed(proposal(NOISE))
            noise.read(self.hear_noise())
            self.feed_noise(noise.write(payload(self.identity, noise.static_public, muxers)))
            check_payload(noise.read(self.hear_noise()), noise.their_static or b"")
        self._sending, self._receiving = noise.split()
        if not early_muxer:
            self.negotiate_muxer()
        self._decode()
        assert self.channel.open
        return self

    def negotiate_muxer(self) -> None:
        """multistream-select behind Noise."""
        if self.dials:
            self.feed(self.seal(proposal(YAMUX)))
            self._open()
        else:
            self._open()
            self.feed(self.seal(proposal(YAMUX)))
        for expected in (MULTISTREAM, YAMUX):
            if (got := take_line(self.plain)) != expected:
                raise Broken(f"{got!r} instead of {expected!r}")
        self.messages.clear()

    # Frames ----------------------------------------------------------------------------------------------------------

    def seal(self, data: bytes) -> bytes:
        """The Noise messages that carry this plaintext."""
        assert self._sending
        parts = [data[at : at + PLAIN_MAX] for at in range(0, len(data), PLAIN_MAX)] or [b""]
        return b"".join(struct.pack(">H", len(part) + TAG) + self._sending.seal(part) for part in parts)

    def post(self, data: bytes) -> None:
        """Plaintext: whole frames, parts of them, or anything."""
        if not self.closed:
            self.feed(self.seal(data))
        self._decode()

    def settle(self) -> None:
        """Lets the endpoint finish and decodes what it says."""
        self.world.run()
        self._decode()

    def _open(self) -> None:
        assert self._receiving
        while len(self.heard) >= 2:
            size = 2 + int.from_bytes(self.heard[:2])
            if len(self.heard) < size:
                break
            plain = self._receiving.open(bytes(self.heard[2:size]))
            self.messages.append(len(plain))
            self.plain += plain
            del self.heard[:size]

    def _decode(self) -> None:
        if self._receiving is None:
            return
        self._open()
        while len(self.plain) >= HEADER:
            header = Header.parse(bytes(self.plain[:HEADER]))
            length = header.length if header.type == DATA else 0
            if len(self.plain) < HEADER + length:
                break
            body = bytes(self.plain[HEADER : HEADER + length])
            del self.plain[: HEADER + length]
            self.frames.append(header)
            self._take(header, body)

    def _take(self, h: Header, body: bytes) -> None:
        if h.version:
            self.violations.append(f"version {h.version}")
        if h.type == PING:
            (self.pings if h.flags & SYN else self.pongs).append(h.length)
        elif h.type == GO_AWAY:
            self.go_away = h.length
        elif h.type in (DATA, WINDOW_UPDATE):
            self._take_for_stream(h, body)
        else:
            self.violations.append(f"type {h.type}")

    def _take_for_stream(self, h: Header, body: bytes) -> None:
        stream = self.streams.get(h.stream)
        if h.flags & SYN:
            if stream is not None or h.stream == 0 or h.stream % 2 == self._next_id % 2:
                self.violations.append(f"opened {h.stream}")
                return
            stream = self.streams[h.stream] = RawStream(self, h.stream, inbound=True)
            self.opened.append(stream)
        if stream is None:
            self.violations.append(f"a frame for stream {h.stream}, which is not there")
            return
        if stream.reset_by_them:
            self.violations.append(f"stream {h.stream} goes on behind its reset")
        stream.acked |= bool(h.flags & ACK)
        if h.type == DATA:
            if stream.fin and body:
                self.violations.append(f"stream {h.stream} goes on behind its FIN")
            stream.granted -= len(body)
            if stream.granted < 0:
                self.violations.append(f"stream {h.stream} is {-stream.granted} bytes over its window")
            stream.received += body
        else:
            stream.credit += h.length
            stream.credited += h.length
        stream.fin |= bool(h.flags & FIN)
        stream.reset_by_them |= bool(h.flags & RST)

    # Streams ---------------------------------------------------------------------------------------------------------

    def stream(self) -> RawStream:
        """A stream of ours that has said nothing yet."""
        stream = self.streams[self._next_id] = RawStream(self, self._next_id)
        self._next_id += 2
        return stream

    def expect_id(self, stream_id: int) -> None:
        """The next stream of ours has this id."""
        self._next_id = stream_id

    def open(self, protocol: str, early: bytes = b"") -> RawStream:
        """Opens a stream for a protocol; its answering lines are taken off."""
        stream = self.stream()
        stream.send(proposal(protocol) + early, SYN)
        stream.take_lines(MULTISTREAM, protocol)
        return stream

    def accept(self, protocol: str, answer: bytes = b"") -> RawStream:
        """The next stream that the endpoint opened; agrees to the protocol and says `answer` with it."""
        self.settle()
        if not self.opened:
            raise Broken("no stream was opened")
        stream = self.opened.popleft()
        stream.take_lines(MULTISTREAM, protocol)
        stream.send(line(MULTISTREAM) + line(protocol) + answer, ACK)
        return stream

    def ping(self) -> None:
        """A round trip through the endpoint."""
        count = len(self.pongs)
        self.post(yamux.ping(count))
        assert len(self.pongs) == count + 1


def connected(world: World, endpoint: Any, count: int = 1, *, dials: bool = True) -> Iterator[RawPeer]:
    """Raw peers that have made their handshakes."""
    for _ in range(count):
        yield RawPeer(world, endpoint, dials=dials).connect()


__all__ = ["Broken", "RawPeer", "RawStream", "connected", "prefixed", "take_line", "take_message"]
