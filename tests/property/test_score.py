"""The score of a relay: the documented formula, and what holds of it whatever was measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.reputation.score import PeerStats, RelayReputation, ranking, score, stars

shares = st.floats(0, 1)
counts = st.floats(0, 1e6)
latencies = st.none() | st.floats(0, 1e5)


@given(shares, counts, counts, latencies)
def test_a_score_is_between_0_and_100_and_grows_with_what_is_good(
    uptime: float, successful: float, failed: float, latency: float | None
) -> None:
    worth = score(uptime, successful, failed, latency)
    assert 0 <= worth <= 100
    assert score(uptime, successful + 1, failed, latency) >= worth
    assert score(uptime, successful, failed + 1, latency) <= worth
    assert score(min(1.0, uptime + 0.1), successful, failed, latency) >= worth
    if latency is not None:
        assert score(uptime, successful, failed, latency * 2 + 1) <= worth


@pytest.mark.parametrize(
    ("measured", "worth"),
    [
        ((0.0, 0, 0, None), 0),
        ((1.0, 1, 0, 5.0), 100),
        ((1.0, 1, 0, 20.0), 85),
        ((0.5, 3, 1, 100.0), 51),
        ((0.0, 0, 5, None), 0),
        ((1.0, 10, 0, 0.0), 100),
    ],
)
def test_the_score_is_the_one_that_is_documented(
    measured: tuple[float, float, float, float | None], worth: int
) -> None:
    assert score(*measured) == worth
    uptime, successful, failed, latency = measured
    reputation = RelayReputation(
        successful_circuits=successful,
        failed_circuits=failed,
        uptime_percentage=100 * uptime,
        avg_latency_ms=latency,
    )
    assert (reputation.score, reputation.stars) == (worth, stars(worth))


def test_a_newcomer_of_whom_nothing_is_known_has_no_stars_and_no_score() -> None:
    assert (RelayReputation().score, RelayReputation().stars) == (0, 0)
    assert PeerStats().reputation is None


def test_87_of_100_are_four_stars() -> None:
    assert [stars(worth) for worth in (0, 9, 31, 87, 91, 100)] == [0, 0, 2, 4, 5, 5]


@given(st.floats(0, 100), st.none() | st.floats(0, 100))
def test_the_ranking_lies_between_the_own_score_and_the_walk_score(own: float, walk: float | None) -> None:
    ranked = ranking(own, walk)
    other = own if walk is None else walk
    assert min(own, other) - 1e-9 <= ranked <= max(own, other) + 1e-9
    assert ranking(100, 0) == pytest.approx(60)
    assert ranking(0, 100) == pytest.approx(40)
