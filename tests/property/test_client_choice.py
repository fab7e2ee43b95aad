"""Which relays are asked for reservations, and which are left."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from towpath.client.choice import LOST_S, PATIENCE_S, SETTLED_S, Offer, Seat, apart, in_order, plan

NOW = 10_000.0
NETWORKS = ("192.31.0.0/16", "192.52.0.0/16", "192.175.0.0/16")

offers = st.lists(
    st.builds(
        Offer,
        st.binary(min_size=1, max_size=1),
        st.sampled_from(NETWORKS).map(lambda network: frozenset([network])) | st.just(frozenset()),
        st.none() | st.sampled_from(["one", "other"]),
        st.integers(0, 100).map(float),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda offer: offer.relay_id,
)
states = st.sampled_from(["connecting", "active", "leaving", "lost"])


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Seat], list[Offer]]:
    every = draw(offers)
    held = draw(st.integers(0, len(every)))
    seats = [Seat(offer, draw(states), NOW - draw(st.integers(0, 1000)), draw(st.booleans())) for offer in every[:held]]
    return seats, every[held:] + draw(st.sampled_from([[], every[:held]]))


def number(seats: list[Seat], state: str) -> int:
    return sum(seat.state == state for seat in seats)


@given(situations())
def test_nobody_is_asked_twice_and_nobody_left_who_is_asked(situation: tuple[list[Seat], list[Offer]]) -> None:
    seats, free = situation
    made = plan(seats, free, NOW)
    assert len(set(made.reserve)) == len(made.reserve)
    assert not set(made.reserve) & {seat.offer.relay_id for seat in seats}
    assert not set(made.release) & set(made.reserve)


@given(situations())
def test_two_stay_whenever_two_are_there_and_what_the_application_asked_for_stays(
    situation: tuple[list[Seat], list[Offer]],
) -> None:
    seats, free = situation
    made = plan(seats, free, NOW)
    stay = [seat for seat in seats if seat.offer.relay_id not in made.release]
    assert number(stay, "active") >= min(2, number(seats, "active"))
    assert all(seat in stay for seat in seats if not seat.ours_to_end or seat.state in ("connecting", "leaving"))


@given(situations())
def test_whoever_can_be_asked_is_until_two_are_there(situation: tuple[list[Seat], list[Offer]]) -> None:
    seats, free = situation
    made = plan(seats, free, NOW)
    under_way = sum(seat.state == "connecting" and NOW - seat.since < PATIENCE_S for seat in seats)
    new = {offer.relay_id for offer in free} - {seat.offer.relay_id for seat in seats}
    lacking = max(0, 2 - number(seats, "active") - under_way)
    assert len(made.reserve) >= min(lacking, len(new))
    assert len(made.reserve) <= max(1, lacking)
    assert made.lacking == max(0, lacking - len(made.reserve))


@given(situations())
@example(
    (
        [Seat(Offer(b"4"), "connecting", NOW - PATIENCE_S), Seat(Offer(b"1"), "connecting", NOW)],
        [
            Offer(b"3", frozenset(["192.31.0.0/16"]), "one"),
            Offer(b"0", frozenset(["192.31.0.0/16"])),
            Offer(b"2", frozenset(), "one"),
        ],
    )
)
def test_following_the_plan_comes_to_an_end(situation: tuple[list[Seat], list[Offer]]) -> None:
    seats, free = situation
    now = NOW
    for _ in range(12):
        made = plan(seats, free, now)
        seats = [seat for seat in seats if seat.offer.relay_id not in made.release]
        seats = [*seats, *(Seat(offer, "active", now) for offer in free if offer.relay_id in made.reserve)]
        if not made.reserve and not made.release:
            break
        now += SETTLED_S
    else:
        raise AssertionError("it never comes to rest")


@given(situations())
def test_two_that_are_apart_are_held_in_the_end_when_there_are_such(situation: tuple[list[Seat], list[Offer]]) -> None:
    _, free = situation
    seats: list[Seat] = []
    now = NOW
    for _ in range(12):
        made = plan(seats, free, now)
        seats = [seat for seat in seats if seat.offer.relay_id not in made.release]
        seats = [*seats, *(Seat(offer, "active", now) for offer in free if offer.relay_id in made.reserve)]
        now += SETTLED_S
    held = [seat.offer for seat in seats]
    first = next((offer for offer in free if not offer.bootstrap), None) or next(iter(free), None)
    if first is not None and any(apart(first, other) for other in free if other is not first and not other.bootstrap):
        assert apart(*held)


def seat(offer: Offer, state: str = "active", age: float = 1000.0) -> Seat:
    return Seat(offer, state, NOW - age)


A = Offer(b"a", frozenset([NETWORKS[0]]), None, 50.0)
B = Offer(b"b", frozenset([NETWORKS[1]]), None, 40.0)
C = Offer(b"c", frozenset([NETWORKS[2]]), None, 45.0)


def test_two_in_different_networks_are_asked_though_a_better_one_is_beside_the_first() -> None:
    beside = A._replace(relay_id=b"d", score=99.0)
    assert plan([], [A, beside, B], NOW).reserve == (b"a", b"b")
    assert plan([], [A, beside], NOW).reserve == (b"a", b"d")


def test_bootstrap_relays_are_asked_when_there_are_no_volunteers_and_left_for_one() -> None:
    bootstrap = B._replace(bootstrap=True, score=90.0)
    assert plan([], [bootstrap, A, C], NOW).reserve == (b"a", b"c")
    assert plan([], [bootstrap, A], NOW).reserve == (b"a", b"b")
    held = [seat(A), seat(bootstrap)]
    assert plan(held, [C], NOW) == ((b"c",), (), 0)
    assert plan([*held, seat(C, age=0)], [], NOW) == ((), (b"b",), 0)


def test_one_that_leaves_or_is_lost_is_replaced_at_once_and_then_given_up() -> None:
    for state in ("leaving", "lost"):
        assert plan([seat(A), seat(B, state)], [C], NOW).reserve == (b"c",)
    assert plan([seat(A), seat(C), seat(B, "lost", age=LOST_S)], [], NOW).release == (b"b",)
    assert plan([seat(A), seat(B, "lost", age=LOST_S)], [], NOW) == ((), (), 1)


def test_one_that_does_not_answer_holds_nobody_up() -> None:
    assert plan([seat(A, "connecting", age=0.5)], [B], NOW).reserve == (b"b",)
    assert plan([seat(A, "connecting", age=0.5), seat(B)], [C], NOW).reserve == ()
    assert plan([seat(A, "connecting", age=PATIENCE_S), seat(B)], [C], NOW).reserve == (b"c",)


def test_a_much_better_one_takes_the_place_of_one_that_got_worse_but_not_at_every_whim() -> None:
    worse = B._replace(score=20.0)
    assert plan([seat(A), seat(worse)], [C], NOW).reserve == (b"c",)
    assert plan([seat(A), seat(worse, age=10)], [C], NOW).reserve == ()
    assert plan([seat(A), seat(B)], [C], NOW).reserve == ()


def test_the_best_is_the_active_one() -> None:
    assert [s.offer for s in in_order([seat(B), seat(A), seat(C, "lost")])] == [A, B]
