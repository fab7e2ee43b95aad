"""How much of its quota a simulated relay has used: the node's own quota, looked at when something may follow from it.

Bytes are counted as they are carried, for the period in which they were, and charged when somebody asks and another
part of a limit is used or a period has ended. What happens unasked (it admits nobody new, it has nothing left) is told
ahead.
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

    __slots__ = (
        "_at",
        "_begin",
        "_ends_at",
        "_quota",
        "_resets_at",
        "_tell_at",
        "_uncharged",
        "_weigh_at",
        "stopped",
        "used",
    )

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
        self._tell_at = 0.0 if self._quota is not None else _NEVER
        self._resets_at = self._ends_at = now if self._quota is not None else _NEVER

    def count(self, n: float, now: float = 0.0, seconds: float = 0.0) -> None:
        """So many bytes were carried, evenly in these seconds before now."""
        if now < self._resets_at or not n:
            self._uncharged += n
            return
        begun, rate = now - seconds, n / seconds if seconds else 0.0
        if self._resets_at <= begun:
            self.look(begun)
        while self._resets_at <= now:
            ends = self._resets_at
            self._uncharged += rate * (ends - begun)
            n -= rate * (ends - begun)
            begun = ends
            self.look(ends)
        self._uncharged += max(0.0, n)

    @property
    def ahead(self) -> float:
        """So many bytes more may be carried before anything happens unasked."""
        return self._tell_at - self._uncharged

    def due(self, now: float) -> bool:
        """Is it time to look?"""
        return now >= self._ends_at or (self._uncharged >= self._weigh_at and self._quota is not None)

    def due_at(self, now: float, rate: float) -> float:
        """When something happens unasked, at so many bytes per second; inf: never. Then it is to be looked at."""
        if rate <= 0:
            return _NEVER
        return now + max(0.0, self.ahead) / rate + 1e-6

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
        left = weigh_at = tell_at = resets_at = ends_at = _NEVER
        most = 0.0
        for _, limit, used, resets in quota.told(self._clock(now)):
            if limit:
                most = max(most, used / limit)
                left = min(left, limit - used)
                weigh_at = min(weigh_at, (used * _STEPS // limit + 1) * limit / _STEPS - used + 1)
                low = limit * (1 - LOW) - used + 1
                if low > 0:
                    tell_at = min(tell_at, low)
                if used * _STEPS >= limit:
                    # Of less it is all the same to which period it belongs.
                    ends_at = min(ends_at, resets)
            resets_at = min(resets_at, resets)
        self.used, self.stopped = most, left <= _SPENT
        spent = left - _SPENT / 2
        self._weigh_at, self._tell_at = min(weigh_at, spent), min(tell_at, spent)
        self._resets_at, self._ends_at = resets_at + _MOMENT_S, ends_at + _MOMENT_S

    @property
    def share(self) -> float:
        """How much of the scarcest limit is used, with what was counted since it was looked at."""
        if self._quota is None:
            return 0.0
        return max(((used + self._uncharged) / limit for _, limit, used, _ in self._quota.told() if limit), default=0.0)

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
        ends = [resets for _, limit, used, resets in quota.told() if limit and used > limit * (1 - LOW)]
        if not ends:
            return (), None
        return (), Cause(Kind.QUOTA, "less than a tenth of the budget is left", min(ends))

    def _clock(self, now: float) -> Clock:
        return Clock(now - self._begin, now, "simulated")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As Quota.rows has them; none without a limit."""
        return [] if self._quota is None else self._quota.rows()
