"""Quota: how much a relay may still carry this hour, day and month. Pure: time and numbers are passed in.

What counts in a period is the larger of the bytes received and sent in it; the strictest limit wins. Use is granted
ahead in slices: a slice is persisted before any of it may be used, and counts as used when the process dies, so no
sequence of crashes passes a limit. A clean stop returns what is left of it. docs/decisions/0006-quota-time.md
says what time is to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, Final

import msgspec

from towpath.relay.clock import Clock
from towpath.relay.periods import PERIODS, Period, begin, following

__all__ = ["LOW", "Quota"]

LOW: Final = 0.1
"""Below this part of a limit no new circuits are wanted."""
SETTLING_S: Final = 900.0
"""After a boot, how long a wall clock that is set forward is believed: machines without a clock learn the time late."""
_SMALLEST_SLICE: Final = 256 << 10
_LARGEST_SLICE: Final = 64 << 20
_LASTS_S: Final = 2.0
"""How long a slice should last at the speed that is expected."""
_STEPPED_S: Final = 60.0

Pair = tuple[int, int]
"""Bytes received and sent."""


class _SavedPeriod(msgspec.Struct, frozen=True):
    ends: float
    share: float
    base: Pair


class _Saved(msgspec.Struct, frozen=True):
    """What is persisted. `total` was used when it was written, `granted` may have been used since."""

    time: float
    clock: Clock
    booted: tuple[float, float]
    resumed: tuple[float, float] | None
    total: Pair
    granted: Pair
    periods: dict[str, _SavedPeriod]


class Quota:
    """The quota of one relay.

    `limits` has bytes or None (unlimited) for hour, day and month; one that is missing is unlimited. `state` is what
    was persisted last, or None. `zone` is where midnight is (None: the machine's zone).

    It keeps a time of its own, which runs with CLOCK_BOOTTIME and never goes back.
    """

    def __init__(
        self, limits: Mapping[str, int | None], state: object, clock: Clock, *, zone: tzinfo | None = None
    ) -> None:
        self._zone = zone
        self._limits = _limits(limits)
        saved = _read(state)
        if saved is None:
            self._time = 0.0
            self._clock = clock
            # Quota time and Unix time when this boot was first seen, and when the one before was seen last.
            self._booted = (0.0, clock.wall_s)
            self._resumed: tuple[float, float] | None = None
            self._total: Pair = (0, 0)
            self._granted: Pair = (0, 0)
            self._periods = {name: begin(name, 0.0, clock.wall_s, (0, 0), zone) for name in PERIODS}
        else:
            self._time = saved.time
            self._clock = saved.clock
            self._booted = saved.booted
            self._resumed = saved.resumed
            self._total = saved.total
            self._granted = saved.granted
            self._periods = {name: Period(p.ends, p.share, p.base) for name, p in saved.periods.items()}
            # A period that began since may have seen all of the open slice.
            self.advance(clock)
            self._total = self._granted
        self._saved_clock = clock if saved is None else saved.clock
        self._speed = 0.0

    # --- time ----------------------------------------------------------------------------------

    def advance(self, clock: Clock) -> None:
        """Says what time it is; begins new periods."""
        last, self._clock = self._clock, clock
        if clock.boot_id == last.boot_id:
            self._time += max(clock.boottime_s - last.boottime_s, 0.0)
        else:
            # How long the machine was off only the wall clock knows, and it may have been set: of what it said and
            # what it would say had nobody set it the later is taken. What the machine has been up is the least.
            then, wall = self._booted
            self._resumed = (self._time, max(last.wall_s, wall + self._time - then))
            self._time += max(clock.boottime_s, 0.0)
            self._settle(clock)
        if self._resumed is not None:
            if clock.boottime_s < SETTLING_S:
                self._settle(clock)
            else:
                self._resumed = None
        for name, period in self._periods.items():
            if self._time >= period.ends:
                self._periods[name] = following(name, period, self._time, clock.wall_s, self._total, self._zone)

    def _settle(self, clock: Clock) -> None:
        """Believes the wall clock about how long the machine was off."""
        if self._resumed is not None:
            then, wall = self._resumed
            self._time = max(self._time, then + clock.wall_s - wall)
            self._booted = (self._time, clock.wall_s)

    def exhausted_for(self) -> float | None:
        """Seconds of CLOCK_BOOTTIME until no limit is used up any more; None when none is.

        A limit counts as used up when 1% of it or 256 KiB are left, which is too little to begin anything with.
        """
        ends = []
        for name in PERIODS:
            limit = self._limit(name)
            if limit is not None and self._used(name) >= limit - min(_SMALLEST_SLICE, limit // 100):
                ends.append(self._periods[name].ends)
        return max(0.0, max(ends) - self._time) if ends else None

    # --- use -----------------------------------------------------------------------------------

    def charge(self, received: int, sent: int, clock: Clock) -> None:
        """Counts bytes that were received and sent since the last call."""
        self.advance(clock)
        self._total = (self._total[0] + received, self._total[1] + sent)

    def expect(self, bytes_per_second: float) -> None:
        """Says how fast use goes on: slices grow with it, as what has to be granted more often would slow it down."""
        self._speed = bytes_per_second

    def left(self) -> tuple[int | None, int | None]:
        """Bytes that the limits let be received and sent from now on; None is unlimited."""
        return self._limit_left() or (None, None)

    def granted_left(self) -> tuple[int | None, int | None]:
        """Bytes of it that may be used before more is granted: what comes after these has to wait, no more."""
        limit = self._limit_left()
        if limit is None:
            return None, None
        received, sent = (max(0, min(limit[d], self._granted[d] - self._total[d])) for d in (0, 1))
        return received, sent

    @property
    def low(self) -> bool:
        """Is less than a tenth left of any limit?"""
        return any(self._used(name) > limit * (1 - LOW) for name in PERIODS if (limit := self._limit(name)) is not None)

    def rows(self, clock: Clock | None = None) -> list[dict[str, Any]]:
        """For each period {period, limit (None: unlimited), used, resets_at (Unix time)}, at `clock` if it is given."""
        names = ("period", "limit", "used", "resets_at")
        return [dict(zip(names, row, strict=True)) for row in self.told(clock)]

    def told(self, clock: Clock | None = None) -> list[tuple[str, int | None, int, float]]:
        """The same, each as a tuple."""
        if clock is not None:
            self.advance(clock)
        of_now = self._clock.wall_s - self._time
        return [(name, self._limit(name), self._used(name), of_now + self._periods[name].ends) for name in PERIODS]

    def set_limits(self, limits: Mapping[str, int | None]) -> None:
        """Other limits from now on; what was used stays used."""
        self._limits = _limits(limits)

    def _limit(self, name: str) -> int | None:
        limit = self._limits[name]
        return None if limit is None else int(limit * self._periods[name].share)

    def _used(self, name: str) -> int:
        base = self._periods[name].base
        return max(self._total[0] - base[0], self._total[1] - base[1])

    def _limit_left(self) -> Pair | None:
        # What each direction's total may come to.
        ends = [
            [limit + base for base in self._periods[name].base]
            for name in PERIODS
            if (limit := self._limit(name)) is not None
        ]
        if not ends:
            return None
        return max(0, min(e[0] for e in ends) - self._total[0]), max(0, min(e[1] for e in ends) - self._total[1])

    # --- what is persisted ---------------------------------------------------------------------

    @property
    def slice_bytes(self) -> int:
        """How much is granted ahead: 1% of the strictest limit, 256 KiB to 64 MiB; at a high speed up to 5% of it."""
        limits = [limit for name in PERIODS if (limit := self._limit(name)) is not None]
        usual = max(_SMALLEST_SLICE, min([_LARGEST_SLICE, *(limit // 100 for limit in limits)]))
        return max(usual, min([int(self._speed * _LASTS_S), *(limit // 20 for limit in limits)]))

    @property
    def limited(self) -> bool:
        """Is there any limit? Without one nothing depends on a state being persisted in time."""
        return any(limit is not None for limit in self._limits.values())

    def wanted(self) -> dict[str, Any] | None:
        """A state to persist now, because half of the slice is used; None when nothing needs to be persisted.

        When it is safe call `granted` with it, and only then ask again.
        """
        limit = self._limit_left()
        size = self.slice_bytes
        new = [0, 0]
        short = False
        for d in (0, 1):
            ahead = size if limit is None else min(size, limit[d])
            new[d] = max(self._granted[d], self._total[d] + ahead)
            short = short or (new[d] > self._granted[d] and self._granted[d] - self._total[d] <= size // 2)
        if short or self._was_set():
            return self._state((new[0], new[1]))
        return None

    def granted(self, state: Mapping[str, Any]) -> None:
        """A state that `wanted` returned is safe: what it grants may be used."""
        saved = msgspec.convert(state, _Saved)
        self._granted = (max(self._granted[0], saved.granted[0]), max(self._granted[1], saved.granted[1]))
        self._saved_clock = saved.clock

    def closing(self) -> dict[str, Any]:
        """The state to persist at a clean stop: the slice is returned, and nothing more may be used."""
        self._granted = self._total
        return self._state(self._total)

    def _was_set(self) -> bool:
        """Was the wall clock set since the last persisted state? After a reboot that one would say how long it took."""
        last, now = self._saved_clock, self._clock
        return abs(now.wall_s - now.boottime_s - last.wall_s + last.boottime_s) > _STEPPED_S

    def _state(self, granted: Pair) -> dict[str, Any]:
        saved = _Saved(
            time=self._time,
            clock=self._clock,
            booted=self._booted,
            resumed=self._resumed,
            total=self._total,
            granted=granted,
            periods={name: _SavedPeriod(p.ends, p.share, p.base) for name, p in self._periods.items()},
        )
        built: dict[str, Any] = msgspec.to_builtins(saved)
        return built


def _limits(limits: Mapping[str, int | None]) -> dict[str, int | None]:
    return {name: limits.get(name) for name in PERIODS}


def _read(state: object) -> _Saved | None:
    """A persisted state; None for none, or for one that is not a state."""
    try:
        saved = msgspec.convert(state, _Saved)
    except msgspec.ValidationError:
        return None
    return saved if saved.periods.keys() == set(PERIODS) else None
