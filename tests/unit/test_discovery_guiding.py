"""Whom a client asks when those it was told of are gone: a neighbour, whom it keeps away from otherwise."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.addresses import peer_id_to_text
from towpath.client.choice import Offer
from towpath.client.guide import RelayOffer
from towpath.discovery import asking
from towpath.discovery.asking import Asking
from towpath.discovery.bootstrap import Bootstrap, Share
from towpath.discovery.candidates import Found
from towpath.discovery.finder import Finder
from towpath.discovery.guiding import Guided
from towpath.discovery.outcomes import Outcome
from towpath.discovery.records import PeerRecord
from towpath.errors import TowpathError
from towpath.identity import Identity
from towpath.internet import PublicAddresses

NEIGHBOUR, VOLUNTEER, FIRST, FRIEND = (Identity(bytes((n,)) * 32).peer_id for n in range(1, 5))
HOSTS = {NEIGHBOUR: "192.168.1.9", VOLUNTEER: "192.31.196.1", FIRST: "192.52.193.1"}
NEAR = ("192.168.1.0/24",)


def at(relay_id: bytes) -> tuple[str, ...]:
    return (f"/ip4/{HOSTS[relay_id]}/tcp/4001/p2p/{peer_id_to_text(relay_id)}",)


class Home:
    """The mDNS source of a home with one relay, counted."""

    name = "mdns"

    def __init__(self) -> None:
        self.searched = 0

    async def search(self) -> AsyncIterator[Found]:
        self.searched += 1
        yield Found(NEIGHBOUR, at(NEIGHBOUR), "mdns")


class Client:
    """A hiding client that knows these bootstrap relays; each look-up does the next of `looks`."""

    def __init__(self, *bootstrap: bytes, looks: Sequence[Callable[[], None]] = ()) -> None:
        self.home = Home()
        self.asked: list[list[bytes]] = []
        self._looks = list(looks)
        entries = [text for one in bootstrap for text in at(one)]
        told = Bootstrap(lambda: entries, PublicAddresses)
        self.finder = Finder([self.home], bootstrap=lambda: told.ids)
        self.guide = Guided(self.finder, told, Share(), self._look_up, PublicAddresses, lambda: NEAR)
        self.guide.take_bootstrap(entries)

    def to_ask(self) -> list[bytes]:
        return [relay.offer.relay_id for relay in self.guide.to_ask()]

    def offered(self) -> list[bytes]:
        return [relay.offer.relay_id for relay in self.guide.offers()]

    async def _look_up(self, target: bytes) -> PeerRecord | None:
        self.asked.append(self.to_ask())
        self._looks.pop(0)()
        return None


def answers() -> None:
    return


def fails() -> None:
    raise TowpathError("nobody was reached")


async def test_who_was_told_of_nobody_asks_a_neighbour() -> None:
    client = Client(looks=[answers])
    assert await client.guide.relays_of(FRIEND) is None
    assert client.asked == [[NEIGHBOUR]]
    assert client.offered() == []
    await client.finder.close()


async def test_who_was_told_of_relays_that_are_gone_asks_a_neighbour_next() -> None:
    client: Client

    def dead() -> None:
        client.guide.note(FIRST, Outcome.FAILED)
        fails()

    client = Client(FIRST, looks=[dead, fails])
    assert await client.guide.relays_of(FRIEND) is None
    assert client.asked == [[FIRST], [NEIGHBOUR, FIRST]]
    assert client.home.searched == 1
    await client.finder.close()


async def test_a_neighbour_is_neither_looked_for_nor_asked_while_others_answer() -> None:
    client = Client(FIRST, looks=[answers, answers])
    assert await client.guide.relays_of(FRIEND) is None
    assert not client.home.searched
    client.finder.take(Found(NEIGHBOUR, at(NEIGHBOUR), "mdns"))
    client.finder.take(Found(VOLUNTEER, at(VOLUNTEER), "dht"))
    client.guide.changed()
    assert await client.guide.relays_of(FRIEND) is None
    assert client.asked == [[FIRST], [VOLUNTEER, FIRST]]
    await client.finder.close()


async def test_a_relay_that_stays_silent_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_CONNECT_S", 0.05)
    reactor = Reactor(asyncio.get_running_loop())
    told: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        offer = RelayOffer(Offer(FIRST), (f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id_to_text(FIRST)}",))
        ask = Asking(lambda: Endpoint(reactor, os.urandom(32)), lambda: [offer], lambda _: False, told.append)
        await ask.ready()
        assert told == [FIRST]
        assert not ask.relays()
        await ask.close()
    reactor.close()
