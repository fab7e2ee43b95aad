"""Free riding at 90% load: contributors and riders want the same of one relay, and together nearly all that it has.

Both come at random and want files of the same sizes. Who is accepted shares the relay's rate by the node's weights; who
is refused comes back when it is told to, or in some minutes. A wait is what a transfer took beyond what its own line
would have needed. Once there are many riders, each well within its free tier, so that weight alone decides; once there
are few greedy ones, whose free tiers run out. The naive relay accepts everybody and weighs all alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.credits.flow import Graph
from towpath.credits.free_tier import Tier
from towpath.credits.policy import LIGHT, Asked, Load, should_accept_circuit
from towpath.credits.senders import Senders
from towpath.credits.weights import Sending, weights
from towpath.sim.attacks.figures import Chart, Figure, Report, exactly, median, percentile
from towpath.sim.attacks.free_tier import network
from towpath.sim.attacks.work import account
from towpath.sim.engine import Engine
from towpath.sim.pipe import shares

__all__ = ["BOUND", "FULL", "SMALL", "Size", "run"]

BOUND: Final = 0.25
_LOAD: Final = 0.9
_RATE: Final = 10e6
_LINE: Final = 4e6
_MEAN: Final = 20e6
_SPREAD: Final = 1.0
_TIER: Final = Tier()
_RELAY: Final = account("r", 0)
_RETRY_S: Final = 120.0
_DONE: Final = 1.0
_EPOCH: Final = 1_800_000_000.0


class Size(NamedTuple):
    """How many transfers of each kind, of how many contributors, many modest riders, or few greedy ones."""

    transfers: int
    contributors: int = 100
    many: int = 1000
    few: int = 30


SMALL: Final = Size(transfers=800)
FULL: Final = Size(transfers=6_000)


class _Wanted:
    """A transfer."""

    __slots__ = ("account", "at", "left", "n", "paying", "prefix", "quota", "rate", "weight")

    def __init__(self, who: bytes, prefix: bytes, n: float, at: float) -> None:
        self.account = who
        self.prefix = prefix
        self.n = n
        self.left = n
        self.at = at
        self.quota = 0.0
        """Bytes that the circuit in use may still carry."""
        self.paying = False
        self.rate = 0.0
        self.weight = LIGHT


class _Relay:
    """One relay: fluid circuits that share its rate by weight. `fair`: the naive one."""

    def __init__(self, seed: float, transfers: int, contributors: int, riders: int, *, fair: bool) -> None:
        self.engine = Engine(str(seed), _EPOCH)
        self.waits: dict[bool, list[float]] = {True: [], False: []}
        self.carried = 0.0
        self._fair = fair
        self._senders = Senders()
        self._graph = Graph()
        self._open: list[_Wanted] = []
        self._moved_at = self.engine.now
        self._turn = 0
        self._in_use = 0.0
        for number in range(contributors):
            # Each has relayed as much for the owner as it will want here.
            self._graph.set_edge(_RELAY, account("c", number), int(4 * _MEAN * transfers / contributors))
        rng = self.engine.rng
        pause = 2 * _MEAN / (_LOAD * _RATE)
        for kind, number in ((True, contributors), (False, riders)):
            at = _EPOCH
            for _ in range(transfers):
                at += rng.expovariate(1 / pause)
                who = rng.randrange(number)
                n = min(20 * _MEAN, _MEAN * rng.lognormvariate(-(_SPREAD**2) / 2, _SPREAD))
                wanted = _Wanted(account("c" if kind else "f", who), network(who if kind else 50_000 + who), n, at)
                self.engine.at(at, self._ask, wanted)
            self.until = at
        self.engine.run(self.until)
        self.seconds = self.until - _EPOCH

    # --- asking --------------------------------------------------------------------------------

    def _ask(self, wanted: _Wanted) -> None:
        self._move()
        now = self.engine.now
        if self._fair:
            wanted.quota = wanted.left
        else:
            credit = self._graph.credit(_RELAY, wanted.account)
            asked = Asked(
                wanted.account,
                wanted.prefix,
                self._senders.free_left(wanted.prefix, _TIER, now),
                self._senders.free_left(wanted.account, _TIER, now),
                earned=credit,
                load=Load(rate=self._in_use / _RATE),
                tier=_TIER,
            )
            decided = should_accept_circuit(asked, now)
            if not decided.accept:
                again = now + _RETRY_S if decided.again_at is None else decided.again_at
                self.engine.at(max(now + _RETRY_S, again), self._ask, wanted)
                return
            wanted.paying = credit > 0
            wanted.quota = wanted.left if decided.limit_data is None else float(decided.limit_data)
        self._open.append(wanted)
        self._share()

    # --- carrying ------------------------------------------------------------------------------

    def _move(self) -> None:
        seconds = self.engine.now - self._moved_at
        self._moved_at = self.engine.now
        for one in self._open:
            n = min(one.rate * seconds, one.left, one.quota)
            one.left -= n
            one.quota -= n
            self.carried += n
            if n and not self._fair:
                owed = self._graph.edge(_RELAY, one.account) if one.paying else None
                credit = 0 if owed is None else owed.left
                charge, _ = self._senders.charge(one.account, one.prefix, round(n), credit, _TIER, self.engine.now)
                if charge.credit:
                    self._graph.take(_RELAY, one.account, charge.credit)

    def _share(self) -> None:
        if self._fair:
            each = [LIGHT] * len(self._open)
        else:
            each = weights([Sending(one.account if one.paying else one.prefix, one.paying) for one in self._open])
        rates = shares(_RATE, [(_LINE, weight) for weight in each])
        self._in_use = sum(rates)
        soonest = float("inf")
        for one, rate in zip(self._open, rates, strict=True):
            one.rate = rate
            if rate > 0:
                soonest = min(soonest, min(one.left, one.quota) / rate)
        self._turn += 1
        if soonest < float("inf"):
            self.engine.after(soonest + 1e-3, self._some_end, self._turn)

    def _some_end(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._move()
        over = [one for one in self._open if min(one.left, one.quota) <= _DONE]
        self._open = [one for one in self._open if min(one.left, one.quota) > _DONE]
        self._share()
        for one in over:
            if one.left <= _DONE:
                wait = self.engine.now - one.at - one.n / _LINE
                self.waits[one.account.startswith(b"c")].append(max(0.0, wait))
            else:
                self._ask(one)


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Many modest riders, few greedy ones, and a relay that is fair to everybody."""
    seed = rng.random()
    figures: list[Figure] = []
    courses: dict[str, list[tuple[float, float]]] = {}
    events = 0
    for place, (name, riders) in enumerate((("many modest riders", size.many), ("few greedy riders", size.few))):
        relay = _Relay(seed, size.transfers, size.contributors, riders, fair=False)
        contributor, rider = median(relay.waits[True]), median(relay.waits[False])
        figures += [
            Figure(f"contributor's median wait over the rider's, {name}", exactly(contributor, rider), at_most=BOUND),
            Figure(f"contributor's median wait, {name}", contributor, unit="s"),
            Figure(f"rider's median wait, {name}", rider, unit="s"),
            Figure(f"riders' transfers that got through, {name}", len(relay.waits[False]) / size.transfers),
        ]
        events += relay.engine.events
        for kind, who in ((True, "contributors"), (False, "riders")):
            courses[f"{who}, {name}"] = _spread(relay.waits[kind])
        told((place + 1) / 3)
    fair = _Relay(seed, size.transfers, size.contributors, size.many, fair=True)
    events += fair.engine.events
    courses["everybody alike (naive)"] = _spread(fair.waits[True])
    told(1.0)
    naive = exactly(median(fair.waits[True]), median(fair.waits[False]))
    chart = Chart("Free riding at 90% load", "share of transfers", "wait, s", courses, log_y=True)
    return Report(
        "free-riding",
        f"{size.transfers} transfers of {size.contributors} contributors, as many of {size.many} or {size.few} riders",
        figures,
        [Figure("contributor's median wait over the rider's, all weighed alike", naive, at_most=BOUND)],
        chart,
        events,
    )


def _spread(waits: list[float]) -> list[tuple[float, float]]:
    return [(share / 20, max(0.1, percentile(waits, share / 20))) for share in range(1, 20)]
