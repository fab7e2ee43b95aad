"""What is written into a settings file is read back as the same value, and no text breaks a parser."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from towpath.errors import SettingsError
from towpath.settings import Settings
from towpath.settings.schedule import WORDS, Schedule, ScheduleKind
from towpath.settings.schema import KEYS
from towpath.settings.values import HostPort, ListenAt, Rate, Size, Time, format_rate, format_size, format_time

slots = st.one_of(st.sampled_from(WORDS), st.integers(1, 10**12).map(float))


@given(st.integers(1, 2**63 - 1))
def test_sizes(size: int) -> None:
    assert Size(0).read(format_size(size)) == size


@given(st.integers(1, 10**15), st.sampled_from([("s", 1), ("min", 60), ("h", 3600), ("d", 86400)]))
def test_rates(amount: int, per: tuple[str, int]) -> None:
    rate = amount / per[1]
    assert Rate(0).read(f"{amount}B/{per[0]}") == rate
    assert Rate(0).read(format_rate(rate)) == pytest.approx(rate, rel=1e-12)


@given(st.integers(1, 10**9))
def test_times_of_whole_seconds(seconds: int) -> None:
    assert Time(0).read(format_time(float(seconds))) == seconds


@given(st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_times_with_several_units(hours: int, minutes: int, seconds: int) -> None:
    assert Time(0).read(f"{hours}h{minutes}min{seconds}s") == hours * 3600 + minutes * 60 + seconds


@given(st.lists(slots, min_size=168, max_size=168))
def test_weeks(week: list[str | float]) -> None:
    kind = ScheduleKind()
    assert kind.read(kind.write(Schedule(week))) == Schedule(week)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_places_to_listen_at(host: object, port: int) -> None:
    kind = ListenAt()
    at = HostPort(str(host), port)
    assert kind.read(kind.write(at)) == at


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.binary(max_size=5)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(KEYS)), values)
@example("relay.schedule", "mon 00-24 1e400B/s")
@example("relay.circuit_duration", "1e400")
@example("relay.max_circuits", "٣")
def test_any_value_is_taken_or_refused_by_name_and_what_is_taken_stays_the_same(key: str, value: object) -> None:
    refused = key
    try:
        settings = Settings.load({key: value}, environ={})
    except SettingsError as e:
        refused = e.key
    else:
        again = Settings.load({key: settings.written(key)}, environ={}).get(key)
        if isinstance(again, float):
            assert again == pytest.approx(settings.get(key), rel=1e-12)
        else:
            assert again == settings.get(key)
    assert refused == key
