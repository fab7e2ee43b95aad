"""What the owner ends and looks up by hand, on real nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.nodes import address, client, meeting, relay, until
from towpath import Node, Settings
from towpath.errors import AddressError, RelayError, StreamReset, TowpathError


async def test_an_ended_circuit_ends_for_both_and_no_other_does() -> None:
    async with meeting() as met, client() as carol:
        here, there = await met.pair()
        await carol.reserve(address(met.relay))
        (first,) = met.relay.circuits(full=True)
        met.let_in("/other/1")
        other = await carol.connect_to_peer_via_relay(met.bob.peer_id, "/other/1", via=address(met.relay))
        await met.accepted.get()
        assert met.relay.by_hand.end_circuit(first["id"])
        for end in (here, there):
            with pytest.raises(StreamReset):
                await end.read()
        assert [row["id"] for row in met.relay.circuits()] != [first["id"]]
        await carol.ping(met.bob.peer_id, via=address(met.relay))
        assert not met.relay.by_hand.end_circuit(first["id"])
        await other.close()


async def test_a_blocked_peer_loses_what_it_has_and_gets_nothing_more() -> None:
    async with meeting() as met:
        await met.pair()
        became = await met.relay.by_hand.block(met.bob.peer_id, source="a test")
        assert became["applied"] == ["relay.deny"]
        assert met.relay.settings.relay.deny == (met.bob.peer_id,)
        await until(lambda: met.relay.status()["circuits_now"] == 0)
        assert not [row for row in met.relay.reservations() if row["peer"] == met.bob.peer_id]
        with pytest.raises(RelayError):
            await met.bob.reserve(address(met.relay), keep=False)
        told = [event for event in met.relay.events.recent() if event["kind"] == "reservation_refused"]
        assert told[0]["peer"] == met.bob.peer_id
        # Once more changes nothing.
        await met.relay.by_hand.block(met.bob.peer_id, source="a test")
        assert met.relay.settings.relay.deny == (met.bob.peer_id,)


async def test_only_a_peer_id_can_be_blocked() -> None:
    async with relay() as node:
        with pytest.raises(AddressError):
            await node.by_hand.block("10.0.0.0/8", source="a test")


async def test_the_log_outlives_the_node(tmp_path: Path) -> None:
    settings = Settings.load({"discovery.mdns": False, "discovery.dht": False}, environ={})
    async with Node(settings, data=tmp_path) as node:
        node.events.publish("something", "Something happened", what=1)
        assert (await node.by_hand.log(1))[0]["what"] == 1
    async with Node(settings, data=tmp_path) as node:
        assert "something" in [event["kind"] for event in await node.by_hand.log(10_000)]
        assert await node.by_hand.log(1) == (await node.by_hand.log(5))[-1:]


async def test_a_running_node_is_diagnosed_from_within(tmp_path: Path) -> None:
    async with relay() as node:
        with pytest.raises(TowpathError, match="keeps nothing"):
            await node.by_hand.diagnose()
    async with Node(Settings.load({"discovery.mdns": False}, environ={}), data=tmp_path) as node:
        found = await node.by_hand.diagnose()
    assert found["data"] == str(tmp_path)
    assert sum(found["counts"].values()) == len(found["findings"])
    assert {"keys", "disk", "ports"} <= {finding["subject"] for finding in found["findings"]}
