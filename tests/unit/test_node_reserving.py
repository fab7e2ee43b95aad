"""Reservations that a node holds: taken, refreshed, lost, taken again, given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.nodes import ECHO, LOOPBACK, Proxy, address, client, echo, loaded, relay, until
from towpath import Node, RelayMode
from towpath._native.messages import read_voucher
from towpath.addresses import parse, peer_id_to_bytes
from towpath.client import liveness, reservations
from towpath.client.reservations import HeldReservation
from towpath.errors import AddressError, DialError, NoReservation, ProtocolNotSupported, ReservationRefused

PING = "/ipfs/ping/1.0.0"


@pytest.fixture
async def middle() -> AsyncIterator[Node]:
    async with relay() as node:
        yield node


@pytest.fixture
async def bob() -> AsyncIterator[Node]:
    async with client() as node:
        node.set_stream_handler(ECHO, echo)
        yield node


@pytest.fixture
async def alice() -> AsyncIterator[Node]:
    async with client() as node:
        yield node


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts are a fiftieth of what they are."""
    monkeypatch.setattr(reservations, "_FIRST_WAIT_S", 0.02)


def granted(node: Node) -> list[str]:
    """Who holds a reservation at this relay."""
    return [row["peer"] for row in node.reservations() if row["direction"] == "granted"]


def state(node: Node) -> list[str]:
    """The states of the reservations that a node holds."""
    return [row["state"] for row in node.reservations() if row["direction"] == "held"]


async def test_a_reservation_tells_its_time_its_voucher_and_the_relays_addresses(middle: Node, bob: Node) -> None:
    held = await bob.reserve(address(middle))
    assert (held.relay_id, held.relay_address, held.state) == (middle.relay_id, address(middle), "active")
    assert 3590 < held.expires_at - time.time() <= 3600
    assert held.addresses == middle.listen_addresses
    assert held.limit is None
    assert held.voucher is not None
    told = (peer_id_to_bytes(middle.relay_id), peer_id_to_bytes(bob.peer_id), int(held.expires_at))
    assert read_voucher(held.voucher) == told
    assert bob.circuit_addresses == [f"{address(middle)}/p2p-circuit/p2p/{bob.peer_id}"]
    assert granted(middle) == [bob.peer_id]


async def test_limits_that_the_relay_tells_are_known(bob: Node) -> None:
    async with relay(relay__circuit_duration="90s", relay__circuit_data="2MiB") as limited:
        assert (await bob.reserve(address(limited))).limit == (90, 2 * 1024 * 1024)
    async with relay(relay__circuit_duration="90s") as limited:
        assert (await bob.reserve(address(limited))).limit == (90, None)


async def test_two_relays_are_two_ways(middle: Node, bob: Node) -> None:
    async with relay() as other:
        held = [await bob.reserve(address(node)) for node in (middle, other)]
        assert [way.partition("/p2p-circuit")[0] for way in bob.circuit_addresses] == [address(middle), address(other)]
        assert bob.status()["client"]["connected_via"] == [middle.relay_id, other.relay_id]
        await bob.release(held[0])
        assert bob.status()["client"]["connected_via"] == [other.relay_id]


@pytest.mark.slow
async def test_a_kept_reservation_is_refreshed_before_its_end(bob: Node, alice: Node) -> None:
    async with relay(relay__reservation_ttl="4s") as brief:
        held = await bob.reserve(address(brief))
        first = held.expires_at
        await until(lambda: held.expires_at > first)
        assert time.time() < first
        assert held.state == "active"
        assert brief.data_plane()["reservations_made"] == 2
        await asyncio.sleep(max(0.0, first + 0.1 - time.time()))
        assert await alice.ping(bob.circuit_addresses[0]) > 0


async def test_one_that_is_not_kept_ends_in_time_and_lets_the_connection_go(bob: Node, alice: Node) -> None:
    async with relay(relay__reservation_ttl="1s") as brief:
        held = await bob.reserve(address(brief), keep=False)
        way = bob.circuit_addresses[0]
        await until(lambda: held.state == "lost")
        await until(lambda: granted(brief) == [])
        assert bob.circuit_addresses == []
        assert bob._peer.session_of(peer_id_to_bytes(brief.relay_id)).pins == 0  # type: ignore[union-attr]
        with pytest.raises(NoReservation):
            await alice.connect(way, ECHO)
        await bob.release(held)
        assert held.state == "released"


async def test_a_release_is_known_to_the_relay_at_once(middle: Node, bob: Node, alice: Node) -> None:
    held = await bob.reserve(address(middle))
    way = bob.circuit_addresses[0]
    # Nothing but the control stream.
    await until(lambda: bob.peers()[0]["streams"] == 1)
    await bob.release(held)
    await bob.release(held)
    assert held.state == "released"
    assert bob.circuit_addresses == []
    assert bob.reservations() == []
    await until(lambda: granted(middle) == [])
    with pytest.raises(NoReservation):
        await alice.connect(way, ECHO)


async def test_a_refused_reservation_leaves_nothing(bob: Node) -> None:
    async with relay(relay__max_reservations=0) as full:
        with pytest.raises(ReservationRefused) as caught:
            await bob.reserve(address(full))
        assert (caught.value.status, caught.value.name) == (200, "RESERVATION_REFUSED")
        assert bob.reservations() == []
        await until(lambda: bob.data_plane()["connections"] == 0)


async def test_reserving_where_nobody_relays_or_listens_is_told(bob: Node) -> None:
    async with relay(relay__mode="client") as node:
        with pytest.raises(ProtocolNotSupported, match="hop"):
            await bob.reserve(address(node))
    with pytest.raises(DialError, match="connection refused"):
        await bob.reserve(address(node))
    assert bob.reservations() == []


@pytest.mark.parametrize(
    "place", ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/p2p/{0}/p2p-circuit/p2p/{0}", "{0}", "nonsense"]
)
async def test_only_a_relays_own_address_can_be_reserved_at(bob: Node, place: str) -> None:
    with pytest.raises((DialError, AddressError)):
        await bob.reserve(place.format(bob.peer_id))
    assert bob.reservations() == []


@pytest.mark.usefixtures("impatient")
async def test_a_relay_that_restarts_is_reserved_at_again(tmp_path: Path, bob: Node, alice: Node) -> None:
    settings = {"relay.mode": "dedicated", "network.listen": list(LOOPBACK)}
    async with Node(loaded(settings, {}), data=tmp_path) as before:
        held = await bob.reserve(address(before))
        at = address(before)
    await until(lambda: held.state == "lost")
    await until(lambda: held.failures > 0)
    assert bob.circuit_addresses == []
    assert bob.relays()[0]["state"] == "candidate"
    assert "failures in a row" in bob.relays()[0]["reasons"][0]
    settings["network.listen"] = [parse(at).transport]
    async with Node(loaded(settings, {}), data=tmp_path) as after:
        assert address(after) == at
        await until(lambda: held.state == "active")
        assert held.failures == 0
        assert await alice.ping(bob.circuit_addresses[0]) > 0


@pytest.mark.usefixtures("impatient")
async def test_a_relay_that_stops_relaying_is_asked_until_it_relays_again(bob: Node) -> None:
    async with relay(relay__reservation_ttl="1s") as fickle:
        held = await bob.reserve(address(fickle))
        await fickle.set_relay_mode(RelayMode.CLIENT_ONLY)
        await until(lambda: held.failures > 1)
        assert held.state == "lost"
        await fickle.set_relay_mode(RelayMode.COOPERATIVE)
        await until(lambda: held.state == "active")
        assert granted(fickle) == [bob.peer_id]


@pytest.mark.usefixtures("impatient")
async def test_a_relay_that_falls_silent_is_noticed(
    middle: Node, bob: Node, alice: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PROBE_S", 0.1)
    monkeypatch.setattr(liveness, "PATIENCE_S", 0.3)
    async with Proxy(parse(address(middle)).port) as between:
        way = f"/ip4/127.0.0.1/tcp/{between.port}/p2p/{middle.relay_id}"
        held = await bob.reserve(way)
        await asyncio.sleep(0.35)
        assert held.state == "active"
        assert between.connections == 1
        between.fall_silent()
        begun = time.monotonic()
        await until(lambda: held.state == "lost")
        assert time.monotonic() - begun < 3
        await until(lambda: between.connections > 1)
        assert state(bob) == ["lost"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("when", ["active", "lost"])
async def test_a_node_that_ends_keeps_asking_nobody(middle: Node, when: str) -> None:
    tasks = asyncio.all_tasks()
    async with client() as bob:
        held = await bob.reserve(address(middle))
        if when == "lost":
            await middle.close()
            await until(lambda: held.failures > 1)
    assert held.state == "released"
    assert asyncio.all_tasks() <= tasks
    if when == "active":
        await until(lambda: middle.peers() == [])
        assert granted(middle) == []


async def test_stopping_is_cancelled_with_whoever_stops(middle: Node, bob: Node) -> None:
    held = await bob.reserve(address(middle))
    releasing = asyncio.ensure_future(bob.release(held))
    await asyncio.sleep(0)
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    assert held.session is None
    assert bob.reservations() == []


async def test_a_reservation_released_while_it_is_asked_for_is_not_kept(middle: Node, bob: Node) -> None:
    tasks = len(asyncio.all_tasks())
    relay_id = peer_id_to_bytes(middle.relay_id)

    async def connect_and_release() -> object:
        session = await bob._client.dialer.connect(parse(address(middle)))
        await held.stop()
        return session

    held = HeldReservation(relay_id, address(middle), connect_and_release, True)  # type: ignore[arg-type]
    await held.start()
    assert (held.state, held.session) == ("released", None)
    assert len(asyncio.all_tasks()) == tasks
