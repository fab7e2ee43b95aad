"""What became of something tried with a relay, and what that does to our measurements of it. Pure.

Times are Unix time in seconds.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from towpath.discovery.candidates import Measured
from towpath.waiting import doubled

__all__ = ["Outcome", "blamed", "noted", "rest_left"]

_HALF_LIFE_S: Final = 30 * 86400.0
_LONGEST_GAP_S: Final = 3600.0
_FIRST_GAP_S: Final = 60.0
_BETTER: Final = 0.1
_WORSE: Final = 0.6
_SICK: Final = 0.2
_FIRST_REST_S: Final = 10.0
_LONGEST_REST_S: Final = 3600.0
_SICK_REST_S: Final = 3600.0
_REFUSED_REST_S: Final = 60.0
_LATENCY_WEIGHT: Final = 0.25


class Outcome(enum.StrEnum):
    """What became of something tried with a relay."""

    CONNECTED = "connected"
    """It answered: up, but nothing served by that; also each minute that it holds a reservation of ours."""
    SERVED = "served"
    """It granted a reservation, or made a circuit."""
    KEPT = "kept"
    """It refreshed a reservation: served, which says nothing of circuits; a relay that drops them all can do that."""
    REFUSED = "refused"
    """It answered no: it has no room, or does not take us. No fault of its own."""
    FAILED = "failed"
    """It did not answer, or broke off what it carried."""
    AWAY = "away"
    """It holds a reservation of ours and still cannot be reached: down, and no failure more than was told."""


# Looked up once: finding a member by its name would be half of what `noted` takes.
_SERVED: Final = Outcome.SERVED
_KEPT: Final = Outcome.KEPT
_REFUSED: Final = Outcome.REFUSED
_FAILED: Final = Outcome.FAILED
_AWAY: Final = Outcome.AWAY


def noted(
    before: Measured, outcome: Outcome, now: float, *, rtt_ms: float | None = None, blame: bool = True
) -> Measured:
    """The measurements after something more was seen.

    `blame=False`: nothing at all answers us at the moment, so a failure says nothing of the relay; it rests a little.
    A clock that was set back counts as no time.
    """
    if outcome is _AWAY and not blame:
        return before
    fade, gap = 1.0, _FIRST_GAP_S
    if before.observed_at:
        passed = max(0.0, now - before.observed_at)
        fade, gap = 0.5 ** (passed / _HALF_LIFE_S), min(_LONGEST_GAP_S, passed)
    up = outcome is not _FAILED and outcome is not _AWAY
    successful, failed, health = before.successful * fade, before.failed * fade, before.health
    up_s, watched_s = before.up_s * fade, before.watched_s * fade
    failing, unsure, failed_at, refused_at = before.failing, before.unsure, before.failed_at, before.refused_at
    if up or blame:
        watched_s += gap
        up_s += gap if up else 0.0
    if outcome is _KEPT:
        successful += 1
    elif outcome is _SERVED:
        successful += 1
        health += (1.0 - health) * _BETTER
        failing, unsure, refused_at = 0, False, 0.0
    elif outcome is _REFUSED:
        refused_at = now
    elif outcome is _FAILED:
        unsure, failed_at = not blame, now
        if blame:
            failing += 1
            failed += 1
            health *= _WORSE
    latency = before.latency_ms
    if rtt_ms is not None and rtt_ms >= 0:
        latency = rtt_ms if latency is None else latency + (rtt_ms - latency) * _LATENCY_WEIGHT
    return Measured(successful, failed, up_s, watched_s, latency, health, failing, unsure, failed_at, refused_at, now)


def blamed(measured: Measured) -> Measured:
    """The measurements when a failure that was noted without blame turns out to have been the relay's."""
    return msgspec.structs.replace(
        measured,
        failed=measured.failed + 1,
        health=measured.health * _WORSE,
        failing=measured.failing + 1,
        unsure=False,
    )


def rest_left(measured: Measured, now: float) -> float:
    """Seconds for which it is not asked: longer with each failure in a row, an hour when it fails too often at all.

    0: it is not resting. One that refused us rests for a minute. A clock that was set back makes none of it longer.
    """
    if not measured.refused_at and measured.failed_at <= 0:
        return 0.0
    failed_at, refused_at = min(measured.failed_at, now), min(measured.refused_at, now)
    left = 0.0
    if refused_at:
        left = refused_at + _REFUSED_REST_S - now
    if measured.failed_at > 0:
        # A failure that was nobody's fault is repeated soon: our own line may be back.
        rest = doubled(_FIRST_REST_S, _LONGEST_REST_S, max(measured.failing, 1) - 1)
        if measured.health < _SICK:
            rest = max(rest, _SICK_REST_S)
        elif not measured.failing:
            rest = _FIRST_REST_S if measured.unsure else 0.0
        left = max(left, failed_at + rest - now)
    return max(0.0, left)
