"""Cuts the bytes of a control stream into messages, and counts how fast they come. Pure, fed with bytes and times.

Each message is preceded by its length in 2 bytes, big-endian.
"""

from __future__ import annotations

from typing import Final

from towpath.relaystream.messages import MAX_MESSAGE, ControlProtocolError

__all__ = ["HEADER_SIZE", "MessageReader", "Pace", "frame"]

HEADER_SIZE: Final = 2


def frame(body: bytes) -> bytes:
    """A message with its length before it."""
    if not 1 <= len(body) <= MAX_MESSAGE:
        raise ValueError(f"a control message of {len(body)} bytes; 1 to {MAX_MESSAGE} are allowed")
    return len(body).to_bytes(HEADER_SIZE, "big") + body


class MessageReader:
    """Takes the bytes of a stream in any pieces; keeps at most one unfinished message."""

    __slots__ = ("_part",)

    def __init__(self) -> None:
        self._part = b""

    @property
    def unfinished(self) -> bool:
        """Has a message begun that is not complete?"""
        return bool(self._part)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now. ControlProtocolError as soon as a length is out of bounds."""
        if self._part:
            data = self._part + data
        out = []
        at = 0
        while len(data) - at >= HEADER_SIZE:
            size = int.from_bytes(data[at : at + HEADER_SIZE], "big")
            if not 1 <= size <= MAX_MESSAGE:
                raise ControlProtocolError(f"a control message of {size} bytes; 1 to {MAX_MESSAGE} are allowed")
            end = at + HEADER_SIZE + size
            if end > len(data):
                break
            out.append(data[at + HEADER_SIZE : end])
            at = end
        self._part = data[at:]
        return out


class Pace:
    """Lets through `burst` at once and `per_s` from then on. `take` says whether one more may come at a time."""

    __slots__ = ("_at", "_burst", "_per_s", "_spent")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._spent = 0.0
        self._at = 0.0

    def take(self, now: float, cost: float = 1.0) -> bool:
        """May one more come at `now`, in seconds of a clock that does not go back? One that may not costs nothing."""
        self._spent = max(0.0, self._spent - max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._spent + cost > self._burst:
            return False
        self._spent += cost
        return True

    def give(self, n: float) -> None:
        """Lets `n` more through: what was asked for does not count."""
        self._spent = max(0.0, self._spent - n)
