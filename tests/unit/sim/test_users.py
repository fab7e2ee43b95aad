"""What a simulated user does when its relays move out and take it back, and that it asks whom a node would ask."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towpath.client.choice import in_order
from towpath.client.reservations import refresh_after
from towpath.discovery.outcomes import Outcome
from towpath.discovery.selection import order
from towpath.relay.admission import Barred
from towpath.relaystream.reasons import Reason
from towpath.sim.knowing import Known, offered
from towpath.sim.models import Kind
from towpath.sim.relays import Relay
from towpath.sim.users import User
from towpath.sim.world import World


def three_relays() -> tuple[World, User]:
    world = World(1, 1.0)
    for first in (11, 12, 13):
        world.add_relay(bytes((first, 1, 1, 1))).start()
    user = world.add_user(Kind.ALWAYS_ON)
    user.begin()
    assert user.standing() == 2
    return world, user


def holders(world: World, user: User) -> set[bytes]:
    return {relay.id for relay in world.relays.values() if user.index in relay.reservations}


def test_a_seat_at_a_relay_that_moves_out_is_kept_and_another_one_taken() -> None:
    world, user = three_relays()
    relay = world.relays[next(iter(user.seats))]
    before = user.known[relay.id].own
    user.moved(relay)
    user.settle()
    assert user.standing() == 1, "to ask another relay takes a moment"
    world.engine.run(world.begin + 5.0)
    user.settle()
    assert user.seats[relay.id].state == "leaving"
    assert relay not in user.ways()[0]
    assert len(user.ways()[0]) == 2
    assert user.standing() == 2
    assert len(user.seats) == 3
    assert holders(world, user) == set(user.seats)
    assert user.known[relay.id].own == before, "to move out is no failure"


def test_the_ways_to_a_user_are_those_of_its_reservations_whatever_happened_to_these() -> None:
    world = World(5, 1.0)
    world.add_relay(world.networks.apart(world.engine.rng), bootstrap=True).start()
    users = world.add_users(60)
    for user in users[:20]:
        if world.may_volunteer(user):
            world.volunteer(user)
    for hour in range(1, 12):
        world.engine.run(world.begin + hour * 3600.0)
        for user in users:
            ways = [relay.id for tier in user.ways() for relay in tier]
            assert sorted(ways) == sorted(seat.offer.relay_id for seat in in_order(user.seats.values()))


def test_a_user_whose_relays_take_nobody_looks_for_others() -> None:
    world = World(1, 1.0)
    relays = [world.add_relay(bytes((first, 1, 1, 1))) for first in range(11, 17)]
    for relay in relays:
        relay.start()
    user = world.add_user(Kind.ALWAYS_ON)
    user.begin()
    while len(user.known) < 6:
        user.search()
    for relay in relays:
        if relay.id in user.seats:
            relay.retire()
        else:
            relay.admission.barred = Barred(Reason.QUOTA, None)
    world.engine.run(world.begin + 120.0)
    other = world.add_relay(bytes((17, 1, 1, 1)))
    other.start()
    user.settle()
    assert set(user.seats) == {other.id}


def test_a_relay_that_stays_takes_back_whom_it_told_to_move_and_one_too_many_is_given_up() -> None:
    world, user = three_relays()
    relay = world.relays[next(iter(user.seats))]
    user.moved(relay)
    world.engine.run(world.begin + 5.0)
    user.settle()
    assert user.standing() == 2
    assert len(user.seats) == 3
    user.stays(relay)
    assert user.standing() == len(user.seats) == 2
    assert holders(world, user) == set(user.seats)


def test_who_has_its_relay_back_before_anybody_asks_for_it_asks_no_other() -> None:
    world, user = three_relays()
    seats = set(user.seats)
    relay = world.relays[next(iter(user.seats))]
    user.moved(relay)
    world.engine.run(world.begin + 5.0)
    user.stays(relay)
    user.settle()
    assert set(user.seats) == seats
    assert user.standing() == 2


@pytest.mark.parametrize("others", [0, 2])
def test_a_reservation_that_had_to_be_refreshed_meanwhile_is_given_up_only_where_others_stand(others: int) -> None:
    world, user = three_relays()
    relay = world.relays[next(iter(user.seats))]
    user.moved(relay)
    world.engine.run(world.begin + 5.0)
    user.settle()
    for other in [one for one in user.seats if one != relay.id][others:]:
        user.leave(world.relays[other])
    world.engine.run(world.begin + 2 * refresh_after(relay.settings.reservation_ttl))
    user.stays(relay)
    assert (relay.id in user.seats) is (others == 0)
    assert holders(world, user) == set(user.seats)


def test_nobody_hears_that_a_relay_stays_at_which_it_holds_nothing() -> None:
    world, user = three_relays()
    other = next(relay for relay in world.relays.values() if relay.id not in user.seats)
    seats = dict(user.seats)
    user.stays(other)
    user.moved(other)
    assert user.seats == seats


def test_a_volunteer_that_is_low_has_its_users_back_when_the_hour_is_over() -> None:
    world = World(1, 1.0)
    world.add_relay(bytes((11, 1, 1, 1)), bootstrap=True).start()
    owner = world.add_user(Kind.ALWAYS_ON, bytes((12, 1, 1, 1)))
    owner.begin()
    relay = world.volunteer(owner)
    user = world.add_user(Kind.ALWAYS_ON, bytes((13, 1, 1, 1)))
    user.begin()
    assert user.seats[relay.id].state == "active"
    limit = relay.settings.max_bandwidth_per_hour
    assert limit is not None
    world.engine.at(world.begin + 60.0, relay.meter.count, limit * 0.92)
    world.engine.at(world.begin + 61.0, relay.look)
    world.engine.run(world.begin + 120.0)
    assert not relay.position.admitting
    assert user.seats[relay.id].state == "leaving"
    world.engine.run(world.begin + 3660.0)
    assert relay.position.admitting
    # Its reservation was to be refreshed in that hour, or not; where it was it is asked for anew.
    assert relay.id not in user.seats or user.seats[relay.id].state == "active"
    assert holders(world, user) == set(user.seats)


STORIES = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(Outcome)), st.floats(0, 400)), max_size=25)


@settings(deadline=None)
@given(STORIES, st.sets(st.integers(0, 5)), st.floats(0, 400), st.integers(0, 2**32))
def test_who_may_be_asked_is_whom_the_nodes_own_order_offers(
    story: list[tuple[int, Outcome, float]], begin: set[int], later: float, seed: int
) -> None:
    world = World(1, 1.0)
    relays: list[Relay] = [world.add_relay(bytes((20 + number, 1, 1, 1))) for number in range(6)]
    known = [Known(relay, None, world.begin, bootstrap=number in begin) for number, relay in enumerate(relays)]
    now = world.begin
    for number, outcome, passed in story:
        now += passed
        known[number].note(outcome, now, 40.0)
        offered(known, now, random.Random(seed))
    now += later
    found = offered(known, now, random.Random(seed))
    placed = order([one.candidate for one in known], now, random.Random(seed))
    node = {one.candidate.relay_id for one in placed if not one.against or one.candidate.source == "bootstrap"}
    assert sorted(offer.relay_id for offer in found) == sorted(node)
    tiers = [offer.bootstrap for offer in found]
    assert tiers == sorted(tiers)
