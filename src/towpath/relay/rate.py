"""How fast relay sockets are served right now, and because of what. Pure."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from towpath.settings import RATE_BEFORE_MEASURED

__all__ = ["InForce", "in_force", "of_setting"]

_OF_THE_LINE: Final = 0.5


class InForce(NamedTuple):
    """Bytes per second (None: unlimited), and a clause that says why just that."""

    rate: float | None
    why: str


def of_setting(max_rate: float | Literal["auto"] | None, best_upload: float | None) -> InForce:
    """What `relay.max_rate` stands for; `best_upload` is the fastest that was seen on the line, in bytes per second."""
    if max_rate is None:
        return InForce(None, "relay.max_rate is unlimited")
    if max_rate != "auto":
        return InForce(max_rate, "relay.max_rate")
    half = (best_upload or 0.0) * _OF_THE_LINE
    if half <= RATE_BEFORE_MEASURED:
        return InForce(RATE_BEFORE_MEASURED, "relay.max_rate is auto, and the line's upload was not seen to be more")
    return InForce(half, "relay.max_rate is auto: half of the line's best seen upload")


def in_force(setting: InForce, schedule: float | None, guard: float | None) -> InForce:
    """The lowest of what the setting, the schedule's hour and the queue guard allow (None: anything)."""
    found = setting
    for rate, why in ((schedule, "relay.schedule at this hour"), (guard, "the line's queue was filling")):
        if rate is not None and (found.rate is None or rate < found.rate):
            found = InForce(rate, why)
    return found
