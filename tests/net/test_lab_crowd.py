"""Many clients who arrive at once and know one relay spread over all of them."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.net.lab import Lab, Program, RunningNode, World, eventually
from tests.net.lab.world import PUBLIC

MOST = 2.5
SETTLED_S = 60.0
PUBLISHED_S = 90.0
IN_WORLD = {"discovery.mdns": "false"}
HOMES = 10


def published(node: RunningNode) -> bool:
    """Whether others can find it."""
    discovery = node.status()["discovery"]
    return bool(discovery["advertised"]) and not discovery.get("advertising_failed")


def held(row: dict[str, Any]) -> str | None:
    """The id of a relay that holds a reservation, in a row of `towpath relays`."""
    return str(row["relay_id"]) if row["state"] in ("active", "standby") else None


def crowd(directory: Path, relays: int, clients: int) -> list[int]:
    """How many reservations each relay has granted once every client holds two. The one relay that they are told of
    is not among them."""
    with Lab() as lab:
        world = World(lab)
        host = world.host("first")
        announced = {"network.announce": f"/ip4/{host.address}/tcp/4001"}
        first = RunningNode(host, directory / "first", mode="dedicated", settings=IN_WORLD | announced)
        nodes: list[RunningNode] = []
        for k in range(relays):
            place = directory / f"relay{k}"
            host = world.host(f"relay{k}")
            node = RunningNode(host, place, mode="dedicated", bootstrap=[first.address], settings=IN_WORLD)
            nodes.append(node)
        for node in nodes:
            eventually("a relay published", lambda: published(node), PUBLISHED_S)  # noqa: B023
        # Somebody was here before, and so the one that they are told of has looked around.
        place = directory / "early"
        early = RunningNode(world.home("early").host("e"), place, bootstrap=[first.address], settings=IN_WORLD)
        ids = {node.relay_id for node in nodes}
        eventually("a reservation at one of them", lambda: ids & {held(row) for row in early.rows("relays")}, 60)
        settings = [f"{key}={value}" for key, value in (PUBLIC | IN_WORLD | {"network.port_mapping": "false"}).items()]
        crowds = []
        for k in range(HOMES):
            words = [sys.executable, "-m", "tests.net.lab.crowd", str(clients // HOMES), first.address, "--", *settings]
            crowds.append(Program(world.home(f"home{k}").host(f"h{k}"), words, directory / f"crowd{k}.log"))
        for each in crowds:
            each.next("ready")
        for each in crowds:
            each.tell("begin")

        def granted() -> list[list[str]]:
            peers = [[row["peer"] for row in node.rows("reservations")] for node in nodes]
            return [[peer for peer in some if peer not in (None, early.peer_id)] for some in peers]

        def all_twice() -> list[list[str]] | None:
            found = granted()
            times = Counter(peer for peers in found for peer in peers)
            return found if sum(count >= 2 for count in times.values()) == clients else None

        eventually("two reservations for everybody", all_twice, SETTLED_S, every=1.0)
        return [len(peers) for peers in granted()]


def test_a_crowd_spreads_over_the_relays(tmp_path: Path) -> None:
    counts = crowd(tmp_path, relays=4, clients=20)
    assert max(counts) <= MOST * sum(counts) / len(counts), counts


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_hundred_clients_spread_over_twenty_relays(tmp_path: Path) -> None:
    counts = crowd(tmp_path, relays=20, clients=100)
    print(f"reservations at each relay: {sorted(counts)}")
    assert max(counts) <= MOST * sum(counts) / len(counts), counts
