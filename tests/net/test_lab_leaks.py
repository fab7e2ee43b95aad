"""Who learns whose address: every packet of two homes captured, and every message that any node receives, decrypted.

Bob and Carol talk through relays. With their addresses hidden neither may get to know the other's, on the wire or in a
message, and no relay but those where one of them holds a reservation may have both who it is and where. The same looks
find what is there to be found when nothing is hidden.
"""

import base64
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.net.lab import Capture, Host, Household, Lab, RunningNode, Witness, World, capturing, eventually, light
from tests.net.lab.services import echo, exchange, serving
from tests.net.lab.witness import SETTINGS, forms_of
from towpath.addresses import peer_id_to_bytes

ALONE = {"discovery.mdns": "false", "discovery.dht": "false"} | SETTINGS
TOGETHER = {"discovery.mdns": "false"} | SETTINGS
RESERVE = b"\x00\x00\x00\x03\x02\x08\x00"
"""The end of a frame's header, for three bytes, and HOP's message that asks for a reservation."""
SECRET = os.urandom(1 << 16)


@dataclass
class Person:
    """Bob or Carol: a host at home, and what all of its processes decrypted."""

    name: str
    home: Household
    host: Host
    directory: Path
    witnesses: list[Witness] = field(default_factory=list)

    @property
    def places(self) -> set[str]:
        """Every address that leads to this person, from the world's or from within."""
        routers = [self.home.router, *([self.home.carrier] if self.home.carrier else [])]
        return {self.host.address, self.home.address, *(router.address for router in routers)}

    def witness(self) -> Witness:
        """Another one, for one process."""
        self.witnesses.append(Witness(self.directory / f"witness{len(self.witnesses)}"))
        return self.witnesses[-1]

    def was_told(self, address: str) -> bool:
        """Whether any message that this person received holds the address."""
        return any(witness.holding(address) for witness in self.witnesses)

    def was_connected_to(self, address: str) -> bool:
        """Whether anything came to this person directly from the address."""
        return any(address == place for witness in self.witnesses for place, _ in witness.connections())


@dataclass
class Scene:
    world: World
    relays: list[RunningNode]
    bob: Person
    carol: Person
    captures: list[Capture] = field(default_factory=list)

    @property
    def known(self) -> list[str]:
        return [word for relay in self.relays for word in ("--bootstrap", relay.address)]


@contextlib.contextmanager
def scene(directory: Path, relays: int, *, carrier: bool = True, dht: bool = False) -> Iterator[Scene]:
    """Relays that are told to everybody or, with `dht`, one that is and others that find each other."""
    with Lab() as lab, contextlib.ExitStack() as stack:
        world = World(lab)
        people = []
        homes = (world.home("bob", "random"), world.home("carol", carrier=carrier))
        for name, home in zip(("bob", "carol"), homes, strict=True):
            place = directory / name
            place.mkdir()
            people.append(Person(name, home, home.host(name[0]), place))
        nodes: list[RunningNode] = []
        for k in range(relays):
            place = directory / f"relay{k}"
            place.mkdir()
            environment = Witness(place / "witness").environment
            host = world.host(f"relay{k}")
            settings = ALONE if not dht else TOGETHER | {"network.announce": f"/ip4/{host.address}/tcp/4001"}
            first = [nodes[0].address] if dht and nodes else []
            node = RunningNode(
                host, place, mode="dedicated", bootstrap=first, settings=settings, environment=environment, wait=False
            )
            if dht and not nodes:
                node.wait()
            nodes.append(node)
        for node in nodes[1:] if dht else nodes:
            node.wait()
        found = Scene(world, nodes, people[0], people[1])
        hosts = [world.core, *(host for p in people for host in (p.host, p.home.router))]
        found.captures = stack.enter_context(capturing(*hosts))
        yield found


def keys_of(peer_id: str) -> list[bytes]:
    """What tells who somebody is: the public key in its peer id, and the id in both forms that it is written in."""
    raw = peer_id_to_bytes(peer_id)
    return [raw[-32:], peer_id.encode(), b"b" + base64.b32encode(b"\x01\x72" + raw).rstrip(b"=").lower()]


def who_and_where(relay: RunningNode, person: Person, peer_id: str) -> list[str]:
    """How a relay has both this peer id and the address from which it comes."""
    witness = Witness(relay.data.parent / "witness")
    keys, places = keys_of(peer_id), [form for place in person.places for form in forms_of(place)]
    found = [
        f"a connection from {address} port {port} said who it is"
        for (address, port), said in witness.connections().items()
        if address in person.places and any(key in said for key in keys)
    ]
    for received in witness.received():
        if any(key in received.message for key in keys) and any(place in received.message for place in places):
            found.append(f"a message from {received.sender} holds who and where")
    for row in relay.rows("peers"):
        if row["peer"] == peer_id and row["address"] and row["address"].split("/")[2] in person.places:
            found.append("it is connected to the peer")
    return found


def direct_packets(found: Scene) -> int:
    """Packets between the two homes, anywhere."""
    return sum(len(capture.between(found.bob.places, found.carol.places)) for capture in found.captures)


def talk(found: Scene, settings: dict[str, str]) -> tuple[str, str, str]:
    """Carol shares and Bob opens, a connection goes through; their peer ids, and the relay's id."""
    bob, carol = found.bob, found.carol
    with serving(carol.host, echo) as service:
        share = light(
            carol.host,
            carol.directory,
            *("share", service, *found.known),
            settings=ALONE | settings,
            environment=carol.witness().environment,
        )
        shared = share.next("shared")
        opener = light(
            bob.host,
            bob.directory,
            *("open", shared["ticket"]),
            settings=ALONE | settings,
            environment=bob.witness().environment,
        )
        assert exchange(bob.host, opener.next("open")["listen"], SECRET) == SECRET
        opened = share.next("connection_opened")
        # What identify pushes comes a moment later.
        eventually("Bob's own address told to him", lambda: bob.was_told(bob.home.address))
        return opened["peer"], shared["peer_id"], opened["via"]


def never_asked(found: Scene, person: Person) -> list[RunningNode]:
    """The relays that a person, under whatever id, never asked for a reservation."""
    return [
        relay
        for relay in found.relays
        if not any(
            place in person.places and RESERVE in said
            for (place, _), said in Witness(relay.data.parent / "witness").connections().items()
        )
    ]


def reserved_by(found: Scene, peer_id: str) -> list[RunningNode]:
    """The relays at which somebody holds a reservation."""
    return [relay for relay in found.relays if any(row["peer"] == peer_id for row in relay.rows("reservations"))]


def test_hidden_peers_learn_nothing_of_each_others_place(tmp_path: Path) -> None:
    with scene(tmp_path, relays=4) as found:
        bobs_id, carols_id, via = talk(found, {"client.hide_ip": "true"})
        bob, carol = found.bob, found.carol
        # The looks do find what is there: who reserves is known to the relay, and each is told its own address.
        assert all(who_and_where(relay, carol, carols_id) for relay in reserved_by(found, carols_id))
        assert bob.was_told(bob.home.address)
        assert carol.was_told(carol.home.address)

        for person, peer_id in ((bob, bobs_id), (carol, carols_id)):
            others = never_asked(found, person)
            assert others
            assert [leak for relay in others for leak in who_and_where(relay, person, peer_id)] == []
        # Bob never dials where he is known.
        assert via not in {relay.relay_id for relay in reserved_by(found, bobs_id)}
        assert not [place for place in carol.places if bob.was_told(place)]
        assert not [place for place in bob.places if carol.was_told(place)]
    assert direct_packets(found) == 0
    relays = {relay.host.address for relay in found.relays}
    for capture in found.captures[1:]:
        for person in (found.bob, found.carol):
            assert capture.partners(person.host.address) - person.places <= relays


@pytest.mark.full
@pytest.mark.timeout(400)
def test_hidden_peers_who_find_each_other_by_id_learn_nothing_else(tmp_path: Path) -> None:
    with scene(tmp_path, relays=6, dht=True) as found:
        bob, carol = found.bob, found.carol
        first = found.relays[0].address
        running = [
            RunningNode(
                person.host,
                person.directory,
                bootstrap=[first],
                settings=TOGETHER,
                environment=person.witness().environment,
            )
            for person in (bob, carol)
        ]
        for node in running:
            eventually("two reservations", lambda: len(reserved_by(found, node.peer_id)) >= 2, 90)  # noqa: B023
            eventually("its address hidden", lambda: node.status()["client"]["ip_hidden"])  # noqa: B023
        # Under the same id as the node that runs there.
        for person, friend in ((bob, running[1]), (carol, running[0])):
            ping = light(
                person.host,
                person.directory,
                *("ping", friend.peer_id, "--count", "3", "--bootstrap", first),
                settings=TOGETHER,
                environment=person.witness().environment,
            )
            assert ping.rest(60)[0] == 0
        assert bob.was_told(bob.home.address)
        assert carol.was_told(carol.home.address)
        for person, node in ((bob, running[0]), (carol, running[1])):
            knowing = reserved_by(found, node.peer_id)
            assert knowing
            assert all(who_and_where(relay, person, node.peer_id) for relay in knowing)
            others = never_asked(found, person)
            assert others
            assert [leak for relay in others for leak in who_and_where(relay, person, node.peer_id)] == []
        assert not [place for place in carol.places if bob.was_told(place)]
        assert not [place for place in bob.places if carol.was_told(place)]
    assert direct_packets(found) == 0


def test_the_looks_find_who_dials_when_nothing_is_hidden(tmp_path: Path) -> None:
    with scene(tmp_path, relays=2) as found:
        bobs_id, _, via = talk(found, {"client.hide_ip": "false"})
        (relay,) = [relay for relay in found.relays if relay.relay_id == via]
        assert relay not in reserved_by(found, bobs_id)
        assert who_and_where(relay, found.bob, bobs_id)


def test_the_looks_find_both_places_when_the_way_is_direct(tmp_path: Path) -> None:
    with scene(tmp_path, relays=0, carrier=False) as found:
        bob, carol = found.bob, found.carol
        carol.home.forward(carol.host, 4001)
        settings = ALONE | {"client.hide_ip": "false"}
        witness = carol.witness().environment
        node = RunningNode(carol.host, carol.directory, mode="cooperative", settings=settings, environment=witness)
        target = f"/ip4/{carol.home.address}/tcp/4001/p2p/{node.relay_id}"
        witness = bob.witness().environment
        ping = light(bob.host, bob.directory, "ping", target, "--count", "1", settings=settings, environment=witness)
        code, (reply,) = ping.rest(30)
        assert (code, reply["via"]) == (0, None)
        assert carol.was_connected_to(bob.home.address)
        eventually("Bob told where Carol listens", lambda: bob.was_told(carol.host.address))
    assert direct_packets(found) > 0
