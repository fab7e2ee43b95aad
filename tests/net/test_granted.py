"""A relay's bytes wait for the next slice of its quota, and are not lost: real circuits, a real store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.unit import nodes
from towpath import Node, Stream
from towpath._native.budget import Budget
from towpath.relay.allowance import Allowance
from towpath.store import Store


@contextlib.asynccontextmanager
async def budgeted() -> AsyncIterator[tuple[nodes.Meeting, Budget]]:
    """Two peers at a relay whose budget the test holds."""
    async with nodes.relay() as middle, nodes.client() as alice, nodes.client() as bob:
        budget = Budget(middle._reactor)
        middle._relay.set_budget(budget)
        bob.set_stream_handler(nodes.ECHO, nodes.echo)
        await bob.reserve(nodes.address(middle))
        yield nodes.Meeting(middle, alice, bob), budget


async def dialed(meeting: nodes.Meeting, protocol: str) -> Stream:
    relay: Node = meeting.relay
    return await meeting.alice.connect_to_peer_via_relay(meeting.bob.peer_id, protocol, via=nodes.address(relay))


async def test_what_is_not_granted_waits_and_then_arrives() -> None:
    async with budgeted() as (meeting, budget):
        waiting = asyncio.Event()
        budget.on_waiting = waiting.set
        stream = await dialed(meeting, nodes.ECHO)
        start = budget.received
        budget.set_granted(50_000, None)
        payload = bytes(range(256)) * 1_000
        stream.write(payload)
        answer = asyncio.create_task(stream.readexactly(len(payload)))
        await asyncio.wait_for(waiting.wait(), 5)
        assert budget.received == start + 50_000, "to the byte"
        await asyncio.sleep(0.1)
        assert budget.received == start + 50_000
        assert not answer.done()
        waiting.clear()
        budget.set_granted(None, 60_000)
        sent = budget.sent
        await asyncio.wait_for(waiting.wait(), 5)
        assert budget.sent == sent + 60_000
        budget.set_granted(None, None)
        assert await asyncio.wait_for(answer, 5) == payload
        await stream.close()


async def test_slices_are_used_to_the_end_of_the_quota_without_a_reset_before(tmp_path: Path) -> None:
    limit = 30_000_000
    async with budgeted() as (meeting, budget):
        store = await Store.open(tmp_path / "towpath.db")
        seen = [0, 0]
        ended = asyncio.Event()

        def settle() -> None:
            moved = budget.received - seen[0], budget.sent - seen[1]
            seen[:] = budget.received, budget.sent
            allowance.charge(*moved)
            grant()

        def grant() -> None:
            budget.set_allowance(*allowance.left())
            budget.set_granted(*allowance.granted_left())

        stream = await dialed(meeting, nodes.ECHO)
        allowance = Allowance(store, {"hour": limit}, settle)
        await allowance.start()
        settle()
        already = budget.received
        budget.on_waiting = settle
        budget.on_exhausted = ended.set

        async def talk() -> None:
            with contextlib.suppress(Exception):
                while True:
                    stream.write(bytes(65_536))
                    await stream.readexactly(65_536)

        talking = asyncio.create_task(talk())
        await asyncio.wait_for(ended.wait(), 20)
        settle()
        used = allowance.rows()[0]["used"]
        assert 0.99 * limit <= used <= limit
        assert budget.received <= limit
        assert budget.received - already >= 0.98 * limit
        await asyncio.wait_for(talking, 5)
        await allowance.close()
        await store.close()
        again = await Store.open(tmp_path / "towpath.db")
        assert Allowance(again, {"hour": limit}, settle).rows()[0]["used"] == used, "a clean stop returns the slice"
        await again.close()
