"""The relay's states by example: what an owner sees in the situations people ask about."""

from __future__ import annotations

import pytest

from towpath.relay.modes import FOREVER, START, Action, Cause, Kind, Now, Position, State, Wishes, step

T0 = Now(100.0, 1_000_000.0)
ON = Wishes(relays=True)
HOURS = Cause(Kind.SCHEDULE, "relay.schedule says not at this hour", 1_003_600.0)
BATTERY = Cause(Kind.BATTERY, "the machine runs on battery")


def at(seconds: float) -> Now:
    return Now(T0.monotonic + seconds, T0.wall + seconds)


def relaying() -> Position:
    position, actions = step(START, ON, T0)
    assert actions == (Action.OFFER,)
    return position


def test_a_relay_is_off_until_it_is_switched_on() -> None:
    assert step(START, Wishes(relays=False), T0) == (START, ())
    position = relaying()
    assert (position.state, position.why, position.admitting) == (State.RELAYING, "relay mode is on", True)


def test_switching_off_drains_first_and_then_closes() -> None:
    off = Wishes(relays=False, circuits=3)
    draining, actions = step(relaying(), off, T0)
    assert actions == (Action.WITHDRAW,)
    assert (draining.state, draining.why, draining.until) == (State.DRAINING, "relay mode is off", T0.wall + 60)
    assert step(draining, off, at(59.9))[0].state is State.DRAINING
    assert step(draining, off, at(60)) == (START, (Action.CLOSE,))
    assert step(draining, off._replace(circuits=0), at(1)) == (START, (Action.CLOSE,))


def test_with_no_circuit_open_nothing_has_to_drain() -> None:
    assert step(relaying(), Wishes(relays=False), T0) == (START, (Action.WITHDRAW, Action.CLOSE))
    assert step(relaying(), Wishes(relays=False, circuits=9, grace=0), T0)[0] == START


def test_a_pause_ends_by_itself_or_never() -> None:
    paused, _ = step(relaying(), ON._replace(paused_until=T0.wall + 600), T0)
    assert (paused.state, paused.until) == (State.PAUSED, T0.wall + 600)
    assert step(paused, ON._replace(paused_until=T0.wall + 600), at(600))[0].state is State.RELAYING
    for_good, _ = step(relaying(), ON._replace(paused_until=FOREVER), T0)
    assert (for_good.state, for_good.until) == (State.PAUSED, None)
    assert step(for_good, ON._replace(paused_until=FOREVER), at(1e9))[0].state is State.PAUSED
    assert step(for_good, ON, at(1))[1] == (Action.OFFER,)


def test_paused_while_switched_off_is_off() -> None:
    assert step(START, Wishes(relays=False, paused_until=FOREVER), T0)[0].state is State.OFF


def test_whoever_waits_says_for_what_and_until_when_all_of_it_is_over() -> None:
    waiting, _ = step(START, ON._replace(blocked=(HOURS, BATTERY)), T0)
    assert waiting.state is State.WAITING
    assert waiting.why == "relay.schedule says not at this hour; the machine runs on battery"
    assert waiting.until is None
    waiting, _ = step(waiting, ON._replace(blocked=(HOURS,)), T0)
    assert (waiting.until, waiting.cause) == (HOURS.until, HOURS)


def test_a_pause_during_a_drain_gives_circuits_no_more_time() -> None:
    draining, _ = step(relaying(), ON._replace(blocked=(BATTERY,), circuits=1), T0)
    later, actions = step(draining, ON._replace(paused_until=FOREVER, circuits=1), at(50))
    assert (later.state, later.why, later.drained_at, actions) == (
        State.DRAINING,
        "its owner paused it",
        draining.drained_at,
        (),
    )
    assert later.until == draining.until
    stopping, _ = step(later, ON._replace(stopping=True, circuits=1, grace=5), at(50))
    assert stopping.drained_at == at(55).monotonic


def test_mains_power_in_time_saves_the_circuits() -> None:
    draining, _ = step(relaying(), ON._replace(blocked=(BATTERY,), circuits=1), T0)
    back, actions = step(draining, ON._replace(circuits=1), at(10))
    assert (back.state, actions) == (State.RELAYING, (Action.OFFER,))


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_drain_is_measured_by_a_clock_that_nobody_sets(jump: float) -> None:
    off = Wishes(relays=False, circuits=1)
    draining, _ = step(relaying(), off, T0)
    moment = at(30)
    later, _ = step(draining, off, Now(moment.monotonic, moment.wall + jump))
    assert later.state is State.DRAINING
    assert step(later, off, Now(at(60).monotonic, moment.wall + jump))[1] == (Action.CLOSE,)


def test_scarcity_admits_nobody_new_and_stops_nobody() -> None:
    cause = Cause(Kind.QUOTA, "less than a tenth of the hour's budget is left", 1_002_000.0)
    scarce, actions = step(relaying(), ON._replace(scarce=cause, circuits=1), T0)
    assert (scarce.state, scarce.admitting, scarce.until, actions) == (State.RELAYING, False, cause.until, ())
    assert "nobody new" in scarce.why
    assert step(scarce, ON, at(1))[0].admitting
