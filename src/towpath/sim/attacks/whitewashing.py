"""Whitewashing: take, forget, come back as somebody else.

One user asks a loaded relay every ten minutes for a month. The honest one stays who it is and signs. The others take
the same and throw their account away: every day, every hour, or whenever they are refused; one of them first works
for the relay as the honest contributor does, spends what it earned, and then begins anew each time. Compared is what
each was served with what honesty with the same work was served. The naive rule gives every account a tier of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.credits.decay import decayed
from towpath.credits.flow import Graph
from towpath.credits.free_tier import Tier
from towpath.credits.policy import Asked, Load, should_accept_circuit
from towpath.credits.senders import Senders
from towpath.sim.attacks.figures import Chart, Figure, Report, exactly
from towpath.sim.attacks.free_tier import network
from towpath.sim.attacks.work import MIB, account
from towpath.sim.engine import Engine

__all__ = ["BOUND", "FULL", "SMALL", "Size", "run"]

BOUND: Final = 1.001
"""Honesty's share, and what asking at other moments makes of the last mebibyte."""
_TIER: Final = Tier()
_LOADED: Final = Load(rate=0.9)
_ASK_S: Final = 600.0
_DAY_S: Final = 86_400.0
_EPOCH: Final = 1_800_000_000.0
_RELAY: Final = account("r", 0)
_DAILY_WORK: Final = 600 * MIB
"""What a contributor relays for this relay's owner a day."""


class Size(NamedTuple):
    """How many days, and how many relays are asked."""

    days: int
    relays: int


SMALL: Final = Size(days=3, relays=2)
FULL: Final = Size(days=30, relays=4)


class _Strategy(NamedTuple):
    name: str
    every_s: float = float("inf")
    """How often it begins as somebody else; 0: whenever it is refused."""
    working_days: float = 0.0
    """For how long it relays for the relay's owner, under its first account."""


class _User:
    """Asks one relay; `by_account`: the naive rule, which looks at the account alone."""

    def __init__(self, strategy: _Strategy, engine: Engine, prefix: bytes, until: float, *, by_account: bool) -> None:
        self.served = 0
        self.course: list[tuple[float, float]] = []
        self._strategy = strategy
        self._engine = engine
        self._prefix = prefix
        self._by_account = by_account
        self._relay = Senders()
        self._graph = Graph()
        self._number = 0
        self._begun = engine.now
        self._since = engine.now
        self._until = until
        engine.after(_DAY_S, self._work)
        engine.after(_ASK_S, self._ask)

    def _work(self) -> None:
        # Of the day before: it is worth something from then on, and fades.
        now = self._engine.now
        self._graph.fade(decayed(1.0, now - _DAY_S, now))
        if self._number == 0 and now - self._begun <= self._strategy.working_days * _DAY_S:
            self._graph.add_edge(_RELAY, account("w", 0), _DAILY_WORK)
        self._engine.after(_DAY_S, self._work)

    def _ask(self) -> None:
        now = self._engine.now
        if self._strategy.every_s and now - self._since >= self._strategy.every_s:
            self._begin_anew()
        fresh = False
        while True:
            who = account("w", self._number)
            prefix = self._number.to_bytes(7, "big") if self._by_account else self._prefix
            credit = self._graph.credit(_RELAY, who)
            asked = Asked(
                who,
                prefix,
                self._relay.free_left(prefix, _TIER, now),
                self._relay.free_left(who, _TIER, now),
                earned=credit,
                load=_LOADED,
                tier=_TIER,
            )
            decided = should_accept_circuit(asked, now)
            if decided.accept and decided.limit_data:
                n = decided.limit_data
                charge, _ = self._relay.charge(who, prefix, n, credit, _TIER, now)
                self._graph.take(_RELAY, who, charge.credit)
                self.served += n
                fresh = False
            elif self._strategy.every_s == 0 and not fresh and now - self._begun > self._strategy.working_days * _DAY_S:
                self._begin_anew()
                fresh = True
            else:
                break
        self.course.append(((now - self._begun) / _DAY_S, self.served / 1e9))
        if now < self._until:
            self._engine.after(_ASK_S, self._ask)

    def _begin_anew(self) -> None:
        self._number += 1
        self._since = self._engine.now


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Each way to come back as somebody else, against honesty with the same work."""
    stays = _Strategy("stays and signs")
    works = _Strategy("works, stays and signs", working_days=size.days / 2)
    ways = [
        (_Strategy("new every day", _DAY_S), stays),
        (_Strategy("new every hour", 3600.0), stays),
        (_Strategy("new when refused", 0.0), stays),
        (_Strategy("works, spends, new when refused", 0.0, size.days / 2), works),
    ]
    engine = Engine(rng.randrange(1 << 32), _EPOCH)
    until = _EPOCH + size.days * _DAY_S
    served: dict[str, int] = {}
    courses: dict[str, list[tuple[float, float]]] = {}
    naive: dict[str, int] = {}

    def users(strategy: _Strategy, *, by_account: bool) -> list[_User]:
        return [_User(strategy, engine, network(number), until, by_account=by_account) for number in range(size.relays)]

    strategies = [stays, works, *(way for way, _ in ways)]
    running = {strategy.name: users(strategy, by_account=False) for strategy in strategies}
    naively = {strategy.name: users(strategy, by_account=True)[:1] for strategy in (stays, ways[1][0])}
    for day in range(size.days):
        engine.run(_EPOCH + (day + 1) * _DAY_S)
        told((day + 1) / size.days)
    for name, group in running.items():
        served[name] = sum(user.served for user in group)
        courses[name] = group[0].course[:: max(1, len(group[0].course) // 200)]
    naive = {name: group[0].served for name, group in naively.items()}
    gains = {way.name: exactly(served[way.name], served[honest.name]) for way, honest in ways}
    figures = [
        Figure(f"{name}, against honesty with the same work", gain, at_most=BOUND, unit="×")
        for name, gain in gains.items()
    ]
    figures.append(
        Figure("having worked, against staying without work", exactly(served[works.name], served[stays.name]), unit="×")
    )
    gain = exactly(naive[ways[1][0].name], naive[stays.name])
    chart = Chart("Whitewashing", "days", "GB served by one relay", courses)
    return Report(
        "whitewashing",
        f"{len(strategies)} ways to behave, {size.relays} relays, {size.days} days",
        figures,
        [Figure("new every hour, against staying, tier by account", gain, at_most=BOUND, unit="×")],
        chart,
        engine.events,
    )
