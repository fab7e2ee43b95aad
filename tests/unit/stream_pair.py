"""Two ends of a stream in memory, with window, half-close and reset, for tests of what runs over streams."""

from __future__ import annotations

import asyncio

from towpath.errors import StreamReset

WINDOW = 256 * 1024


class _Direction:
    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended = False
        self.reset = False
        self.changed = asyncio.Event()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class MemoryStream:
    """Behaves as towpath.stream.Stream promises."""

    protocol = "/towpath/tunnel/1"

    def __init__(self, incoming: _Direction, outgoing: _Direction, peer_id: str) -> None:
        self.peer_id = peer_id
        self.via: str | None = None
        self.deaf = False
        self.written = 0
        self.most_buffered = 0
        self._in = incoming
        self._out = outgoing

    async def read(self, n: int = 65536) -> bytes:
        while not self._in.buffer:
            if self._in.reset:
                raise StreamReset
            if self._in.ended:
                return b""
            await self._in.changed.wait()
        data = bytes(self._in.buffer[:n])
        del self._in.buffer[:n]
        self._in.wake()
        return data

    async def readexactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            more = await self.read(n - len(data))
            if not more:
                raise asyncio.IncompleteReadError(data, n)
            data += more
        return data

    def write(self, data: bytes | memoryview) -> None:
        if self._out.reset:
            raise StreamReset
        assert not self._out.ended
        self._out.buffer += data
        self.written += len(data)
        self.most_buffered = max(self.most_buffered, len(self._out.buffer))
        self._out.wake()

    @property
    def pending(self) -> int:
        return max(0, len(self._out.buffer) - WINDOW)

    async def drain(self) -> None:
        while len(self._out.buffer) > WINDOW and not self._out.reset:
            await self._out.changed.wait()
        if self._out.reset:
            raise StreamReset

    async def close_write(self) -> None:
        self._out.ended = True
        self._out.wake()

    async def close(self) -> None:
        await self.close_write()

    async def answers(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return not self.deaf

    def abandon(self) -> None:
        self.reset()

    def reset(self) -> None:
        for direction in (self._in, self._out):
            if not (direction.ended and not direction.buffer):
                direction.reset = True
                direction.buffer.clear()
                direction.wake()


def stream_pair(first: str = "first", second: str = "second") -> tuple[MemoryStream, MemoryStream]:
    """Two connected ends; `first` and `second` are the ids of the peers that hold them."""
    a, b = _Direction(), _Direction()
    return MemoryStream(a, b, second), MemoryStream(b, a, first)
