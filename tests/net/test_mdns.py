"""Relays on the local network: towpath, go-libp2p and rust-libp2p find one another, on hosts of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.build import ToolMissing, peer_command
from tests.interop.process import Peer
from tests.net.lab import Host, Lab, RunningNode, eventually
from tests.tools import missing
from tests.unit.relays import identity
from towpath.discovery.mdns import Mdns

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GROUP, PORT = "224.0.0.251", 5353
SECONDS = 20.0


@pytest.fixture
def home() -> Iterator[tuple[Lab, Host, Host]]:
    """Two hosts on one network, where there is nobody else."""
    with Lab() as lab:
        one, other = lab.host("one"), lab.host("other")
        for host in (one, other):
            # IPv6 at once: an address that is still being looked at cannot be bound.
            host.set("net/ipv6/conf/default/accept_dad", "0")
        lab.link(one, other, "10.9.0.0/24")
        yield lab, one, other


StartPeer = Callable[..., Peer]


@pytest.fixture
def start_peer() -> Iterator[StartPeer]:
    """Starts a peer of the interop matrix on a host."""
    started: list[Peer] = []

    def start(host: Host, language: str, role: str) -> Peer:
        try:
            command = peer_command(language)
        except ToolMissing as error:
            missing(str(error))
        peer = Peer(f"{language} {role}", [*host.here, *command, role, "--listen", host.address, "--mdns"])
        started.append(peer)
        return peer

    yield start
    for peer in started:
        peer.stop()


def event(process: subprocess.Popen[bytes], name: str) -> Any:
    """The next line of a neighbour, which must be this event."""
    assert process.stdout is not None
    line = process.stdout.readline()
    said = json.loads(line) if line else {"event": "its end"}
    assert said["event"] == name
    return said


def find(process: subprocess.Popen[bytes], *wanted: str) -> dict[str, Any]:
    """What a neighbour finds: rows by relay id. It looks again until it found the `wanted`, for SECONDS."""
    assert process.stdin is not None
    until = time.monotonic() + SECONDS
    while True:
        process.stdin.write(b"find\n")
        process.stdin.flush()
        rows = {row["relay_id"]: row for row in event(process, "found")["rows"]}
        # Datagrams may be lost, and a machine may be too busy to answer in time.
        if set(wanted) <= set(rows) or time.monotonic() > until:
            return rows


@pytest.mark.parametrize("language", ["go", "rust"])
def test_a_neighbour_that_relays_is_found_and_one_that_does_not_is_none(
    home: tuple[Lab, Host, Host], start_peer: StartPeer, language: str
) -> None:
    _, here, there = home
    relay = start_peer(there, language, "relay").wait("ready")["peer_id"]
    listener = start_peer(there, language, "listener").wait("ready")["peer_id"]
    client = here.python("tests.net.neighbour")
    event(client, "ready")
    rows = find(client, relay)
    assert list(rows) == [relay]
    assert listener not in rows
    assert rows[relay]["source"] == "mdns"
    assert rows[relay]["state"] == "candidate"
    assert "found on the local network" in rows[relay]["reasons"]
    assert 0 < rows[relay]["latency_ms"] < 1000


@pytest.mark.parametrize("language", ["go", "rust"])
def test_others_find_the_relay_that_we_announce(
    home: tuple[Lab, Host, Host], start_peer: StartPeer, language: str
) -> None:
    _, here, there = home
    relay = here.python("tests.net.neighbour", here.address)
    relay_id = event(relay, "ready")["relay_id"]
    other = start_peer(there, language, "listener")
    found = other.wait("found", timeout=SECONDS, peer_id=relay_id)
    assert found["addrs"]
    assert all(text.startswith(f"/ip4/{here.address}/tcp/") for text in found["addrs"])


def test_relays_of_ours_find_each_other_on_one_host_and_across_the_network(home: tuple[Lab, Host, Host]) -> None:
    _, here, there = home
    first, second = (here.python("tests.net.neighbour", here.address) for _ in range(2))
    ids = {event(process, "ready")["relay_id"] for process in (first, second)}
    client = there.python("tests.net.neighbour")
    event(client, "ready")
    assert set(find(client, *ids)) == ids


def test_a_node_finds_its_neighbours_relay_by_itself_and_reserves_there_unless_it_hides(
    home: tuple[Lab, Host, Host], start_peer: StartPeer, tmp_path: Path
) -> None:
    _, here, there = home
    relay = RunningNode(here, tmp_path / "relay", mode="cooperative")
    alone = {"discovery.dht": "false"}
    client = RunningNode(there, tmp_path / "client", settings=alone | {"client.hide_ip": "false"})
    hiding = RunningNode(there, tmp_path / "hiding", settings=alone)
    assert client.program.next("reserved")["relay"].endswith(f"/p2p/{relay.relay_id}")
    assert client.status()["client"]["connected_via"] == [relay.relay_id]
    rows = {row["relay_id"]: row for row in client.rows("relays")}
    assert (rows[relay.relay_id]["source"], rows[relay.relay_id]["state"]) == ("mdns", "active")
    known = eventually("a hiding node finds its neighbour", lambda: hiding.rows("relays"), SECONDS)
    assert [row["relay_id"] for row in known] == [relay.relay_id]
    assert start_peer(there, "go", "listener").wait("found", timeout=SECONDS, peer_id=relay.relay_id)
    # A relay in the same network would tell where the node is.
    assert hiding.status()["client"]["connected_via"] == []
    assert not [row for row in relay.rows("reservations") if row["peer"] == hiding.peer_id]


def messages(listener: socket.socket, origin: str) -> Iterator[tuple[bool, bytes]]:
    """mDNS messages from a host, each with whether it is an answer, until none came for a while."""
    while True:
        try:
            data, (host, _) = listener.recvfrom(9000)
        except TimeoutError:
            return
        if host == origin:
            yield bool(struct.unpack_from(">H", data, 2)[0] & 0x8000), data


def overhear(host: Host) -> socket.socket:
    """A socket that hears what is said by mDNS on the host's network."""
    listener = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((GROUP, PORT))
    member = socket.inet_aton(GROUP) + socket.inet_aton(host.address)
    with host.inside():
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    listener.settimeout(2.0)
    return listener


def test_a_node_that_relays_nothing_asks_and_never_answers(home: tuple[Lab, Host, Host], start_peer: StartPeer) -> None:
    _, here, there = home
    with overhear(there) as listener:
        client = here.python("tests.net.neighbour")
        event(client, "ready")
        # A question of somebody else's, too, which a node that announces would answer.
        start_peer(there, "go", "listener").wait("ready")
        find(client)
        heard = list(messages(listener, here.address))
    assert heard, "it asked nobody"
    assert not [data for answer, data in heard if answer]


def test_a_relay_takes_its_announcement_back_when_it_ends(home: tuple[Lab, Host, Host]) -> None:
    _, here, there = home
    with overhear(there) as listener:
        relay = here.python("tests.net.neighbour", here.address)
        event(relay, "ready")
        announced = [data for answer, data in messages(listener, here.address) if answer]
        assert relay.stdin is not None
        relay.stdin.close()
        relay.wait(SECONDS)
        withdrawn = [data for answer, data in messages(listener, here.address) if answer]
    assert any(b"dnsaddr=" in data for data in announced)
    assert withdrawn, "the neighbours were not told"


async def test_cancelled_at_any_moment_it_leaves_no_socket_open(home: tuple[Lab, Host, Host]) -> None:
    _, here, _ = home
    told = [f"/ip4/{here.address}/tcp/{port}/p2p/{identity(1).text}" for port in (1, 2)]

    async def interrupted(work: Coroutine[Any, Any, Any], after_s: float) -> None:
        task = asyncio.create_task(work)
        await asyncio.wait([task], timeout=after_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def search(mdns: Mdns) -> None:
        async with contextlib.aclosing(mdns.search()) as found:
            async for _ in found:
                pass

    with here.inside():
        before = sockets()
        for step in range(12):
            mdns = Mdns()
            await interrupted(mdns.announce(told[:1]), step * 0.02)
            await asyncio.gather(
                interrupted(mdns.announce(told), step * 0.02), interrupted(search(mdns), (12 - step) * 0.02)
            )
            await interrupted(mdns.withdraw(), step * 0.005)
            await mdns.close()
            assert sockets() == before


def sockets() -> int:
    """How many this process has."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def test_a_host_without_ipv6_or_without_any_network_is_no_error(home: tuple[Lab, Host, Host]) -> None:
    lab, here, _ = home
    here.set("net/ipv6/conf/all/disable_ipv6", "1")
    assert find_nothing(here) == {}
    alone = lab.host("alone")
    assert find_nothing(alone) == {}
    alone.run("ip", "link", "set", "lo", "down")
    assert find_nothing(alone) == {}


def find_nothing(host: Host) -> dict[str, Any]:
    process = host.python("tests.net.neighbour")
    event(process, "ready")
    rows = find(process)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(SECONDS) == 0
    return rows
