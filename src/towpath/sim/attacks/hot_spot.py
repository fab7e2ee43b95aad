"""A hot spot: 500 clients and 50 equal relays that all of them see at nearly the same distance.

Every client finds some relays by the shards, ranks them, holds reservations at two, and looks again every ten minutes
for better ones, all by the node's own rules; relays tell their load in steps. Half-way a tenth of the relays goes at
once. Measured is the fullest relay against the mean, from when everybody has come. Who takes the nearest relay, as a
naive client does, is with everybody else at the same one, because it is a millisecond nearer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.client.choice import Offer, Seat, plan
from towpath.discovery.candidates import Measured
from towpath.discovery.outcomes import Outcome, noted, rest_left
from towpath.discovery.provider_store import ProviderStore
from towpath.discovery.selection import Ranked, rank
from towpath.discovery.shards import reading_order, shard_key, shard_of
from towpath.internet import prefix_of
from towpath.sim.attacks.figures import Chart, Figure, Report
from towpath.sim.attacks.relays import RESERVATIONS, candidate, ip_of, relay_id
from towpath.sim.engine import Engine

__all__ = ["BOUND", "FULL", "SMALL", "Size", "run"]

BOUND: Final = 2.0
_ENOUGH: Final = 4
_AT_ONCE: Final = 6
"""Shards that are read together."""
_ARRIVE_S: Final = 3600.0
_LOOK_S: Final = 600.0
_TELL_S: Final = 600.0
_EPOCH: Final = 1_800_000_000.0
_NEAREST_MS: Final = 10.0
_APART_MS: Final = 0.5


class Size(NamedTuple):
    """How many clients and relays, for how long."""

    clients: int = 500
    relays: int = 50
    hours: float = 24.0


SMALL: Final = Size(hours=2.0)
FULL: Final = Size(hours=24.0)


class _Client:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.known: dict[int, Measured] = {}
        self.held: dict[int, float] = {}


class _Network:
    """Relays, and clients that choose among them by `choose`: the ranking of what one of them knows."""

    def __init__(self, size: Size, rng: random.Random, choose: Callable[[_Network, _Client], list[Ranked]]) -> None:
        self.engine = Engine(rng.randrange(1 << 32))
        self.rng = rng
        self.size = size
        self.choose = choose
        self.up = set(range(size.relays))
        self.load: Counter[int] = Counter()
        self.told: dict[int, int] = dict.fromkeys(range(size.relays), 0)
        self.number = {relay_id("equal", one): one for one in range(size.relays)}
        self.clients: list[_Client] = []
        self.dht = ProviderStore()
        self.course: list[tuple[float, float]] = []
        self.worst = 0.0

    @property
    def now(self) -> float:
        return _EPOCH + self.engine.now

    def run(self) -> None:
        seconds = self.size.hours * 3600
        self.engine.at(0.0, self._relays_tell)
        for _ in range(self.size.clients):
            client = _Client(random.Random(self.rng.random()))
            self.clients.append(client)
            self.engine.at(self.rng.uniform(1.0, _ARRIVE_S), self._look, client)
        self.engine.at(seconds / 2, self._some_go)
        self.engine.run(seconds)

    def rtt_ms(self, relay: int, rng: random.Random) -> float:
        return _NEAREST_MS + _APART_MS * relay + rng.uniform(0.0, 0.2)

    def _relays_tell(self) -> None:
        for relay in self.up:
            self.told[relay] = min(7, 8 * self.load[relay] // RESERVATIONS)
            key = shard_key(shard_of(relay_id("equal", relay)))
            self.dht.add(key, relay_id("equal", relay), [], prefix_of(ip_of(relay)), self.engine.now)
        self.engine.after(_TELL_S, self._relays_tell)
        if self.engine.now > _ARRIVE_S:
            self._measure()

    def _measure(self) -> None:
        mean = sum(self.load.values()) / len(self.up)
        most = max(self.load[relay] for relay in self.up) / mean
        self.worst = max(self.worst, most)
        self.course.append((self.engine.now / 3600, most))

    def _some_go(self) -> None:
        gone = set(self.rng.sample(sorted(self.up), self.size.relays // 10))
        self.up -= gone
        for client in self.clients:
            for relay in gone & client.held.keys():
                del client.held[relay]
                self.load[relay] -= 1
                client.known[relay] = noted(client.known[relay], Outcome.FAILED, self.now)
                self.engine.after(self.rng.uniform(0.0, 30.0), self._seats, client)

    def _find(self, client: _Client) -> None:
        found = 0
        for place, shard in enumerate(reading_order(client.rng)):
            if place % _AT_ONCE == 0 and found >= _ENOUGH:
                return
            for provider in self.dht.some(shard_key(shard), client.rng, self.engine.now):
                relay = self.number[provider.peer_id]
                found += relay in self.up
                client.known.setdefault(relay, Measured())

    def _look(self, client: _Client) -> None:
        if not client.known:
            self._find(client)
        for relay in client.held:
            rtt = self.rtt_ms(relay, client.rng)
            client.known[relay] = noted(client.known[relay], Outcome.SERVED, self.now, rtt_ms=rtt)
        self._seats(client)
        self.engine.after(_LOOK_S * client.rng.uniform(0.9, 1.1), self._look, client)

    def _seats(self, client: _Client) -> None:
        if sum(relay in self.up for relay in client.known) < _ENOUGH:
            self._find(client)
        while True:
            ranked = self.choose(self, client)
            offers = {self.number[one.candidate.relay_id]: _offer(one) for one in ranked}
            seats = [Seat(offers[relay], "active", since) for relay, since in client.held.items()]
            usable = [_offer(one) for one in ranked if one.usable]
            planned = plan(seats, usable, self.engine.now)
            for left in planned.release:
                self.load[self.number[left]] -= 1
                del client.held[self.number[left]]
            if not planned.reserve:
                return
            for asked in planned.reserve:
                self._ask(client, self.number[asked])

    def _ask(self, client: _Client, relay: int) -> None:
        outcome = Outcome.SERVED
        if relay not in self.up:
            outcome = Outcome.FAILED
        elif self.load[relay] >= RESERVATIONS:
            outcome = Outcome.REFUSED
        rtt = self.rtt_ms(relay, client.rng) if relay in self.up else None
        client.known[relay] = noted(client.known[relay], outcome, self.now, rtt_ms=rtt)
        if outcome is Outcome.SERVED:
            client.held[relay] = self.engine.now
            self.load[relay] += 1


def _offer(one: Ranked) -> Offer:
    candidate = one.candidate
    return Offer(candidate.relay_id, candidate.networks, candidate.family, float(one.score))


def _by_the_node(network: _Network, client: _Client) -> list[Ranked]:
    known = [
        candidate(relay_id("equal", relay), ip_of(relay), network.now, own, load=network.told[relay])
        for relay, own in client.known.items()
    ]
    return rank(known, network.now, client.rng)


def _nearest_first(network: _Network, client: _Client) -> list[Ranked]:
    # Everybody knows everybody, and the nearest that does not refuse is the best.
    for relay in network.up:
        client.known.setdefault(relay, Measured())
    ordered = sorted(client.known, key=lambda relay: network.rtt_ms(relay, client.rng))
    rows: list[Ranked] = []
    for relay in ordered:
        own = client.known[relay]
        good = relay in network.up and rest_left(own, network.now) == 0
        if relay in client.held or (good and len(rows) < _ENOUGH):
            found = candidate(relay_id("equal", relay), ip_of(relay), network.now, own)
            rows.append(Ranked(found, 0, 0, [], good))
    return rows


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Both choices with the same clients and relays."""
    ours = _Network(size, random.Random(rng.random()), _by_the_node)
    ours.run()
    told(0.5)
    naive = _Network(size._replace(hours=min(size.hours, 3.0)), random.Random(rng.random()), _nearest_first)
    naive.run()
    told(1.0)
    held = sum(len(client.held) >= 2 for client in ours.clients) / len(ours.clients)
    figures = [
        Figure("fullest relay against the mean", ours.worst, at_most=BOUND, unit="×"),
        Figure("clients that hold two reservations in the end", held, at_least=0.99),
    ]
    chart = Chart(
        "Hot spot",
        "hours",
        "fullest relay / mean",
        {"the node's choice": ours.course, "nearest first (naive)": naive.course},
        BOUND,
        log_y=True,
    )
    return Report(
        "hot-spot",
        f"{size.clients} clients, {size.relays} relays, {size.hours:.0f} h",
        figures,
        [Figure("fullest relay against the mean, nearest first", naive.worst, at_most=BOUND, unit="×")],
        chart,
        ours.engine.events + naive.engine.events,
    )
