"""How much of its quota a simulated relay has used: the node's own quota, looked at when something may follow from it.

Bytes are counted as they are carried and charged when another part of a limit is used or a period ends, which is when
whatever decides (a loaded relay, one that admits nobody new, one that has nothing left) can become different.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from towpath.relay.clock import Clock
from towpath.relay.modes import Cause, Kind
from towpath.relay.periods import PERIODS
from towpath.relay.quota import LOW, Quota

if TYPE_CHECKING:
    from towpath.settings import RelaySettings

__all__ = ["Meter"]

_STEPS: Final = 10
"""Parts of a limit: what decides happens at 70 and 90%."""
_SPENT: Final = 256 << 10
"""Bytes that are as good as none."""
_MOMENT_S: Final = 0.01
"""So much beside the end of a period it is certain on which side of it a moment lies, however a clock is rounded."""
_NEVER: Final = float("inf")


class Meter:
    """Of one relay, from when `begin` was; times are Unix seconds."""

    __slots__ = ("_at", "_begin", "_quota", "_resets_at", "_uncharged", "_weigh_at", "stopped", "used")

    def __init__(self, settings: RelaySettings, begin: float, now: float) -> None:
        per = (settings.max_bandwidth_per_hour, settings.max_bandwidth_per_day, settings.max_bandwidth_per_month)
        self._begin = begin
        limits = dict(zip(PERIODS, per, strict=True))
        self._quota = Quota(limits, None, self._clock(now), zone=UTC) if any(limits.values()) else None
        self.used = 0.0
        """How much of the scarcest limit was used when that was looked at last, 0…1."""
        self.stopped = False
        """Is nothing left? No byte passes the end of a limit: the sockets stand still until the circuits are ended."""
        self._uncharged = 0.0
        self._at = now
        self._weigh_at = 0.0
        self._resets_at = now if self._quota is not None else _NEVER

    def count(self, n: float) -> None:
        """So many bytes were carried."""
        self._uncharged += n

    def due(self, now: float) -> bool:
        """Is it time to look?"""
        return now >= self._resets_at or (self._uncharged >= self._weigh_at and self._quota is not None)

    def due_at(self, now: float, rate: float) -> float:
        """When that will be, at so many bytes per second; inf: never."""
        if self._quota is None or rate <= 0:
            return _NEVER
        return min(self._resets_at, now + max(0.0, self._weigh_at - self._uncharged) / rate) + 1e-6

    def look(self, now: float) -> None:
        """Charges what was carried, and looks how much of each limit is used."""
        quota = self._quota
        if quota is None:
            return
        whole = int(self._uncharged)
        self._uncharged -= whole
        # What was carried before a period ended is that period's.
        if whole:
            before = max(self._at, min(now, self._resets_at - 2 * _MOMENT_S))
            quota.charge(whole, whole, self._clock(before))
        self._at = now
        left = weigh_at = resets_at = _NEVER
        most = 0.0
        for row in quota.rows(self._clock(now)):
            limit, used = row["limit"], row["used"]
            if limit:
                most = max(most, used / limit)
                left = min(left, limit - used)
                weigh_at = min(weigh_at, (used * _STEPS // limit + 1) * limit / _STEPS - used + 1)
            resets_at = min(resets_at, row["resets_at"])
        self.used, self.stopped = most, left <= _SPENT
        self._weigh_at, self._resets_at = min(weigh_at, left - _SPENT / 2), resets_at + _MOMENT_S

    @property
    def share(self) -> float:
        """How much of the scarcest limit is used, with what was counted since it was looked at."""
        return max(((row["used"] + self._uncharged) / row["limit"] for row in self.rows if row["limit"]), default=0.0)

    @property
    def low(self) -> bool:
        """Is so little left of a limit that nobody new is wanted?"""
        return self._quota is not None and self._quota.low

    def against(self, now: float) -> tuple[tuple[Cause, ...], Cause | None]:
        """What it says against relaying now, and against admitting anybody new."""
        quota = self._quota
        if quota is None:
            return (), None
        spent = quota.exhausted_for()
        if spent is not None:
            return (Cause(Kind.QUOTA, "the budget is used up", now + spent),), None
        ends = [row["resets_at"] for row in quota.rows() if row["limit"] and row["used"] > row["limit"] * (1 - LOW)]
        if not ends:
            return (), None
        return (), Cause(Kind.QUOTA, "less than a tenth of the budget is left", min(ends))

    def _clock(self, now: float) -> Clock:
        return Clock(now - self._begin, now, "simulated")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As Quota.rows has them; none without a limit."""
        return [] if self._quota is None else self._quota.rows()
