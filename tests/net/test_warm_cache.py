"""A node that was in the network before: how soon it meets a peer, with nothing but what it kept on disk."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from tests.unit.nodes import ECHO, echo, loaded, relay
from towpath import Node

pytestmark = pytest.mark.slow

BOUND_MS = 300.0


@pytest.mark.parametrize("hide", [True, False])
async def test_the_first_connection_from_a_warm_cache_takes_no_300_ms(tmp_path: Path, hide: bool) -> None:
    async def meet(node: Node) -> float:
        begun = time.monotonic()
        async with await node.connect_with_fallback(friend.peer_id, ECHO) as stream:
            stream.write(b"hello")
            await stream.drain()
            assert await stream.readexactly(5) == b"hello"
        return (time.monotonic() - begun) * 1000

    alone = {"client.hide_ip": False}
    async with relay() as one, relay() as other:
        begin = [one.listen_addresses[0], other.listen_addresses[0]]
        async with Node(loaded(alone, {"discovery.bootstrap": begin})) as friend:
            await friend.hold_reservations()
            friend.set_stream_handler(ECHO, echo)
            known = loaded({"client.hide_ip": hide}, {"discovery.bootstrap": begin})
            async with Node(known, data=tmp_path, reachable=False) as first:
                await meet(first)
            took = []
            for _ in range(5):
                # Nothing to begin with but the cache.
                async with Node(loaded({"client.hide_ip": hide}, {}), data=tmp_path, reachable=False) as again:
                    took.append(await meet(again))
                    assert {row["source"] for row in again.relays()} == {"cache"}
    print(f"first connection from a warm cache: {statistics.median(took):.0f} ms, at most {max(took):.0f} ms")
    assert statistics.median(took) <= BOUND_MS
