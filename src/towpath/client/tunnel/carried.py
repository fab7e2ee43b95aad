"""One end of a tunneled connection: a TCP connection on this machine, joined with the stream that carries it now.

Bytes, half-closes and resets pass both ways. When the stream is lost, what the other side may lack is kept until
another one is attached. The stream is always read, so that questions are answered while the connection here takes
nothing: what may then come is bounded by what we acknowledge.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from towpath.client.tunnel.flow import Incoming, Outgoing
from towpath.client.tunnel.patience import Patience, Verdict
from towpath.client.tunnel.wire import (
    ABORT,
    ACK_SIZE,
    END,
    HEADER_SIZE,
    PROBE,
    Frame,
    FrameReader,
    Kind,
    ack,
    data_header,
)
from towpath.errors import StreamReset, TowpathError

if TYPE_CHECKING:
    from towpath.stream import Stream

__all__ = ["SILENT", "Carried", "Owner", "new_scratch", "reset_connection"]

_READ: Final = 128 << 10
_STREAM_READ: Final = 256 << 10
_BEFORE: Final = ACK_SIZE + HEADER_SIZE
"""Room in the scratch buffer for what stands before data."""
_CLOGGED: Final = 256 << 10
"""Bytes that wait in a stream before the connection here is not read any more."""
_ACK_S: Final = 0.2
"""How long an acknowledgement may wait for more to acknowledge."""
_GATHER: Final = 64
_SMALL: Final = 64 << 10
SILENT: Final = "nothing came through it any more"
"""Why a stream is given up that was not reset."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def new_scratch() -> memoryview:
    """A buffer for all connections of one loop: it is only in use during a callback."""
    return memoryview(bytearray(_BEFORE + _READ))


def reset_connection(connection: socket.socket) -> None:
    """Closes a TCP connection so that its other end does not take what it got for complete."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    connection.close()


class Owner:
    """What hears of a Carried; to be overridden."""

    def window(self) -> int:
        """How many bytes it may leave unacknowledged."""
        raise NotImplementedError

    def uneasy(self, carried: Carried) -> None:
        """Nothing has come for a while that should have."""

    def lost(self, carried: Carried, why: str) -> None:
        """Its stream is gone; another one may be attached."""

    def left(self, carried: Carried) -> None:
        """The other side ended the stream, which it does when nothing is left to say."""


class Carried:
    """See the module. `over`: both directions ended and all was acknowledged; or it has what cut it short."""

    def __init__(self, connection: socket.socket, scratch: memoryview, owner: Owner, *, slower: float = 1.0) -> None:
        self.outgoing = Outgoing()
        self.incoming = Incoming()
        self.stream: Stream | None = None
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.patience = Patience(self._loop.time(), slower=slower)
        self._owner = owner
        self._connection = connection
        self._fd = connection.fileno()
        self._scratch = scratch
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwritten: deque[memoryview | bytearray] = deque()
        self._reading = False
        self._writing = False
        self._clogged = False
        self._end_sent = False
        self._greeted = False
        self._ack_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read_or_not()

    # --- which stream ---

    def attach(
        self,
        stream: Stream,
        received: int = 0,
        *,
        say: bytes = b"",
        greet: Callable[[Stream], Awaitable[None]] | None = None,
    ) -> None:
        """Goes on over `stream`: the other side has what is before `received`. Any other stream is reset.

        `say` is written before anything else. With `greet`, what the other side says first is awaited by that, and
        frames are read behind it. TunnelProtocolError when the other side cannot have received that; then nothing
        changes.
        """
        self.outgoing.go_on_from(received)
        self.detach()
        self.stream = stream
        self._clogged = False
        self._end_sent = received > self.outgoing.total
        self._greeted = greet is None
        self.patience.restart(self._loop.time())
        if say:
            self._write(say, owed=False)
        self._spawn(self._listen(stream, greet))
        if self.incoming.received:
            self._acknowledge()
        self._send_on()
        self._read_or_not()
        self._look_soon()

    def detach(self) -> None:
        """Lets go of its stream, which is reset."""
        stream, self.stream = self.stream, None
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        for timer in (self._ack_timer, self._look_timer):
            if timer is not None:
                timer.cancel()
        self._ack_timer = self._look_timer = None
        if stream is not None:
            stream.reset()

    def freeze(self) -> int:
        """Lets go of its stream; the offset from which bytes are lacking. To be followed by `attach` or `fail`."""
        self.detach()
        self._read_or_not()
        return self.incoming.received

    def fail(self, why: BaseException, *, tell: bool = True) -> None:
        """Ends it: the connection here is reset, the other side is told (unless it is who told us)."""
        if self.over.done():
            return
        stream = self.stream
        self._let_go_of_connection()
        reset_connection(self._connection)
        if stream is not None and tell:
            with contextlib.suppress(StreamReset, RuntimeError):
                stream.write(ABORT)
        self.stream = None
        self.detach()
        self.over.set_exception(why)
        # Whoever looks at it gets it; nobody has to.
        self.over.exception()
        if stream is not None:
            _close(stream)

    def _lose(self, stream: Stream, why: str) -> None:
        if self.stream is stream:
            self.detach()
            self._read_or_not()
            self._owner.lost(self, why)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- from the connection here to the stream ---

    def _read_or_not(self) -> None:
        wanted = (
            not self.outgoing.ended
            and not self._clogged
            and not self.over.done()
            and self.outgoing.unacknowledged < self._owner.window()
        )
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(self._fd, self._readable)
            else:
                self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        outgoing, scratch = self.outgoing, self._scratch
        most = min(_READ, self._owner.window() - outgoing.unacknowledged)
        if most <= 0:
            self._read_or_not()
            return
        try:
            size = self._connection.recv_into(scratch[_BEFORE : _BEFORE + most])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.fail(error)
            return
        if size == 0:
            outgoing.finish()
            self._read_or_not()
            self._send_on()
            return
        direct = self.stream is not None and outgoing.sent == outgoing.total
        outgoing.add(scratch[_BEFORE : _BEFORE + size], sent=direct)
        if direct:
            self._send(size)
        if outgoing.unacknowledged >= self._owner.window():
            self._read_or_not()

    def _send(self, size: int) -> None:
        # `size` bytes that stand in the scratch buffer, with an acknowledgement before them if there is one to tell.
        begin = ACK_SIZE
        self._scratch[begin:_BEFORE] = data_header(size)
        if self.incoming.passed_on > self.incoming.told:
            begin = 0
            self._scratch[:ACK_SIZE] = ack(self.incoming.acknowledge())
        self._write(self._scratch[begin : _BEFORE + size], owed=True)

    def _send_on(self) -> None:
        # What the stream lacks: all that is kept, after a loss.
        outgoing = self.outgoing
        while self.stream is not None and not self._clogged and (data := outgoing.next(_READ)):
            self._write(data_header(len(data)) + data, owed=True)
        if self.stream is None or self._clogged or self._end_sent:
            return
        if outgoing.ended and outgoing.sent == outgoing.total:
            self._end_sent = True
            self._write(END, owed=True)

    def _write(self, data: bytes | memoryview, *, owed: bool) -> None:
        stream = self.stream
        if stream is None:
            return
        try:
            stream.write(data)
        except StreamReset as error:
            self._lose(stream, str(error))
            return
        if owed and not self.patience.waiting:
            self.patience.expect(self._loop.time())
            self._look_soon()
        if not self._clogged and stream.pending > _CLOGGED:
            self._clogged = True
            self._read_or_not()
            self._spawn(self._unclog(stream))

    async def _unclog(self, stream: Stream) -> None:
        try:
            await stream.drain()
        except StreamReset as error:
            self._lose(stream, str(error))
            return
        self._clogged = False
        self._send_on()
        self._read_or_not()

    # --- from the stream to the connection here ---

    async def _listen(self, stream: Stream, greet: Callable[[Stream], Awaitable[None]] | None) -> None:
        frames = FrameReader()
        try:
            if greet is not None:
                await greet(stream)
                self._greeted = True
                self.patience.restart(self._loop.time())
                self._look_soon()
            while data := await stream.read(_STREAM_READ):
                self._take(frames.feed(data))
                if self.stream is not stream:
                    return
        except StreamReset as error:
            self._lose(stream, str(error))
        except TowpathError as error:
            self.fail(error)
        else:
            self._owner.left(self)

    def _take(self, came: list[Frame]) -> None:
        progress = asked = arrived = False
        for kind, value in came:
            if kind == Kind.DATA and isinstance(value, memoryview):
                self.incoming.take(len(value))
                self._keep(value)
                progress = arrived = True
            elif kind == Kind.ACK and isinstance(value, int):
                progress = progress or value > self.outgoing.acknowledged
                self.outgoing.acknowledge(value)
            elif kind == Kind.PROBE:
                asked = True
            elif kind == Kind.END:
                self.incoming.end()
                progress = arrived = True
            else:
                self.fail(ConnectionResetError("it was reset at the other end"), tell=False)
                return
        self.patience.heard(self._loop.time(), owed=self.outgoing.unacknowledged > 0, progress=progress)
        if arrived and not self._writing:
            self._writable()
        if asked or self.incoming.due:
            self._acknowledge()
        elif arrived and self._ack_timer is None:
            self._ack_timer = self._loop.call_later(_ACK_S, self._acknowledge)
        if not self._reading:
            self._read_or_not()
        self._end_when_done()

    def _keep(self, data: memoryview) -> None:
        unwritten = self._unwritten
        if not self._writing or len(data) >= _SMALL:
            unwritten.append(data)
        elif unwritten and isinstance(last := unwritten[-1], bytearray) and len(last) < _SMALL:
            # A connection that takes nothing shall not cost an object for each byte.
            last += data
        else:
            unwritten.append(bytearray(data))

    def _writable(self) -> None:
        unwritten = self._unwritten
        try:
            while unwritten:
                gathered = [unwritten[i] for i in range(min(len(unwritten), _GATHER))]
                size = self._connection.sendmsg(gathered)
                self.incoming.pass_on(size)
                while size:
                    first = unwritten.popleft()
                    if len(first) > size:
                        unwritten.appendleft(memoryview(first)[size:])
                        break
                    size -= len(first)
            if self.incoming.ended and self.incoming.passed_on < self.incoming.received:
                self._connection.shutdown(socket.SHUT_WR)
                self.incoming.pass_on(1)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self.fail(error)
            return
        if bool(unwritten) != self._writing:
            self._writing = bool(unwritten)
            if self._writing:
                self._loop.add_writer(self._fd, self._writable_later)
            else:
                self._loop.remove_writer(self._fd)

    def _writable_later(self) -> None:
        self._writable()
        if self.incoming.due:
            self._acknowledge()
            self._end_when_done()
        elif self._ack_timer is None and self.stream is not None:
            self._ack_timer = self._loop.call_later(_ACK_S, self._acknowledge)

    def _acknowledge(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self.stream is not None:
            self._write(ack(self.incoming.acknowledge()), owed=False)

    def _end_when_done(self) -> None:
        if self.outgoing.done and self.incoming.done and not self.over.done():
            self._let_go_of_connection()
            self._connection.close()
            self.over.set_result(None)

    def _let_go_of_connection(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._fd)
        if self._writing:
            self._loop.remove_writer(self._fd)
        self._reading = self._writing = False
        self._unwritten.clear()

    # --- is anybody there? ---

    def _look_soon(self) -> None:
        if self.stream is None or not self._greeted:
            return
        at = self.patience.next_look(self._loop.time())
        if self._look_timer is not None:
            if self._look_timer.when() <= at:
                return
            self._look_timer.cancel()
        self._look_timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._look_timer = None
        stream = self.stream
        if stream is None:
            return
        verdict = self.patience.look(self._loop.time())
        if verdict is Verdict.DEAD:
            # Not the stream alone: what is asked for anew shall not go into the same hole.
            stream.abandon()
            self._lose(stream, SILENT)
            return
        if verdict is not Verdict.WAIT:
            self._write(PROBE, owed=False)
        if verdict is Verdict.UNEASY:
            self._owner.uneasy(self)
        self._look_soon()


def _close(stream: Stream) -> None:
    """Ends a stream whose last words are still to arrive."""
    task = asyncio.ensure_future(stream.close())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
