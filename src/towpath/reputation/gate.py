"""Which of the gossip's messages are taken and passed on, and which neighbour is dropped. Pure; the clock is passed in.

A neighbour answers for what it passes on: it checked that, too. Everything kept here is bounded, and what is forgotten
first is what was heard least lately.
"""

from __future__ import annotations

import enum
import hashlib
from collections import OrderedDict
from typing import Final

from towpath.relaystream.framing import Pace
from towpath.reputation.digest import DigestError, NotNow
from towpath.reputation.messages import Fraud, Message, open_message

__all__ = ["BANNED_S", "Gate", "Verdict"]

FRAMES: Final = (400.0, 20.0)
"""Frames of one neighbour, each KiB of them counted as another: at once, and each second from then on."""
MESSAGES: Final = (64.0, 2.0)
"""Messages of one neighbour, or of all in one network, that are looked at: at once, and each second from then on."""
ALL_MESSAGES: Final = (200.0, 10.0)
"""The same of all neighbours together."""
STRIKES: Final = (8.0, 1 / 300)
"""Messages that are none: with more than so many at once, and a new one every so often, a neighbour is dropped."""
BANNED_S: Final = 3600.0
"""How long a neighbour stays dropped."""
_SOURCES: Final = 1024
_KNOWN: Final = 8192


class Verdict(enum.Enum):
    """What becomes of a message."""

    TAKE = "take"
    """It is new and holds: it is passed on."""
    IGNORE = "ignore"
    """It is known, not for now, or one too many. No fault of who brought it."""
    REFUSE = "refuse"
    """It is none."""


class _Source:
    __slots__ = ("frames", "messages", "strikes")

    def __init__(self) -> None:
        self.frames = Pace(*FRAMES)
        self.messages = Pace(*MESSAGES)
        self.strikes = Pace(*STRIKES)


class Gate:
    """Of one node. `now` is a clock that only goes forward, `at` Unix time, both in seconds."""

    def __init__(self) -> None:
        self._sources: OrderedDict[bytes, _Source] = OrderedDict()
        self._banned: OrderedDict[bytes, float] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._networks: OrderedDict[bytes, Pace] = OrderedDict()
        self._all = Pace(*ALL_MESSAGES)

    def frame(self, source: bytes, size: int, now: float) -> bool:
        """May a frame of so many bytes be handled? False: this neighbour floods, and is dropped."""
        if self.banned(source, now):
            return False
        if not self._of(source).frames.take(now, 1 + size / 1024):
            self._ban(source, now)
            return False
        return True

    def message(
        self, source: bytes, data: bytes, now: float, at: float, network: bytes = b""
    ) -> tuple[Verdict, Message | None]:
        """What becomes of a message that this neighbour brought; the message when it is taken. Neighbours in one
        `network` have together what one alone has, as ids cost nothing; empty: it is not known, or one's own.
        """
        if self.banned(source, now):
            return Verdict.IGNORE, None
        known = self._of(source)
        if not known.messages.take(now):
            return Verdict.IGNORE, None
        if network and not self._pace_of(network).take(now):
            return Verdict.IGNORE, None
        if not self._all.take(now):
            return Verdict.IGNORE, None
        try:
            message = open_message(data, at)
        except NotNow:
            return Verdict.IGNORE, None
        except DigestError:
            if not known.strikes.take(now):
                self._ban(source, now)
            return Verdict.REFUSE, None
        if not self.note(message):
            return Verdict.IGNORE, None
        return Verdict.TAKE, message

    def note(self, message: Message) -> bool:
        """Remembers a message; False: one of this account and day, or a proof against this account, was known."""
        what = (b"f", message.account) if isinstance(message, Fraud) else (b"d%d:" % message.day, message.payer)
        key = hashlib.sha256(b"".join(what)).digest()[:16]
        new = key not in self._known
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return new

    def banned(self, source: bytes, now: float) -> bool:
        """Was this neighbour dropped, not long ago?"""
        return self._banned.get(source, float("-inf")) > now

    def _ban(self, source: bytes, now: float) -> None:
        self._sources.pop(source, None)
        self._banned[source] = now + BANNED_S
        self._banned.move_to_end(source)
        if len(self._banned) > _SOURCES:
            self._banned.popitem(last=False)

    def _pace_of(self, network: bytes) -> Pace:
        pace = self._networks.get(network)
        if pace is None:
            pace = self._networks[network] = Pace(*MESSAGES)
        self._networks.move_to_end(network)
        if len(self._networks) > _SOURCES:
            self._networks.popitem(last=False)
        return pace

    def _of(self, source: bytes) -> _Source:
        known = self._sources.get(source)
        if known is None:
            known = self._sources[source] = _Source()
        self._sources.move_to_end(source)
        if len(self._sources) > _SOURCES:
            self._sources.popitem(last=False)
        return known
