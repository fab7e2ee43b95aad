"""The accounts of one tunneled connection's two directions, which outlive the streams that carry it. Pure.

Offsets count the bytes of a direction from its beginning; its end counts as one byte more.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from towpath.client.tunnel.wire import TunnelProtocolError

__all__ = ["LEAST_WINDOW", "WINDOW", "Incoming", "Outgoing", "window"]

WINDOW: Final = 4 << 20
"""The most bytes of a direction that may be unacknowledged."""
LEAST_WINDOW: Final = 256 << 10
_TOGETHER: Final = 256 << 20
"""What all connections of one process may keep, as long as each has the least window."""
_ACK_EVERY: Final = 512 << 10
_SMALL: Final = 64 << 10
"""Pieces below this are kept together: a connection of single bytes shall not cost an object for each."""


def window(connections: int) -> int:
    """How many bytes each of so many connections may leave unacknowledged."""
    return max(LEAST_WINDOW, min(WINDOW, _TOGETHER // max(1, connections)))


class Outgoing:
    """What goes to the other side; kept until that has it."""

    __slots__ = ("_kept", "_kept_from", "_safe", "acknowledged", "ended", "sent", "total")

    def __init__(self) -> None:
        self.total = 0
        """Bytes of the direction so far, without its end."""
        self.acknowledged = 0
        """Before this offset all was passed on by the other side."""
        self.sent = 0
        """Before this offset all is on its way in the stream there is now."""
        self.ended = False
        self._kept: deque[bytes | bytearray] = deque()
        self._kept_from = 0
        self._safe = 0
        """Before this offset the other side has all, which therefore is not kept."""

    @property
    def unacknowledged(self) -> int:
        """Bytes, and the end, that the other side has not passed on yet."""
        return self.total + self.ended - self.acknowledged

    @property
    def done(self) -> bool:
        """It ended, and the other side passed on all of it."""
        return self.ended and self.acknowledged > self.total

    def add(self, data: bytes | memoryview, *, sent: bool) -> None:
        """More bytes, which are copied. `sent`: they are on their way; only when all before them are."""
        size = len(data)
        last = self._kept[-1] if self._kept else None
        if isinstance(last, bytearray) and len(last) + size <= _SMALL:
            last += data
        else:
            self._kept.append(bytearray(data) if size < _SMALL // 2 else bytes(data))
        self.total += size
        if sent:
            self.sent = self.total

    def finish(self) -> None:
        """Nothing more follows."""
        self.ended = True

    def next(self, most: int) -> bytes:
        """The next bytes to send, at most so many; b"" when all bytes are on their way."""
        at = self._kept_from
        for piece in self._kept:
            behind = at + len(piece)
            if self.sent < behind:
                begin = self.sent - at
                data = bytes(piece[begin : begin + most])
                self.sent += len(data)
                return data
            at = behind
        return b""

    def acknowledge(self, offset: int) -> None:
        """The other side passed on everything before `offset`. TunnelProtocolError when it cannot have."""
        if offset > self.total + self.ended:
            raise TunnelProtocolError("the other side acknowledges what was never sent")
        if offset > self.acknowledged:
            self.acknowledged = offset
            self._drop(offset)

    def go_on_from(self, received: int) -> None:
        """Another stream carries on: the other side lacks what is at `received` and behind it."""
        if not self._safe <= received <= self.total + self.ended:
            raise TunnelProtocolError("the other side wants to go on where it cannot be")
        self._drop(received)
        self.sent = min(received, self.total)

    def _drop(self, before: int) -> None:
        self._safe = max(self._safe, before)
        kept = self._kept
        while kept and self._kept_from + len(kept[0]) <= before:
            self._kept_from += len(kept.popleft())


class Incoming:
    """What comes from the other side."""

    __slots__ = ("ended", "passed_on", "received", "told")

    def __init__(self) -> None:
        self.received = 0
        """Bytes that came, and the end."""
        self.passed_on = 0
        """Of those, what the connection on this machine took."""
        self.told = 0
        """The last offset that was acknowledged."""
        self.ended = False

    def take(self, size: int) -> None:
        """Bytes came. TunnelProtocolError when they may not: behind the end, or more than the window."""
        if self.ended:
            raise TunnelProtocolError("bytes after the end of a tunneled connection")
        self.received += size
        if self.received - self.told > WINDOW:
            raise TunnelProtocolError("the other side sends more than may be unacknowledged")

    def end(self) -> None:
        """The end came."""
        if self.ended:
            raise TunnelProtocolError("a second end of a tunneled connection")
        self.ended = True
        self.received += 1

    def pass_on(self, size: int) -> None:
        """The connection here took so many bytes, or (1) the end."""
        self.passed_on += size

    @property
    def done(self) -> bool:
        """It ended, and all of it was taken and acknowledged."""
        return self.ended and self.told == self.received

    @property
    def due(self) -> bool:
        """Is it time for an acknowledgement, without waiting for more?"""
        return self.passed_on - self.told >= _ACK_EVERY or (self.ended and self.passed_on == self.received > self.told)

    def acknowledge(self) -> int:
        """The offset to acknowledge now."""
        self.told = self.passed_on
        return self.told
