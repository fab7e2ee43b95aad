"""What is the owner's own among what a node moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.nodes import ECHO, address, meeting, until
from towpath.own_traffic import smoothed

BYTES = 200_000


@given(st.floats(0, 1e9), st.integers(0, 10**9), st.floats(0, 100))
def test_a_rate_stays_between_what_it_was_and_what_moved(rate: float, moved: int, seconds: float) -> None:
    found = smoothed(rate, moved, seconds)
    now = moved / seconds if seconds else rate
    assert found == 0.0 or min(rate, now) * 0.999 <= found <= max(rate, now) * 1.001


def test_silence_brings_it_to_nothing() -> None:
    rate = 1e9
    for _ in range(100):
        rate = smoothed(rate, 0, 1.0)
    assert rate == 0.0


async def test_what_a_client_moves_is_its_own_and_what_a_relay_moves_is_not() -> None:
    async with meeting() as met:
        async with await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(met.relay)) as stream:
            stream.write(bytes(BYTES))
            await stream.drain()
            await stream.readexactly(BYTES)

        async def own(node: object) -> tuple[int, int]:
            rows = await node.traffic("5m")  # type: ignore[attr-defined]
            return sum(row["own_received"] for row in rows), sum(row["own_sent"] for row in rows)

        # Counted once a second.
        await until(lambda: met.alice.store.today().get("own_sent", 0) >= BYTES, 30)
        received, _ = await own(met.alice)
        assert received >= BYTES
        assert met.alice.limits()["rate"]["own_sent"] > 0
        relayed = await met.relay.traffic("5m")
        assert sum(row["received"] for row in relayed) >= 2 * BYTES
        assert max(await own(met.relay)) < BYTES / 10


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_changes_no_rate(seconds: float) -> None:
    assert smoothed(5.0, 100, seconds) == 5.0
