"""From behind one NAT to behind another, through a relay: towpath's own commands, each host a machine of its own."""

import os
from pathlib import Path

import pytest

from tests.net.lab import Lab, Line, RunningNode, World, light
from tests.net.lab.services import echo, exchange, serving
from tests.net.lab.world import Nat

ALONE = {"discovery.mdns": "false", "discovery.dht": "false"}
PIECE = os.urandom(1 << 17)


@pytest.mark.parametrize(
    ("nat", "carrier", "line"),
    [
        ("preserving", False, Line()),
        ("random", True, Line(delay_s=0.05, loss=0.002)),
    ],
    ids=["home", "home behind a carrier's NAT, far away, on a bad line"],
)
def test_a_ticket_leads_from_one_home_to_another(tmp_path: Path, nat: Nat, carrier: bool, line: Line) -> None:
    with Lab() as lab:
        world = World(lab)
        relay = RunningNode(world.host("relay", line), tmp_path / "relay", mode="dedicated", settings=ALONE)
        bob = world.home("bob", nat, line, carrier=carrier).host("b")
        carol = world.home("carol", "random", line, carrier=carrier).host("c")
        with serving(carol, echo) as service:
            share = light(carol, tmp_path / "carol", "share", service, "--bootstrap", relay.address, settings=ALONE)
            ticket = share.next("shared")["ticket"]
            opener = light(bob, tmp_path / "bob", "open", ticket, settings=ALONE)
            place = opener.next("open")["listen"]
            assert exchange(bob, place, PIECE) == PIECE
        via = opener.next("connection_opened")["via"]
        assert via == relay.relay_id
        # Both directions, each with what keeps the stream private around it.
        assert relay.status()["bytes_relayed_total"] > 2 * len(PIECE)
        # The relay knows them by the addresses of their homes, and nothing else.
        places = {row["address"].split("/")[2] for row in relay.rows("peers")}
        assert places <= {"198.19.128.2", "198.19.129.2"}


def test_a_peer_is_pinged_by_its_id(tmp_path: Path) -> None:
    with Lab() as lab:
        world = World(lab)
        relay = RunningNode(world.host("relay"), tmp_path / "relay", mode="dedicated", settings=ALONE)
        bob, carol = world.home("bob").host("b"), world.home("carol", "random").host("c")
        node = RunningNode(carol, tmp_path / "carol", bootstrap=[relay.address], settings=ALONE)
        node.program.next("reserved")
        ping = light(bob, tmp_path / "bob", "ping", node.peer_id, "--count", "2", "--bootstrap", relay.address)
        code, replies = ping.rest(30)
    assert code == 0
    assert [reply["via"] for reply in replies] == [relay.relay_id] * 2
