"""Who is accepted, and how much is left: what holds for every number."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from towpath.credits.decay import HALF_LIFE_S, decayed
from towpath.credits.free_tier import FULL, UNLIMITED, Bucket, Tier, prefix_of, prefix_of_ip
from towpath.credits.policy import (
    HEAVY,
    LEAST,
    LIGHT,
    LOADED,
    NO_QUOTA,
    NO_SEATS,
    Asked,
    Ground,
    Load,
    QuotaLeft,
    Seats,
    may_go_on,
    quota_part,
    reservation_seat,
    should_accept_circuit,
)

NOW = 1_800_000_000.0
BYTES = st.integers(0, 1 << 42)
SHARES = st.floats(0, 1)
LOADS = st.builds(Load, SHARES, SHARES, SHARES, SHARES)
SIZES = st.one_of(st.none(), st.integers(0, 1 << 40))
REFILLS = st.one_of(st.none(), st.floats(0, 1e9))
TIERS = st.builds(Tier, SIZES, REFILLS)
SEATS = st.builds(
    lambda limit, paying, free, mine: Seats(limit, paying, free + mine, mine),
    st.one_of(st.none(), st.integers(0, 600)),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(0, 300),
)
ASKED = st.builds(
    Asked,
    st.one_of(st.none(), st.just(bytes(32))),
    st.just(b"\xc0\x00\x02"),
    BYTES,
    BYTES,
    BYTES,
    BYTES,
    LOADS,
    st.sampled_from(["under_load", "always", "never"]),
    st.booleans(),
    TIERS,
    SEATS,
    st.just(NO_QUOTA),
)
TIMES = st.floats(0, 4e9)


@given(ASKED)
def test_nobody_is_asked_for_anything_while_there_is_room(asked: Asked) -> None:
    assume(asked.enforce != "always")
    asked = asked._replace(load=Load(*(share * (LOADED - 1e-9) for share in asked.load)))
    decision = should_accept_circuit(asked, NOW)
    assert decision.accept
    assert decision.limit_data is None


@given(ASKED)
def test_the_rule(asked: Asked) -> None:
    """Earned more than spent: yes; free tier left: yes; otherwise no, with a reason that has its numbers."""
    decision = should_accept_circuit(asked, NOW)
    left = asked.credit + asked.free_left
    if not asked.enforced:
        assert decision.accept
    elif left < LEAST:
        assert decision.ground is Ground.USED_UP
    else:
        assert decision.accept or decision.ground is Ground.NO_SEAT
    if decision.accept:
        assert decision.code is None
        assert decision.weight == (HEAVY if asked.credit >= LEAST else LIGHT)
    else:
        assert decision.code is not None
        assert decision.have is not None
        assert decision.limit_data is None


@given(ASKED)
def test_what_is_told_is_there(asked: Asked) -> None:
    # Of an unlimited tier there is never nothing left.
    assume(asked.tier.limited)
    decision = should_accept_circuit(asked, NOW)
    if decision.limit_data is not None:
        assert LEAST <= decision.limit_data <= asked.credit + asked.free_left
    if decision.again_at is not None:
        # Whoever comes back then finds what it was told, if nobody used it meanwhile.
        wait = decision.again_at - NOW
        refilled = asked.free_left + (asked.tier.refill or 0.0) * wait
        assert decision.have is not None
        # A Unix time is good for a microsecond.
        assert refilled >= decision.have - 1 - 1e-6 * (refilled + (asked.tier.refill or 0.0))
        assert decision.have >= LEAST


@given(ASKED, BYTES, BYTES)
def test_more_credit_never_costs_anything(asked: Asked, more: int, less: int) -> None:
    before = should_accept_circuit(asked, NOW)
    after = should_accept_circuit(asked._replace(earned=asked.earned + more, spent=max(0, asked.spent - less)), NOW)
    assert after.accept >= before.accept
    if before.accept:
        assert after.weight >= before.weight


@given(ASKED)
def test_who_does_not_sign_is_served_as_a_stranger(asked: Asked) -> None:
    rider = should_accept_circuit(asked._replace(rider=True), NOW)
    stranger = should_accept_circuit(asked._replace(account=None, rider=False), NOW)
    assert rider == stranger


@given(ASKED, st.integers(0, 100), st.integers(5, 600))
def test_a_newcomers_network_always_gets_one_of_the_seats_that_are_kept(asked: Asked, free: int, limit: int) -> None:
    free %= limit - limit // 5
    seats = Seats(limit, limit - limit // 5, free, 0)
    asked = asked._replace(seats=seats, free_left_prefix=1 << 30, account=None)
    assert should_accept_circuit(asked, NOW).accept


@given(st.integers(5, 2000), st.integers(1, 60))
def test_networks_that_take_all_they_get_take_much_the_same(limit: int, networks: int) -> None:
    """One circuit after the other, in turn, until nobody gets any more."""
    held = [0] * networks
    asked = Asked(None, b"", 1 << 40, enforce="always")
    moved = True
    while moved:
        moved = False
        for i in range(networks):
            seats = Seats(limit, 0, sum(held), held[i])
            if should_accept_circuit(asked._replace(seats=seats), NOW).accept:
                held[i] += 1
                moved = True
    assert max(held) - min(held) <= 1
    assert sum(held) <= limit - limit // 5
    if networks <= limit // 2:
        assert min(held) >= 1


@given(st.booleans(), st.integers(0, 500), st.one_of(st.none(), st.integers(0, 500)), st.integers(0, 50))
def test_the_last_reservations_are_kept_for_contributors(
    paying: bool, held: int, limit: int | None, of_address: int
) -> None:
    seat = reservation_seat(paying, held, limit, of_address)
    if paying or limit is None or held < limit - limit // 5:
        assert seat
    elif held >= limit - limit // 10:
        assert not seat


@given(st.integers(20, 20_000), st.integers(1, 1_000_000))
def test_a_network_with_an_address_for_each_reservation_leaves_a_seat_to_one_that_holds_none(
    limit: int, addresses: int
) -> None:
    """Whoever has a whole /56 takes what nobody is asked for, and then no more than it leaves."""
    held = 0
    while held < addresses and reservation_seat(False, held, limit, 0, held):
        held += 1
    assert reservation_seat(False, held, limit, 0, 0)
    # Where others hold most, one that holds little gets more, as long as it leaves as much.
    others = limit - limit // 5
    mine = 0
    while reservation_seat(False, others + mine, limit, 0, mine):
        mine += 1
    assert mine >= 1
    assert reservation_seat(False, others + mine, limit, 0, 0) or limit < 80
    assert not reservation_seat(False, others + mine, limit, 1, 0)


# --- the free tier ---------------------------------------------------------------------------


@given(TIERS, st.lists(st.tuples(TIMES, BYTES), max_size=20), TIMES)
def test_what_is_left_is_within_the_tier_whatever_the_clock_does(
    tier: Tier, uses: list[tuple[float, int]], now: float
) -> None:
    bucket = FULL
    for at, n in uses:
        before = tier.left(bucket, at)
        bucket = tier.take(bucket, n, at)
        after = tier.left(bucket, at)
        if tier.limited:
            assert max(0, before - n) - 1 <= after <= max(0, before - n) + 1
        else:
            assert after == UNLIMITED
    left = tier.left(bucket, now)
    assert 0 <= left <= (UNLIMITED if not tier.limited else tier.size or 0)


@given(st.integers(1, 1 << 40), st.floats(1.0, 1e9), st.lists(st.tuples(st.floats(0, 1e6), BYTES), max_size=20))
def test_nobody_gets_more_than_the_tier_and_its_refill(size: int, refill: float, uses: list[tuple[float, int]]) -> None:
    tier = Tier(size, refill)
    bucket, now, given = FULL, NOW, 0
    for gap, wanted in uses:
        now += gap
        n = min(wanted, tier.left(bucket, now))
        bucket = tier.take(bucket, n, now)
        given += n
    assert given <= (size + refill * (now - NOW)) * (1 + 1e-9) + len(uses)


@given(st.integers(1, 1 << 40), st.floats(1.0, 1e9), BYTES)
def test_it_is_full_again_after_the_time_it_says(size: int, refill: float, used: int) -> None:
    tier = Tier(size, refill)
    bucket = tier.take(FULL, used, NOW)
    wait = tier.seconds_until(tier.left(bucket, NOW), size)
    assert wait is not None
    assert tier.left(bucket, NOW + wait + 1) >= size - 1


def test_a_clock_that_goes_back_refills_nothing() -> None:
    tier = Tier(1000, 1.0)
    bucket = Bucket(900.0, NOW)
    assert tier.left(bucket, NOW - 10_000) == 100


@given(st.ip_addresses())
def test_a_network_is_a_24_or_a_56(ip: object) -> None:
    packed = ip.packed  # type: ignore[attr-defined]
    code = b"\x04" if len(packed) == 4 else b"\x29"
    prefix = prefix_of(code + packed + b"\x06\x0f\xa1")
    assert prefix == prefix_of_ip(packed)
    if not packed.startswith(bytes(10) + b"\xff\xff"):
        assert prefix == packed[: 3 if len(packed) == 4 else 7]


@given(st.binary(max_size=40))
def test_any_bytes_have_a_network_or_none(remote: bytes) -> None:
    assert len(prefix_of(remote)) in (0, 3, 7)


# --- decay -----------------------------------------------------------------------------------


@given(BYTES, TIMES, TIMES, TIMES)
def test_nothing_grows_by_waiting(amount: int, since: float, first: float, then: float) -> None:
    first, then = sorted((first, then))
    assert 0 <= decayed(amount, since, then) <= decayed(amount, since, first) <= amount


@given(BYTES, TIMES, st.floats(0, 1e8), st.floats(0, 1e8))
def test_fading_in_two_steps_is_fading_in_one(amount: int, since: float, a: float, b: float) -> None:
    at_once = decayed(amount, since, since + a + b)
    in_two = decayed(decayed(amount, since, since + a), since + a, since + a + b)
    assert abs(at_once - in_two) <= 1e-6 * amount


def test_half_is_left_after_thirty_days() -> None:
    assert decayed(1000, NOW, NOW + HALF_LIFE_S) == 500


QUOTAS = st.builds(
    lambda left, paying, free, mine: QuotaLeft(left, paying, free + mine, mine), BYTES, BYTES, BYTES, BYTES
)


@given(ASKED, QUOTAS)
def test_of_the_quota_nobody_is_promised_more_than_its_share(asked: Asked, quota: QuotaLeft) -> None:
    before = should_accept_circuit(asked, NOW)
    decision = should_accept_circuit(asked._replace(quota=quota), NOW)
    part = quota_part(quota, decision.weight == HEAVY)
    assert part is not None
    if not asked.enforced or not before.accept:
        assert decision == before
    elif part < LEAST:
        assert decision.ground is Ground.NO_QUOTA
    else:
        assert decision.limit_data is not None
        assert LEAST <= decision.limit_data <= part


@given(QUOTAS)
def test_credit_never_makes_the_share_of_the_quota_smaller(quota: QuotaLeft) -> None:
    free, paying = quota_part(quota, False), quota_part(quota, True)
    assert free is not None
    assert paying is not None
    assert paying >= free >= 0


@given(st.integers(0, 1 << 40), st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=40))
def test_promises_leave_a_fifth_of_the_quota_to_the_free_tier_and_something_to_a_newcomer(
    left: int, asking: list[tuple[bool, int]]
) -> None:
    """Whoever asks takes all that it is promised, at both ends of its circuit."""
    paying = free = 0
    of = [0] * 4
    for pays, network in asking:
        part = quota_part(QuotaLeft(left, paying, free, of[network]), pays)
        assert part is not None
        if pays and part > (quota_part(QuotaLeft(left, paying, free, of[network]), False) or 0):
            paying += 2 * part
        else:
            free += 2 * part
            of[network] += 2 * part
    assert paying <= left - left // 5
    assert paying + free <= left
    # Of the fifth that is left to them each of four networks left three quarters to the next.
    newcomer = quota_part(QuotaLeft(left, paying, free), False)
    assert newcomer is not None
    assert newcomer >= left // 5 // 4 // 8 - 4


@given(ASKED, QUOTAS)
def test_an_open_circuit_goes_on_as_long_as_its_sender_has_anything_left_and_nobody_is_promised_it(
    asked: Asked, quota: QuotaLeft
) -> None:
    decision = may_go_on(asked._replace(quota=quota), NOW)
    assert quota.left is not None
    taken = quota.paying + quota.free + quota.left // 5 + LEAST > quota.left
    if not asked.enforced:
        assert decision.accept
    elif asked.credit + asked.free_left < LEAST:
        assert decision.ground is Ground.USED_UP
    else:
        assert decision.accept is not taken
        assert decision.accept or decision.ground is Ground.NO_QUOTA
    # A seat it has.
    assert may_go_on(asked._replace(seats=NO_SEATS), NOW) == may_go_on(asked, NOW)
