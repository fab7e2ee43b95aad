"""yamux over a secured connection: streams whose windows, frames and ends may be handled by hand."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.peerlab import yamux
from tests.peerlab.patience import Changes
from tests.peerlab.protobuf import prefixed, read_varint
from tests.peerlab.upgrade import Secure
from tests.peerlab.yamux import ACK, FIN, HEADER, RST, SYN, WINDOW, Header

FRAME = 1 << 16


class StreamReset(Exception):
    """The other side reset the stream."""


class StreamLost(Exception):
    """The connection below the stream ended."""


class Stream:
    """One yamux stream. `grants` off: the window is extended by `grant` alone."""

    def __init__(self, session: "Session", stream_id: int) -> None:
        self.session, self.id = session, stream_id
        self.protocol = ""
        self.credit = WINDOW
        """bytes we may still send"""
        self.granted = WINDOW
        """bytes they may still send"""
        self.window = WINDOW
        self.grants = True
        self.inbox = bytearray()
        self.received = 0
        self.acked = self.fin = self.was_reset = self.finished = False
        self.fin_with_data = False
        """their FIN came on a frame that carried bytes, too"""
        self.changes = Changes()
        self._consumed = 0

    def __repr__(self) -> str:
        return f"<stream {self.id} {self.protocol}>"

    # Reading ---------------------------------------------------------------------------------------------------------

    async def read(self, size: int, patience: float | None = None) -> bytes:
        """Exactly `size` bytes; EOFError when a FIN came before, StreamReset when a reset did."""
        parts, left = [], size
        while left:
            if not self.inbox and self.fin:
                raise EOFError(f"{self} ended {left} bytes short of {size}")
            if not self.inbox:
                self._check()
                await self._more(patience)
            parts.append(self._take(min(left, len(self.inbox))))
            left -= len(parts[-1])
        return b"".join(parts)

    async def read_some(self) -> bytes:
        """What has come; b"" at the FIN."""
        while not self.inbox and not self.fin:
            self._check()
            await self._more()
        return self._take(len(self.inbox))

    async def read_rest(self) -> bytes:
        """Everything up to the FIN; StreamReset when it ends with a reset."""
        parts = []
        while part := await self.read_some():
            parts.append(part)
        return b"".join(parts)

    async def read_message(self) -> bytes:
        """A message behind its length."""
        length = bytearray(await self.read(1))
        while length[-1] & 0x80:
            length += await self.read(1)
        return await self.read(read_varint(length)[0])

    async def has_received(self, total: int, patience: float | None = None) -> None:
        """Returns when so many bytes have arrived since `begin`; nothing is consumed or granted."""
        await self._until(lambda: self.received >= total or self._over, f"{total} bytes on {self}", patience)
        if self.received < total:
            raise AssertionError(f"{self} ended at {self.received} of {total} bytes: {self.how_it_ended}")

    async def is_full(self, patience: float | None = None) -> None:
        """Returns when they have sent all that they were granted."""
        await self._until(lambda: self.granted <= 0 or self._over, f"a full window on {self}", patience)
        assert self.granted <= 0, f"{self} ended with {self.granted} bytes of its window left"

    def begin(self) -> None:
        """What was negotiated until now is not part of the stream: `received` counts from here."""
        self.received = len(self.inbox)

    async def end(self, patience: float | None = None) -> str:
        """Waits until the other side ends its direction and says how: "fin", "reset", or "lost" with its connection."""
        await self._until(lambda: self._over, f"the end of {self}", patience)
        return self.how_it_ended

    async def reset_by_them(self, patience: float | None = None) -> None:
        """Waits for a reset, be it after a FIN."""
        await self._until(lambda: self.was_reset or self.session.ended is not None, f"a reset of {self}", patience)
        assert self.was_reset, f"{self} was not reset, its connection was {self.session.ended}"

    @property
    def how_it_ended(self) -> str:
        if self.was_reset:
            return "reset"
        return "fin" if self.fin else "lost"

    @property
    def _cut(self) -> bool:
        return self.was_reset or self.session.ended is not None

    @property
    def _over(self) -> bool:
        return self.fin or self._cut

    async def _more(self, patience: float | None = None) -> None:
        had = self.received
        await self._until(lambda: self.received > had or self._over, f"bytes on {self}", patience)

    async def _until(self, holds: Callable[[], bool], what: str, patience: float | None = None) -> None:
        await self.changes.until(holds, what, patience)

    def _check(self) -> None:
        if self.was_reset:
            raise StreamReset(f"{self} was reset after {self.received} bytes")
        if self.session.ended is not None:
            raise StreamLost(f"{self}: the connection was {self.session.ended}")

    def _take(self, size: int) -> bytes:
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        self._consumed += size
        if self.grants and self._consumed >= self.window // 2 and not (self.fin or self.was_reset):
            self.grant(self._consumed)
            self._consumed = 0
        return data

    # Writing ---------------------------------------------------------------------------------------------------------

    async def write(self, data: bytes, *, fin: bool = False, frame: int = FRAME) -> None:
        """Sends data in frames of at most `frame` bytes, as far as their window allows, waiting for more of it."""
        view, at = memoryview(data), 0
        while at < len(data):
            await self._until(lambda: self.credit > 0 or self._cut, f"credit on {self}")
            self._check()
            size = min(len(data) - at, self.credit, frame)
            self.credit -= size
            await self.session.send(yamux.data(self.id, bytes(view[at : at + size])))
            at += size
        if fin:
            await self.finish()

    async def has_credit(self, size: int, patience: float | None = None) -> None:
        """Returns when they allow so many bytes to be sent."""
        await self._until(lambda: self.credit >= size or self._over, f"credit of {size} on {self}", patience)
        self._check()

    async def write_message(self, data: bytes) -> None:
        await self.write(prefixed(data))

    async def finish(self) -> None:
        """Closes our direction."""
        await self.session.send(yamux.data(self.id, flags=FIN))
        self.finished = True
        if self.fin:
            self.session.forget(self)

    async def reset(self) -> None:
        await self.session.send(yamux.data(self.id, flags=RST))
        self.session.forget(self)

    def reset_soon(self) -> None:
        """`reset` for where nothing can be awaited."""
        self.session.post(yamux.data(self.id, flags=RST))
        self.session.forget(self)

    def grant(self, size: int) -> None:
        """Lets them send so many bytes more."""
        self.granted += size
        self.session.post(yamux.window_update(self.id, size))

    # What the session tells it ---------------------------------------------------------------------------------------

    def take_data(self, data: bytes) -> None:
        self.granted -= len(data)
        if self.granted < 0:
            self.session.violations.append(f"{self} got {-self.granted} bytes over its window")
        if self.fin:
            self.session.violations.append(f"{self} got data behind its FIN")
        self.inbox += data
        self.received += len(data)
        self.changes.tell()

    def take_flags(self, flags: int) -> None:
        self.acked |= bool(flags & ACK)
        if flags & FIN:
            if self.fin:
                self.session.violations.append(f"{self} got a second FIN")
            self.fin = True
            if self.finished:
                self.session.forget(self)
        if flags & RST:
            self.was_reset = True
            self.session.forget(self)
        self.changes.tell()

    def take_credit(self, size: int) -> None:
        self.credit += size
        self.changes.tell()


class Session:
    """A muxed connection. It answers pings and acknowledges streams unless told otherwise, and notes rules broken."""

    def __init__(self, secure: Secure, *, initiator: bool) -> None:
        self.secure, self.wire = secure, secure.wire
        self.initiator = initiator
        self.their_id = secure.their_id
        self.streams: dict[int, Stream] = {}
        self.inbound: deque[Stream] = deque()
        self.changes = Changes()
        self.ended: str | None = None
        """how the connection ended: "closed" or "reset" by them, "left" by us"""
        self.go_away: int | None = None
        self.violations: list[str] = []
        self.pongs: set[int] = set()
        self.pings_heard = 0
        self.answers_pings = self.acks = True
        self.heard: bytearray | None = None
        """every plaintext byte received, when set to a bytearray"""
        self._deaf = False
        self._floor = asyncio.Lock()
        self._next_id = 1 if initiator else 2
        self._gone: set[int] = set()
        self._highest_inbound = 0
        self._outbox: deque[tuple[bytes, asyncio.Future[None] | None]] = deque()
        self._reads = asyncio.Event()
        self._reads.set()
        self._tasks = [asyncio.create_task(self._read_on()), asyncio.create_task(self._write_on())]

    # Sending ---------------------------------------------------------------------------------------------------------

    def post(self, data: bytes) -> None:
        """Queues whole frames; each call is a Noise message of its own."""
        if self.ended is None and not self._deaf:
            self._outbox.append((data, None))
            self.changes.tell()

    async def send(self, data: bytes) -> None:
        """The same, and returns when the kernel has taken them; StreamLost when the connection has ended."""
        if self.ended is not None:
            raise StreamLost(f"the connection was {self.ended}")
        if self._deaf:
            raise StreamLost("the connection takes no more")
        flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbox.append((data, flushed))
        self.changes.tell()
        await flushed

    @asynccontextmanager
    async def undisturbed(self) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        """For frames in pieces: gives a `send` of which nothing else, such as a pong, comes in between."""

        async def say(data: bytes) -> None:
            await self.wire.send(self.secure.seal(data))

        async with self._floor:
            yield say

    async def open_stream(self, early: bytes | None = None) -> Stream:
        """A new stream: a SYN of its own, or on a DATA frame with the bytes given."""
        stream = self.expect_stream()
        if early is None:
            await self.send(yamux.window_update(stream.id, flags=SYN))
        else:
            stream.credit -= len(early)
            await self.send(yamux.data(stream.id, early, SYN))
        return stream

    def expect_stream(self) -> Stream:
        """A new stream of ours whose SYN the test sends itself."""
        stream = self.streams[self._next_id] = Stream(self, self._next_id)
        self._next_id += 2
        return stream

    async def ping(self, patience: float | None = None) -> None:
        """A round trip: whatever was sent before, they have taken in."""
        value = len(self.pongs) + 1 << 8 | 0xA5
        await self.send(yamux.ping(value))
        await self.changes.until(lambda: value in self.pongs or self.ended is not None, "a pong", patience)
        if value not in self.pongs:
            raise StreamLost(f"the connection was {self.ended} before it answered a ping")

    async def next_stream(self, patience: float | None = None) -> Stream:
        """The next stream they open, nothing negotiated on it."""
        await self.changes.until(lambda: bool(self.inbound) or self.ended is not None, "a stream", patience)
        if not self.inbound:
            raise StreamLost(f"the connection was {self.ended}")
        return self.inbound.popleft()

    # Ending ----------------------------------------------------------------------------------------------------------

    async def end(self, patience: float | None = None) -> str:
        """Waits until they end the connection and says how: "closed" or "reset"."""
        await self.changes.until(lambda: self.ended is not None, "the end of the connection", patience)
        return self.ended or ""

    async def leave(self, *, abruptly: bool = False) -> None:
        """Closes the connection, or resets it."""
        self._end("left")
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self.violations += [f"not foreseen: {failure!r}" for failure in results if isinstance(failure, Exception)]
        self._tasks.clear()
        if abruptly:
            self.wire.abort()
        else:
            self.wire.close()

    def stop_reading(self) -> None:
        """Nothing more is read from the socket (beyond what one read already under way brings)."""
        self._reads.clear()

    def read_again(self) -> None:
        self._reads.set()

    def forget(self, stream: Stream) -> None:
        """The stream is over; frames for it that are still under way are no violation."""
        self.streams.pop(stream.id, None)
        self._gone.add(stream.id)

    def _end(self, how: str) -> None:
        if self.ended is None:
            self.ended = how
        for _, flushed in self._outbox:
            if flushed and not flushed.done():
                flushed.set_exception(StreamLost(f"the connection was {self.ended}"))
        self._outbox.clear()
        self.changes.tell()
        for stream in list(self.streams.values()):
            stream.changes.tell()

    # The two tasks ---------------------------------------------------------------------------------------------------

    async def _write_on(self) -> None:
        try:
            while True:
                await self.changes.until(lambda: bool(self._outbox), "something to send", patience=1e9)
                async with self._floor:
                    data, flushed = self._outbox[0]
                    await self.wire.send(self.secure.seal(data))
                if self._outbox:
                    self._outbox.popleft()
                if flushed and not flushed.done():
                    flushed.set_result(None)
        except (ConnectionResetError, BrokenPipeError):
            self._outbox_lost()

    def _outbox_lost(self) -> None:
        # The reader will still bring what came before the end; it is the one to say how it ended.
        self._deaf = True
        for _, flushed in self._outbox:
            if flushed and not flushed.done():
                flushed.set_exception(StreamLost("the connection takes no more"))
        self._outbox.clear()

    async def _read_on(self) -> None:
        try:
            while True:
                await self._reads.wait()
                await self._take_frame(Header.parse(await self._read(HEADER)))
        except EOFError:
            self._end(self.wire.how_it_ended or "closed")

    async def _read(self, size: int) -> bytes:
        data = await self.secure.read(size)
        if self.heard is not None:
            self.heard += data
        return data

    async def _take_frame(self, header: Header) -> None:
        if header.version:
            self.violations.append(f"version {header.version}")
        if header.type == yamux.PING:
            if header.flags & ACK:
                self.pongs.add(header.length)
                self.changes.tell()
            else:
                self.pings_heard += 1
                if self.answers_pings:
                    self.post(yamux.ping(header.length, ACK))
        elif header.type == yamux.GO_AWAY:
            self.go_away = header.length
            self.changes.tell()
        elif header.type in (yamux.DATA, yamux.WINDOW_UPDATE):
            await self._take_stream_frame(header)
        else:
            self.violations.append(f"frame type {header.type}")

    async def _take_stream_frame(self, header: Header) -> None:
        stream = self._accept(header) if header.flags & SYN else self.streams.get(header.stream)
        if stream is None and header.stream not in self._gone and not header.flags & SYN:
            self.violations.append(f"a frame for stream {header.stream}, which never was: {header}")
        if header.type == yamux.WINDOW_UPDATE:
            if stream:
                stream.take_credit(header.length)
        else:
            left = header.length
            while left:
                await self._reads.wait()
                part = await self.secure.read_some(left)
                if self.heard is not None:
                    self.heard += part
                left -= len(part)
                if stream:
                    stream.take_data(part)
        if stream:
            stream.fin_with_data = bool(header.length and header.flags & FIN)
            stream.take_flags(header.flags)

    def _accept(self, header: Header) -> Stream | None:
        odd = header.stream % 2 == 1
        if odd == self.initiator or header.stream <= self._highest_inbound:
            self.violations.append(f"opened stream {header.stream} behind {self._highest_inbound}")
            return None
        self._highest_inbound = header.stream
        stream = self.streams[header.stream] = Stream(self, header.stream)
        if self.acks:
            self.post(yamux.window_update(stream.id, flags=ACK))
        self.inbound.append(stream)
        self.changes.tell()
        return stream
