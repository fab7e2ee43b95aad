"""The simulator's own laws: order and equal runs, rates that are shared, races, and people as they were measured."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towpath.client.race import Lost, Race, Tier
from towpath.errors import DialError
from towpath.sim.engine import Engine
from towpath.sim.models import DESKTOP_SESSIONS, HOUR_S, Model, Networks, Place, activity, rtt_s
from towpath.sim.pipe import shares
from towpath.sim.racing import Attempt, Outcome, race

# --- the queue ------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), max_size=50), st.floats(0, 1e6))
def test_events_come_in_the_order_of_their_times_and_of_their_asking(times: list[float], until: float) -> None:
    engine = Engine(1)
    seen: list[tuple[float, int]] = []
    for number, at in enumerate(times):
        engine.at(at, lambda number=number: seen.append((engine.now, number)))
    assert engine.run(until)
    assert seen == sorted((at, number) for number, at in enumerate(times) if at <= until)
    assert engine.events == len(seen)
    assert engine.now == until


def test_what_is_asked_for_in_the_past_happens_at_once_and_time_never_goes_back() -> None:
    engine = Engine(1, 100.0)
    seen: list[float] = []
    engine.at(150.0, lambda: engine.at(20.0, lambda: seen.append(engine.now)))
    engine.run(1000.0)
    assert seen == [150.0]


def test_a_run_that_is_stopped_goes_on_where_it_was() -> None:
    engine = Engine(1)
    seen: list[float] = []
    for at in (1.0, 2.0, 3.0):
        engine.at(at, lambda: seen.append(engine.now))
    engine.at(2.0, engine.stop)
    assert not engine.run(10.0)
    assert (seen, engine.now) == ([1.0, 2.0], 2.0)
    engine.stopped = False
    assert engine.run(10.0)
    assert seen == [1.0, 2.0, 3.0]


# --- sharing a rate -------------------------------------------------------------------------------

WANTS = st.lists(st.tuples(st.floats(1.0, 1e8), st.sampled_from([1.0, 8.0])), min_size=1, max_size=20)


@given(st.floats(1.0, 1e8), WANTS)
def test_a_rate_is_shared_by_weight_and_nothing_of_it_is_wasted(rate: float, wants: list[tuple[float, float]]) -> None:
    given_ = shares(rate, wants)
    asked = sum(cap for cap, _ in wants)
    assert sum(given_) == pytest.approx(min(rate, asked), rel=1e-6)
    for got, (cap, _) in zip(given_, wants, strict=True):
        assert 0 <= got <= cap * (1 + 1e-9)
    # Who gets less than it wants has no smaller share for its weight than anybody else.
    for got, (cap, weight) in zip(given_, wants, strict=True):
        if got < cap * (1 - 1e-9):
            assert all(got / weight >= other / w * (1 - 1e-6) for other, (_, w) in zip(given_, wants, strict=True))


# --- races ----------------------------------------------------------------------------------------


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop that never waits: it sets its clock forward instead."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0.0
        wait = self._selector.select  # type: ignore[attr-defined]

        def select(seconds: float | None = None) -> Any:
            if seconds:
                self._at += seconds
            return wait(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._at


async def _given(tier: Sequence[Attempt]) -> AsyncIterator[Attempt]:
    for way in tier:
        yield way


def real_race(tiers: Sequence[Sequence[Attempt]]) -> tuple[float, Attempt | None]:
    """What the node's race comes to, on a clock of its own."""

    async def attempt(way: Attempt) -> Attempt:
        await asyncio.sleep(way.seconds)
        if not way.leads:
            raise DialError("no")
        return way

    async def run() -> tuple[float, Attempt | None]:
        loop = asyncio.get_running_loop()
        try:
            won: Attempt | None = await Race(attempt).run([Tier(_given(tier)) for tier in tiers])
        except Lost:
            won = None
        return loop.time(), won

    loop = SimulatedLoop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


# Such that no two moments of a race are the same.
SECONDS = st.integers(1, 60_000).map(lambda n: n * 0.000_137 + 1e-5)
ATTEMPTS = st.builds(Attempt, SECONDS, st.booleans())


@settings(deadline=None)
@given(st.lists(st.lists(ATTEMPTS, max_size=4), min_size=1, max_size=3))
def test_a_race_is_computed_as_the_node_runs_it(tiers: list[list[Attempt]]) -> None:
    after, won = real_race(tiers)
    found: Outcome = race(tiers, lambda way: way)
    again = race(tiers, lambda way: way, lambda way: way.seconds)
    assert (again.seconds, again.winner) == (found.seconds, found.winner)
    winner = None if found.winner is None else tiers[found.winner[0]][found.winner[1]]
    assert winner == won
    assert found.seconds == pytest.approx(after, abs=1e-6)


# --- people ---------------------------------------------------------------------------------------


def test_sessions_are_as_long_as_they_were_measured() -> None:
    rng = random.Random(1)
    drawn = [DESKTOP_SESSIONS.draw(rng) for _ in range(20_000)]
    assert 0.48 <= sum(one <= 2 * HOUR_S for one in drawn) / len(drawn) <= 0.52
    assert 0.78 <= sum(one <= 8 * HOUR_S for one in drawn) / len(drawn) <= 0.82
    assert 0.55 <= DESKTOP_SESSIONS.shape <= 0.69
    assert sum(drawn) / len(drawn) == pytest.approx(DESKTOP_SESSIONS.mean(), rel=0.1)


def test_lines_are_as_fast_as_they_were_measured() -> None:
    rng = random.Random(1)
    drawn = [Model().home_lines.draw(rng) for _ in range(20_000)]
    assert sum(line.up for line in drawn) / len(drawn) == pytest.approx(45.7 * 125_000, rel=0.1)


@given(st.floats(0, 1))
def test_a_day_is_neither_busier_nor_quieter_than_its_average(swing: float) -> None:
    hours = [activity(hour, swing) for hour in range(24)]
    assert sum(hours) / 24 == pytest.approx(1.0)
    assert min(hours) == hours[6] >= 0


@given(st.floats(-200, 200), st.floats(-200, 200), st.floats(0, 100))
def test_a_round_trip_takes_both_lines_and_the_way_between(x: float, y: float, ms: float) -> None:
    here, there = Place(0.0, 0.0, 0.0), Place(x, y, 0.0)
    assert rtt_s(here, ms, there, 5.0) == pytest.approx((math.hypot(x, y) + ms + 5.0) / 1000)
    assert rtt_s(here, ms, there, 5.0) == pytest.approx(rtt_s(there, 5.0, here, ms))


def test_a_few_providers_have_most_homes_and_none_has_all() -> None:
    rng = random.Random(3)
    networks = Networks(rng)
    drawn = [networks.draw(rng)[:2] for _ in range(5000)]
    most = max(drawn.count(one) for one in set(drawn))
    assert 50 <= most <= 500
    assert len(set(drawn)) > 500
