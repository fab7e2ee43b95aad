"""Two reservations that a node holds by itself: taken, replaced, given up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.nodes import ECHO, LOOPBACK, Proxy, address, client, echo, loaded, relay, until
from towpath import Node, RelayMode
from towpath.addresses import parse
from towpath.client import reservations
from towpath.client.choice import BOOTSTRAP_S
from towpath.errors import NoRelaysAvailable
from towpath.identity import Identity

NOBODY = Identity(bytes(32)).text


def reachable(*relays: Node, **settings: Any) -> Node:
    """A node that keeps reservations by itself, and knows these relays."""
    given = {"discovery.bootstrap": [address(one) for one in relays]}
    return Node(loaded(given, settings))


@contextlib.asynccontextmanager
async def relays(number: int) -> AsyncIterator[list[Node]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(relay()) for _ in range(number)]


async def test_two_are_held_one_active_and_one_standby() -> None:
    async with relays(3) as known, reachable(*known) as node:
        await until(lambda: len(node.held_relays()) == 2)
        rows = {row["relay_id"]: row["state"] for row in node.relays()}
        assert sorted(rows.values()) == ["active", "candidate", "standby"]
        active, standby = node.status()["client"]["connected_via"]
        assert (rows[active], rows[standby]) == ("active", "standby")
        assert len(node.circuit_addresses) == 2
        node.set_stream_handler(ECHO, echo)
        async with client() as alice:
            for way in node.circuit_addresses:
                async with await alice.connect(way, ECHO) as stream:
                    stream.write(b"hello")
                    assert await stream.readexactly(5) == b"hello"


async def test_one_that_goes_is_replaced_and_the_other_becomes_active() -> None:
    async with relays(3) as known, reachable(*known) as node:
        await until(lambda: len(node.held_relays()) == 2)
        (active, standby), all_three = node.held_relays(), {address(one) for one in known}
        (third,) = all_three - {active, standby}
        told: list[list[str]] = []
        node.on_relays_changed(lambda: told.append(node.held_relays()))
        await next(one for one in known if address(one) == active).close()
        await until(lambda: set(node.held_relays()) == {standby, third})
        # Before the third came, the standby was all that led there: how the two rank then, their scores say.
        assert next(held for held in told if active not in held) == [standby]


async def test_one_that_says_that_it_moves_out_is_replaced_before_it_ends() -> None:
    async with relays(2) as known, relay(relay__drain_grace="60s") as leaving, reachable(leaving, known[0]) as node:
        await until(lambda: len(node.held_relays()) == 2)
        await node.hold_reservations([address(known[1])])
        await leaving.pause(7200)
        await until(lambda: node.leaving(address(leaving)))
        assert address(leaving) not in node.held_relays()
        await until(lambda: set(node.held_relays()) == {address(one) for one in known})
        (row,) = [row for row in node.relays() if row["relay_id"] == leaving.relay_id]
        assert row["state"] in ("avoided", "candidate")


async def test_a_relay_that_refuses_or_is_dead_costs_nobody_a_reservation() -> None:
    dead = f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"
    async with relay(relay__max_reservations=0) as full, relays(2) as known:
        ways = [dead, *map(address, [full, *known])]
        async with reachable(discovery__bootstrap=ways) as node:
            await until(lambda: set(node.held_relays()) == {address(one) for one in known})


async def test_a_relay_that_comes_up_late_is_reserved_at_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reservations, "_FIRST_WAIT_S", 0.02)
    settings = {"relay.mode": "dedicated", "network.listen": list(LOOPBACK)}
    async with Node(loaded(settings, {}), data=tmp_path) as before:
        at = address(before)
    async with Node(loaded({"discovery.bootstrap": [at]}, {})) as node:
        with pytest.raises(NoRelaysAvailable, match="connection refused"):
            await node.hold_reservations(timeout=0.3)
        again = settings | {"network.listen": [at.partition("/p2p/")[0]]}
        async with Node(loaded(again, {}), data=tmp_path):
            await until(lambda: node.held_relays() == [at])


async def test_without_any_relay_each_answer_is_told() -> None:
    async with relay(relay__max_reservations=0) as full, reachable() as node:
        with pytest.raises(NoRelaysAvailable) as caught:
            await node.hold_reservations([address(full)], timeout=1)
    (line,) = caught.value.tried
    assert line.startswith(f"{address(full)}: the relay answered RESERVATION_REFUSED")


async def test_a_better_one_takes_the_place_of_a_bootstrap_relay() -> None:
    async with relays(3) as (first, second, volunteer), reachable(first, second) as node:
        await until(lambda: len(node.held_relays()) == 2)
        for held in node._client.held:
            held.since -= BOOTSTRAP_S
        node._client.guide.met(volunteer._relay.peer_id, [address(volunteer)])
        node._client.holding.changed()
        await until(lambda: node.held_relays()[:1] == [address(volunteer)])
        await until(lambda: len(node.reservations()) == 2)


async def test_what_the_application_reserved_stays_and_counts() -> None:
    async with relays(3) as known, reachable() as node:
        kept = [await node.reserve(address(one)) for one in known]
        await node.hold_reservations(timeout=5)
        assert [held.state for held in kept] == ["active"] * 3
        await node.release(kept[0])
        assert len(node.held_relays()) == 2


async def test_a_dedicated_relay_reserves_nowhere_and_a_cooperative_one_not_at_itself() -> None:
    async with relay() as other:
        settings = {"network.listen": list(LOOPBACK), "discovery.bootstrap": [address(other)]}
        async with Node(loaded(settings | {"relay.mode": "dedicated"}, {})) as dedicated:
            async with Node(loaded(settings | {"relay.mode": "cooperative"}, {})) as cooperative:
                own = cooperative.listen_addresses
                await cooperative.change_settings({"discovery.bootstrap": [*own, address(other)]}, persist=False)
                await until(lambda: cooperative.held_relays() == [address(other)])
            assert dedicated.reservations() == []
            await dedicated.set_relay_mode(RelayMode.CLIENT_ONLY)
            await until(lambda: dedicated.held_relays() == [address(other)])


async def test_closing_ends_the_asking() -> None:
    tasks = asyncio.all_tasks()
    async with reachable() as node:
        with pytest.raises(NoRelaysAvailable):
            await node.hold_reservations([f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"], timeout=0.05)
    assert asyncio.all_tasks() <= tasks


@pytest.mark.slow
@pytest.mark.parametrize("dead", [False, True])
async def test_a_relay_that_is_doubted_is_cut_off_when_it_does_not_answer(dead: bool) -> None:
    async with relay() as middle, Proxy(parse(address(middle)).port) as proxy, client() as node:
        way = f"/ip4/127.0.0.1/tcp/{proxy.port}/p2p/{middle.relay_id}"
        held = await node.reserve(way)
        session = held.session
        assert session is not None
        await until(lambda: not session.ping_pending)
        if dead:
            proxy.fall_silent()
            proxy.die()
        asked = asyncio.get_running_loop().time()
        node.doubt(middle.relay_id)
        if dead:
            await until(lambda: session.closed, 15)
            assert asyncio.get_running_loop().time() - asked >= 0.9
            await until(lambda: node.held_relays() == [])
        else:
            await asyncio.sleep(1.1)
            assert not session.closed
            assert node.held_relays() == [way]
