"""Squatting a shard: 1,000 provider records from k prefixes, put again every ten minutes, against honest relays.

The honest relays of one shard (a network of 500 has eight in each) provide it every hour to the 20 servers closest to
its key. The attacker was there first, and its records are as good as theirs: it signs advertisements, too. A client
reads the shard again and again; counted are its reads until it knows an honest relay of it. Beyond 60 prefixes the
attacker alone fills what a server keeps, and nothing is promised any more; the chart shows where that begins.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from towpath.discovery.provider_store import Provider, ProviderStore
from towpath.discovery.shards import shard_key
from towpath.internet import prefix_of
from towpath.sim.attacks.figures import Chart, Figure, Report, percentile
from towpath.sim.attacks.relays import ip_in, ip_of, relay_id
from towpath.sim.engine import Engine

__all__ = ["BOUND", "FULL", "PROMISED", "SMALL", "Size", "run"]

BOUND: Final = 3
PROMISED: Final = 32
"""Prefixes (/24, /48) up to which the bound holds."""
_RECORDS: Final = 1000
_HONEST: Final = 8
_SERVERS: Final = 20
_AGAIN_S: Final = 600.0
_HONEST_S: Final = 3600.0
_GIVEN_UP: Final = 20
_KEY: Final = shard_key(0)


class Size(NamedTuple):
    """How long the attack lasts, how many clients read in that time, from how many prefixes it comes."""

    hours: float
    clients: int
    prefixes: tuple[int, ...]
    servers: int


SMALL: Final = Size(hours=2.0, clients=150, prefixes=(1, 8, PROMISED), servers=2)
FULL: Final = Size(hours=6.0, clients=1_000, prefixes=(1, 2, 4, 8, 16, PROMISED, 48, 56, 60, 64, 128), servers=5)


class _Store(Protocol):
    def add(self, key: bytes, peer_id: bytes, addrs: Sequence[bytes], prefix: bytes, now: float) -> bool: ...

    def some(self, key: bytes, rng: random.Random, now: float) -> list[Provider]: ...


class _FirstTwenty:
    """The first 20 providers of a key, for 48 hours, as libraries keep them."""

    def __init__(self) -> None:
        self._kept: dict[bytes, float] = {}

    def add(self, key: bytes, peer_id: bytes, addrs: Sequence[bytes], prefix: bytes, now: float) -> bool:
        self._kept = {peer: at for peer, at in self._kept.items() if now - at < 48 * 3600}
        if peer_id in self._kept or len(self._kept) < 20:
            self._kept[peer_id] = now
        return True

    def some(self, key: bytes, rng: random.Random, now: float) -> list[Provider]:
        return [Provider(peer, ()) for peer in self._kept]


class _Newest:
    """The newest 128, whatever prefix they come from."""

    def __init__(self) -> None:
        self._kept = ProviderStore()

    def add(self, key: bytes, peer_id: bytes, addrs: Sequence[bytes], prefix: bytes, now: float) -> bool:
        return self._kept.add(key, peer_id, addrs, peer_id, now)

    def some(self, key: bytes, rng: random.Random, now: float) -> list[Provider]:
        return self._kept.some(key, rng, now)


class _Shard:
    def __init__(self, size: Size, prefixes: int, store: Callable[[], _Store], rng: random.Random) -> None:
        self.engine = Engine(rng.randrange(1 << 32))
        self.rng = rng
        self.prefixes = prefixes
        self.servers = [store() for _ in range(size.servers)]
        self.honest = {relay_id("shard", number): prefix_of(ip_of(number)) for number in range(_HONEST)}
        self.reads: list[float] = []
        self.known: list[float] = []
        """Of each client, the share of the shard's honest relays that it knows after three reads."""
        self.engine.at(0.0, self._squat)
        for peer in self.honest:
            self.engine.at(rng.uniform(1.0, _HONEST_S), self._provide, peer)
        for _ in range(size.clients):
            self.engine.at(rng.uniform(_HONEST_S, size.hours * 3600), self._come)
        self.engine.run(size.hours * 3600 + 1)

    def _squat(self) -> None:
        for number in range(_RECORDS):
            self._tell(relay_id("squatter", number), prefix_of(ip_in(number % self.prefixes, number)))
        self.engine.after(_AGAIN_S, self._squat)

    def _provide(self, peer: bytes) -> None:
        self._tell(peer, self.honest[peer])
        self.engine.after(_HONEST_S, self._provide, peer)

    def _tell(self, peer: bytes, prefix: bytes) -> None:
        for server in self.servers:
            server.add(_KEY, peer, (), prefix, self.engine.now)

    def _come(self) -> None:
        self._read(1)
        found = {
            one.peer_id
            for _ in range(BOUND)
            for one in self.rng.choice(self.servers).some(_KEY, self.rng, self.engine.now)
        }
        self.known.append(len(found & self.honest.keys()) / _HONEST)

    def _read(self, times: int) -> None:
        found = self.rng.choice(self.servers).some(_KEY, self.rng, self.engine.now)
        if any(one.peer_id in self.honest for one in found):
            self.reads.append(float(times))
        elif times == _GIVEN_UP:
            self.reads.append(float("inf"))
        else:
            self._read(times + 1)


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Every number of prefixes, by the node's store and by two others."""
    events = 0
    stores: dict[str, Callable[[], _Store]] = {
        "the node's store": ProviderStore,
        "first 20 for 48 h (naive)": _FirstTwenty,
        "newest 128 of all (naive)": _Newest,
    }
    needed: dict[str, list[tuple[float, float]]] = {}
    known: list[float] = []
    for place, (name, store) in enumerate(stores.items()):
        row = needed.setdefault(name, [])
        for prefixes in size.prefixes if place == 0 else (size.prefixes[0], PROMISED):
            shard = _Shard(size, prefixes, store, random.Random(rng.random()))
            row.append((float(prefixes), percentile(shard.reads, 0.99)))
            events += shard.engine.events
            if place == 0 and prefixes == PROMISED:
                known = shard.known
        told((place + 1) / len(stores))
    ours, first, newest = needed.values()
    figures = [
        Figure(
            f"reads until an honest relay is known, 99 of 100 clients, up to {PROMISED} prefixes",
            max(reads for prefixes, reads in ours if prefixes <= PROMISED),
            at_most=BOUND,
        ),
        Figure(f"of its honest relays known after {BOUND} reads, {PROMISED} prefixes", sum(known) / len(known)),
        *(
            Figure(f"the same with {prefixes:.0f} prefixes, which is not promised", reads)
            for prefixes, reads in ours
            if prefixes > PROMISED
        ),
    ]
    naive = [
        Figure(f"reads until an honest relay is known, {name}", max(reads for _, reads in row), at_most=BOUND)
        for name, row in (("first 20 for 48 h", first), ("newest 128 of all", newest))
    ]
    # Those that never find one are drawn where they give up.
    lines = {name: [(x, min(y, float(_GIVEN_UP))) for x, y in row] for name, row in needed.items()}
    chart = Chart(
        "Squatting a shard", "prefixes of the attacker", f"reads ({_GIVEN_UP}: never)", lines, BOUND, log_x=True
    )
    scale = f"{_RECORDS} records, {_HONEST} honest relays, {size.servers} servers, {size.hours:.0f} h"
    return Report("squatting", scale, figures, naive, chart, events)
