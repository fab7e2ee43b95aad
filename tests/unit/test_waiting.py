"""Waiting longer after each failure in a row."""

from hypothesis import given
from hypothesis import strategies as st

from towpath.waiting import doubled, spread


@given(st.integers(0, 10_000))
def test_it_never_gets_shorter_nor_longer_than_the_longest(times: int) -> None:
    assert doubled(5.0, 300.0, 0) == 5.0
    assert doubled(5.0, 300.0, times) <= doubled(5.0, 300.0, times + 1) <= 300.0


@given(st.floats(0, 1), st.floats(0, 1))
def test_it_is_spread_over_half_of_itself(one: float, other: float) -> None:
    assert 5.0 <= spread(10.0, one) <= 10.0
    assert (one <= other) <= (spread(10.0, one) <= spread(10.0, other))
