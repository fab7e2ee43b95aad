"""When an advertisement goes out: never of what is not so, never too often; none is left that does not hold."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.discovery_records import capacities, percents, places
from towpath.discovery.adverts import CHANGE_S, LOAD_S, LOOK_S, REFRESH_S, AdvertFacts, Do, load_step, plan, said_by
from towpath.discovery.records import LIFE_S, Advertisement, check, newer, sign
from towpath.discovery.records import advertisement_key as key_of
from towpath.identity import Identity

RELAY = Identity(bytes((7,)) * 32)
NOW = 1_900_000_000.0

facts = st.builds(
    AdvertFacts,
    st.booleans(),
    st.lists(places, max_size=9, unique=True).map(tuple),
    st.sampled_from(("cooperative", "dedicated")),
    capacities,
    st.integers(0, 7),
    percents,
    percents,
    st.none() | st.binary(min_size=32, max_size=32),
    st.none() | st.just("canal"),
)
# What changes from one look to the next: nothing for long, or the load, or all.
days = st.lists(st.tuples(st.floats(0.01, 3000), st.none() | st.integers(0, 7) | facts), min_size=1, max_size=20)


def live(begin: AdvertFacts, day: list[tuple[float, int | AdvertFacts | None]]) -> list[tuple[float, AdvertFacts, Do]]:
    """Acts as the plans say while facts change; each look in time order, and what was done."""
    said: Advertisement | None = None
    looks = []
    now, jitter, rng = NOW, 0.5, random.Random(1)
    have = begin
    for pause, change in day:
        until = now + pause
        while True:
            decided = plan(have, said, now, jitter)
            looks.append((now, have, decided.do))
            if decided.do is not Do.NOTHING:
                after = said_by(RELAY.peer_id, have, said, now)
                assert said is None or newer(after, said)
                check(key_of(RELAY.peer_id), sign(after, RELAY.seed), now)
                if decided.do is Do.WITHDRAW:
                    assert said is not None
                    assert after.withdrawn
                    assert after.not_after >= said.not_after
                said, jitter = after, rng.random()
                continue
            assert decided.again_s > 0
            if now + decided.again_s >= until:
                break
            now += decided.again_s
        now = until
        if isinstance(change, AdvertFacts):
            have = change
        elif change is not None:
            have = have._replace(load=change)
    return looks


@settings(max_examples=40)
@given(facts, days)
def test_only_a_relay_that_can_be_reached_is_advertised(
    begin: AdvertFacts, day: list[tuple[float, int | AdvertFacts | None]]
) -> None:
    stands = False
    for _, have, did in live(begin, day):
        if did is Do.PUBLISH:
            assert have.relaying
            assert have.addresses
            stands = True
        if did is Do.WITHDRAW:
            assert not have.offered
            stands = False
        # Whatever does not hold is taken back in the same moment.
        assert have.offered or not stands


@settings(max_examples=40)
@given(facts, days)
def test_the_load_alone_is_told_every_ten_minutes_and_other_changes_every_half_minute_at_most(
    begin: AdvertFacts, day: list[tuple[float, int | AdvertFacts | None]]
) -> None:
    last: tuple[float, AdvertFacts] | None = None
    for at, have, did in live(begin, day):
        if did is Do.WITHDRAW:
            last = (at, have) if last is not None else None
        if did is not Do.PUBLISH:
            continue
        if last is not None:
            same = last[1]._replace(load=0, relaying=True) == have._replace(load=0, relaying=True)
            least = LOAD_S if same and last[1].offered else CHANGE_S
            assert at - last[0] >= least - 1e-3
        last = (at, have)


@given(facts.filter(lambda have: have.offered), st.floats(0, 1))
def test_it_is_refreshed_long_before_it_ends(have: AdvertFacts, jitter: float) -> None:
    said = said_by(RELAY.peer_id, have, None, NOW)
    assert plan(have, said, NOW + 1, jitter).do is Do.NOTHING
    assert plan(have, said, NOW + REFRESH_S + 2, jitter).do is Do.PUBLISH
    assert said.not_after == NOW + LIFE_S


@given(facts.filter(lambda have: have.offered), st.integers(0, 7), st.floats(2, LOAD_S - 1))
def test_a_step_of_the_load_waits_for_its_time(have: AdvertFacts, load: int, later: float) -> None:
    said = said_by(RELAY.peer_id, have, None, NOW)
    changed = have._replace(load=load)
    assert plan(changed, said, NOW + later, 0.0).do is Do.NOTHING
    due = plan(changed, said, NOW + LOAD_S + 1, 0.0).do
    assert due is (Do.PUBLISH if load != have.load else Do.NOTHING)


@given(facts, st.floats(2, 10 * LIFE_S))
def test_a_clock_that_was_set_back_leads_to_a_record_that_is_valid_and_newer(have: AdvertFacts, back: float) -> None:
    said = said_by(RELAY.peer_id, AdvertFacts(True, (b"\x04\x01\x02\x03\x04\x06\x0f\xa1",)), None, NOW)
    now = NOW - back
    decided = plan(have, said, now)
    after = said_by(RELAY.peer_id, have, said, now)
    assert newer(after, said)
    if have.offered:
        assert decided.do is Do.PUBLISH
        check(key_of(RELAY.peer_id), sign(after, RELAY.seed), now)
    else:
        assert decided.do is Do.WITHDRAW
        assert after.not_after >= said.not_after


@given(facts, st.none() | facts, st.floats(0, 3 * LIFE_S))
def test_nothing_is_planned_for_never(have: AdvertFacts, before: AdvertFacts | None, later: float) -> None:
    said = None if before is None else said_by(RELAY.peer_id, before, None, NOW)
    decided = plan(have, said, NOW + later, 0.3)
    assert 0 < decided.again_s <= REFRESH_S
    assert not have.offered or decided.again_s <= LOOK_S


@given(st.lists(st.floats(-1, 3), max_size=4))
def test_the_load_is_that_of_what_is_scarcest(used: list[float]) -> None:
    step = load_step(*used)
    assert 0 <= step <= 7
    assert step == max((load_step(one) for one in used), default=0)
    assert load_step(0.999) == 7
    assert load_step(0.124) == 0
