"""kill -9 of a relay under traffic: it starts again on what it kept, passes no quota, and its totals lose a second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.unit import nodes
from towpath import Stream
from towpath.control.client import ask
from towpath.errors import TowpathError

pytestmark = pytest.mark.slow

FIRST = 20_000_000
"""The quota at first; its owner adds a third whenever a round found it used up. A crash costs up to a twentieth."""
RATE = 8_000_000
LOST_S = 1.0
WAIT = 20.0


@dataclass
class Carried:
    """What alice's and bob's applications know to have come through the relay."""

    marks: list[tuple[float, int]] = field(default_factory=list)

    @property
    def all(self) -> int:
        return self.marks[-1][1] if self.marks else 0

    def until(self, moment: float) -> int:
        """What had come through by then."""
        return max((total for at, total in self.marks if at <= moment), default=0)


class Relay:
    """A relay as a process, on a data directory that outlives it."""

    def __init__(self, data: Path, limit: int) -> None:
        self.data = data
        self.limit = limit
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("TOWPATH_")}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its address; at the end it is killed."""
        settings = (f"relay.max_bandwidth_per_month={self.limit}B", f"relay.max_rate={RATE}B/s")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "towpath", "run", "--json", "--no-web", "--mode", "dedicated"),
            *("--listen", "/ip4/127.0.0.1/tcp/0", "--data", str(self.data)),
            *(word for setting in settings for word in ("--set", setting)),
            stdout=asyncio.subprocess.PIPE,
            env=self._environ,
        )
        assert process.stdout is not None
        try:
            ready: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT))
            yield ready["listen"][0]
        finally:
            process.kill()
            await process.wait()

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = await asyncio.to_thread(ask, self.data, "/v1/status")
        return found


async def carry(address: str, carried: Carried) -> None:
    """Sends through the relay, both ways, until it dies; returns at once when it takes nobody."""
    loop = asyncio.get_running_loop()
    async with nodes.client() as alice, nodes.client() as bob:
        bob.set_stream_handler(nodes.ECHO, nodes.echo)

        async def receive(stream: Stream) -> None:
            total = carried.all
            while part := await stream.read(65_536):
                # It came in from alice and again from bob.
                total += 2 * len(part)
                carried.marks.append((loop.time(), total))

        with contextlib.suppress(TowpathError, OSError):
            await bob.reserve(address)
            async with await alice.connect_to_peer_via_relay(bob.peer_id, nodes.ECHO, via=address) as stream:
                receiving = asyncio.create_task(receive(stream))
                try:
                    while not receiving.done():
                        stream.write(bytes(16_384))
                        await stream.drain()
                finally:
                    receiving.cancel()
                    await asyncio.wait([receiving])


@pytest.mark.parametrize("rounds", [8, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(3_000)])])
async def test_a_relay_killed_under_traffic_has_lost_a_second_and_passed_nothing(tmp_path: Path, rounds: int) -> None:
    relay = Relay(tmp_path / "data", FIRST)
    loop = asyncio.get_running_loop()
    chance = random.Random(rounds)
    used = total = most_lost = carried_in_all = idle_rounds = 0
    for _ in range(rounds):
        carried = Carried()
        async with relay.running() as address:
            found = await relay.status()
            row = next(row for row in found["budget"] if row["period"] == "month")
            assert row["limit"] == relay.limit
            assert row["used"] >= used, "what was used went back"
            assert row["used"] >= carried_in_all, "what was used is forgotten"
            assert row["used"] <= row["limit"]
            assert found["bytes_relayed_total"] >= total, "a total lost more than the last second"
            used = row["used"]
            traffic = asyncio.create_task(carry(address, carried))
            await asyncio.wait([traffic], timeout=chance.choice([0.2, 0.6, chance.uniform(1.2, 2.5)]))
            killed = loop.time()
        await asyncio.wait_for(traffic, WAIT)
        safe = carried.until(killed - LOST_S)
        total = found["bytes_relayed_total"] + safe
        most_lost = max(most_lost, carried.all - safe)
        carried_in_all += carried.all
        idle_rounds += not carried.all
        assert carried_in_all <= relay.limit, "the quota was passed"
        if not carried.all:
            relay.limit += relay.limit // 3
    assert most_lost, "there was something to lose"
    # How much a few rounds carry is the machine's affair.
    assert idle_rounds < rounds
    if rounds > 100:
        assert 0 < idle_rounds < rounds // 2, "the quota was used up, but not all the time"
    assert not list(relay.data.glob("*.damaged-*"))
