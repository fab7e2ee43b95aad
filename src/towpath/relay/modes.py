"""Whether a node relays right now: one explicit state machine, pure, with every reason it has.

The owner's wishes and what is known of the machine go in, with the time; out come the state, why, until when, and what
is to be done about it. `relay.service` calls it whenever something changed, and obeys.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

__all__ = ["FOREVER", "Action", "Cause", "Kind", "Now", "Position", "State", "Wishes", "step"]

FOREVER: Final = float("inf")
"""`paused_until` of a pause that only the owner ends; `grace` without an end."""


class State(enum.StrEnum):
    """Where the relay stands."""

    OFF = "off"
    WAITING = "waiting"
    """Relay mode is on, and something has to change first."""
    RELAYING = "relaying"
    DRAINING = "draining"
    """Takes nobody new; circuits may end by themselves, until a moment."""
    PAUSED = "paused"


class Kind(enum.StrEnum):
    """What keeps a relay from relaying."""

    MODE = "mode"
    STOPPING = "stopping"
    PAUSED = "paused"
    SCHEDULE = "schedule"
    QUOTA = "quota"
    IDLE = "idle"
    BATTERY = "battery"
    METERED = "metered"


class Cause(NamedTuple):
    """One reason: its kind, a clause for people, and when it ends (Unix time; None: nobody knows)."""

    kind: Kind
    why: str
    until: float | None = None


class Action(enum.Enum):
    """What a transition asks for."""

    OFFER = "offer"
    """Show HOP to everybody."""
    WITHDRAW = "withdraw"
    """Take HOP back, admit nobody, tell those who listen to move; circuits go on."""
    CLOSE = "close"
    """End the circuits and reservations that are left."""


class Now(NamedTuple):
    """The time, twice: `monotonic` measures the drain, `wall` (Unix time) ends a pause."""

    monotonic: float
    wall: float


class Wishes(NamedTuple):
    """Everything that decides."""

    relays: bool
    """Is relay mode on?"""
    paused_until: float | None = None
    """Unix time at which the owner's pause ends, FOREVER, or None without a pause."""
    blocked: tuple[Cause, ...] = ()
    """Why not now."""
    scarce: Cause | None = None
    """Why nobody new is admitted although the relay goes on."""
    stopping: bool = False
    """Is the node about to end?"""
    circuits: int = 0
    grace: float = 60.0
    """Seconds that open circuits get; FOREVER: as long as they last."""


class Position(NamedTuple):
    """Where the relay stands, why, and until when (Unix time; None: until something changes).

    `cause` is the first reason against relaying, or against admitting; None while it relays and admits.
    """

    state: State
    why: str
    until: float | None = None
    cause: Cause | None = None
    drained_at: float = 0.0
    """Monotonic time at which draining ends at the latest."""

    @property
    def admitting(self) -> bool:
        """Are new reservations and circuits welcome?"""
        return self.state is State.RELAYING and self.cause is None


_OFF: Final = Cause(Kind.MODE, "relay mode is off")
_STOPPING: Final = Cause(Kind.STOPPING, "the node is about to stop")
START: Final = Position(State.OFF, _OFF.why, None, _OFF)
"""Where every relay begins."""


def step(at: Position, wishes: Wishes, now: Now) -> tuple[Position, tuple[Action, ...]]:
    """Where the relay stands from now on, and what to do to get there.

    Asking again without a change gives the same position and asks for nothing. Draining follows only relaying, lasts
    `grace` seconds from its beginning at most, and is given up when relaying is wanted again.
    """
    goal = _goal(wishes, now)
    if goal.state is State.RELAYING:
        return goal, () if at.state is State.RELAYING else (Action.OFFER,)
    if at.state is State.RELAYING:
        if wishes.circuits and wishes.grace > 0:
            return _draining(at, now.monotonic + wishes.grace, goal, now), (Action.WITHDRAW,)
        return goal, (Action.WITHDRAW, Action.CLOSE)
    if at.state is State.DRAINING:
        # Another reason on the way gives no more time; a shorter grace takes some away.
        end = min(at.drained_at, now.monotonic + wishes.grace)
        if wishes.circuits and now.monotonic < end:
            return _draining(at, end, goal, now), ()
        return goal, (Action.CLOSE,)
    return goal, ()


def _goal(wishes: Wishes, now: Now) -> Position:
    if wishes.stopping:
        return Position(State.OFF, _STOPPING.why, None, _STOPPING)
    if not wishes.relays:
        return START
    if wishes.paused_until is not None and now.wall < wishes.paused_until:
        until = None if wishes.paused_until == FOREVER else wishes.paused_until
        cause = Cause(Kind.PAUSED, "its owner paused it", until)
        return Position(State.PAUSED, cause.why, until, cause)
    if wishes.blocked:
        ends = [cause.until for cause in wishes.blocked]
        until = None if None in ends else max(end for end in ends if end is not None)
        return Position(State.WAITING, "; ".join(c.why for c in wishes.blocked), until, wishes.blocked[0])
    if wishes.scarce is not None:
        why = f"relay mode is on, but nobody new is admitted: {wishes.scarce.why}"
        return Position(State.RELAYING, why, wishes.scarce.until, wishes.scarce)
    return Position(State.RELAYING, "relay mode is on")


def _draining(at: Position, end: float, goal: Position, now: Now) -> Position:
    until = None if end == FOREVER else now.wall + end - now.monotonic
    if at.state is State.DRAINING and at.drained_at == end:
        # What was told once stays, whatever the wall clock does meanwhile.
        until = at.until
    return Position(State.DRAINING, goal.why, until, goal.cause, end)
