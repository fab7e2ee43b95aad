"""When a reservation is refreshed, and how long a client waits before it asks again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.client.reservations import back_off, lives_until, refresh_after, rest


@pytest.mark.parametrize(
    ("ttl", "after"), [(3600.0, 2700.0), (86400.0, 64800.0), (481.0, 360.75), (480.0, 360.0), (60.0, 45.0), (2.0, 1.5)]
)
def test_it_is_refreshed_at_three_quarters(ttl: float, after: float) -> None:
    assert refresh_after(ttl) == after


@given(st.floats(min_value=1.0, max_value=1e7))
def test_it_is_refreshed_before_its_end_and_not_all_the_time(ttl: float) -> None:
    assert 0.5 <= refresh_after(ttl) < ttl
    if ttl > 480:
        assert ttl - refresh_after(ttl) >= 120


@given(st.floats(min_value=-1e12, max_value=0.0))
def test_a_relay_whose_clock_is_behind_is_not_asked_all_the_time(ttl: float) -> None:
    assert refresh_after(ttl) == 60.0


@given(st.integers(1, 10**6), st.floats(0.0, 1.0))
def test_waits_grow_to_a_minute_and_are_spread_over_their_half(failures: int, jitter: float) -> None:
    longest = min(60.0, 2.0 ** min(failures - 1, 10))
    assert longest / 2 <= back_off(failures, jitter) <= longest
    assert back_off(failures, jitter) <= back_off(failures + 1, jitter)


@given(st.floats(0, 1e19), st.floats(0, 4e9))
def test_a_day_of_a_reservation_is_believed(told: float, now: float) -> None:
    assert lives_until(told, now) <= now + 86400
    if told <= now + 86400:
        assert lives_until(told, now) == told


@given(st.floats(-1e6, 1e12), st.floats(0.0, 1.0))
def test_an_hour_of_a_relays_absence_is_believed(away: float, jitter: float) -> None:
    assert min(max(away, 0), 3600) <= rest(away, jitter) <= 3600 * 1.05
    assert 0 <= rest(None, jitter) <= 1
