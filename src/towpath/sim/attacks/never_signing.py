"""An end that never signs: what does a relay carry for an account that shows itself and then signs nothing?

The sender sends as fast as its line goes. What is unsigned is held to four steps, which for a new account are 4 MiB;
ten seconds later it counts as a free rider, and what follows is its network's free tier, if there is some left. An
account that paid for much may owe more, in proportion. It may come back: what it owes is remembered, and each
new connection is worth one step of 1 MiB to it. The naive rule trusts it until the connection ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.credits.free_tier import Tier
from towpath.credits.policy import Asked, Load, should_accept_circuit
from towpath.credits.receipts import step, unsigned_allowed
from towpath.credits.senders import Senders
from towpath.sim.attacks.figures import Chart, Figure, Report
from towpath.sim.attacks.free_tier import network
from towpath.sim.attacks.work import MIB, account
from towpath.sim.engine import Engine

__all__ = ["BOUND_MIB", "FULL", "SMALL", "Size", "run"]

BOUND_MIB: Final = 4.0
_PATIENCE_S: Final = 10.0
_TIER: Final = Tier()
_LOADED: Final = Load(rate=0.9)
_EPOCH: Final = 1_800_000_000.0
_READ: Final = 128 << 10
"""Bytes that one readable event brings, at most."""


class Size(NamedTuple):
    """How many accounts, how long each stays, bytes per second of their lines, how often one comes back."""

    accounts: int
    seconds: float
    rate: float = 2e6
    returns: int = 10


SMALL: Final = Size(accounts=20, seconds=30.0)
FULL: Final = Size(accounts=300, seconds=120.0)


class _Sender:
    """One account at one relay, of which it paid for so much before."""

    def __init__(
        self, engine: Engine, relay: Senders, number: int, size: Size, *, paid: int = 0, trusting: bool
    ) -> None:
        self.unsigned = 0
        self.as_rider = 0
        self.course: list[tuple[float, float]] = []
        self._account = account("u", number)
        self._prefix = network(number)
        self._relay = relay
        self._engine = engine
        self._size = size
        self._paid = paid
        self._allowed = (1 << 62) if trusting else unsigned_allowed(paid)
        self._rider = False
        self._begun = engine.now
        engine.after(_READ / size.rate, self._send)

    def come_back(self) -> None:
        """On a new connection, with what it owed before on its account."""
        self._rider = False
        self._allowed = self.unsigned + unsigned_allowed(self._paid, self.unsigned)
        self._begun = self._engine.now
        self._send()

    def _send(self) -> None:
        now = self._engine.now
        if now - self._begun > self._size.seconds:
            return
        if self._rider:
            self._ride(now)
        elif self.unsigned < self._allowed:
            n = min(_READ, self._allowed - self.unsigned)
            self.unsigned += n
            self._relay.charge(self._account, self._prefix, n, 0, _TIER, now)
        else:
            # Nothing more is read from it until it signs, or patience is over.
            self._rider = True
            self._engine.after(_PATIENCE_S, self._send)
            return
        self.course.append((now - self._begun, self.unsigned / MIB))
        self._engine.after(_READ / self._size.rate, self._send)

    def _ride(self, now: float) -> None:
        left = self._relay.free_left(self._prefix, _TIER, now)
        asked = Asked(self._account, self._prefix, left, load=_LOADED, rider=True, tier=_TIER)
        if should_accept_circuit(asked, now).accept:
            self._relay.charge(None, self._prefix, _READ, 0, _TIER, now)
            self.as_rider += _READ


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """New accounts, some that paid before, some that come back, and a relay that trusts them all."""
    engine = Engine(rng.randrange(1 << 32), _EPOCH)
    relay, naive_relay = Senders(), Senders()
    new = [_Sender(engine, relay, number, size, trusting=False) for number in range(size.accounts)]
    trusted = _Sender(engine, naive_relay, 0, size, trusting=True)
    old_paid = 1 << 30
    old = _Sender(engine, relay, size.accounts, size, paid=old_paid, trusting=False)
    returning = _Sender(engine, relay, size.accounts + 1, size, trusting=False)
    for time in range(size.returns):
        engine.at(_EPOCH + (time + 1) * (size.seconds + 60.0), returning.come_back)
    engine.run(_EPOCH + size.seconds)
    first_course = list(returning.course)
    told(0.8)
    engine.run(_EPOCH + (size.returns + 2) * (size.seconds + 60.0))
    told(1.0)
    worst = max(sender.unsigned for sender in new) / MIB
    in_steps = old.unsigned / step(old_paid)
    of_tier = max(sender.unsigned + sender.as_rider for sender in new)
    figures = [
        Figure("carried unsigned for a new account, worst", worst, at_most=BOUND_MIB, unit="MiB"),
        Figure("carried unsigned for one that paid 1 GiB before, in its steps", in_steps, at_most=4.0),
        Figure(f"the same for one that comes back {size.returns} times", returning.unsigned / MIB, unit="MiB"),
        Figure("carried altogether, signed for or not, worst", of_tier / 1e6, unit="MB"),
    ]
    chart = Chart(
        "An end that never signs",
        "seconds",
        "MiB carried unsigned",
        {"held to four steps": first_course, "trusted until it ends (naive)": trusted.course[::4]},
        BOUND_MIB,
        log_y=True,
    )
    return Report(
        "never-signing",
        f"{size.accounts} new accounts at {size.rate / 1e6:.0f} MB/s, {size.seconds:.0f} s each",
        figures,
        [Figure("carried unsigned, trusted until it ends", trusted.unsigned / MIB, at_most=BOUND_MIB, unit="MiB")],
        chart,
        engine.events,
    )
