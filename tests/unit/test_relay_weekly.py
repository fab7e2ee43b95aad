"""The week's schedule at a moment: the owner's hours, whatever the clocks do."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.relay.rate import InForce, in_force, of_setting
from towpath.relay.weekly import Hour, hour_at
from towpath.settings import RelayMode, Schedule
from towpath.settings.schedule import ScheduleKind

BERLIN = ZoneInfo("Europe/Berlin")


def week(*rules: str) -> Schedule:
    return ScheduleKind().read(list(rules))


def in_zone(zone: ZoneInfo) -> Callable[[float], time.struct_time]:
    return lambda wall: datetime.fromtimestamp(wall, zone).timetuple()


def at(text: str, zone: ZoneInfo = BERLIN, *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def test_without_a_schedule_every_hour_is_open_for_good() -> None:
    assert hour_at(week(), at("2026-03-04 12:34")) == Hour()
    assert hour_at(week("daily 00-24 off"), at("2026-03-04 12:34")) == Hour(relays=False)


def test_an_hour_may_be_off_a_mode_or_a_rate() -> None:
    rules = week("mon-fri 09-17 off", "sat 00-24 dedicated", "sun 00-12 1MB/s", "sun 12-24 client")
    local = in_zone(BERLIN)
    off = hour_at(rules, at("2026-03-04 09:00"), local)
    assert off == Hour(relays=False, until=at("2026-03-04 17:00"))
    assert hour_at(rules, at("2026-03-04 08:59:59"), local) == Hour(until=at("2026-03-04 09:00"))
    assert hour_at(rules, at("2026-03-04 17:00"), local) == Hour(until=at("2026-03-05 09:00"))
    saturday = hour_at(rules, at("2026-03-07 13:00"), local)
    assert saturday == Hour(mode=RelayMode.DEDICATED_SERVER, until=at("2026-03-08 00:00"))
    assert hour_at(rules, at("2026-03-08 11:30"), local) == Hour(rate=1e6, until=at("2026-03-08 12:00"))
    assert hour_at(rules, at("2026-03-08 12:30"), local) == Hour(relays=False, until=at("2026-03-09 00:00"))


def test_the_hours_of_a_day_that_has_23_or_25_are_those_of_the_clock_on_the_wall() -> None:
    rules, local = week("daily 02-03 off"), in_zone(BERLIN)
    # In March there is no such hour: 01:30 is followed by 03:00.
    assert hour_at(rules, at("2026-03-29 01:30"), local).until == at("2026-03-30 02:00")
    # In October it comes twice, and both times it is off.
    first = hour_at(rules, at("2026-10-25 02:30"), local)
    assert first == Hour(relays=False, until=at("2026-10-25 03:00"))
    assert at("2026-10-25 03:00") - at("2026-10-25 02:30") == 5400
    assert not hour_at(rules, at("2026-10-25 02:30", fold=1), local).relays


@given(
    st.floats(0, 4e9),
    st.lists(st.tuples(st.integers(0, 167), st.sampled_from(["off", "open", 5.0])), min_size=1, max_size=9),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]),
)
def test_until_the_moment_that_is_told_nothing_changes_and_then_it_does(
    wall: float, slots: list[tuple[int, str | float]], zone: str
) -> None:
    schedule = Schedule([dict(slots).get(hour, "open") for hour in range(168)])
    local = in_zone(ZoneInfo(zone))
    now = hour_at(schedule, wall, local)
    if now.until is None:
        assert len(set(schedule)) == 1
        return
    assert wall < now.until <= wall + 8 * 86400 + 7200
    then = hour_at(schedule, now.until, local)
    assert (then.relays, then.rate) != (now.relays, now.rate)
    for part in (0.25, 0.5, 0.999):
        between = hour_at(schedule, wall + (now.until - wall) * part, local)
        assert (between.relays, between.rate) == (now.relays, now.rate)


# --- the rate ----------------------------------------------------------------------------------------------------


def test_auto_is_a_safe_rate_until_the_line_was_seen_and_half_of_it_then() -> None:
    assert of_setting("auto", None).rate == 250_000
    assert of_setting("auto", 300_000.0).rate == 250_000
    assert of_setting("auto", 5e6) == InForce(2.5e6, "relay.max_rate is auto: half of the line's best seen upload")
    assert of_setting(None, 5e6).rate is None
    assert of_setting(1e6, 5e6) == InForce(1e6, "relay.max_rate")


RATES = st.none() | st.floats(1, 1e12)


@given(RATES, RATES, RATES)
def test_the_lowest_bound_holds_and_is_named(setting: float | None, hour: float | None, guard: float | None) -> None:
    found = in_force(of_setting(setting, None), hour, guard)
    bounds = [rate for rate in (setting, hour, guard) if rate is not None]
    assert found.rate == min(bounds, default=None)
    assert found.why


@pytest.mark.parametrize(
    ("hour", "guard", "why"), [(1.0, 2.0, "relay.schedule at this hour"), (2.0, 1.0, "the line's queue was filling")]
)
def test_what_bounds_is_told(hour: float, guard: float, why: str) -> None:
    assert in_force(of_setting(3.0, None), hour, guard) == InForce(1.0, why)
