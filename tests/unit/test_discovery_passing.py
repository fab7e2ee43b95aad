"""Look-ups passed on for neighbours: for nobody else, to relays on the Internet alone, and not too many."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.memory_dht import NOW, Clock
from tests.unit.nodes import LOOPBACK, address, client, loaded, relay, until
from tests.unit.said import advertisement, peer_record
from towpath import Node
from towpath.addresses import peer_id_to_bytes
from towpath.client.choice import Offer
from towpath.client.guide import RelayOffer
from towpath.discovery.answers import FRESH_S, KeptAnswers
from towpath.discovery.lookups import AskedRelay, Lookups
from towpath.discovery.passing import AT_ONCE, PER_S, PassedOn, leads_out, may_pass_on
from towpath.discovery.peer_records import HeldRecords
from towpath.discovery.records import LIFE_S
from towpath.errors import TowpathError
from towpath.identity import Identity
from towpath.internet import PublicAddresses
from towpath.relaystream.answering import TooManyAsk

PEERS = [Identity(bytes((n,)) * 32) for n in range(1, 60)]
PUBLIC = PublicAddresses()
OUTSIDE = "127.0.0.2"
"""Where the Internet is for nodes of these settings."""
IN_WORLD = {"network__public_ranges": [f"{OUTSIDE}/32"]}

# --- for whom, and whom to ask ------------------------------------------------------------------------------------


@pytest.mark.parametrize("asker", ["192.168.1.9", "10.0.0.1", "100.64.3.4", "127.0.0.1", "fe80::1", "fd00::7", "::1"])
def test_neighbours_questions_are_passed_on(asker: str) -> None:
    assert may_pass_on(asker, PUBLIC)
    assert not may_pass_on(asker, PublicAddresses([asker]))


@pytest.mark.parametrize("asker", ["", "home.example", "8.8.8.8", "2a00::1", "::ffff:8.8.8.8", "2002:808:808::1"])
def test_nobody_elses_questions_are(asker: str) -> None:
    assert not may_pass_on(asker, PUBLIC)


@given(st.ip_addresses())
def test_whose_question_is_passed_on_is_never_asked_one(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    text = f"/ip{ip.version}/{ip}/tcp/4001/p2p/{PEERS[0].text}"
    asked = leads_out([RelayOffer(Offer(PEERS[0].peer_id), (text,))], PUBLIC)
    assert not (asked and may_pass_on(str(ip), PUBLIC))


def test_a_relay_is_asked_at_its_public_addresses_alone() -> None:
    home, out = (f"/ip4/{host}/tcp/4001/p2p/{PEERS[0].text}" for host in ("192.168.1.9", "192.31.196.1"))
    offer = Offer(PEERS[0].peer_id)
    assert leads_out([RelayOffer(offer, (home, out)), RelayOffer(offer, (home,))], PUBLIC) == [
        RelayOffer(offer, (out,))
    ]


# --- how many, and what is kept -----------------------------------------------------------------------------------


class Outside:
    """Relays that know everybody, counted, until they are down."""

    relay_id = prefix = b"outside"

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.records = {peer.peer_id: peer_record(peer) for peer in PEERS}

    async def look_up_peer(self, peer_id: bytes) -> list[bytes]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise TowpathError("no answer")
        return [self.records[peer_id]] if peer_id in self.records else []

    async def look_up_relays(self, most: int) -> list[bytes]:
        await self.look_up_peer(b"")
        return [advertisement(one) for one in PEERS[:most]]


class Passing:
    """A relay's answers to its neighbours."""

    def __init__(self) -> None:
        self.outside = Outside()
        self.clock = Clock()
        self.monotonic = Clock(0.0)
        relays: Sequence[AskedRelay] = [self.outside]
        passed = PassedOn(
            Lookups(lambda: relays, clock=self.clock), self._ready, clock=self.clock, monotonic=self.monotonic
        )
        held = HeldRecords(b"us", lambda _: True, None, clock=self.clock)
        self.answers = KeptAnswers(passed, held, lambda: None, clock=self.clock)

    async def _ready(self) -> None:
        return


async def test_what_relays_answer_is_passed_on_once_for_all_who_ask() -> None:
    home = Passing()
    peer = PEERS[0].peer_id
    assert await asyncio.gather(*(home.answers.peer(peer) for _ in range(5))) == [[peer_record(PEERS[0])]] * 5
    assert home.outside.asked == 1
    assert sorted(await home.answers.relays(12)) == sorted(advertisement(one) for one in PEERS[:12])
    assert len(await home.answers.relays(12)) == 12
    assert home.outside.asked == 2
    await home.answers.close()


async def test_a_record_is_answered_while_it_is_current_when_nobody_can_be_asked_any_more() -> None:
    home = Passing()
    peer, raw = PEERS[0].peer_id, peer_record(PEERS[0])
    assert await home.answers.peer(peer) == [raw]
    home.outside.down = True
    home.clock.now = NOW + LIFE_S
    assert await home.answers.peer(peer) == [raw]
    assert home.outside.asked == 2
    home.clock.now += FRESH_S
    with pytest.raises(TowpathError):
        await home.answers.peer(peer)


async def test_neighbours_together_ask_no_more_than_one_client_may() -> None:
    home = Passing()
    for peer in PEERS[:AT_ONCE]:
        assert await home.answers.peer(peer.peer_id)
    with pytest.raises(TooManyAsk):
        await home.answers.peer(PEERS[AT_ONCE].peer_id)
    assert await home.answers.relays(5) == []
    assert home.outside.asked == AT_ONCE
    home.monotonic.now += 1 / PER_S
    assert await home.answers.peer(PEERS[AT_ONCE].peer_id)
    with pytest.raises(TooManyAsk):
        await home.answers.peer(PEERS[AT_ONCE + 1].peer_id)
    await home.answers.close()


# --- nodes --------------------------------------------------------------------------------------------------------


def at_home(*bootstrap: str, **settings: Any) -> Node:
    """A cooperative node that was told of these relays, and of which nobody knows that it can be reached."""
    given = {
        "network.listen": list(LOOPBACK),
        "relay.mode": "cooperative",
        "relay.drain_grace": "0s",
        "discovery.bootstrap": list(bootstrap),
    }
    return Node(loaded(given, settings), reachable=False)


async def relaying(*nodes: Node) -> None:
    for node in nodes:
        await until(lambda: node.status()["state"] == "relaying")  # noqa: B023


@pytest.mark.parametrize("hide_ip", [True, False])
async def test_a_newcomer_finds_a_friend_through_a_neighbour_and_nobody_learns_who_asked(hide_ip: bool) -> None:
    outside = relay(network__listen=[f"/ip4/{OUTSIDE}/tcp/0"])
    async with outside, client() as friend, at_home(address(outside), client__hide_ip=hide_ip, **IN_WORLD) as home:
        await relaying(home)
        await friend.reserve(address(outside))
        friends = peer_id_to_bytes(friend.peer_id)
        await until(lambda: outside._discovery.presence.held.get(friends))
        there = {row["peer"] for row in outside.peers()}
        async with client(discovery__bootstrap=[address(home)]) as newcomer:
            record = await newcomer._discovery._look_up(friends)
            assert record is not None
            assert record.peer_id == friends
            came = {row["peer"] for row in outside.peers()} - there
            theirs = {row["peer"] for row in home.peers() if row["identity"] == "relay"}
        assert len(came) == 1
        assert not came & {*theirs, newcomer.peer_id, home.peer_id, home.relay_id}


async def test_a_question_from_outside_is_not_passed_on() -> None:
    everything = {"network__public_ranges": ["127.0.0.0/8"]}
    outside = relay(network__listen=[f"/ip4/{OUTSIDE}/tcp/0"])
    async with outside, at_home(address(outside), **everything) as home:
        await relaying(home)
        async with client(discovery__bootstrap=[address(home)]) as stranger:
            assert await stranger._discovery._look_up(PEERS[0].peer_id) is None
            assert home.peers()
        assert not outside.peers()


async def test_two_neighbours_that_know_only_each_other_do_not_ask_each_other() -> None:
    async with at_home(**IN_WORLD) as one, at_home(address(one), **IN_WORLD) as other:
        one._discovery.guide.name([address(other)])
        await relaying(one, other)
        async with client(discovery__bootstrap=[address(one)]) as newcomer:
            assert await newcomer._discovery._look_up(PEERS[0].peer_id) is None
            assert {row["peer"] for row in one.peers()}.isdisjoint({other.peer_id, other.relay_id})
        assert not other.peers()
        assert not one._discovery.endpoints
