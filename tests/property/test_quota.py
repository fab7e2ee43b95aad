"""No quota is passed, and none goes back, in any sequence of crashes, restarts, reboots and clocks that are set."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from towpath.relay.clock import Clock
from towpath.relay.periods import boundaries
from towpath.relay.quota import SETTLING_S, Quota


def is_number(limit: int | None) -> bool:
    return limit is not None


PERIODS = ("hour", "day", "month")
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "Australia/Lord_Howe")]
# Around both changes of summer time on both halves of the globe, and a leap day.
STARTS = st.sampled_from([1_711_846_740.0, 1_729_990_000.0, 1_709_164_740.0, 1_760_000_000.0, 1_767_225_599.0])
LIMIT = st.one_of(st.none(), st.integers(0, 3_000_000), st.integers(30_000_000, 50_000_000_000))
# Without any limit nothing is granted ahead, and a crash may forget what was used.
LIMITS = st.fixed_dictionaries(dict.fromkeys(PERIODS, LIMIT)).filter(
    lambda limits: any(map(is_number, limits.values()))
)
GAPS = st.one_of(st.floats(0, 10), st.floats(0, 7_200), st.floats(0, 40 * 86_400.0))
JUMPS = st.one_of(st.sampled_from([86_400.0, -86_400.0, 3_600.0, -3_600.0]), st.floats(-4e6, 4e6))


class QuotaMachine(RuleBasedStateMachine):
    """A quota, the disk it is persisted on, the machine's clocks, and what really was used and took place."""

    @initialize(wall=STARTS, limits=LIMITS, zone=st.sampled_from(ZONES))
    def start(self, wall: float, limits: dict[str, int | None], zone: ZoneInfo) -> None:
        self.clock = Clock(5_000.0, wall, "boot-0")
        self.limits = limits
        self.zone = zone
        self.boots = 0
        self.clock_is_believed = False
        self.clock_is_noted = True
        self.real = [0, 0]
        self.elapsed = 0.0
        self.quota = Quota(self.limits, None, self.clock, zone=zone)
        self.lost = 0
        self.largest_slice = 64 << 20
        self.over: dict[str, tuple[int, int]] = {}
        self.begun: dict[str, tuple[float, list[int]]] = {}
        self.used: dict[str, int] = {}
        self.allotted = dict.fromkeys(PERIODS, 0.0)
        self.look()
        self.write(self.quota.closing())

    # --- what happens --------------------------------------------------------------------------

    @rule(received=st.floats(0, 1), sent=st.floats(0, 1))
    def use(self, received: float, sent: float) -> None:
        """Of what is left; without a limit a few megabytes."""
        left = self.quota.granted_left()
        moved = [
            int((5_000_000 if most is None else most) * part) for most, part in zip(left, (received, sent), strict=True)
        ]
        self.quota.charge(moved[0], moved[1], self.clock)
        self.real = [a + b for a, b in zip(self.real, moved, strict=True)]
        self.look()

    @rule(use_meanwhile=st.booleans(), fails=st.booleans())
    def grant(self, use_meanwhile: bool, fails: bool) -> None:
        """A slice; while it is being written the relay goes on, or the process dies."""
        state = self.quota.wanted()
        if state is None:
            return
        if use_meanwhile:
            self.use(1.0, 1.0)
        if fails:
            return
        self.write(state)
        self.quota.granted(state)

    def write(self, state: dict[str, Any]) -> None:
        self.disk = json.dumps(state)
        self.allotted_on_disk = dict(self.allotted)
        self.begun_on_disk = dict(self.begun)
        self.clock_is_believed = False
        self.clock_is_noted = True

    @rule(speed=st.floats(0, 2e9))
    def use_is_expected(self, speed: float) -> None:
        self.largest_slice = max(self.largest_slice, int(2 * speed))
        self.quota.expect(speed)

    @rule(limits=LIMITS)
    def limits_change(self, limits: dict[str, int | None]) -> None:
        """What was used under the old ones, or granted and then lost in a crash, may be more than the new ones."""
        self.limits = limits
        self.quota.set_limits(limits)
        self.lost = self.largest_slice
        self.over = {row["period"]: (self.really(row["period"]), row["used"] + self.lost) for row in self.quota.rows()}

    @rule()
    def stop(self) -> None:
        self.write(self.quota.closing())
        self.start_again()

    @rule()
    def crash(self) -> None:
        self.start_again()

    def start_again(self) -> None:
        """Periods that began since the last state was written begin again, perhaps by another clock."""
        before = self.begun
        self.quota = Quota(self.limits, json.loads(self.disk), self.clock, zone=self.zone)
        self.allotted = dict(self.allotted_on_disk)
        self.begun = dict(self.begun_on_disk)
        self.look()
        for name, (ends, real) in before.items():
            if self.begun[name] != self.begun_on_disk[name] and ends > self.quota._time:
                self.begun[name] = (self.begun[name][0], real)

    @rule(seconds=GAPS)
    def time_passes(self, seconds: float) -> None:
        self.elapsed += seconds
        boottime, wall, boot = self.clock
        self.clock = Clock(boottime + seconds, wall + seconds, boot)
        self.quota.advance(self.clock)
        self.look()

    @precondition(lambda self: not self.clock_is_believed)
    @rule(by=JUMPS)
    def clock_is_set(self, by: float) -> None:
        """Nothing that is open changes, whatever the clock is set to."""
        use, lasting = self.open_periods()
        self.clock = self.clock._replace(wall_s=max(0.0, self.clock.wall_s + by))
        self.clock_is_noted = self.clock_is_noted and by <= 0
        self.quota.advance(self.clock)
        assert self.open_periods()[0] == use
        assert self.open_periods()[1] == pytest.approx(lasting, abs=1e-3)
        self.look()

    def open_periods(self) -> tuple[list[tuple[int, int | None]], list[float]]:
        """What is used of each and what it allows; how long each still lasts."""
        rows = self.quota.rows()
        return [(row["used"], row["limit"]) for row in rows], [row["resets_at"] - self.clock.wall_s for row in rows]

    @precondition(lambda self: self.clock_is_noted)
    @rule(off=GAPS, up=st.floats(1, 300), clock_lost=st.booleans())
    def reboot(self, off: float, up: float, clock_lost: bool) -> None:
        """The process dies, the machine comes back; its clock went on, or stood still.

        What it was set to before was noted: with the next slice at the latest.
        """
        self.boots += 1
        self.elapsed += off + up
        wall = self.clock.wall_s + (0.0 if clock_lost else off + up)
        self.clock = Clock(up, wall, f"boot-{self.boots}")
        self.start_again()
        # Until then a clock that is set forward is believed, and it is not the quota's fault if it lies.
        self.time_passes(SETTLING_S)
        state = self.quota.wanted()
        self.clock_is_believed = True
        if state is not None:
            self.write(state)
            self.quota.granted(state)

    # --- what must hold ------------------------------------------------------------------------

    def look(self) -> None:
        """Notes which periods are new, and what each allows."""
        for row in self.quota.rows():
            name = row["period"]
            ends = self.quota._periods[name].ends
            if name not in self.begun or self.begun[name][0] != ends:
                self.begun[name] = (ends, self.real)
                self.used[name] = 0
                self.over[name] = (0, self.lost)
                self.allotted[name] += self.quota._periods[name].share

    @invariant()
    def no_limit_is_passed(self) -> None:
        for row in self.quota.rows():
            name, limit, used = row["period"], row["limit"], row["used"]
            assert used >= self.really(name), "what was used is not forgotten"
            if limit is not None:
                assert self.really(name) <= max(limit, self.over[name][0])
                # A slice that a crash lost may be more than a small limit that was cut short.
                assert used <= max(limit, self.over[name][1], 256 << 10)

    def really(self, name: str) -> int:
        """Bytes that counted in the period as it is now."""
        _, base = self.begun[name]
        return max(self.real[0] - base[0], self.real[1] - base[1])

    @invariant()
    def nothing_goes_back(self) -> None:
        for row in self.quota.rows():
            assert row["used"] >= self.used[row["period"]]
            self.used[row["period"]] = row["used"]

    @invariant()
    def no_more_is_allowed_than_the_time_that_passed(self) -> None:
        assert self.allotted["hour"] <= self.elapsed / 3_598 + 2 + 1e-6
        # The shortest of the calendar's days and months.
        assert self.allotted["day"] <= self.elapsed / (23 * 3_600) + 2 + 1e-6
        assert self.allotted["month"] <= self.elapsed / (28 * 86_400 - 7_200) + 2 + 1e-6

    @invariant()
    def every_period_ends(self) -> None:
        for row, longest in zip(self.quota.rows(), (3_600, 25 * 3_600, 31 * 86_400 + 7_200), strict=True):
            assert -1e-3 <= row["resets_at"] - self.clock.wall_s <= 1.5 * longest

    @invariant()
    def a_slice_is_the_most_that_a_crash_costs(self) -> None:
        for granted, total in zip(self.quota._granted, self.quota._total, strict=True):
            assert granted - total <= self.largest_slice


TestQuota = QuotaMachine.TestCase


@given(st.floats(0, 4e9), st.sampled_from(PERIODS), st.sampled_from([None, *ZONES]))
def test_every_moment_lies_in_one_period_of_the_calendar(wall: float, name: str, zone: ZoneInfo | None) -> None:
    start, end = boundaries(name, wall, zone)
    assert start <= wall < end
    assert boundaries(name, end, zone)[0] <= end + 1
    longest = {"hour": 3_601, "day": 25.5 * 3_600, "month": 31 * 86_400 + 7_200}[name]
    assert end - start <= longest
