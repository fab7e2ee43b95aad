"""Notices connections that died without a word: those we dialed that carry something, a circuit or a reservation.

A reset or an end is known at once; a relay that lost its power or its line says nothing. What counts as life is what
the other end's kernel acknowledges: a relay that takes little because its owner allows no more answers late, and lives.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from towpath._native.session import Session

__all__ = ["PATIENCE_S", "PROBE_S", "Liveness", "lost"]

PROBE_S: Final = 15.0
"""How often a connection is asked whether it still lives; and how long its other end may acknowledge nothing."""
PATIENCE_S: Final = 120.0
"""How long an answer may take whose question was acknowledged: the process there hangs, or has much before it."""


def lost(asked_s: float, unheard_s: float) -> bool:
    """Is a connection dead that was asked `asked_s` ago and has not answered?

    `unheard_s`: since when its other end has acknowledged nothing of what waits for that; 0: it has all.
    """
    # A tenth less: the last acknowledgement may have come a moment after the question went out.
    return asked_s >= PATIENCE_S or (asked_s >= PROBE_S and unheard_s >= 0.9 * PROBE_S)


class Liveness:
    """Watches sessions until they close; one that is lost is aborted, which its owners hear of as of any other end."""

    def __init__(self) -> None:
        self._asked_at: dict[Session, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, session: Session) -> None:
        """Asks it now, and from time to time as long as it carries something."""
        if session not in self._asked_at and not session.closed:
            self._ask(session)
            if self._timer is None:
                self._look_later()

    def _ask(self, session: Session) -> None:
        session.ping()
        self._asked_at[session] = time.monotonic()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PROBE_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        for session, asked_at in list(self._asked_at.items()):
            if session.closed:
                del self._asked_at[session]
            elif not session.ping_pending:
                # One that carries nothing ends by itself; being asked would not keep it, but costs both sides.
                if session.stream_count or session.pins:
                    self._ask(session)
            elif lost(now - asked_at, session.unheard_ms / 1000):
                session.abort()
        if self._asked_at:
            self._look_later()
