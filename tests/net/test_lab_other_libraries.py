"""go-libp2p and js-libp2p, unmodified and told of no relay, behind NAT: they find towpath relays by themselves, and
talk through them."""

import os
from pathlib import Path

import pytest

from tests.interop.build import ToolMissing, peer_command
from tests.net.lab import Lab, Program, RunningNode, World, eventually
from tests.tools import missing

WALKED_S = 90.0
BYTES = 1 << 20
PUBLIC_DHT = {"discovery.mdns": "false", "discovery.public_dht": "true"}

pytestmark = pytest.mark.timeout(1800)  # the first test of a language builds its peer; single waits are far shorter


def peer(language: str) -> list[str]:
    try:
        return peer_command(language)
    except ToolMissing as error:
        missing(str(error))


@pytest.mark.parametrize("language", ["go", pytest.param("js", marks=pytest.mark.full)])
def test_a_client_finds_a_relay_in_the_dht_and_is_called_through_it(tmp_path: Path, language: str) -> None:
    command = peer(language)
    with Lab() as lab:
        world = World(lab)
        # The one that they are told of serves the DHT and takes nobody; so they must walk.
        first = world.host("first", everywhere=True)
        announced = {"network.announce": f"/ip4/{first.address}/tcp/4001", "relay.max_reservations": "0"}
        told = RunningNode(first, tmp_path / "first", mode="dedicated", settings=PUBLIC_DHT | announced)
        relays = [
            RunningNode(
                world.host(f"relay{k}", everywhere=True),
                tmp_path / f"relay{k}",
                mode="dedicated",
                bootstrap=[told.address],
                settings=PUBLIC_DHT,
                wait=False,
            )
            for k in range(2)
        ]
        for relay in relays:
            relay.wait()
        for relay in relays:
            eventually("its reachability confirmed", lambda: relay.status()["reachability"] == "reachable", 60)  # noqa: B023
        called, caller = world.home("called", "random").host("c"), world.home("caller").host("d")
        listener = Program(called, [*command, "listener", "--discover", told.address], tmp_path / "listener.log")
        ready = listener.next("ready")
        reserved = listener.next("reserved", timeout=WALKED_S)
        assert reserved["relay"] in {relay.relay_id for relay in relays}
        way = next(relay for relay in relays if relay.relay_id == reserved["relay"])
        target = f"{way.address}/p2p-circuit/p2p/{ready['peer_id']}"
        words = ["dialer", "--target", target, "--seed", os.urandom(8).hex(), "--bytes", str(BYTES)]
        dialer = Program(caller, [*command, *words], tmp_path / "dialer.log")
        echoed = dialer.next("echo", timeout=60)
        assert echoed["received"] == BYTES
        assert echoed["received_sha256"] == echoed["sent_sha256"]
        assert way.status()["bytes_relayed_total"] > 2 * BYTES
