"""A relay's quota by example: its periods, its slices, and what is kept of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from towpath.relay import allowance as allowances
from towpath.relay.allowance import Allowance
from towpath.relay.clock import Clock, read_clock
from towpath.relay.quota import Quota
from towpath.store import Store

HOUR = 3_600.0
DAY = 24 * HOUR
MB = 1_000_000
BERLIN = ZoneInfo("Europe/Berlin")


class Machine:
    """Its three clocks."""

    def __init__(self, local: str, zone: tzinfo = UTC) -> None:
        self.zone = zone
        self.now = Clock(10_000.0, datetime.fromisoformat(local).replace(tzinfo=zone).timestamp(), "first")

    def __call__(self) -> Clock:
        return self.now

    def passes(self, seconds: float) -> Clock:
        self.now = Clock(self.now.boottime_s + seconds, self.now.wall_s + seconds, self.now.boot_id)
        return self.now

    def is_set(self, by: float) -> Clock:
        self.now = self.now._replace(wall_s=self.now.wall_s + by)
        return self.now

    def reboots(self, off: float, *, clock_lost: bool = False) -> Clock:
        self.now = Clock(30.0, self.now.wall_s + (0 if clock_lost else off + 30), self.now.boot_id + "'")
        return self.now

    def local(self, at: float) -> str:
        return datetime.fromtimestamp(round(at), self.zone).strftime("%d %H:%M")


def fresh(machine: Machine, **limits: int | None) -> Quota:
    """A quota whose first slice may be used."""
    quota = Quota(limits, None, machine(), zone=machine.zone)
    grant(quota)
    return quota


def grant(quota: Quota) -> dict[str, Any] | None:
    """Persists what the quota wants; the state."""
    state = quota.wanted()
    if state is not None:
        quota.granted(state)
    return state


def use(quota: Quota, machine: Machine, received: int, sent: int = 0) -> None:
    """Slice by slice."""
    while received or sent:
        grant(quota)
        most = [10 * MB if left is None else left for left in quota.granted_left()]
        step = min(received, most[0]), min(sent, most[1])
        assert any(step), "nothing is left"
        quota.charge(*step, machine())
        received, sent = received - step[0], sent - step[1]


def used(quota: Quota) -> dict[str, int]:
    return {row["period"]: row["used"] for row in quota.rows()}


def resets(quota: Quota, machine: Machine) -> dict[str, str]:
    return {row["period"]: machine.local(row["resets_at"]) for row in quota.rows(machine())}


# --- periods -----------------------------------------------------------------------------------


def test_periods_end_with_the_calendars() -> None:
    machine = Machine("2026-01-17 15:20", BERLIN)
    quota = fresh(machine, hour=10 * MB, day=20 * MB, month=30 * MB)
    assert resets(quota, machine) == {"hour": "17 16:00", "day": "18 00:00", "month": "01 00:00"}
    use(quota, machine, 10 * MB)
    assert quota.left() == (0, 10 * MB)
    machine.passes(40 * 60)
    quota.advance(machine())
    assert used(quota) == {"hour": 0, "day": 10 * MB, "month": 10 * MB}
    use(quota, machine, 10 * MB)
    machine.passes(DAY)
    quota.advance(machine())
    assert used(quota) == {"hour": 0, "day": 0, "month": 20 * MB}
    use(quota, machine, 10 * MB)
    assert quota.left() == (0, 10 * MB), "the strictest wins"
    assert resets(quota, machine) == {"hour": "18 17:00", "day": "19 00:00", "month": "01 00:00"}


def test_the_larger_of_received_and_sent_counts() -> None:
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine, hour=10 * MB)
    use(quota, machine, 3 * MB, 4 * MB)
    assert used(quota)["hour"] == 4 * MB
    assert quota.left() == (7 * MB, 6 * MB)
    use(quota, machine, 3 * MB, 0)
    assert used(quota)["hour"] == 6 * MB


@pytest.mark.parametrize("by", [DAY, -DAY, HOUR, -HOUR, 400 * DAY])
def test_setting_the_clock_neither_grants_nor_burns(by: float) -> None:
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine, hour=10 * MB, day=20 * MB)
    use(quota, machine, 10 * MB)
    machine.is_set(by)
    quota.advance(machine())
    assert quota.left() == (0, 10 * MB)
    machine.passes(39 * 60)
    quota.advance(machine())
    assert quota.left() == (0, 10 * MB)
    machine.passes(60)
    quota.advance(machine())
    assert quota.left() == (10 * MB, 10 * MB)
    assert used(quota) == {"hour": 0, "day": 10 * MB, "month": 10 * MB}


def test_a_clock_set_and_set_right_again_leaves_no_trace() -> None:
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine, hour=10 * MB)
    expected = resets(quota, machine)
    quota.advance(machine.is_set(DAY))
    use(quota, machine, MB)
    quota.advance(machine.is_set(-DAY))
    assert resets(quota, machine) == expected
    machine.passes(40 * 60)
    assert resets(quota, machine)["hour"] == "17 17:00"
    assert quota.rows()[0]["limit"] == 10 * MB


def test_a_period_cut_short_by_a_clock_has_a_smaller_limit() -> None:
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine, hour=10 * MB, day=24 * MB)
    machine.is_set(6 * HOUR)
    machine.passes(8 * HOUR + 40 * 60)
    # The day ended at what the clock calls 06:00: eighteen hours are left of that.
    assert resets(quota, machine) == {"hour": "18 07:00", "day": "19 00:00", "month": "01 06:00"}
    assert [row["limit"] for row in quota.rows()] == [10 * MB, 18 * MB, None]


def test_what_is_left_of_less_than_half_a_period_belongs_to_the_next() -> None:
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine, day=24 * MB)
    machine.is_set(-5 * HOUR)
    machine.passes(8 * HOUR + 40 * 60)
    assert resets(quota, machine)["day"] == "19 00:00"
    assert quota.rows()[1]["limit"] == 24 * MB


@pytest.mark.parametrize(("morning", "hours"), [("2026-03-29 00:00", 23), ("2026-10-25 00:00", 25)])
def test_the_days_of_a_change_of_summer_time_are_days(morning: str, hours: int) -> None:
    machine = Machine(morning, BERLIN)
    quota = fresh(machine, hour=10 * MB, day=30 * MB)
    for _ in range(hours):
        use(quota, machine, MB)
        assert quota.rows()[0]["limit"] == 10 * MB
        assert used(quota)["hour"] == MB
        machine.passes(HOUR)
    quota.advance(machine())
    assert used(quota) == {"hour": 0, "day": 0, "month": hours * MB}
    assert quota.rows()[1]["limit"] == 30 * MB


# --- ends of processes and machines ------------------------------------------------------------


def test_a_crash_costs_the_open_slice_and_a_stop_nothing() -> None:
    machine = Machine("2026-01-17 15:20")
    quota = Quota({"hour": 50 * MB}, None, machine(), zone=UTC)
    state = grant(quota)
    quota.charge(100_000, 0, machine())
    crashed = Quota({"hour": 50 * MB}, state, machine(), zone=UTC)
    assert used(crashed)["hour"] == crashed.slice_bytes == 50 * MB // 100
    stopped = Quota({"hour": 50 * MB}, quota.closing(), machine(), zone=UTC)
    assert used(stopped)["hour"] == 100_000
    assert quota.granted_left() == (0, 0)


def test_a_crash_costs_the_period_that_began_meanwhile_a_slice_too() -> None:
    machine = Machine("2026-01-17 15:20")
    quota = Quota({"hour": 50 * MB}, None, machine(), zone=UTC)
    state = grant(quota)
    machine.passes(HOUR)
    quota.charge(400_000, 0, machine())
    crashed = Quota({"hour": 50 * MB}, state, machine(), zone=UTC)
    assert used(crashed)["hour"] == 500_000


def test_a_quota_of_50_megabytes_can_be_used_up() -> None:
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine, hour=50 * MB)
    use(quota, machine, 50 * MB)
    assert quota.left() == (0, 50 * MB)
    assert quota.granted_left()[0] == 0
    assert quota.exhausted_for() == pytest.approx(40 * 60)
    assert quota.low


@pytest.mark.parametrize("clock_lost", [False, True])
def test_a_restart_with_an_earlier_clock_stays_in_the_period(clock_lost: bool) -> None:
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine, hour=10 * MB)
    use(quota, machine, 10 * MB)
    state = quota.closing()
    machine.is_set(-DAY)
    if clock_lost:
        machine.reboots(300, clock_lost=True)
    again = Quota({"hour": 10 * MB}, state, machine(), zone=UTC)
    assert again.left()[0] == 0
    again.advance(machine.passes(38 * 60))
    assert again.left()[0] == 0
    again.advance(machine.passes(2 * 60))
    assert again.left()[0] != 0


def test_a_machine_switched_off_for_a_night_begins_a_new_day() -> None:
    machine = Machine("2026-01-17 22:20", BERLIN)
    quota = fresh(machine, day=10 * MB)
    use(quota, machine, 9 * MB)
    state = quota.closing()
    machine.reboots(10 * HOUR)
    again = Quota({"day": 10 * MB}, state, machine(), zone=BERLIN)
    assert used(again) == {"hour": 0, "day": 0, "month": 9 * MB}
    assert resets(again, machine)["day"] == "19 00:00"


def test_a_machine_without_a_clock_learns_of_the_night_a_little_later() -> None:
    machine = Machine("2026-01-17 22:20")
    quota = fresh(machine, day=10 * MB)
    use(quota, machine, 9 * MB)
    state = quota.closing()
    machine.reboots(10 * HOUR, clock_lost=True)
    again = Quota({"day": 10 * MB}, state, machine(), zone=UTC)
    assert used(again)["day"] == 9 * MB
    machine.passes(60)
    again.advance(machine.is_set(10 * HOUR))
    assert used(again)["day"] == 0
    assert resets(again, machine)["day"] == "19 00:00"
    # Once it has settled, its clock may say what it likes.
    use(again, machine, 9 * MB)
    machine.passes(HOUR)
    again.advance(machine())
    again.advance(machine.is_set(DAY))
    assert used(again)["day"] == 9 * MB


def test_another_time_of_boot_in_the_same_boot_burns_nothing() -> None:
    """As after the restoring of a virtual machine, or in another time namespace."""
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine, hour=10 * MB)
    use(quota, machine, MB)
    machine.now = machine.now._replace(boottime_s=5.0)
    quota.advance(machine())
    assert used(quota)["hour"] == MB
    quota.advance(machine.passes(40 * 60))
    assert used(quota)["hour"] == 0


@pytest.mark.parametrize("state", [None, [], "nonsense", {"time": 1}, {"time": "1", "periods": {}}])
def test_a_state_that_is_none_begins_anew(state: object) -> None:
    quota = Quota({"hour": 10 * MB}, state, Machine("2026-01-17 15:20")(), zone=UTC)
    assert used(quota) == {"hour": 0, "day": 0, "month": 0}


# --- limits --------------------------------------------------------------------------------------


def test_limits_change_while_it_runs_and_use_stays_used() -> None:
    machine = Machine("2026-01-17 15:20")
    quota = fresh(machine)
    assert quota.left() == quota.granted_left() == (None, None)
    use(quota, machine, 30 * MB)
    quota.set_limits({"hour": 20 * MB})
    assert quota.left() == (0, 20 * MB)
    assert quota.exhausted_for() is not None
    quota.set_limits({"hour": 40 * MB, "day": 35 * MB})
    assert quota.left() == (5 * MB, 35 * MB)
    assert not quota.low
    use(quota, machine, 2 * MB)
    assert quota.low
    quota.set_limits({})
    assert quota.left() == (None, None)
    assert not quota.low
    assert used(quota)["hour"] == 32 * MB


@pytest.mark.parametrize(
    ("limit", "ahead"),
    [(50 * MB, 500_000), (MB, 256 << 10), (500 * MB, 5 * MB), (100_000 * MB, 64 << 20), (None, 64 << 20)],
)
def test_a_slice_is_a_hundredth_within_bounds(limit: int | None, ahead: int) -> None:
    assert fresh(Machine("2026-01-17 15:20"), day=limit).slice_bytes == ahead


# --- kept in the store ---------------------------------------------------------------------------


@pytest.fixture
def machine() -> Machine:
    return Machine("2026-01-17 15:20")


async def test_a_slice_may_be_used_only_when_it_is_safe(tmp_path: Path, machine: Machine) -> None:
    store = await Store.open(tmp_path / "towpath.db")
    changed = asyncio.Event()
    kept = Allowance(store, {"hour": 50 * MB}, changed.set, clock=machine)
    assert kept.granted_left() == (0, 0)
    assert kept.left() == (50 * MB, 50 * MB)
    await kept.start()
    assert kept.granted_left() == (500_000, 500_000)
    changed.clear()
    kept.charge(300_000, 0)
    assert kept.granted_left() == (200_000, 500_000), "the next slice is on its way"
    await asyncio.wait_for(changed.wait(), 5)
    assert kept.granted_left() == (500_000, 500_000)
    await kept.close()
    await store.close()
    store = await Store.open(tmp_path / "towpath.db")
    again = Allowance(store, {"hour": 50 * MB}, changed.set, clock=machine)
    assert again.rows()[0] == {
        "period": "hour",
        "limit": 50 * MB,
        "used": 300_000,
        "resets_at": pytest.approx(machine().wall_s + 40 * 60),
    }
    await store.close()


async def test_a_disk_that_refuses_does_not_stop_it_and_is_said_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    safe = False

    class Log:
        def warning(self, event: str, **_: Any) -> None:
            said.append(event)

        info = warning

    async def save(_key: str, _value: Any, *, durable: bool = True) -> bool:
        assert durable
        return safe

    monkeypatch.setattr(allowances, "_log", Log())
    store = await Store.open(None)
    monkeypatch.setattr(store, "save", save)
    kept = Allowance(store, {"hour": 50 * MB}, lambda: None, clock=machine)
    await kept.start()
    for _ in range(100):
        received, _ = kept.granted_left()
        assert received
        kept.charge(received, 0)
        await settled(kept)
        safe = kept.rows()[0]["used"] > 20 * MB
    assert kept.left()[0] == 0, "it holds all the same"
    assert said == ["quota.not_kept", "quota.kept"]
    await kept.close()
    await store.close()


async def settled(kept: Allowance) -> None:
    while kept._saving is not None:
        await kept._saving


async def test_limits_changed_are_told_at_once(machine: Machine) -> None:
    store = await Store.open(None)
    told: list[tuple[int | None, int | None]] = []
    kept = Allowance(store, {}, lambda: told.append(kept.left()), clock=machine)
    await kept.start()
    kept.charge(10 * MB, 0)
    told.clear()
    kept.set_limits({"hour": 4 * MB})
    assert told == [(0, 4 * MB)]
    assert kept.exhausted_for() == pytest.approx(40 * 60)
    await kept.close()
    await store.close()


def test_the_clock_is_the_machines() -> None:
    first, second = read_clock(), read_clock()
    assert first.boot_id == second.boot_id
    assert first.boottime_s <= second.boottime_s
    assert second.wall_s - first.wall_s < 10
