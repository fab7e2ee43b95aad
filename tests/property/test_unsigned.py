"""What accounts have not signed for: it fades when its connection is over, and nobody gains by that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towpath.credits import unsigned
from towpath.credits.decay import HALF_LIFE_S
from towpath.credits.receipts import DAY_S, MIN_STEP, unsigned_allowed
from towpath.credits.unsigned import Unsigned

PAYER = b"p" * 32
NOW = 20_000.0 * DAY_S
MIB = 1 << 20

steps = st.lists(
    st.one_of(
        st.tuples(st.just("carried"), st.integers(0, 8 * MIB)),
        st.tuples(st.just("signed"), st.integers(0, 8 * MIB)),
        st.tuples(st.just("killed"), st.just(0)),
        st.tuples(st.just("later"), st.integers(-DAY_S, 60 * DAY_S)),
    ),
    max_size=40,
)


@given(steps)
def test_what_is_owed_is_what_was_carried_less_what_was_signed_and_what_faded(steps: list[tuple[str, int]]) -> None:
    of = Unsigned()
    now = NOW
    carried = signed = 0
    for what, n in steps:
        before = of.owed(PAYER, now)
        match what:
            case "carried":
                of.carried(PAYER, n, now)
                carried += n
            case "signed":
                # No more than was carried counts, see Ledger.paid.
                n = min(n, before)
                of.signed(PAYER, n, now)
                signed += n
                assert abs(of.owed(PAYER, now) - (before - n)) <= 1
            case "killed":
                assert of.begin(PAYER, now) <= before, "who is killed owes no more than before"
                assert abs(of.owed(PAYER, now) - before) <= 1, "and no less"
            case _:
                now += n
                if n > 0:
                    assert of.owed(PAYER, now) <= before
        assert 0 <= of.owed(PAYER, now) <= carried - signed + 1


def test_half_of_a_debt_is_gone_after_a_half_life_whatever_is_paid_meanwhile() -> None:
    of = Unsigned()
    of.carried(PAYER, 4 * MIB, NOW)
    assert of.begin(PAYER, NOW) == 4 * MIB
    for day in range(30):
        of.carried(PAYER, 100 * MIB, NOW + day * DAY_S)
        of.signed(PAYER, 100 * MIB, NOW + day * DAY_S)
    assert abs(of.owed(PAYER, NOW + HALF_LIFE_S) - 2 * MIB) <= 1
    assert of.begin(PAYER, NOW + 20 * HALF_LIFE_S) < 8


def test_what_an_open_connection_owes_does_not_fade() -> None:
    of = Unsigned()
    of.carried(PAYER, 4 * MIB, NOW)
    assert of.owed(PAYER, NOW + HALF_LIFE_S) == 4 * MIB


@given(st.integers(1, 12), st.floats(0, 30 * DAY_S))
def test_who_comes_again_and_again_and_never_signs_has_less_than_with_new_names(times: int, apart: float) -> None:
    of = Unsigned()
    now = NOW
    had = 0
    for _ in range(times):
        allowed = unsigned_allowed(0, of.begin(PAYER, now))
        of.carried(PAYER, allowed, now)
        had += allowed
        now += apart
    assert MIN_STEP * times <= had <= times * unsigned_allowed(0)


def test_invented_accounts_do_not_fill_the_memory() -> None:
    of = Unsigned()
    for n in range(unsigned.MAX_ACCOUNTS + 100):
        of.carried(n.to_bytes(32), 1, NOW)
    assert len(of._of) == unsigned.MAX_ACCOUNTS
