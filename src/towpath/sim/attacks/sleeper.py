"""A sleeper: a relay that serves well for a month, until it is everybody's favourite, and then drops every circuit.

It is the nearest of ten, and others' receipts speak for it. From the thirtieth day on it grants reservations, answers
every look, makes every circuit and cuts it. The client dials a few times a day through the relay that is ranked first,
looks at all it knows every minute (here every ten), and renews a reservation at the sleeper. Counted are the circuits
that each client loses before selection leaves the sleeper alone, to the end of the second month. Honest relays fail now
and then, too, and must not be dropped for it. The naive client ranks by the
score alone, in which a month of successes outweighs anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.discovery.candidates import Candidate, Measured
from towpath.discovery.outcomes import Outcome, noted
from towpath.discovery.selection import rank
from towpath.reputation.score import score
from towpath.sim.attacks.figures import Chart, Figure, Report, median
from towpath.sim.attacks.relays import candidate, ip_of, relay_id
from towpath.sim.engine import Engine

__all__ = ["BOUND", "FULL", "SMALL", "Size", "run"]

BOUND: Final = 5
_RELAYS: Final = 10
_GOOD: Final = 0.97
_TRIES: Final = 4
_LOOK_S: Final = 600.0
_RENEW_S: Final = 2700.0
_DAY_S: Final = 86_400.0
_MONTH_S: Final = 30 * _DAY_S
_EPOCH: Final = 1_800_000_000.0
_SLEEPER: Final = 0


class Size(NamedTuple):
    """How many clients, how many circuits a day each has, for how many days afterwards."""

    clients: int
    circuits: float = 4.0
    after_days: int = 30


SMALL: Final = Size(clients=6, after_days=5)
FULL: Final = Size(clients=200)


class _Client:
    def __init__(self, engine: Engine, size: Size, *, naive: bool) -> None:
        self.engine = engine
        self.rng = random.Random(engine.rng.random())
        self.size = size
        self.naive = naive
        self.awake = _EPOCH + _MONTH_S
        self.lost = 0
        self.honest_lost = 0
        self.used: list[int] = []
        """After the sleeper woke: which relay each circuit went through first."""
        self.own = [Measured() for _ in range(_RELAYS)]
        self.rtt = [20.0, *(self.rng.uniform(60.0, 140.0) for _ in range(_RELAYS - 1))]
        engine.after(self.rng.uniform(0, _LOOK_S), self._look)
        engine.after(self.rng.uniform(0, _RENEW_S), self._renew)
        self._next_circuit()

    def _note(self, relay: int, outcome: Outcome) -> None:
        rtt = None if outcome is Outcome.FAILED else self.rtt[relay] * self.rng.uniform(1.0, 1.1)
        self.own[relay] = noted(self.own[relay], outcome, self.engine.now, rtt_ms=rtt)

    def _look(self) -> None:
        for relay in (_SLEEPER, self.rng.randrange(1, _RELAYS)):
            self._note(relay, Outcome.CONNECTED)
        self.engine.after(_LOOK_S, self._look)

    def _renew(self) -> None:
        self._note(_SLEEPER, Outcome.KEPT)
        self.engine.after(_RENEW_S, self._renew)

    def _next_circuit(self) -> None:
        self.engine.after(self.rng.expovariate(self.size.circuits / _DAY_S), self._dial)

    def _dial(self) -> None:
        asleep = self.engine.now < self.awake
        for relay in self._ranked()[:_TRIES]:
            good = asleep if relay == _SLEEPER else self.rng.random() < _GOOD
            if good or relay == _SLEEPER:
                self._note(relay, Outcome.SERVED)
            if not good:
                # The sleeper made it and cut it.
                self._note(relay, Outcome.FAILED)
            if not asleep and relay == _SLEEPER:
                self.lost += 1
            if not asleep and len(self.used) < 400:
                self.used.append(relay)
            if good:
                break
        self._next_circuit()

    def _ranked(self) -> list[int]:
        if self.naive:
            return sorted(range(_RELAYS), key=lambda relay: -self._plain(self.own[relay]))
        now = self.engine.now
        known = {_id(relay): relay for relay in range(_RELAYS)}
        ranked = rank((self._candidate(relay, now) for relay in range(_RELAYS)), now, self.rng)
        return [known[one.candidate.relay_id] for one in ranked if one.usable]

    @staticmethod
    def _plain(own: Measured) -> int:
        return score(own.uptime, own.successful, own.failed, own.latency_ms)

    def _candidate(self, relay: int, now: float) -> Candidate:
        walk = 100.0 if relay == _SLEEPER else 50.0
        return candidate(_id(relay), ip_of(relay), now, self.own[relay], walk=walk)


def _id(relay: int) -> bytes:
    return relay_id("asleep", relay)


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Clients by the node's selection, and by the score alone."""
    engine = Engine(rng.randrange(1 << 32), _EPOCH)
    ours = [_Client(engine, size, naive=False) for _ in range(size.clients)]
    naive = [_Client(engine, size, naive=True) for _ in range(max(1, size.clients // 3))]
    until = _EPOCH + _MONTH_S + size.after_days * _DAY_S
    days = round((until - _EPOCH) / _DAY_S)
    courses: dict[str, list[tuple[float, float]]] = {"the node's selection": [], "the score alone (naive)": []}
    favourite = 0.0
    for day in range(1, days + 1):
        engine.run(_EPOCH + day * _DAY_S)
        if day == 30:
            favourite = sum(client._ranked()[0] == _SLEEPER for client in ours) / len(ours)
        if day >= 30:
            for name, clients in zip(courses, (ours, naive), strict=True):
                courses[name].append((float(day - 30), sum(one.lost for one in clients) / len(clients)))
        told(day / days)
    kept = min(len({relay for relay in client.used if relay != _SLEEPER}) for client in ours)
    figures = [
        Figure("circuits lost until selection leaves it, worst client", max(one.lost for one in ours), at_most=BOUND),
        Figure("circuits lost, median client", median(one.lost for one in ours)),
        Figure("clients whose first choice it was on the thirtieth day", favourite, at_least=0.5),
        Figure("honest relays still in use, least of all clients", float(kept), at_least=2.0),
    ]
    chart = Chart("A sleeper", "days since it woke", "circuits lost, mean", courses, BOUND, log_y=False)
    return Report(
        "sleeper",
        f"{size.clients} clients, {_RELAYS} relays, {days} days",
        figures,
        [Figure("circuits lost, ranked by the score alone", median(one.lost for one in naive), at_most=BOUND)],
        chart,
        engine.events,
    )
