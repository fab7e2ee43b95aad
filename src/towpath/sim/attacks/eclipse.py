"""An eclipse: the attacker holds the 20 nodes closest to every shard key, so that the DHT tells of nobody else.

A client that was there before keeps relays on disk with what it measured of them; half of them are gone when it comes
back. It is told of the attacker's relays as well, which either answer nobody or grant every reservation (and then see
whom they meet). Counted is by the node's own rules: does the client get a reservation at an honest relay, and after how
many tries? A client that trusts what it finds now, or that never was there, has nobody but its bootstrap relays.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.client.choice import Offer, Seat, plan
from towpath.discovery.candidates import Candidate, Measured
from towpath.discovery.outcomes import Outcome, noted
from towpath.discovery.selection import rank
from towpath.sim.attacks.figures import Chart, Figure, Report, percentile
from towpath.sim.attacks.relays import candidate, ip_in, ip_of, relay_id

__all__ = ["FULL", "SMALL", "Size", "run"]

_NOW: Final = 1_800_000_000.0
_TOLD: Final = 20
"""Relays of the attacker that the client is told of: one answer's worth, each in a /16 of its own."""
_TRIES: Final = 60
_TRY_S: Final = 2.0
_MONTH: Final = 120
"""Circuits of a month through one relay."""


class Size(NamedTuple):
    """How many clients are tried, and how many relays each keeps."""

    clients: int
    kept: tuple[int, ...] = (4, 8, 16)


SMALL: Final = Size(clients=60, kept=(2, 8))
FULL: Final = Size(clients=150, kept=(1, 2, 4, 8, 16))


class _Came(NamedTuple):
    honest: int
    """Its reservations at honest relays in the end,"""
    tries: float
    """and how many it had asked until the first of them."""


def _kept(number: int, rng: random.Random, now: float) -> dict[bytes, Candidate]:
    found = {}
    for one in range(number):
        own = Measured()
        for circuit in range(_MONTH):
            outcome = Outcome.SERVED if rng.random() < 0.97 else Outcome.FAILED
            own = noted(own, outcome, now - (_MONTH - circuit) * 21_600, rtt_ms=rng.uniform(20, 140))
        found[relay_id("kept", one)] = candidate(relay_id("kept", one), ip_of(one), now, own, source="cache")
    return found


def _attackers(now: float) -> dict[bytes, Candidate]:
    return {
        of: candidate(of, ip_in(100 * one, one), now, Measured())
        for one, of in ((number, relay_id("eclipse", number)) for number in range(_TOLD))
    }


def _comes_back(
    honest: dict[bytes, Candidate],
    up: set[bytes],
    attackers: dict[bytes, Candidate],
    rng: random.Random,
    *,
    serve: bool,
) -> _Came:
    """One client: asks in the node's order until two reservations stand, or nothing is left to ask."""
    known = honest | attackers
    now, tries = _NOW, 0
    first = float("inf")
    held: dict[bytes, float] = {}
    while tries < _TRIES:
        ranked = rank(known.values(), now, rng)
        offers = [
            Offer(one.candidate.relay_id, one.candidate.networks, None, float(one.score))
            for one in ranked
            if one.usable
        ]
        seats = [Seat(Offer(of, known[of].networks), "active", since) for of, since in held.items()]
        asked = plan(seats, offers, now).reserve
        if not asked:
            break
        for of in asked:
            tries += 1
            good = of in up or (serve and of in attackers)
            if good:
                held[of] = now
            if of in up:
                first = min(first, tries)
            known[of] = _after(known[of], Outcome.SERVED if good else Outcome.FAILED, now)
        now += _TRY_S
    return _Came(sum(of in up for of in held), first)


def _after(one: Candidate, outcome: Outcome, now: float) -> Candidate:
    own = noted(one.own, outcome, now, rtt_ms=40.0 if outcome is Outcome.SERVED else None)
    return Candidate(one.relay_id, one.addresses, one.source, one.advertisement, own, one.seen_at, one.walk)


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Clients with so many kept relays, against attackers that answer nobody and such that serve everybody."""
    events = 0
    worst_tries = 0.0
    connected: list[tuple[float, float]] = []
    guarded: list[tuple[float, float]] = []
    for place, number in enumerate(size.kept):
        came: list[_Came] = []
        caught: list[_Came] = []
        attackers = _attackers(_NOW)
        honest = _kept(number, rng, _NOW)
        for _ in range(size.clients):
            # Half are gone, and one at least is left: without any there is nothing to connect to.
            up = {of for of in honest if rng.random() < 0.5} or {rng.choice(sorted(honest))}
            came.append(_comes_back(dict(honest), up, dict(attackers), rng, serve=False))
            caught.append(_comes_back(dict(honest), up, dict(attackers), rng, serve=True))
        events += 2 * size.clients
        connected.append((float(number), sum(one.honest > 0 for one in came) / len(came)))
        worst_tries = max(worst_tries, percentile((one.tries for one in came), 0.99))
        guarded.append((float(number), sum(one.honest > 0 for one in caught) / len(caught)))
        told((place + 1) / len(size.kept))
    fresh = sum(_comes_back({}, set(), _attackers(_NOW), rng, serve=False).honest > 0 for _ in range(size.clients))
    figures = [
        Figure("clients with kept relays that connect", min(y for _, y in connected), at_least=1.0),
        Figure("relays asked until an honest one served, 99 of 100 clients", worst_tries),
        Figure(
            f"clients with {size.kept[-1]} kept relays that stay off the attacker's, if those serve", guarded[-1][1]
        ),
    ]
    naive = [Figure("clients that go by what the DHT says now", fresh / size.clients, at_least=1.0)]
    chart = Chart(
        "Eclipse",
        "relays kept from before (half of them gone)",
        "share of clients with an honest relay",
        {
            "attackers that answer nobody": connected,
            "attackers that serve everybody": guarded,
            "nothing kept (naive)": [(float(number), fresh / size.clients) for number in size.kept],
        },
        log_x=True,
    )
    scale = f"{size.clients} clients for each of {len(size.kept)} sizes of cache, {_TOLD} relays of the attacker"
    return Report("eclipse", scale, figures, naive, chart, events)
