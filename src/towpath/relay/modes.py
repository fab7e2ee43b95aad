"""Whether a node relays right now: one explicit state machine, pure, with every reason it has.

The owner's wishes and what is known of the machine go in, with the time; out come the state, why, until when, and what
is to be done about it. `relay.service` calls it whenever something changed, and obeys.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

__all__ = ["FOREVER", "Action", "Now", "Position", "State", "Wishes", "step"]

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


class Action(enum.Enum):
    """What a transition asks for."""

    OFFER = "offer"
    """Show HOP to everybody and admit."""
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
    blocked: tuple[str, ...] = ()
    """Why not now, one clause for each reason."""
    scarce: str = ""
    """Why nobody new is admitted although the relay goes on."""
    stopping: bool = False
    """Is the node about to end?"""
    circuits: int = 0
    grace: float = 60.0
    """Seconds that open circuits get; FOREVER: as long as they last."""


class Position(NamedTuple):
    """Where the relay stands, why, and until when (Unix time; None: until something changes)."""

    state: State = State.OFF
    why: str = "relay mode is off"
    until: float | None = None
    admitting: bool = False
    drained_at: float = 0.0
    """Monotonic time at which draining ends at the latest."""


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
            return _draining(at, goal, wishes, now), (Action.WITHDRAW,)
        return goal, (Action.WITHDRAW, Action.CLOSE)
    if at.state is State.DRAINING:
        # Another reason on the way gives no more time; a shorter grace takes some away.
        if wishes.circuits and now.monotonic < at.drained_at and wishes.grace > 0:
            return _draining(at, goal, wishes, now), ()
        return goal, (Action.CLOSE,)
    return goal, ()


def _goal(wishes: Wishes, now: Now) -> Position:
    if wishes.stopping:
        return Position(State.OFF, "the node is about to stop")
    if not wishes.relays:
        return Position()
    if wishes.paused_until is not None and now.wall < wishes.paused_until:
        until = None if wishes.paused_until == FOREVER else wishes.paused_until
        return Position(State.PAUSED, "its owner paused it", until)
    if wishes.blocked:
        return Position(State.WAITING, "; ".join(wishes.blocked))
    if wishes.scarce:
        return Position(State.RELAYING, f"relay mode is on, and nobody new is admitted: {wishes.scarce}")
    return Position(State.RELAYING, "relay mode is on", None, admitting=True)


def _draining(at: Position, goal: Position, wishes: Wishes, now: Now) -> Position:
    end = now.monotonic + wishes.grace
    if at.state is State.DRAINING:
        end = min(end, at.drained_at)
    until = None if end == FOREVER else now.wall + end - now.monotonic
    return Position(State.DRAINING, goal.why, until, False, end)
