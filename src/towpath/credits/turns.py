"""Work for the loop that takes a few dozen microseconds a piece: one piece a turn, so that no turn grows longer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Turns"]

_WAITING_MAX: Final = 65_536


class Turns:
    """Does what it is given in order, each piece in a turn of the loop of its own."""

    __slots__ = ("_handle", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._handle: asyncio.Handle | None = None

    def do(self, piece: Callable[[], None]) -> bool:
        """`piece()` is called in a later turn of the loop; False when too much waits already, and it is not."""
        if len(self._waiting) >= _WAITING_MAX:
            return False
        self._waiting.append(piece)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._next)
        return True

    def close(self) -> None:
        """Forgets what waits."""
        self._waiting.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _next(self) -> None:
        self._handle = None
        if not self._waiting:
            return
        piece = self._waiting.popleft()
        if self._waiting:
            self._handle = asyncio.get_running_loop().call_soon(self._next)
        piece()
