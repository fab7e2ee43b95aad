"""When a quota's hour, day and month begin and end. Pure: time is passed in.

A period lasts its length of a time that nobody can set; the wall clock only says where the next boundary is when a
period begins. docs/decisions/0006-quota-time.md says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

__all__ = ["PERIODS", "Period", "begin", "boundaries", "following"]

PERIODS: Final = ("hour", "day", "month")
_LATEST: Final = 250_000_000_000.0
"""The last Unix time that is believed (in the year 9892): dates end a little later."""
_ALIGNED_S: Final = 2.0
"""A period may be this much shorter than the calendar's and still have the whole limit: a leap second, rounding."""


@dataclass(slots=True)
class Period:
    """One hour, day or month of a quota: when it ends in quota time, its share of the limit, and where it began.

    `base` is what had been received and sent in all when it began.
    """

    ends: float
    share: float
    base: tuple[int, int]


def begin(name: str, at: float, wall: float, base: tuple[int, int], zone: tzinfo | None) -> Period:
    """The first period: it ends with the calendar's and has the whole limit."""
    _, end = boundaries(name, wall, zone)
    return Period(at + end - _believable(wall), 1.0, base)


def following(name: str, last: Period, at: float, wall: float, base: tuple[int, int], zone: tzinfo | None) -> Period:
    """The period that holds the quota time `at`, which is past the end of `last`; `wall` is Unix time then.

    It ends with the calendar's. When the wall clock was set meanwhile, that makes it shorter (its limit shrinks alike)
    or up to half longer (its limit stays).
    """
    while True:
        past = at - last.ends
        start, end = boundaries(name, wall - past, zone)
        if past >= end - start:
            # Nothing was used in at least one whole period.
            return begin(name, at, wall, base, zone)
        length, whole = end - _believable(wall - past), end - start
        if length < whole / 2:
            start, end = boundaries(name, end, zone)
            length, whole = length + end - start, end - start
        share = 1.0 if length >= whole - _ALIGNED_S else length / whole
        last = Period(last.ends + length, share, base)
        if at < last.ends:
            return last


def boundaries(name: str, wall: float, zone: tzinfo | None) -> tuple[float, float]:
    """When the calendar's hour, day or month that holds a Unix time began and ends; a None zone is the machine's."""
    wall = _believable(wall)
    local = datetime.fromtimestamp(wall, zone)
    if name == "hour":
        start = wall - (local.minute * 60 + local.second + local.microsecond / 1e6)
        return start, max(start + 3600.0, wall + 1.0)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    first = midnight if name == "day" else midnight.replace(day=1)
    after = first + timedelta(days=1) if name == "day" else (first + timedelta(days=32)).replace(day=1)
    return first.timestamp(), max(after.timestamp(), wall + 1.0)


def _believable(wall: float) -> float:
    return min(max(wall, 0.0), _LATEST)
