"""How a node reaches others: through relays by id, address and `via`, directly, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.unit.nodes import ECHO, LOOPBACK, Meeting, Proxy, address, client, echo, meeting, relay, until
from towpath import Node, RelayMode, Stream
from towpath.addresses import parse
from towpath.errors import (
    AddressError,
    ConnectionFailed,
    DialError,
    NoRelaysAvailable,
    NoReservation,
    PeerIdMismatch,
    PermissionDenied,
    ResourceLimitExceeded,
    StreamReset,
    TimeoutExpired,
)
from towpath.identity import Identity

NOBODY = Identity(bytes(32)).text


@pytest.fixture
async def met() -> AsyncIterator[Meeting]:
    async with meeting() as met:
        yield met


async def works(stream: Stream) -> bool:
    """Says something on an ECHO stream, hears it, and closes."""
    async with stream:
        stream.write(b"hello")
        return await stream.readexactly(5) == b"hello"


def circuits(node: Node) -> list[str | None]:
    """The relays of a node's connections through relays."""
    return [row["via"] for row in node.peers() if row["via"]]


@pytest.mark.parametrize("way", ["via", "via id", "circuit", "circuit by connect", "connected relay", "reservation"])
async def test_a_peer_is_reached_each_way_that_names_a_relay_or_knows_one(met: Meeting, way: str) -> None:
    alice, target = met.alice, met.bob.peer_id
    match way:
        case "via":
            stream = await alice.connect_to_peer_via_relay(target, ECHO, via=address(met.relay))
        case "via id":
            await alice.ping(address(met.relay))
            stream = await alice.connect_to_peer_via_relay(target, ECHO, via=met.relay.relay_id)
        case "circuit":
            stream = await alice.connect_to_peer_via_relay(met.bob.circuit_addresses[0], ECHO)
        case "circuit by connect":
            stream = await alice.connect(met.bob.circuit_addresses[0], ECHO)
        case "connected relay":
            await alice.ping(address(met.relay))
            await until(lambda: alice.peers()[0]["agent"])
            stream = await alice.connect_to_peer_via_relay(target, ECHO)
        case _:
            await alice.reserve(address(met.relay))
            stream = await alice.connect_to_peer_via_relay(target, ECHO)
    assert stream.via == met.relay.relay_id
    assert await works(stream)


async def test_bootstrap_relays_are_tried_in_turn_until_one_has_the_peer(met: Meeting) -> None:
    dead = f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"
    async with relay() as empty, client(discovery__bootstrap=[dead, address(empty), address(met.relay)]) as alice:
        assert await works(await alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO))
        assert circuits(alice) == [met.relay.relay_id]
        # Its id is enough for a relay of the settings, connected or not.
        assert await works(await alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=met.relay.relay_id))


async def test_when_no_relay_leads_there_each_one_that_was_tried_is_told(met: Meeting) -> None:
    dead = f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"
    async with client(discovery__bootstrap=[dead, address(met.relay)]) as alice:
        with pytest.raises(NoRelaysAvailable) as caught:
            await alice.connect_to_peer_via_relay(NOBODY, ECHO)
    first, second = sorted(caught.value.tried, key=lambda line: not line.startswith(dead))
    assert first.startswith(f"{dead}: no connection to")
    assert "connection refused" in first
    assert second.startswith(f"{address(met.relay)}: the relay answered NO_RESERVATION (204)")
    assert str(caught.value).startswith("No relays available. Enable relay mode to help the network? Tried: ")


async def test_without_any_relay_the_question_is_asked_and_nothing_was_tried(met: Meeting) -> None:
    with pytest.raises(NoRelaysAvailable) as caught:
        await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO)
    assert caught.value.tried == []
    assert str(caught.value) == "No relays available. Enable relay mode to help the network?"


async def test_a_relay_that_was_named_raises_what_it_failed_of(met: Meeting) -> None:
    for how in ({"via": address(met.relay)}, {}):
        target = NOBODY if how else f"{address(met.relay)}/p2p-circuit/p2p/{NOBODY}"
        with pytest.raises(NoReservation) as caught:
            await met.alice.connect_to_peer_via_relay(target, ECHO, **how)
        assert (caught.value.status, caught.value.name) == (204, "NO_RESERVATION")


async def test_a_refusal_is_told_rather_than_that_nobody_was_there() -> None:
    async with (
        meeting(relay__max_circuits=0) as met,
        relay() as empty,
        client(discovery__bootstrap=[address(met.relay), address(empty)]) as alice,
    ):
        with pytest.raises(ResourceLimitExceeded):
            await alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO)


async def test_nobody_reaches_himself_or_the_relay_as_a_peer(met: Meeting) -> None:
    with pytest.raises(DialError, match="this node itself"):
        await met.alice.connect_to_peer_via_relay(met.alice.peer_id, ECHO, via=address(met.relay))
    with pytest.raises(PermissionDenied):
        await met.alice.connect_to_peer_via_relay(met.relay.relay_id, ECHO, via=address(met.relay))


async def test_a_peer_that_gave_its_reservation_up_takes_no_circuits_on_the_connection_that_is_left(
    met: Meeting,
) -> None:
    held = await met.alice.reserve(address(met.relay))
    here, there = await met.pair()
    way = met.alice.circuit_addresses[0]
    await met.alice.release(held)
    async with client() as carol:
        with pytest.raises(ConnectionFailed):
            await carol.connect(way, ECHO)
    here.write(b"still there")
    assert await there.readexactly(11) == b"still there"


async def test_a_relay_whose_id_is_not_connected_must_be_given_by_its_address(met: Meeting) -> None:
    with pytest.raises(DialError, match="give its multiaddr"):
        await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=met.relay.relay_id)


@pytest.mark.parametrize(
    "target",
    ["", "nonsense", "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1", f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}/p2p-circuit"],
)
async def test_what_is_no_target_is_told(met: Meeting, target: str) -> None:
    for connect in (met.alice.connect, met.alice.connect_to_peer_via_relay, met.alice.connect_with_fallback):
        with pytest.raises((AddressError, DialError)):
            await connect(target, ECHO, timeout=5)


# --- one connection a peer ---------------------------------------------------------------------------------------


async def test_all_streams_to_a_peer_share_one_connection_and_circuit(met: Meeting) -> None:
    streams = [await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(met.relay)) for _ in "abc"]
    assert all([await works(stream) for stream in streams])
    assert circuits(met.alice) == [met.relay.relay_id]
    assert circuits(met.bob) == [met.relay.relay_id]
    assert len(met.relay.circuits()) == 1


async def test_many_who_connect_at_once_share_one_connection_and_circuit(met: Meeting) -> None:
    ways = [met.bob.circuit_addresses[0]] * 10 + [met.bob.peer_id] * 10
    settings = {"discovery__bootstrap": [address(met.relay)], "client__hide_ip": False}
    async with client(**settings) as alice, asyncio.TaskGroup() as group:
        asked = [group.create_task(alice.connect_to_peer_via_relay(way, ECHO)) for way in ways]
        for one in asked:
            assert await works(await one)
        assert circuits(alice) == [met.relay.relay_id]
        assert len(met.relay.circuits()) == 1
        assert sum(row["identity"] == "peer" for row in alice.peers()) == 2


async def test_many_who_reserve_at_once_share_one_connection(met: Meeting) -> None:
    held = await asyncio.gather(*(met.alice.reserve(address(met.relay)) for _ in range(5)))
    assert len(met.alice.peers()) == 1
    for one in held[1:]:
        await met.alice.release(one)
    assert [row["state"] for row in met.alice.reservations()] == ["active"]
    met.alice.set_stream_handler(ECHO, echo)
    assert await works(await met.bob.connect(met.alice.circuit_addresses[0], ECHO))


async def test_the_one_who_dials_first_may_give_up_and_the_others_go_on(met: Meeting) -> None:
    way = met.bob.circuit_addresses[0]
    first, second, third = (asyncio.ensure_future(met.alice.connect(way, ECHO)) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    assert await works(await second)
    assert await works(await third)
    assert first.cancelled()
    assert len(met.relay.circuits()) == 1


async def test_both_may_connect_to_each_other_at_once(met: Meeting) -> None:
    await met.alice.reserve(address(met.relay))
    met.alice.set_stream_handler(ECHO, echo)
    one, other = await asyncio.gather(
        met.alice.connect(met.bob.circuit_addresses[0], ECHO), met.bob.connect(met.alice.circuit_addresses[0], ECHO)
    )
    assert await works(one)
    assert await works(other)


async def test_a_peer_at_two_relays_is_reached_through_the_one_asked_for(met: Meeting) -> None:
    async with relay() as second:
        await met.bob.reserve(address(second))
        for middle in (met.relay, second):
            stream = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(middle))
            assert stream.via == middle.relay_id
            assert await works(stream)


# --- direct ------------------------------------------------------------------------------------------------------


async def test_a_listening_identity_is_reached_directly(met: Meeting) -> None:
    stream = await met.alice.connect(address(met.relay), "/ipfs/ping/1.0.0")
    assert (stream.peer_id, stream.via) == (met.relay.relay_id, None)
    stream.write(b"p" * 32)
    assert await stream.readexactly(32) == b"p" * 32


async def test_someone_else_at_the_address_is_refused(met: Meeting) -> None:
    with pytest.raises(PeerIdMismatch, match="another identity"):
        await met.alice.connect(f"{parse(address(met.relay)).transport}/p2p/{NOBODY}", ECHO)
    assert met.alice.peers() == []
    await until(lambda: len(met.relay.peers()) == 1)


async def test_an_address_without_a_peer_is_refused(met: Meeting) -> None:
    for connect in (met.alice.connect, met.alice.connect_with_fallback):
        with pytest.raises(AddressError, match="/p2p/"):
            await connect(parse(address(met.relay)).transport, ECHO)


async def test_ipv6_carries_reservations_circuits_and_direct_connections() -> None:
    async with meeting(network__listen=["/ip6/::1/tcp/0"]) as met:
        assert address(met.relay).startswith("/ip6/::1/tcp/")
        assert met.bob.circuit_addresses == [f"{address(met.relay)}/p2p-circuit/p2p/{met.bob.peer_id}"]
        assert await works(await met.alice.connect(met.bob.circuit_addresses[0], ECHO))
        assert await met.alice.ping(address(met.relay)) > 0


async def test_a_relay_on_both_families_is_one_relay() -> None:
    async with meeting(network__listen=[*LOOPBACK, "/ip6/::1/tcp/0"]) as met:
        four, six = met.relay.listen_addresses
        assert await works(await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=six))
        assert await works(await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=four))
        assert len(met.relay.circuits()) == 1


async def test_a_name_is_resolved(met: Meeting) -> None:
    by_name = address(met.relay).replace("/ip4/127.0.0.1/", "/dns4/localhost/")
    assert await works(await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=by_name))


# --- fallback ----------------------------------------------------------------------------------------------------


async def test_fallback_goes_through_relays_where_they_lead(met: Meeting) -> None:
    async with client(discovery__bootstrap=[address(met.relay)], client__allow_direct="always") as alice:
        for target in (met.bob.peer_id, met.bob.circuit_addresses[0], f"/ip4/127.0.0.1/tcp/1/p2p/{met.bob.peer_id}"):
            stream = await alice.connect_with_fallback(target, ECHO)
            assert stream.via == met.relay.relay_id
            assert await works(stream)


@pytest.mark.parametrize("allowed", ["never", "ask"])
async def test_fallback_shows_no_address_unless_always_allowed(met: Meeting, allowed: str) -> None:
    async with relay() as target, client(client__allow_direct=allowed) as alice:
        with pytest.raises(NoRelaysAvailable, match=r"directly: not tried.*client\.allow_direct"):
            await alice.connect_with_fallback(address(target), ECHO)
        assert target.data_plane()["accepted"] == 0


async def test_fallback_connects_directly_when_always_allowed(met: Meeting) -> None:
    async with relay() as target, client(client__allow_direct="always") as alice:
        stream = await alice.connect_with_fallback(address(target), "/ipfs/ping/1.0.0")
        assert stream.via is None


async def test_silent_relays_leave_fallback_half_of_the_time(met: Meeting) -> None:
    async with Proxy(parse(address(met.relay)).port) as silent:
        silent.fall_silent()
        mute = f"/ip4/127.0.0.1/tcp/{silent.port}/p2p/{NOBODY}"
        async with relay() as target, client(discovery__bootstrap=[mute], client__allow_direct="always") as alice:
            stream = await alice.connect_with_fallback(address(target), "/ipfs/ping/1.0.0", timeout=1)
            assert stream.via is None


async def test_fallback_has_no_direct_way_to_a_mere_id(met: Meeting) -> None:
    async with client(client__allow_direct="always") as alice:
        with pytest.raises(NoRelaysAvailable):
            await alice.connect_with_fallback(met.bob.peer_id, ECHO)


# --- time, and giving up -----------------------------------------------------------------------------------------


async def test_a_relay_that_says_nothing_costs_its_share_of_the_time(met: Meeting) -> None:
    async with Proxy(parse(address(met.relay)).port) as silent:
        silent.fall_silent()
        mute = f"/ip4/127.0.0.1/tcp/{silent.port}/p2p/{NOBODY}"
        async with client(discovery__bootstrap=[mute, address(met.relay)]) as alice:
            stream = await alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, timeout=2)
            assert await works(stream)


async def test_what_took_too_long_says_what_it_was_and_leaves_nothing(met: Meeting) -> None:
    async with Proxy(parse(address(met.relay)).port) as silent:
        silent.fall_silent()
        mute = f"/ip4/127.0.0.1/tcp/{silent.port}/p2p/{met.relay.relay_id}"
        for work, what in (
            (met.alice.connect(mute, ECHO, timeout=0.05), "connecting to"),
            (met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, mute, 0.05), "connecting to"),
            (met.alice.reserve(mute, timeout=0.05), "reserving at"),
            (met.alice.ping(mute, timeout=0.05), "pinging|connecting"),
        ):
            with pytest.raises(TimeoutExpired, match=rf"({what}) .* took longer than 0\.05 s"):
                await work
            await until(lambda: met.alice.data_plane()["connections"] == 0)
        assert met.alice.reservations() == []
        await until(lambda: met.alice.data_plane()["timers"] == 0)


@pytest.mark.parametrize("turns", range(12))
async def test_a_connect_cancelled_at_any_moment_leaves_nothing_that_is_not_shared(met: Meeting, turns: int) -> None:
    tasks = len(asyncio.all_tasks())
    connecting = asyncio.ensure_future(met.alice.connect(met.bob.circuit_addresses[0], ECHO))
    for _ in range(turns):
        await asyncio.sleep(0)
    connecting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        (await connecting).reset()
    # Either no circuit is left, or the connection in it stands and is what the next one gets.
    stream = await met.alice.connect(met.bob.circuit_addresses[0], ECHO)
    assert await works(stream)
    assert len(circuits(met.alice)) == 1
    await until(lambda: len(met.relay.circuits()) == 1)
    await until(lambda: len(asyncio.all_tasks()) == tasks)


@pytest.mark.parametrize("delay", [0.0005 * n for n in range(1, 9)])
async def test_a_connect_cancelled_after_a_while_leaves_nothing_that_is_not_shared(met: Meeting, delay: float) -> None:
    async def connect_again_and_again() -> None:
        while True:
            await met.alice.connect(met.bob.circuit_addresses[0], ECHO)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connect_again_and_again(), delay)
    await met.settle()
    assert len(circuits(met.alice)) == 1
    await until(lambda: len(met.relay.circuits()) == 1)


async def test_a_connection_that_is_lost_is_made_anew(met: Meeting) -> None:
    stream, _ = await met.pair()
    await met.relay.set_relay_mode(RelayMode.CLIENT_ONLY)
    with pytest.raises(StreamReset):
        await stream.read()
    assert circuits(met.alice) == []
    await met.relay.set_relay_mode(RelayMode.DEDICATED_SERVER)
    await met.bob.reserve(address(met.relay))
    assert await works(await met.alice.connect(met.bob.circuit_addresses[0], ECHO))
