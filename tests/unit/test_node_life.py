"""A node's beginning and end: nothing is left open, whatever was under way; and its identities."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.nodes import ECHO, LOOPBACK, address, client, descriptors, echo, loaded, meeting, relay, until
from towpath import Node, Settings, Stream, node
from towpath.errors import DialError, IdentityError, StoreInUse, StreamReset


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """The test leaves as many descriptors and tasks as it found."""
    tasks = len(asyncio.all_tasks())
    # The first node of a process brings what stays: a resolver thread's, an event loop's.
    async with relay() as first, client() as second:
        await second.ping(address(first))
    before = descriptors()
    yield
    await until(lambda: len(asyncio.all_tasks()) == tasks)
    assert descriptors() == before


@pytest.mark.usefixtures("nothing_left")
async def test_a_node_that_did_everything_leaves_nothing_open() -> None:
    for _ in range(3):
        async with meeting() as met:
            here, there = await met.pair()
            here.write(bytes(1_000_000))
            there.write(b"unread")
            await met.alice.reserve(address(met.relay))
            await met.alice.ping(address(met.relay))


@pytest.mark.usefixtures("nothing_left")
async def test_closing_wakes_whoever_waits_for_something() -> None:
    async with meeting() as met:
        here, there = await met.pair()
        here.write(bytes(3_000_000))
        with socket.create_server(("127.0.0.1", 0)) as mute:
            nowhere = f"/ip4/127.0.0.1/tcp/{mute.getsockname()[1]}/p2p/{met.bob.peer_id}"
            waiting = [
                asyncio.ensure_future(work)
                for work in (
                    here.read(),
                    here.drain(),
                    met.alice.connect(nowhere, ECHO),
                    met.alice.reserve(nowhere),
                    met.alice.ping(nowhere),
                )
            ]
            await met.settle()
            await met.alice.close()
            for one in waiting:
                with pytest.raises((StreamReset, DialError)):
                    await one
        with pytest.raises(StreamReset):
            await there.readexactly(4_000_000)


async def test_a_closed_node_connects_to_nobody_and_closes_again() -> None:
    async with relay() as middle:
        alice = client()
        await alice.close()
        async with alice:
            await alice.ping(address(middle))
        await alice.close()
        for work in (alice.connect(address(middle), ECHO), alice.reserve(address(middle))):
            with pytest.raises(DialError, match="shutting down"):
                await work
        with pytest.raises(RuntimeError, match="only once"):
            await alice.start()


@pytest.mark.usefixtures("nothing_left")
async def test_closing_cancels_handlers_and_lets_them_clean_up() -> None:
    cleaned: list[str] = []

    async def handler(stream: Stream) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(stream.protocol)

    async with meeting() as met:
        met.bob.set_stream_handler("/waits/1", handler)
        stream = await met.alice.connect(met.bob.circuit_addresses[0], "/waits/1")
        await met.bob.close()
        assert cleaned == ["/waits/1"]
        with pytest.raises(StreamReset):
            await stream.read()


async def test_a_handler_that_will_not_end_does_not_keep_the_node_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_CLOSE_S", 0.05)
    let_go = asyncio.Event()

    async def stubborn(_: Stream) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with meeting() as met:
        met.bob.set_stream_handler("/stubborn/1", stubborn)
        await met.alice.connect(met.bob.circuit_addresses[0], "/stubborn/1")
        await met.bob.close()
        assert met.bob.data_plane()["connections"] == 0
        let_go.set()


@pytest.mark.usefixtures("nothing_left")
async def test_a_handler_may_close_its_own_node() -> None:
    async with meeting() as met:
        closed = asyncio.Event()

        async def close(_: Stream) -> None:
            await met.bob.close()
            closed.set()

        met.bob.set_stream_handler("/close/1", close)
        stream = await met.alice.connect(met.bob.circuit_addresses[0], "/close/1")
        await closed.wait()
        with pytest.raises(StreamReset):
            await stream.read()


@pytest.mark.usefixtures("nothing_left")
async def test_a_close_that_is_cancelled_still_closes() -> None:
    async with meeting() as met:
        closing = asyncio.ensure_future(met.bob.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert met.bob.data_plane()["connections"] == 0


async def test_handlers_may_be_set_before_the_start() -> None:
    bob = client()
    bob.set_stream_handler(ECHO, echo)
    bob.set_stream_handler("/not/this", echo)
    bob.set_stream_handler("/not/this", None)
    async with relay() as middle, bob, client() as alice:
        await bob.reserve(address(middle))
        async with await alice.connect(bob.circuit_addresses[0], ECHO) as stream:
            stream.write(b"x")
            assert await stream.read() == b"x"


async def test_draining_waits_for_circuits_no_longer_than_it_may() -> None:
    async with meeting() as met:
        await met.pair()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        draining = asyncio.ensure_future(met.relay.drain(0.1))
        await asyncio.sleep(0)
        assert met.relay.status()["state"] == "draining"
        await draining
        assert loop.time() - begun > 0.09
        assert (met.relay.status()["state"], met.relay.status()["circuits_now"]) == ("off", 0)
    async with meeting() as met:
        await met.pair()
        way = met.bob.circuit_addresses[0]
        draining = asyncio.ensure_future(met.relay.drain(60))
        await asyncio.sleep(0)
        await met.alice.close()
        await draining
        async with client() as late:
            with pytest.raises(DialError, match="connection refused"):
                await late.ping(way)


# --- listening ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_left")
async def test_a_dedicated_relay_fails_where_a_port_is_taken_and_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OSError, match=f"cannot listen on 127.0.0.1 port {port}: address already in use; choose"
        ) as e:
            await relay(network__listen=[*LOOPBACK, f"/ip4/127.0.0.1/tcp/{port}"]).start()
        assert e.value.errno == errno.EADDRINUSE


async def test_a_cooperative_relay_takes_the_next_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with relay(relay__mode="cooperative", network__listen=[f"/ip4/127.0.0.1/tcp/{port}"]) as middle:
            assert address(middle) != f"/ip4/127.0.0.1/tcp/{port}/p2p/{middle.relay_id}"
            async with client() as alice:
                assert await alice.ping(address(middle)) > 0


# --- identities --------------------------------------------------------------------------------------------------


async def test_keys_are_kept_in_the_data_directory(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "down"
    async with Node(loaded({}, {}), data=data) as first:
        ids = first.peer_id, first.relay_id
        assert first.peer_id != first.relay_id
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {path.name for path in data.iterdir()} == {"account.key", "peer.key", "relay.key", "towpath.db"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()} == {0o600}
    async with Node(loaded({}, {}), data=str(data)) as again:
        assert (again.peer_id, again.relay_id) == ids
    os.chmod(data / "peer.key", 0o644)
    with pytest.raises(IdentityError):
        await Node(loaded({}, {}), data=data).start()


async def test_without_a_data_directory_every_node_is_somebody_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with client() as one, client() as other:
        assert len({one.peer_id, one.relay_id, other.peer_id, other.relay_id}) == 4
    assert os.listdir(tmp_path) == []


async def test_a_nodes_two_identities_share_no_connection() -> None:
    async with relay() as middle, relay() as both, client() as alice:
        await both.reserve(address(middle))
        await alice.ping(address(both))
        rows = {(row["identity"], row["peer"]) for row in both.peers()}
        assert rows == {("peer", middle.relay_id), ("relay", alice.peer_id)}
        assert {row["peer"] for row in middle.peers()} == {both.peer_id}
        assert await alice.ping(both.circuit_addresses[0]) > 0


async def test_a_node_may_reserve_at_its_own_relay_identity() -> None:
    async with relay() as both, client() as alice:
        await both.reserve(address(both))
        assert {row["identity"] for row in both.peers()} == {"peer", "relay"}
        assert await alice.ping(both.circuit_addresses[0]) > 0


# --- weight ------------------------------------------------------------------------------------------------------


def test_importing_a_node_brings_nothing_heavy() -> None:
    heavy = "aiohttp cyclopts rich h11 http email zeroconf ifaddr tomlkit cbor2 pysodium dbus_fast psutil"
    heavy += " libp2p trio difflib"
    found = subprocess.run(
        [sys.executable, "-c", "import sys, towpath.node; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(found.stdout.split()).isdisjoint(heavy.split())


@pytest.mark.slow
async def test_nodes_are_not_kept_alive_by_what_they_did() -> None:
    def alive() -> int:
        return sum(isinstance(thing, Node | Stream) for thing in gc.get_objects())

    gc.collect()
    before = alive()
    async with meeting() as met:
        here, there = await met.pair()
        await here.close()
        await there.close()
    del met, here, there
    gc.collect()
    assert alive() <= before


async def test_beside_a_running_node_another_on_its_directory_may_connect_and_no_more(tmp_path: Path) -> None:
    def settings() -> Settings:
        return loaded({"network.listen": list(LOOPBACK), "discovery.mdns": False, "discovery.dht": False}, {})

    async with relay() as middle, Node(settings(), data=tmp_path):
        async with Node(settings(), data=tmp_path, reachable=False) as beside:
            assert await beside.ping(address(middle)) > 0
        with pytest.raises(StoreInUse):
            await Node(settings(), data=tmp_path).start()
