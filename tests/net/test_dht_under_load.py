"""A relay whose DHT process is killed while it relays: no circuit notices, and the loop's slices stay."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.nodes import Meeting, meeting, until
from towpath.discovery.dht import Dht

pytestmark = pytest.mark.slow
MIB = 1024 * 1024
PIECE = os.urandom(MIB)
ROUNDS = 4
PIECES = 48


async def carried(m: Meeting, pieces: int) -> bool:
    """Does all that alice sends through the relay reach bob as it was?"""
    here, there = await m.pair("/load/1")

    async def send() -> str:
        digest = hashlib.sha256()
        for _ in range(pieces):
            digest.update(PIECE)
            here.write(PIECE)
            await here.drain()
        await here.close_write()
        return digest.hexdigest()

    async def receive() -> str:
        digest = hashlib.sha256()
        while data := await there.read():
            digest.update(data)
        return digest.hexdigest()

    sent, received = await asyncio.gather(send(), receive())
    await here.close()
    await there.close()
    return sent == received


async def slices(m: Meeting, work: Callable[[], Awaitable[bool]]) -> tuple[int, int]:
    """p50 and p99.9 of the relay's slices while it works, in ns."""
    m.relay._reactor.clear_slices()
    assert await work()
    told = m.relay._reactor.stats()["slice_ns"]
    return told["p50"], told["p999"]


def dht_of(m: Meeting) -> Dht:
    dht = m.relay._discovery.presence.slot.dht
    assert isinstance(dht, Dht)
    return dht


async def test_a_process_that_is_killed_again_and_again_disturbs_no_circuit() -> None:
    announced = {"network__announce": ["/ip4/192.31.196.1/tcp/4001"], "discovery__dht": True}
    async with meeting(**announced) as m:
        await until(lambda: m.relay._discovery.presence.slot.dht is not None, 30)
        dht = dht_of(m)

        async def killing() -> None:
            while True:
                await asyncio.sleep(0.25)
                if dht._process is not None:
                    os.kill(dht._process.pid, signal.SIGKILL)

        async def beside() -> bool:
            killer = asyncio.create_task(killing())
            try:
                return await carried(m, PIECES)
            finally:
                killer.cancel()

        quiet, killed = [], []
        for _ in range(ROUNDS):
            quiet.append(await slices(m, lambda: carried(m, PIECES)))
            killed.append(await slices(m, beside))
        assert dht.restarts >= 1
        print(f"slices p50, p99.9 in ns: {quiet} alone, {killed} beside killed processes; {dht.restarts} restarts")
        # The best of each: others use this machine, too. p99.9 is theirs on two processors, and recorded only.
        assert min(p50 for p50, _ in killed) < 1.5 * min(p50 for p50, _ in quiet)


async def test_the_loop_is_hardly_held_up_by_starting_and_losing_a_process() -> None:
    announced = {"network__announce": ["/ip4/192.31.196.1/tcp/4001"], "discovery__dht": True}
    async with meeting(**announced) as m:
        await until(lambda: m.relay._discovery.presence.slot.dht is not None, 30)
        dht = dht_of(m)
        late = 0.0
        for _ in range(3):
            restarts = dht.restarts
            assert dht._process is not None
            os.kill(dht._process.pid, signal.SIGKILL)
            longest = 0.0
            async with asyncio.timeout(60):
                while dht.restarts == restarts:
                    # Each turn of the loop, by processor time: what others take of this machine is not ours.
                    before = time.thread_time()
                    await asyncio.sleep(0)
                    longest = max(longest, time.thread_time() - before)
            late = longest if not late else min(late, longest)
        print(f"the longest turn of the loop took {late * 1e3:.2f} ms")
        assert late < 0.005
