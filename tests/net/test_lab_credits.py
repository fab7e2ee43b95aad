"""Twelve nodes and one crowded relay: who relayed is served, who only takes is not, and both sides' books agree."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.lab import Host, Lab, Program, World, eventually
from tests.net.lab.world import PUBLIC

MIB = 1 << 20
TIER = 40 * MIB
SENT = 60 * MIB
REFILLED = MIB // 4
"""More than a free tier regains while the test runs."""
BYSTANDERS = 6
ANSWER_S = 120.0
UNSIGNED = 4 * MIB


class Spender:
    """A node that sends when it is told to."""

    def __init__(
        self, host: Host, directory: Path, *, identities: int = 1, kind: str = "honest", **settings: str
    ) -> None:
        directory.mkdir()
        quiet = {"discovery.mdns": "false", "discovery.dht": "false", "network.port_mapping": "false"}
        given = PUBLIC | quiet | {name.replace("__", "."): value for name, value in settings.items()}
        words = [f"{key}={value}" for key, value in given.items()]
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "tests.net.lab.spender",
            directory,
            str(identities),
            kind,
            "--",
            *words,
        ]
        self.program = Program(host, command, directory / "spender.log")

    def wait(self) -> None:
        ready = self.program.next("ready", ANSWER_S)
        self.peer_id, self.relay_id = ready["peer_id"], ready["relay_id"]
        self.address = ready["listen"][0] if ready["listen"] else ""

    def tell(self, **asked: Any) -> None:
        self.program.tell(json.dumps(asked))

    def ask(self, event: str, **asked: Any) -> dict[str, Any]:
        self.tell(**asked)
        return dict(self.program.next(event, ANSWER_S))

    def books(self, relay: Spender) -> dict[str, Any]:
        """What it signed for this relay, and what its own relay knows of others."""
        return self.ask("books", books=relay.relay_id)

    @property
    def account(self) -> str:
        """Of its only identity."""
        (account,) = self.books(self)["accounts"]
        return str(account)


class Crowd:
    """All of them."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        world = World(lab)
        relaying = {"relay__mode": "dedicated", "relay__max_reservations_per_ip": "unlimited"}

        def at(name: str, network: str = "", **how: Any) -> Spender:
            if network:
                host = lab.host(name)
                host.address = world.attach(host, network).address
            else:
                host = world.host(name)
            if "relay__mode" in how:
                how["network__listen"] = f"/ip4/{host.address}/tcp/4001"
            return Spender(host, directory / name, **how)

        strict = {"credits__enforce": "always", "credits__free_tier": f"{TIER}B", "credits__free_tier_refill": "1MB/h"}
        self.relay = at("relay", **relaying, **strict)
        self.helper = at("helper", **relaying)
        self.target = at("target")
        self.rider = at("rider", "198.18.200.0/30")
        self.many = at("many", "198.18.200.4/30", identities=10)
        self.unsigned = at("unsigned", kind="unsigned")
        self.others = [at(f"other{k}") for k in range(BYSTANDERS)]
        self.everybody = [self.relay, self.helper, self.target, self.rider, self.many, self.unsigned, *self.others]
        for one in self.everybody:
            one.wait()
        self.target.ask("reserved", reserve=self.relay.address)
        self.target.ask("reserved", reserve=self.helper.address)

    def send(self, who: Spender, size: int, via: Spender | None = None) -> dict[str, Any]:
        """It sends to the target through the crowded relay, or another one; what arrived, and why it was no more."""
        relay = via or self.relay
        eventually("no circuit is open", lambda: not relay.books(relay)["open"], 60)
        return who.ask("sent", send=size, to=self.target.peer_id, via=relay.address)

    def carried(self) -> dict[str, dict[str, int]]:
        """What the relay knows of each account and network."""
        found: dict[str, dict[str, int]] = self.relay.books(self.relay)["carried"]
        return found


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    with Lab() as lab:
        yield Crowd(lab, tmp_path)


@pytest.mark.timeout(600)
def test_twelve_nodes_get_what_they_have_earned(crowd: Crowd) -> None:
    assert len(crowd.everybody) == 12
    relay, helper, rider, many, unsigned = crowd.relay, crowd.helper, crowd.rider, crowd.many, crowd.unsigned

    # The helper relays for the owner of the crowded relay, which signs for it.
    assert crowd.send(relay, 70 * MIB, via=helper)["why"] == [None]
    relay.ask("settled", settle=30)
    assert helper.books(helper)["carried"][relay.account]["signed"] >= 70 * MIB

    # Within the free tier everybody is served.
    for other in crowd.others:
        assert crowd.send(other, 2 * MIB) == {"event": "sent", "bytes": [2 * MIB], "why": [None]}

    # Who only takes is served until that is used up, and told why it ends.
    (why,) = crowd.send(rider, 2 * TIER)["why"]
    assert "free tier" in why
    network = bytes((198, 18, 200)).hex()
    used = crowd.carried()[network]["all"]
    assert TIER - 2 * MIB < used <= TIER + REFILLED

    # Ten identities next door have what the network had left.
    ends = crowd.send(many, TIER)
    assert all("free tier" in why for why in ends["why"])
    assert crowd.carried()[network]["all"] <= TIER + REFILLED

    # Who never signs is no better off, and no account of its owes more than four steps.
    (why,) = crowd.send(unsigned, 2 * TIER)["why"]
    assert "free tier" in why
    taken = crowd.carried()[unsigned.account]
    assert taken["signed"] == 0
    assert taken["all"] <= UNSIGNED

    # The helper has used its free tier as well, and goes on with what it earned.
    assert crowd.send(helper, SENT) == {"event": "sent", "bytes": [SENT], "why": [None]}
    assert crowd.carried()[helper.account]["on_credit"] >= SENT

    # In the end both sides' books say what the data plane counted.
    honest = [helper, rider, crowd.target, *crowd.others]
    for one in honest:
        one.ask("settled", settle=30)

    def agree() -> bool:
        books = relay.books(relay)
        for one in honest:
            (signed,) = one.books(relay)["signed"]
            if not books["carried"][one.account]["all"] == books["carried"][one.account]["signed"] == signed > 0:
                return False
        networks = sum(of["all"] for who, of in books["carried"].items() if len(who) == 6)
        return bool(networks == books["data_plane"])

    eventually("both sides' books agree", agree, 60)
