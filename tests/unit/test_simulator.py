"""Small worlds: what is sent is carried and paid for, equal seeds make equal runs, every scenario shows its point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from towpath.credits.free_tier import Tier
from towpath.discovery.outcomes import Outcome
from towpath.relay.modes import State
from towpath.sim.attacker import Dropper
from towpath.sim.books import Books, Debts, Terms, Who
from towpath.sim.models import DAY_S, HOUR_S, Kind, Model
from towpath.sim.report import lines, summary, write
from towpath.sim.running import Result, Runner
from towpath.sim.scenarios import SCENARIOS, scenario
from towpath.sim.world import World

LARGE = (
    "self-sustaining, says the indicator, since day",
    "cut circuits that went on elsewhere",
    "newcomers too",
)
"""What only networks show that are larger than these."""
SMALL = {"rollout": 40, "churn": 30, "flash-crowd": 300, "capacity": 40, "day": 150}


def world_of(users: int, volunteers: int, days: float, seed: int = 1, **model: object) -> World:
    world = World(seed, days, Model()._replace(**model))
    world.add_relay(world.networks.apart(world.engine.rng), bootstrap=True).start()
    made = world.add_users(users)
    for user in [user for user in made if world.may_volunteer(user)][:volunteers]:
        world.volunteer(user)
    return world


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_sent_was_carried_received_and_owed(seed: int) -> None:
    # Less than a day: then receipts begin to fade.
    world = world_of(60, 12, 0.98, seed, silent_deaths=0.5)
    world.run()
    for relay in world.relays.values():
        relay.end(silently=True)
    carried = sum(relay.carried for relay in world.relays.values())
    assert carried > 1e8
    assert sum(user.sent for user in world.users) == carried == sum(user.received for user in world.users)
    assert world.metrics.bytes_bootstrap + world.metrics.bytes_volunteers == carried
    # Receipts: what one account owes the other has earned; nobody owes anything to itself.
    owed = {(payer, relay): n for payer, row in world.debts.owed.items() for relay, n in row.items()}
    earned = {(payer, relay): n for relay, row in world.debts.earned.items() for payer, n in row.items()}
    assert owed == earned
    assert all(payer != relay for payer, relay in owed)
    assert sum(owed.values()) + world.debts.own == carried


def test_a_finished_circuit_has_carried_all_of_it() -> None:
    world = world_of(40, 8, 1.0)
    ended: list[tuple[int, bool]] = []
    world.on_end.append(lambda flow, finished: ended.append((flow.total, finished)))
    world.run()
    whole = sum(n for n, finished in ended if finished)
    assert len(ended) > 100
    assert whole <= sum(user.sent for user in world.users)
    still_open = sum(user.open for user in world.users) // 2
    assert world.metrics.circuits == len(ended) + still_open


def test_reservations_stand_on_both_sides_and_within_the_limits() -> None:
    world = world_of(80, 6, 1.0)
    world.run()
    for relay in world.relays.values():
        assert len(relay.reservations) <= (relay.settings.max_reservations or 0)
        assert sum(relay.of_ip.values()) == len(relay.reservations)
        assert all(user.online and relay.id in user.seats for user in relay.reservations.values())
    for user in world.users:
        assert all(
            world.relays[relay_id].silent or user.index in world.relays[relay_id].reservations
            for relay_id in user.seats
        )
        assert user.online or not user.seats


@pytest.mark.slow
def test_a_quota_is_kept_and_those_it_serves_move_on() -> None:
    world = world_of(60, 3, 2.0, circuits_a_day=15.0)
    world.run(every_s=HOUR_S)
    for relay in world.relays.values():
        for row in relay.meter.rows:
            assert row["limit"] is None or row["used"] <= row["limit"] * 1.001
    assert max(row["quota_used"] or 0 for row in world.metrics.rows) > 0.9
    wanted = world.metrics.wanted
    assert world.metrics.circuits >= 0.95 * wanted


def test_a_relay_that_says_goodbye_is_left_and_one_that_vanishes_is_noticed() -> None:
    for silently in (False, True):
        world = World(1, 1.0)
        first = world.add_relay(b"\x0b\x01\x01\x01")
        second = world.add_relay(b"\x0c\x01\x01\x01")
        third = world.add_relay(b"\x0d\x01\x01\x01")
        for relay in (first, second, third):
            relay.start()
        user = world.add_user(Kind.ALWAYS_ON)
        user.begin()
        assert len(user.seats) == 2
        gone = world.relays[next(iter(user.seats))]
        gone.end(silently=silently)
        world.engine.run(world.begin + 50.0)
        assert gone.id not in user.seats
        user.settle()
        assert len(user.seats) == 2
        assert (user.known[gone.id].own.failing > 0) is silently
        assert gone.position.state is State.OFF


def test_who_never_signs_is_a_rider_after_four_steps() -> None:
    books = Books(b"r" * 32, Terms("always", Tier(None, None)), Debts())
    rider = Who(b"u" * 32, b"\x01\x02\x03", signs=False)
    books.carried(rider, 5 << 20, 0.0)
    assert books.unsigned(b"u" * 32) == 5 << 20
    assert books.debts.owed == {}
    assert books.credit_of(b"u" * 32, 0.0) == 0


def test_an_attackers_relay_that_drops_circuits_is_blamed_by_both_ends() -> None:
    world = World(1, 1.0)
    for ip in (b"\x0b\x01\x01\x01", b"\x0c\x01\x01\x01"):
        world.add_relay(ip).start()
    dropper = Dropper(1)
    dropper.enter(world)
    bad = next(relay for relay in world.relays.values() if relay.behaviour is dropper)
    src, dst = world.add_user(Kind.ALWAYS_ON), world.add_user(Kind.ALWAYS_ON)
    for user in (src, dst):
        user.begin()
    for number in range(200):
        world.engine.at(world.begin + 60.0 * number, world.circuits.open, src, dst, 50_000_000)
    world.run()
    if dropper.dropped:
        assert dst.known[bad.id].own.failed > 0
    assert world.metrics.cut == world.metrics.resumed + world.metrics.broken
    assert dropper.dropped == world.metrics.cut


def test_a_search_finds_relays_that_are_there_and_none_that_withdrew() -> None:
    world = World(1, 1.0)
    relays = [world.add_relay(bytes((11 + n, 1, 1, 1))) for n in range(12)]
    for relay in relays:
        relay.start()
    relays[0].retire()
    world.engine.run(world.begin + 60.0)
    read = world.shards.read(100, world.engine.rng, world.engine.now)
    assert {relay_id for relay_id, _ in read.found} == {relay.id for relay in relays[1:]}
    world.shards.reachable = False
    assert world.shards.read(1, world.engine.rng, world.engine.now).found == []


def test_a_user_remembers_what_it_measured() -> None:
    world = World(1, 1.0)
    world.add_relay(b"\x0b\x01\x01\x01").start()
    user = world.add_user(Kind.DESKTOP)
    user.search()
    (relay_id,) = user.known
    user.note(relay_id, Outcome.FAILED)
    assert user.known[relay_id].own.failing == 1
    assert not user.offers()


# --- scenarios ------------------------------------------------------------------------------------


@cache
def ran(name: str) -> Result:
    return Runner(scenario(name), SMALL[name], 1).run()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_small_run_comes_to_its_end_and_shows_its_point(name: str) -> None:
    result = ran(name)
    assert result.complete
    assert result.events == sum(part.events for part in result.parts) > 1000
    assert result.judged.sentences
    assert result.judged.charts
    assert [figure.name for figure in result.judged.figures if not figure.holds and figure.name not in LARGE] == []


@pytest.mark.slow
def test_each_user_has_four_circuits_a_day_and_more() -> None:
    result = ran("rollout")
    assert sum(row["wanted"] for row in result.parts[0].rows) / (SMALL["rollout"] * 180) >= 4.0


@pytest.mark.slow
def test_the_rollout_needs_bootstrap_relays_at_first_and_none_in_the_end() -> None:
    rows = ran("rollout").parts[0].rows
    early = [row for row in rows if row["day"] <= 20]
    late = [row for row in rows if row["day"] > 165]
    assert all(row["bootstrap_share"] == 1.0 for row in early if row["circuits"])
    assert sum(row["by_bootstrap"] for row in late) == 0
    assert sum(row["circuits"] for row in late) > 0.98 * sum(row["wanted"] for row in late)


@pytest.mark.slow
def test_shorter_sessions_cut_more_circuits_and_they_go_on() -> None:
    cut = [sum(row["cut"] for row in part.rows) for part in ran("churn").parts]
    assert cut[-1] > cut[0]


@pytest.mark.slow
def test_too_few_volunteers_use_up_their_quotas() -> None:
    parts = ran("capacity").parts
    used = [sum(row["bytes_volunteers"] / max(1, row["volunteers"]) for row in part.rows) for part in parts]
    assert used[0] < used[-1]


def test_every_scenario_is_listed_and_loads() -> None:
    assert set(SMALL) == set(SCENARIOS)
    for name in SCENARIOS:
        assert scenario(name).name == name


# --- runs -----------------------------------------------------------------------------------------

_RUN = """
import json, sys
from towpath.sim.report import summary
from towpath.sim.running import Runner
from towpath.sim.scenarios import scenario
result = Runner(scenario("churn"), 30, int(sys.argv[1])).run()
found = summary(result) | {"seconds": 0, "rows": [row for part in result.parts for row in part.rows]}
print(json.dumps(found, sort_keys=True))
"""


def _apart(seed: int, hashes: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hashes}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(seed)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return done.stdout


@pytest.mark.slow
def test_equal_seeds_make_equal_runs_in_any_process_and_others_do_not() -> None:
    one, same, other = _apart(1, "0"), _apart(1, "12345"), _apart(2, "0")
    assert one == same
    assert one != other


@pytest.mark.slow
def test_a_run_that_is_stopped_keeps_what_it_computed() -> None:
    runner = Runner(scenario("churn"), 60, 1)

    def watch(part: str, share: float, events: int) -> None:
        if events >= 8192:
            runner.stop()

    result = runner.run(watch)
    assert not result.complete
    assert len(result.parts) == 1
    assert 0 < result.parts[0].days < 14
    assert result.parts[0].rows
    assert "stopped before its end" in "\n".join(lines(result))
    assert summary(result)["complete"] is False


@pytest.mark.slow
def test_a_report_is_written_with_charts(tmp_path: Path) -> None:
    result = ran("day")
    names = {file.name for file in write(result, tmp_path)}
    assert names == {"timeline.csv", "summary.json", "summary.txt", "day.png", "day.svg"}
    assert json.loads((tmp_path / "summary.json").read_text())["scenario"] == "day"
    assert len((tmp_path / "timeline.csv").read_text().splitlines()) == 1 + len(result.parts[0].rows)
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")
    first = (tmp_path / "day.svg").read_bytes()
    write(result, tmp_path)
    assert (tmp_path / "day.svg").read_bytes() == first


def test_a_day_has_24_hours_and_everybody_sleeps_in_some_of_them() -> None:
    rows = ran("day").parts[0].rows
    assert [row["day"] for row in rows] == [round(HOUR_S * n / DAY_S, 4) for n in range(1, 25)]
    assert min(row["wanted"] for row in rows) < 0.7 * max(row["wanted"] for row in rows)
