"""A stream as applications see it: bytes both ways between two peers, ended on purpose or cut off, never confused."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

from towpath.addresses import peer_id_to_text
from towpath.errors import StreamReset

if TYPE_CHECKING:
    from towpath._native.appstream import AppStream

__all__ = ["Stream"]


class Stream:
    """One stream of a named protocol.

    One task may read while another writes. Leaving `async with` closes the stream; an exception in it resets the
    stream. StreamReset is raised wherever it was cut off: by the other side, the relay, a lost connection, or here.
    """

    __slots__ = ("_native", "_write_closed", "peer_id", "protocol", "via")

    def __init__(self, native: AppStream) -> None:
        session = native.session
        self._native = native
        self._write_closed = False
        self.peer_id: str = peer_id_to_text(session.peer_id)
        """Who is at the other end, as its handshake proved."""
        self.protocol: str = native.protocol
        self.via: str | None = peer_id_to_text(session.via) if session.via else None
        """The relay that carries it; None on a direct connection."""

    async def read(self, n: int = 65536) -> bytes:
        """At least one and at most `n` bytes; `b""` at the end. StreamReset when cut off or closed before that."""
        native = self._native
        while True:
            data = native.read(n)
            if data or n == 0:
                return data
            # The other side's own end stands, whatever came behind it.
            if native.ended and not native.discarding:
                return b""
            if native.was_reset:
                raise StreamReset
            if native.discarding:
                raise StreamReset("the stream was closed here before its end; what was read is not complete")
            await native.wait_readable()

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` bytes; asyncio.IncompleteReadError, which has those that came, when the stream ends before."""
        parts: list[bytes] = []
        left = n
        while left:
            data = await self.read(left)
            if not data:
                raise asyncio.IncompleteReadError(b"".join(parts), n)
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queues bytes (they are copied or sent before this returns); `await drain()` keeps the queue short.

        RuntimeError after `close_write` or `close`.
        """
        if not self._native.write(data):
            if self._write_closed and not self._native.was_reset:
                raise RuntimeError("write() after close_write() or close()")
            raise StreamReset

    @property
    def pending(self) -> int:
        """Bytes that were written and wait for the other side's window."""
        return self._native.pending

    async def drain(self) -> None:
        """Waits until at most 256 KiB are queued. StreamReset when the stream was cut off."""
        # The future is everybody's who waits: one that is cancelled must not cancel it for the others.
        await asyncio.shield(self._native.wait_writable())
        if self._native.was_reset:
            raise StreamReset

    async def close_write(self) -> None:
        """Says that nothing more will be written; reading goes on."""
        self._write_closed = True
        self._native.close_write()

    async def close(self) -> None:
        """Ends the stream: what was written still arrives; what the other side still sends is not wanted."""
        native = self._native
        self._write_closed = True
        native.close_write()
        if not native.ended and not native.was_reset:
            native.discard()

    def reset(self) -> None:
        """Cuts the stream off in both directions; the other side sees a reset, not an end."""
        self._native.reset()

    async def answers(self, seconds: float) -> bool:
        """Is there, so many seconds from now, an answer from the other end to a question asked now?"""
        session = self._native.session
        if not session.ping_pending:
            session.ping()
        await asyncio.sleep(seconds)
        return not session.ping_pending and not session.closed

    def abandon(self) -> None:
        """Cuts off the circuit that carries it, with all its streams: nothing comes through it any more.

        On a direct connection it resets the stream alone.
        """
        session = self._native.session
        if session.via:
            session.abort()
        self.reset()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            self.reset()
