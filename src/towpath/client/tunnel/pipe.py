"""One tunneled connection: a TCP connection on this machine joined with a stream to the other end.

Bytes, half-closes and resets pass both ways; a side that stops reading stops the other one's sender. A
socket's bytes are read into a scratch buffer that all pipes of an end share, behind room for the frame
header, and handed to the stream at once, which copies or sends them before `write` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from towpath.client.tunnel.wire import (
    END,
    HEADER_SIZE,
    Answer,
    Code,
    FrameReader,
    data_header,
    read_message,
)
from towpath.errors import StreamReset, TicketError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from towpath.stream import Stream

__all__ = ["RESET_ON_CLOSE", "Pipe", "new_scratch"]

READ_SIZE: Final = 128 * 1024
STREAM_READ: Final = 256 * 1024
UNDRAINED: Final = 256 * 1024
ANSWER_TIMEOUT: Final = 30.0
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def new_scratch() -> memoryview:
    """A buffer for all pipes of one loop: it is only in use during a callback."""
    return memoryview(bytearray(HEADER_SIZE + READ_SIZE))


class Pipe(asyncio.BufferedProtocol):
    """Joins the TCP connection whose protocol it is with `stream`; `run` lasts as long as both.

    `greeting` is written to the stream before anything else; with `answered`, the stream begins with a
    sharer's answer.
    """

    _transport: asyncio.Transport

    def __init__(self, stream: Stream, scratch: memoryview, *, greeting: bytes, answered: bool) -> None:
        self.bytes_up = 0
        """From the TCP connection to the stream."""
        self.bytes_down = 0
        self._stream = stream
        self._scratch = scratch
        self._greeting = greeting
        self._answered = answered
        self._undrained = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._open_directions = 2
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()

    async def run(self) -> None:
        """Carries bytes until both directions ended; afterwards both connections are closed.

        Raises what cut it short (StreamReset, OSError, TunnelProtocolError, TicketError) after having reset
        both.
        """
        self._start(self._carry_down())
        try:
            await self._ended
            self._transport.close()
            await self._stream.close()
            await self._lost
        except BaseException:
            self._abort()
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- from TCP to the stream ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._stream.write(self._greeting)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read the next bytes to."""
        return self._scratch[HEADER_SIZE:]

    def buffer_updated(self, nbytes: int) -> None:
        """That many bytes stand there now."""
        self._scratch[:HEADER_SIZE] = data_header(nbytes)
        self.bytes_up += nbytes
        try:
            self._stream.write(self._scratch[: HEADER_SIZE + nbytes])
        except StreamReset as e:
            self._fail(e)
            return
        self._undrained += nbytes
        if self._undrained >= UNDRAINED:
            self._undrained = 0
            self._transport.pause_reading()
            self._start(self._resume_when_drained())

    def eof_received(self) -> bool:
        """Nothing more comes from TCP; the other direction stays open."""
        self._start(self._send_end())
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if not self._lost.done():
            self._lost.set_result(None)
        self._writable.set()
        self._fail(exc or ConnectionResetError("the connection on this machine was closed"))

    async def _resume_when_drained(self) -> None:
        await self._stream.drain()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    async def _send_end(self) -> None:
        self._stream.write(END)
        await self._stream.drain()
        await self._stream.close_write()
        self._direction_ended()

    # --- from the stream to TCP ---

    def pause_writing(self) -> None:
        """TCP takes no more for now."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """TCP takes more again."""
        self._writable.set()

    async def _carry_down(self) -> None:
        transport = self._transport
        if self._answered:
            await self._await_answer()
        frames = FrameReader()
        while data := await self._stream.read(STREAM_READ):
            for piece in frames.feed(data):
                self.bytes_down += len(piece)
                transport.write(piece)
            await self._writable.wait()
            if transport.is_closing():
                raise ConnectionResetError("the connection on this machine was closed")
        if not frames.ended:
            raise StreamReset
        transport.write_eof()
        self._direction_ended()

    async def _await_answer(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = Answer.decode(await read_message(self._stream))
        except TimeoutError as e:
            raise TicketError("the sharer did not answer in time; check that `share` still runs there") from e
        except asyncio.IncompleteReadError as e:
            raise StreamReset from e
        if answer.code != Code.ACCEPTED:
            raise TicketError(f"the sharer refused: {answer.why or f'code {answer.code}'}")

    # --- the end ---

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._fail(failure)

    def _direction_ended(self) -> None:
        self._open_directions -= 1
        if self._open_directions == 0 and not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, why: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(why)

    def _abort(self) -> None:
        """Resets both connections, so that neither side takes what it got for complete."""
        self._stream.reset()
        transport = self._transport
        if not transport.is_closing():
            sock: socket.socket = transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()
