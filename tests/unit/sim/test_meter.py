"""A simulated relay's meter: every byte is charged, to the period in which it was carried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.settings import RelaySettings, Settings
from towpath.sim.meter import Meter
from towpath.sim.models import HOUR_S
from towpath.sim.world import BEGIN

HOUR = 500_000_000


def settings_of(**limits: str) -> RelaySettings:
    given_ = {f"relay.max_bandwidth_per_{period}": limit for period, limit in limits.items()}
    return Settings.load({"relay.mode": "cooperative"} | given_).relay


ONLY_HOURS = settings_of(hour="500MB", day="unlimited", month="unlimited")
UNLIMITED = settings_of(hour="unlimited", day="unlimited", month="unlimited")


def used(meter: Meter, period: str) -> int:
    return int(next(row["used"] for row in meter.rows if row["period"] == period))


@given(st.lists(st.tuples(st.floats(0, 2e6), st.floats(0.1, 4000.0)), min_size=1, max_size=40))
def test_what_was_carried_is_charged_whenever_it_is_looked_at(steps: list[tuple[float, float]]) -> None:
    meter, now, whole = Meter(settings_of(), BEGIN, BEGIN), BEGIN, 0.0
    for n, seconds in steps:
        now += seconds
        whole += n
        meter.count(n)
        if meter.due(now):
            meter.look(now)
    meter.look(now)
    assert abs(used(meter, "month") - whole) <= 1
    assert meter.used <= 1.0


def test_what_was_carried_before_a_period_ended_is_that_periods() -> None:
    meter = Meter(ONLY_HOURS, BEGIN, BEGIN)
    meter.look(BEGIN)
    meter.count(0.95 * HOUR)
    meter.look(BEGIN + HOUR_S - 60)
    assert meter.low
    assert meter.against(BEGIN + HOUR_S - 60)[1] is not None
    meter.count(0.01 * HOUR)
    assert meter.due(BEGIN + HOUR_S + 1)
    meter.look(BEGIN + HOUR_S + 1)
    assert used(meter, "hour") == 0
    assert not meter.low
    assert meter.against(BEGIN + HOUR_S + 1) == ((), None)


def test_who_asks_learns_of_another_part_of_a_limit() -> None:
    meter = Meter(ONLY_HOURS, BEGIN, BEGIN)
    meter.look(BEGIN)
    for part in range(1, 10):
        meter.count(0.0999 * HOUR)
        assert not meter.due(BEGIN + part)
        meter.count(0.0001 * HOUR + 1)
        assert meter.due(BEGIN + part)
        meter.look(BEGIN + part)
        assert part / 10 <= meter.used <= part / 10 + 1e-6


def test_it_tells_ahead_when_it_will_be_low() -> None:
    meter = Meter(ONLY_HOURS, BEGIN, BEGIN)
    meter.look(BEGIN)
    rate = HOUR / 1800.0
    ahead = meter.ahead
    now = meter.due_at(BEGIN, rate)
    assert now - BEGIN == pytest.approx(ahead / rate, abs=1e-3)
    meter.count((now - BEGIN) * rate, now, now - BEGIN)
    assert meter.due(now)
    meter.look(now)
    assert meter.low
    assert meter.used == pytest.approx(0.9)


@given(st.floats(1e5, 4e8), st.floats(0.0, HOUR_S - 1), st.floats(1.0, 30_000.0))
def test_what_is_carried_evenly_is_charged_to_each_hour_by_its_part(n: float, begun_s: float, seconds: float) -> None:
    meter = Meter(ONLY_HOURS, BEGIN, BEGIN)
    begun, now = BEGIN + begun_s, BEGIN + begun_s + seconds
    meter.look(begun)
    meter.count(n, now, seconds)
    meter.look(now)
    hour = BEGIN + (now - BEGIN) // HOUR_S * HOUR_S
    within = n * (now - max(hour, begun)) / seconds
    # Beside the end of an hour a moment may count to either of them.
    assert abs(used(meter, "hour") - within) <= 2 + 0.05 * n / seconds
    assert abs(used(meter, "month") - n) <= 2


def test_the_end_of_a_limit_is_met_and_not_passed() -> None:
    meter = Meter(ONLY_HOURS, BEGIN, BEGIN)
    meter.look(BEGIN)
    now, rate = BEGIN, HOUR / 600.0
    while not meter.stopped:
        due = meter.due_at(now, rate)
        meter.count((due - now) * rate)
        now = due
        meter.look(now)
    assert used(meter, "hour") <= HOUR
    assert meter.against(now)[0]


def test_without_limits_it_is_never_due() -> None:
    meter = Meter(UNLIMITED, BEGIN, BEGIN)
    meter.count(1e15)
    meter.look(BEGIN + 1)
    assert not meter.due(BEGIN + 1e9)
    assert meter.due_at(BEGIN, 1e9) == float("inf")
    assert meter.against(BEGIN) == ((), None)
    assert (meter.rows, meter.low, meter.stopped, meter.used, meter.share) == ([], False, False, 0.0, 0.0)


def test_its_share_holds_what_was_not_looked_at_yet() -> None:
    meter = Meter(ONLY_HOURS, BEGIN, BEGIN)
    meter.count(0.25 * HOUR)
    assert (meter.used, meter.share) == (0.0, 0.25)
