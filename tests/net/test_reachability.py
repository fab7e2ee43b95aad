"""Reachability in the laboratory: relays on public hosts, and behind routers of which some can be asked for ports."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.net.lab import Host, Lab, Program, RunningNode, World, eventually, towpath
from tests.net.lab.world import Household
from tests.router import NATPMP, PCP, UPNP

pytestmark = pytest.mark.timeout(180)


class Internet:
    """A few relays that know each other, and homes."""

    def __init__(self, lab: Lab, files: Path) -> None:
        self.world = World(lab)
        self.files = files
        self.relays: list[RunningNode] = []

    def add_relays(self, count: int) -> None:
        for n in range(count):
            known = [relay.address for relay in self.relays]
            host = self.world.host(f"relay{n}")
            self.relays.append(RunningNode(host, self.files / host.name, mode="dedicated", bootstrap=known))

    def volunteer(self, host: Host, **settings: str) -> RunningNode:
        given = {name.replace("__", "."): value for name, value in settings.items()}
        known = [relay.address for relay in self.relays]
        return RunningNode(host, self.files / host.name, mode="cooperative", bootstrap=known, settings=given)

    def check(self, node: RunningNode) -> dict[str, Any]:
        """What `towpath check` says there."""
        program = towpath(node.host, "check", "--data", node.data, log=self.files / "check.log")
        code, (said,) = program.rest(60)
        assert code == 0
        return dict(said)


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[Internet]:
    with Lab() as lab:
        yield Internet(lab, tmp_path)


def is_reachable(node: RunningNode) -> bool:
    return bool(node.status()["reachability"] == "reachable")


def router_of(home: Household, speaks: Sequence[str], log: Path) -> Program:
    """The home's router, which can now be asked for ports. It says `given` whenever that is another."""
    # What it forwards passes the firewall.
    home.router.run("nft", "insert", "rule", "ip", "home", "forward", "ct", "status", "dnat", "accept")
    inside = home.hosts[0].address.rpartition(".")[0] + ".1"
    outside = home.address if home.carrier is None else "100.64.1.2"
    command = [sys.executable, "-m", "tests.router", inside, outside, *speaks]
    program = Program(home.router, command, log)
    program.next()
    return program


def test_relays_with_public_addresses_confirm_each_other(internet: Internet) -> None:
    internet.add_relays(4)
    for relay in internet.relays:
        report = internet.check(relay)
        known = internet.relays.index(relay)
        if known:
            assert report["state"] == "reachable"
            (row,) = report["addresses"]
            assert f"{row['address']}/p2p/{relay.relay_id}" == relay.address
            assert {said["answer"] for said in row["answers"]} == {"connected"}
            assert len(row["answers"]) <= 3
    # The first one, whom nobody told of anybody, has been met by the others.
    first = internet.check(internet.relays[0])
    assert (first["state"], first["servers"]) == ("reachable", 3)


def test_a_first_relay_that_is_announced_needs_nobody(internet: Internet) -> None:
    host = internet.world.host("alone")
    announced = f"/ip4/{host.address}/tcp/4001"
    node = RunningNode(host, internet.files / "alone", mode="dedicated", settings={"network.announce": announced})
    report = internet.check(node)
    assert (report["state"], report["servers"]) == ("reachable", 0)
    assert report["sentence"] == f"Reachable at {announced}, as network.announce says."


def test_a_volunteer_behind_a_router_learns_that_nobody_reaches_it(internet: Internet) -> None:
    internet.add_relays(3)
    home = internet.world.home("home")
    node = internet.volunteer(home.host("inside"))
    eventually("it knows", lambda: node.status()["reachability"] == "unreachable", 90)
    report = internet.check(node)
    (row,) = report["addresses"]
    # Three networks saw the router's address; the port is a guess.
    assert (row["address"], row["origin"]) == (f"/ip4/{home.address}/tcp/4001", "observed")
    assert [said["answer"] for said in row["answers"]].count("could not connect") >= 2
    assert "Let the router forward TCP port 4001 to this machine" in report["sentence"]


@pytest.mark.parametrize("speaks", [PCP, NATPMP, UPNP])
def test_a_volunteer_gets_a_port_of_its_router_and_gives_it_back(internet: Internet, speaks: str) -> None:
    internet.add_relays(3)
    home = internet.world.home("home")
    inside = home.host("inside")
    router = router_of(home, [speaks], internet.files / "router.log")
    node = internet.volunteer(inside, network__port_mapping="true")
    assert dict(router.next())["given"] == {"4001": [inside.address, 4001]}
    eventually("others reach it", lambda: is_reachable(node), 60)
    report = internet.check(node)
    (row,) = [row for row in report["addresses"] if row["reached"]]
    assert (row["address"], row["origin"]) == (f"/ip4/{home.address}/tcp/4001", "mapped")
    name = {PCP: "PCP", NATPMP: "NAT-PMP", UPNP: "UPnP"}[speaks]
    assert report["port_mapping"] == f"the router forwards to this machine ({name})"
    # It is told to others.
    told = f"/ip4/{home.address}/tcp/4001/p2p/{node.relay_id}"
    assert told in node.status()["addresses"]
    # Somebody elsewhere uses it.
    other = internet.world.host("other")
    only_there = {"client.use_volunteer_relays": "false"}
    client = RunningNode(other, internet.files / "other", bootstrap=[told], settings=only_there)
    eventually("it reserves there", lambda: any(r["peer"] == client.peer_id for r in node.rows("reservations")))
    assert node.stop() == 0
    assert dict(router.next())["given"] == {}


def test_a_port_of_a_router_behind_another_leads_nowhere_and_that_is_said(internet: Internet) -> None:
    internet.add_relays(3)
    home = internet.world.home("home", carrier=True)
    inside = home.host("inside")
    router = router_of(home, [PCP], internet.files / "router.log")
    node = internet.volunteer(inside, network__port_mapping="true")
    router.next()
    eventually("it knows", lambda: node.status()["reachability"] == "unreachable", 90)
    assert "its own address, 100.64.1.2, is behind a second router" in internet.check(node)["sentence"]
