"""What a node says of itself, and switching relaying on and off while it runs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.unit.nodes import ECHO, LOOPBACK, Meeting, address, client, meeting, relay, until
from towpath import RelayMode, listening
from towpath.errors import DialError, NoRelaysAvailable, StreamReset
from towpath.relay.interpreter import SHORT_S

# What scripts and dashboards rely on.
STATUS = [
    "peer_id",
    "relay_id",
    "mode",
    "state",
    "why",
    "addresses",
    "reachability",
    "circuits_now",
    "reservations_now",
    "circuits_today",
    "bytes_relayed_today",
    "bytes_relayed_total",
    "budget",
    "reputation",
    "stars",
    "credits",
    "client",
    "uptime_s",
]
CREDITS = ["earned", "spent", "balance"]
CLIENT = ["connected_via", "ip_hidden", "ip_hidden_missing", "credits_used"]
CIRCUIT = ["id", "relay_id", "direction", "peer", "bytes_in", "bytes_out", "age_s", "express"]
RELAY = ["relay_id", "source", "score", "stars", "latency_ms", "load", "state", "reasons"]
NOBODY = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWJWEKvSFbben74C7H4YtKjhPMTDxd7gP7zxWHUo6FkGQ5"


@pytest.fixture
async def met() -> AsyncIterator[Meeting]:
    async with meeting() as met:
        yield met


@pytest.fixture
def interval() -> Iterator[float]:
    """The interpreter's switch interval before; a test must leave it so."""
    before = sys.getswitchinterval()
    yield before
    assert sys.getswitchinterval() == pytest.approx(before)


def has(row: dict[str, Any], keys: list[str]) -> bool:
    return set(row) >= set(keys)


async def test_status_holds_what_was_promised(met: Meeting) -> None:
    for node in (met.relay, met.alice, met.bob):
        status = node.status()
        assert has(status, STATUS)
        assert has(status["credits"], CREDITS)
        assert has(status["client"], CLIENT)
        assert (status["peer_id"], status["relay_id"]) == (node.peer_id, node.relay_id)
        assert 0 <= status["uptime_s"] < 60
    assert (met.relay.status()["mode"], met.relay.status()["state"]) == ("dedicated", "relaying")
    assert (met.bob.status()["mode"], met.bob.status()["state"]) == ("client", "off")
    assert met.relay.status()["addresses"] == met.relay.listen_addresses
    assert met.bob.status()["client"]["connected_via"] == [met.relay.relay_id]
    assert met.relay.status()["reservations_now"] == 1


async def test_a_circuit_is_a_row_with_its_bytes(met: Meeting) -> None:
    assert met.relay.circuits() == []
    here, there = await met.pair()
    here.write(bytes(100_000))
    await there.readexactly(100_000)
    there.write(bytes(50_000))
    await here.readexactly(50_000)
    (row,) = met.relay.circuits(full=True)
    assert has(row, CIRCUIT)
    assert (row["peer"], row["target"], row["relay_id"]) == (met.alice.peer_id, met.bob.peer_id, met.relay.relay_id)
    assert 100_000 < row["bytes_in"] < 110_000
    assert 50_000 < row["bytes_out"] < 60_000
    (short,) = met.relay.circuits()
    assert short["peer"] == "…" + met.alice.peer_id[-6:]
    status = met.relay.status()
    assert (status["circuits_now"], status["circuits_today"]) == (1, 1)
    assert status["bytes_relayed_total"] == row["bytes_in"] + row["bytes_out"]


async def test_peers_are_rows_with_what_was_relayed_for_them_and_no_address(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(bytes(100_000))
    await there.readexactly(100_000)
    await until(lambda: all(row["agent"] for row in met.relay.peers()))
    rows = {row["peer"]: row for row in met.relay.peers()}
    (circuit,) = met.relay.circuits()
    alice, bob = rows[met.alice.peer_id], rows[met.bob.peer_id]
    assert (alice["relayed_in"], alice["relayed_out"]) == (circuit["bytes_in"], circuit["bytes_out"])
    assert (bob["relayed_in"], bob["relayed_out"]) == (circuit["bytes_out"], circuit["bytes_in"])
    assert (alice["reserved"], bob["reserved"]) == (False, True)
    assert (alice["circuits"], bob["circuits"]) == (1, 1)
    assert alice["agent"].startswith("towpath/")
    assert {row["address"] for row in met.relay.peers()} == {None}
    inner = [row for row in met.bob.peers() if row["via"] == met.relay.relay_id]
    assert [row["peer"] for row in inner] == [met.alice.peer_id]


async def test_what_was_relayed_for_a_peer_outlasts_its_circuits(met: Meeting) -> None:
    stream = await met.alice.connect(met.bob.circuit_addresses[0], ECHO)
    stream.write(bytes(10_000))
    await stream.readexactly(10_000)
    before = {row["peer"]: row["relayed_in"] for row in met.relay.peers()}
    for session in met.alice._peer.peers[met.bob._peer.peer_id].sessions:
        session.abort()
    await until(lambda: met.relay.circuits() == [])
    after = {row["peer"]: row["relayed_in"] for row in met.relay.peers()}
    assert all(after[peer] >= before[peer] > 10_000 for peer in before)


async def test_addresses_of_peers_are_told_only_when_asked_for() -> None:
    async with meeting(log__addresses=True) as met:
        assert all(row["address"].startswith("/ip4/127.0.0.1/tcp/") for row in met.relay.peers())


async def test_reservations_are_rows_on_both_sides(met: Meeting) -> None:
    (granted,) = met.relay.reservations()
    (held,) = met.bob.reservations()
    assert (granted["direction"], granted["peer"]) == ("granted", met.bob.peer_id)
    assert (held["direction"], held["relay_id"], held["state"]) == ("held", met.relay.relay_id, "active")
    for row in (granted, held):
        assert 3590 < row["expires_in_s"] <= 3600


async def test_relays_are_rows_with_reasons(met: Meeting) -> None:
    async with client(discovery__bootstrap=[NOBODY, address(met.relay)]) as alice:
        assert [row["state"] for row in alice.relays()] == ["candidate", "candidate"]
        await alice.reserve(address(met.relay))
        active, candidate = alice.relays()
        for row in (active, candidate):
            assert has(row, RELAY)
            assert row["reasons"]
        assert (active["relay_id"], active["state"]) == (met.relay.relay_id, "active")
        assert (candidate["relay_id"], candidate["state"]) == (NOBODY.rpartition("/")[2], "candidate")


async def test_the_data_plane_counts(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(bytes(100_000))
    await there.readexactly(100_000)
    counted = met.relay.data_plane()
    assert counted["aead"] in ("libsodium", "openssl")
    assert counted["bytes_read"] > 100_000 < counted["bytes_sent"]
    assert counted["slice_ns"]["count"] > 0
    assert (counted["connections"], counted["accepted"], counted["circuits_opened"]) == (2, 2, 1)


async def test_announced_addresses_come_first_and_are_what_reservations_tell() -> None:
    public = "/dns4/relay.example.org/tcp/4001"
    async with relay(network__announce=[public]) as middle, client() as bob:
        assert middle.addresses == [f"{public}/p2p/{middle.relay_id}", address(middle)]
        assert middle.status()["reachability"] == "reachable"
        assert (await bob.reserve(address(middle))).addresses == middle.addresses


# --- switching ---------------------------------------------------------------------------------------------------


async def test_switching_relaying_off_ends_circuits_and_nothing_else(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(bytes(10_000))
    await there.readexactly(10_000)
    relayed = met.relay.status()["bytes_relayed_total"]
    assert relayed > 10_000
    await met.relay.set_relay_mode(RelayMode.CLIENT_ONLY)
    for stream in (here, there):
        with pytest.raises(StreamReset):
            await stream.read()
    status = met.relay.status()
    assert (status["mode"], status["state"]) == ("client", "off")
    assert (status["circuits_now"], status["reservations_now"]) == (0, 0)
    assert status["circuits_today"] == 1
    assert status["bytes_relayed_total"] >= relayed
    assert await met.alice.ping(address(met.relay)) > 0


async def test_everybody_is_told_when_relaying_begins_and_ends(met: Meeting) -> None:
    await met.alice.ping(address(met.relay))
    await until(lambda: met.alice.peers()[0]["agent"])

    async def tried() -> int:
        with pytest.raises(NoRelaysAvailable) as caught:
            await met.alice.connect_to_peer_via_relay(NOBODY.rpartition("/")[2], ECHO)
        return len(caught.value.tried)

    assert await tried() == 1
    await met.relay.set_relay_mode(RelayMode.CLIENT_ONLY)
    await met.alice.ping(address(met.relay))
    assert await tried() == 0
    await met.relay.set_relay_mode(RelayMode.COOPERATIVE)
    await met.alice.ping(address(met.relay))
    assert await tried() == 1


async def test_switching_back_and_forth_works_as_often_as_wanted(met: Meeting) -> None:
    for mode in (RelayMode.CLIENT_ONLY, RelayMode.COOPERATIVE, RelayMode.DEDICATED_SERVER, RelayMode.CLIENT_ONLY):
        await met.relay.set_relay_mode(mode)
        await met.relay.set_relay_mode(mode)
        assert met.relay.status()["mode"] == str(mode)
        assert met.relay.settings.relay.mode is mode
    await met.relay.set_relay_mode(RelayMode.COOPERATIVE)
    await met.bob.reserve(address(met.relay))
    assert await met.alice.ping(met.bob.circuit_addresses[0]) > 0


async def test_a_change_between_relaying_modes_keeps_circuits_and_changes_limits(met: Meeting) -> None:
    here, there = await met.pair()
    await met.relay.set_relay_mode(RelayMode.COOPERATIVE)
    here.write(b"still there")
    assert await there.readexactly(11) == b"still there"
    assert met.relay.settings.relay.max_circuits == 256


async def test_a_client_listens_when_it_begins_to_relay_and_no_longer_than_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted: list[tuple[str, ...]] = []
    listen = listening.open_listeners

    def on_loopback(endpoint: Any, addresses: tuple[str, ...], *, move: bool) -> list[tuple[str, int]]:
        wanted.append(addresses)
        return listen(endpoint, LOOPBACK, move=move)

    monkeypatch.setattr(listening, "open_listeners", on_loopback)
    async with client() as node, client() as bob:
        assert node.listen_addresses == []
        await node.set_relay_mode(RelayMode.COOPERATIVE)
        assert wanted == [("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001")]
        way = address(node)
        held = await bob.reserve(way)
        assert held.addresses == [way]
        await bob.release(held)
        await node.set_relay_mode(RelayMode.CLIENT_ONLY)
        assert node.listen_addresses == []
        await until(lambda: bob.data_plane()["connections"] == 0)
        with pytest.raises(DialError, match="connection refused"):
            await bob.reserve(way)


async def test_a_node_that_cannot_listen_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> list[tuple[str, int]]:
        raise OSError("taken")

    monkeypatch.setattr(listening, "open_listeners", fail)
    async with client() as node:
        with pytest.raises(OSError, match="taken"):
            await node.set_relay_mode(RelayMode.COOPERATIVE)
        assert (node.status()["mode"], node.status()["state"]) == ("client", "off")
        assert node.settings.relay.mode is RelayMode.CLIENT_ONLY


async def test_the_interpreter_is_hurried_while_any_node_relays(interval: float) -> None:
    async with relay() as one:
        assert sys.getswitchinterval() == pytest.approx(SHORT_S)
        async with relay() as other:
            await one.set_relay_mode(RelayMode.CLIENT_ONLY)
            assert sys.getswitchinterval() == pytest.approx(SHORT_S)
            await other.set_relay_mode(RelayMode.CLIENT_ONLY)
            assert sys.getswitchinterval() == pytest.approx(interval)
            await one.set_relay_mode(RelayMode.COOPERATIVE)
            assert sys.getswitchinterval() == pytest.approx(SHORT_S)
