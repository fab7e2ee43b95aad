"""What the weekly schedule says at a moment, and when it says something else. Pure: the time is passed in.

The schedule takes effect while relay mode is on: an hour may be `off`, another mode, or a rate; `relay.mode = client`
stays off at every hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.settings import RelayMode, Schedule

__all__ = ["Hour", "hour_at"]

_OFF: Final = ("off", "client")
Local = Callable[[float], time.struct_time]


class Hour(NamedTuple):
    """What holds now: may the node relay, as which mode (None: that of the settings), how fast, and until when."""

    relays: bool = True
    mode: RelayMode | None = None
    rate: float | None = None
    until: float | None = None
    """Unix time of the next hour that says something else; None: all say the same."""


def hour_at(schedule: Schedule, wall: float, local: Local = time.localtime) -> Hour:
    """What the schedule says at a Unix time. `local` turns Unix time into the owner's; its weekday and hour count."""
    at = local(wall)
    slot = schedule.at(at.tm_wday, at.tm_hour)
    until = _until(schedule, wall, local)
    if slot in _OFF:
        return Hour(relays=False, until=until)
    if slot == "open":
        return Hour(until=until)
    if isinstance(slot, str):
        return Hour(mode=RelayMode(slot), until=until)
    return Hour(rate=slot, until=until)


def _until(schedule: Schedule, wall: float, local: Local) -> float | None:
    if len(set(schedule)) == 1:
        return None
    at = local(wall)
    slot = schedule.at(at.tm_wday, at.tm_hour)
    # Hour by hour, because an hour may be missing or come twice; the last one of a week is followed by the first.
    for _ in range(24 * 7 + 4):
        wall = wall - wall % 1 + 3600 - at.tm_min * 60 - at.tm_sec
        at = local(wall)
        if schedule.at(at.tm_wday, at.tm_hour) != slot:
            return wall
    return None
