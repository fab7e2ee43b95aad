"""When to ask whether a circuit still carries anything, and when to give it up. Pure; times are monotonic seconds.

Whatever arrives counts as life. A relay that is killed resets its circuits; one that lost its line says nothing.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["Patience", "Verdict"]

_ASK_S: Final = 1.0
_UNEASY_S: Final = 2.0
_DEAD_S: Final = 3.0
_LONGEST_DEAD_S: Final = 24.0
_IDLE_S: Final = 1.0
_LONGEST_IDLE_S: Final = 5.0


class Verdict(enum.Enum):
    """What to do now."""

    WAIT = enum.auto()
    ASK = enum.auto()
    UNEASY = enum.auto()
    """Ask, and let whoever owns the ways there look after them, too."""
    DEAD = enum.auto()


class Patience:
    """Of one end of one connection.

    It asks each second while something is unanswered, and also, less and less often, when all was quiet: who only
    receives has nothing unanswered when the sender's line dies. `slower` stretches that, so that of two ends one asks.
    """

    __slots__ = ("_asked", "_dead_s", "_heard", "_idle_s", "_since", "_slower", "_uneasy")

    def __init__(self, now: float, *, slower: float = 1.0) -> None:
        self._heard = now
        self._asked = now
        self._since: float | None = None
        self._idle_s = _IDLE_S
        self._dead_s = _DEAD_S
        self._slower = slower
        self._uneasy = False

    @property
    def heard_at(self) -> float:
        """When something arrived last."""
        return self._heard

    @property
    def waiting(self) -> bool:
        """Is an answer owed?"""
        return self._since is not None

    def restart(self, now: float) -> None:
        """Another circuit carries on."""
        self._asked = now
        self._since = now
        self._idle_s = _IDLE_S
        self._uneasy = False

    def expect(self, now: float) -> None:
        """Something was sent that the other side will answer."""
        if self._since is None:
            self._since = now

    def heard(self, now: float, *, owed: bool, progress: bool) -> None:
        """Something arrived; `owed`: more is to be answered yet; `progress`: it was no mere sign of life."""
        self._heard = now
        self._since = now if owed else None
        self._uneasy = False
        if progress:
            self._idle_s = _IDLE_S
            self._dead_s = _DEAD_S

    def look(self, now: float) -> Verdict:
        """What to do now; to be asked again at `next_look`."""
        if self._since is None:
            if now < max(self._heard, self._asked) + self._idle_s * self._slower:
                return Verdict.WAIT
            self._idle_s = min(_LONGEST_IDLE_S, 2 * self._idle_s)
            # As if it had been sent a second ago: two more without an answer are enough.
            self._since = now - _ASK_S
            self._asked = now
            return Verdict.ASK
        # A clock's rounding shall neither cost a second nor have it ask a last time at the very end.
        if now >= self._since + 0.999 * self._dead_s:
            # Should it only have been slow, it gets more time, until something goes on.
            self._dead_s = min(_LONGEST_DEAD_S, 2 * self._dead_s)
            return Verdict.DEAD
        if now < max(self._asked, self._since) + _ASK_S:
            return Verdict.WAIT
        self._asked = now
        if now >= self._since + 0.99 * _UNEASY_S and not self._uneasy:
            self._uneasy = True
            return Verdict.UNEASY
        return Verdict.ASK

    def next_look(self, now: float) -> float:
        """When to look again, after `look` said what to do; sooner when `expect` is called before."""
        if self._since is None:
            at = max(self._heard, self._asked) + self._idle_s * self._slower
        else:
            at = min(max(self._asked, self._since) + _ASK_S, self._since + self._dead_s)
        return max(at, now)
