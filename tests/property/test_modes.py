"""The relay's state machine under any sequence of wishes and times."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from towpath.relay.modes import FOREVER, START, Action, Cause, Kind, Now, Position, State, Wishes, step

CAUSES = st.builds(
    Cause,
    st.sampled_from([Kind.SCHEDULE, Kind.QUOTA, Kind.IDLE]),
    st.text(min_size=1, max_size=3),
    st.none() | st.floats(0, 1e9),
)
WISHES = st.builds(
    Wishes,
    relays=st.booleans(),
    paused_until=st.none() | st.just(FOREVER) | st.floats(0, 2e3),
    blocked=st.lists(CAUSES, max_size=2).map(tuple),
    scarce=st.none() | CAUSES,
    stopping=st.booleans(),
    circuits=st.integers(0, 2),
    grace=st.sampled_from([0.0, 1.0, 60.0, FOREVER]),
)
STEPS = st.lists(st.tuples(WISHES, st.floats(0, 100), st.floats(-500, 500)), max_size=12)
"""Wishes, how much time passed before, and by how much the wall clock was set meanwhile."""


def walk(steps: list[tuple[Wishes, float, float]]) -> tuple[Position, Now]:
    """Where a machine is after these steps; each is checked on the way."""
    at, now = START, Now(0.0, 1000.0)
    circuits_may_be_open = False
    began = 0.0
    for wishes, passed, set_by in steps:
        now = Now(now.monotonic + passed, max(0.0, now.wall + passed + set_by))
        before = at
        at, actions = step(before, wishes, now)
        again, nothing = step(at, wishes, now)
        assert (again, nothing) == (at, ()), "asking again changes nothing"

        # Relaying only where every wish allows it.
        paused = wishes.paused_until is not None and now.wall < wishes.paused_until
        allowed = wishes.relays and not paused and not wishes.blocked and not wishes.stopping
        assert (at.state is State.RELAYING) == allowed
        assert at.admitting == (allowed and wishes.scarce is None)
        assert at.admitting == (at.cause is None)

        # Draining follows relaying alone, and no reason on the way makes it longer.
        if at.state is State.DRAINING:
            assert before.state in (State.RELAYING, State.DRAINING)
            assert wishes.circuits
            if before.state is State.RELAYING:
                began = now.monotonic
                assert at.drained_at == began + wishes.grace
            else:
                assert at.drained_at <= before.drained_at
            assert now.monotonic < at.drained_at
            assert (at.until is None) == (at.drained_at == FOREVER)

        # HOP is offered and taken back in turns, and whatever may be open is closed in the end.
        assert (Action.OFFER in actions) == (at.state is State.RELAYING and before.state is not State.RELAYING)
        assert (Action.WITHDRAW in actions) == (before.state is State.RELAYING and at.state is not State.RELAYING)
        if Action.OFFER in actions:
            circuits_may_be_open = True
        if Action.CLOSE in actions:
            circuits_may_be_open = False
        assert circuits_may_be_open == (at.state in (State.RELAYING, State.DRAINING))
        assert at.why
    return at, now


@given(STEPS)
def test_every_step_is_lawful(steps: list[tuple[Wishes, float, float]]) -> None:
    walk(steps)


@given(STEPS, WISHES)
def test_from_anywhere_a_wish_that_lasts_is_met_after_its_grace(
    steps: list[tuple[Wishes, float, float]], wishes: Wishes
) -> None:
    at, now = walk(steps)
    at, _ = step(at, wishes, now)
    if at.state is State.DRAINING:
        patience = wishes.grace if math.isfinite(wishes.grace) else at.drained_at - now.monotonic
        without = wishes if math.isfinite(patience) else wishes._replace(circuits=0)
        now = Now(now.monotonic + (patience if math.isfinite(patience) else 0), now.wall)
        at, actions = step(at, without, now)
        assert actions == (Action.CLOSE,)
    expected = {State.RELAYING}
    if wishes.stopping or not wishes.relays:
        expected = {State.OFF}
    elif wishes.paused_until is not None and now.wall < wishes.paused_until:
        expected = {State.PAUSED}
    elif wishes.blocked:
        expected = {State.WAITING}
    assert {at.state} == expected
