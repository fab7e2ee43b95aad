"""In which order ways to a peer are tried: relays of users, bootstrap relays, then the peer itself if allowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.unit.nodes import ECHO, Proxy, address, client, echo, relay, until
from towpath import Node
from towpath.addresses import parse
from towpath.errors import NoRelaysAvailable
from towpath.identity import Identity

PING = "/ipfs/ping/1.0.0"
NOBODY = Identity(bytes(32)).text


@contextlib.asynccontextmanager
async def at(*relays: Node) -> AsyncIterator[Node]:
    async with client() as bob:
        bob.set_stream_handler(ECHO, echo)
        for one in relays:
            await bob.reserve(address(one))
        yield bob


async def no_record(target: bytes) -> None:
    return None


def at_work() -> list[str]:
    """Tasks of the node that still try something."""
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    return [name for name in names if name.startswith(("Race.", "Plans.", "Asking.", "Connector.", "_next"))]


def knows(node: Node, *volunteers: Node) -> None:
    """Tells it of relays, as if it had found them."""
    for one in volunteers:
        node._client.guide.met(one._relay.peer_id, [address(one)])


async def test_relays_of_users_come_before_bootstrap_relays() -> None:
    async with (
        relay() as volunteer,
        relay() as bootstrap,
        at(volunteer, bootstrap) as bob,
        client(discovery__bootstrap=[address(bootstrap)], client__hide_ip=False) as alice,
    ):
        knows(alice, volunteer)
        for _ in range(3):
            stream = await alice.connect_with_fallback(bob.peer_id, ECHO)
            assert stream.via == volunteer.relay_id
        assert alice.status()["client"]["bootstrap_share"] == 0


async def test_bootstrap_relays_come_when_no_other_leads_there_and_are_counted() -> None:
    async with (
        relay() as volunteer,
        relay() as bootstrap,
        at(bootstrap) as bob,
        client(discovery__bootstrap=[address(bootstrap)], client__hide_ip=False) as alice,
    ):
        knows(alice, volunteer)
        stream = await alice.connect_with_fallback(bob.peer_id, ECHO)
        assert stream.via == bootstrap.relay_id
        assert alice.status()["client"]["bootstrap_share"] == 1


@pytest.mark.slow
async def test_silent_relays_hold_bootstrap_relays_up_for_two_seconds_only() -> None:
    async with (
        relay() as volunteer,
        relay() as bootstrap,
        at(bootstrap) as bob,
        Proxy(parse(address(volunteer)).port) as silent,
    ):
        silent.fall_silent()
        async with client(discovery__bootstrap=[address(bootstrap)], client__hide_ip=False) as alice:
            mute = f"/ip4/127.0.0.1/tcp/{silent.port}/p2p/{volunteer.relay_id}"
            alice._client.guide.met(volunteer._relay.peer_id, [mute])
            # Its record would say at once where the peer is.
            alice._client.guide.relays_of = no_record  # type: ignore[method-assign]
            began = asyncio.get_running_loop().time()
            stream = await alice.connect_with_fallback(bob.peer_id, ECHO)
            assert stream.via == bootstrap.relay_id
            assert asyncio.get_running_loop().time() - began >= 1.9


async def test_a_peer_that_is_at_no_relay_is_reached_directly_only_after_all_of_them() -> None:
    async with (
        relay() as empty,
        relay() as target,
        client(discovery__bootstrap=[address(empty)], client__allow_direct="always") as alice,
    ):
        stream = await alice.connect_with_fallback(address(target), PING)
        assert stream.via is None
        # The relay was asked, and said that it does not have the peer.
        assert empty.data_plane()["accepted"] >= 1
        assert any("sees this machine's address" in why for why in alice.status()["client"]["ip_hidden_missing"])


@pytest.mark.parametrize("answer", [True, False])
async def test_whoever_may_be_asked_decides_on_a_direct_connection(answer: bool) -> None:
    asked: list[str] = []

    async def ask(peer: str) -> bool:
        asked.append(peer)
        return answer

    async with relay() as target, client(client__allow_direct="ask") as alice:
        alice.ask_directly(ask)
        if answer:
            assert (await alice.connect_with_fallback(address(target), PING)).via is None
        else:
            with pytest.raises(NoRelaysAvailable, match="directly: not tried"):
                await alice.connect_with_fallback(address(target), PING)
            assert target.data_plane()["accepted"] == 0
        assert asked == [target.relay_id]


async def test_that_a_direct_connection_was_not_permitted_is_an_event() -> None:
    async with relay() as target, client() as alice:
        with pytest.raises(NoRelaysAvailable):
            await alice.connect_with_fallback(address(target), PING)
        (event,) = [row for row in alice.events.recent() if row["kind"] == "direct_connection_not_allowed"]
        assert event["peer"] == target.relay_id


async def test_everything_that_was_tried_is_told_with_the_contracts_words() -> None:
    dead = f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"
    async with (
        relay() as empty,
        client() as nobody,
        client(discovery__bootstrap=[dead], client__hide_ip=False) as alice,
    ):
        knows(alice, empty)
        with pytest.raises(NoRelaysAvailable) as caught:
            await alice.connect_with_fallback(nobody.peer_id, ECHO)
    assert str(caught.value).startswith("No relays available. Enable relay mode to help the network? Tried: ")
    assert len(caught.value.tried) == 2
    assert "NO_RESERVATION" in caught.value.tried[0]
    assert "connection refused" in caught.value.tried[1]


@pytest.mark.slow
async def test_cancelled_it_leaves_neither_tasks_nor_connections() -> None:
    async with relay() as one, Proxy(parse(address(one)).port) as silent, client() as nobody:
        silent.fall_silent()
        mute = f"/ip4/127.0.0.1/tcp/{silent.port}/p2p/{one.relay_id}"
        async with client(discovery__bootstrap=[mute]) as alice:
            connecting = asyncio.ensure_future(alice.connect_with_fallback(nobody.peer_id, "/towpath/test/1"))
            await until(lambda: silent.connections)
            assert at_work()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await until(lambda: alice._client.endpoints == [])
            await until(lambda: not at_work(), 10)


async def test_each_outcome_feeds_the_statistics() -> None:
    async with relay() as good, relay() as bad, at(good) as bob, client(client__hide_ip=False) as alice:
        knows(alice, good, bad)
        await bad.close()
        for _ in range(3):
            stream = await alice.connect_with_fallback(bob.peer_id, ECHO)
            assert stream.via == good.relay_id
            stream.reset()
            for peer in list(alice._peer.peers.values()):
                for session in list(peer.sessions):
                    session.close()
        measured = alice._discovery.finder.candidate(good._relay.peer_id)
        assert measured is not None
        assert measured.own.successful >= 2.9


async def test_a_connection_that_died_unnoticed_is_replaced() -> None:
    async with (
        relay() as first,
        relay() as second,
        at(first, second) as bob,
        client(client__hide_ip=False) as alice,
    ):
        knows(alice, first, second)
        stream = await alice.connect_with_fallback(bob.peer_id, ECHO)
        await (first if stream.via == first.relay_id else second).close()
        again = await alice.connect_with_fallback(bob.peer_id, ECHO)
        assert again.via != stream.via
        again.write(b"hello")
        assert await again.readexactly(5) == b"hello"
