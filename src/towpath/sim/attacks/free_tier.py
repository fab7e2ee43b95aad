"""Drinking the free tier: N identities on k networks, each with an account of its own, at loaded relays.

Every identity asks every relay again and again, and takes whatever it is granted. What the attacker is served at all
relays together must grow with its networks (a /24 each) and not with its identities: an identity is free, a network is
not. A tier for each identity alone serves as many times as much as there are identities.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.credits.free_tier import Tier
from towpath.credits.policy import Asked, Load, should_accept_circuit
from towpath.credits.senders import Senders
from towpath.sim.attacks.figures import Chart, Figure, Report, exactly
from towpath.sim.attacks.work import account
from towpath.sim.engine import Engine

__all__ = ["FULL", "SMALL", "TOLERANCE", "Drinkers", "Size", "network", "run"]

TOLERANCE: Final = 1.05
_TIER: Final = Tier()
_LOADED: Final = Load(rate=0.9)
_ASK_S: Final = 600.0
_EPOCH: Final = 1_800_000_000.0


class Size(NamedTuple):
    """How many identities and networks are tried, at how many relays, for how long."""

    identities: tuple[int, ...]
    networks: tuple[int, ...]
    relays: int
    hours: float


SMALL: Final = Size(identities=(8, 64), networks=(1, 2, 8), relays=2, hours=6.0)
FULL: Final = Size(identities=(16, 128, 1024), networks=(1, 4, 16), relays=2, hours=24.0)


def network(number: int) -> bytes:
    """The number-th /24."""
    return bytes((20 + number // 65_536, number // 256 % 256, number % 256))


class Drinkers:
    """Identities that ask loaded relays for all that there is. `of(number)` is the network of one."""

    def __init__(self, identities: int, of: Callable[[int], bytes], relays: int, hours: float, seed: float) -> None:
        self.engine = Engine(str(seed), _EPOCH)
        self.served = 0
        self._of = of
        until = _EPOCH + hours * 3600
        for _ in range(relays):
            relay = Senders()
            for number in range(identities):
                self.engine.at(_EPOCH + self.engine.rng.uniform(0.0, _ASK_S), self._ask, relay, number)
        self.engine.run(until)

    def _ask(self, relay: Senders, number: int) -> None:
        now, who, prefix = self.engine.now, account("d", number), self._of(number)
        while True:
            asked = Asked(
                who,
                prefix,
                relay.free_left(prefix, _TIER, now),
                relay.free_left(who, _TIER, now),
                load=_LOADED,
                tier=_TIER,
            )
            decided = should_accept_circuit(asked, now)
            if not decided.accept or not decided.limit_data:
                break
            relay.charge(who, prefix, decided.limit_data, 0, _TIER, now)
            self.served += decided.limit_data
        self.engine.after(_ASK_S, self._ask, relay, number)


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Every number of identities on every number of networks, and a tier by identity beside it."""
    seed = rng.random()
    served: dict[tuple[int, int], int] = {}
    alone: dict[int, int] = {}
    events = 0
    for place, number in enumerate(size.identities):
        for networks in size.networks:
            drinkers = Drinkers(number, lambda one, k=networks: network(one % k), size.relays, size.hours, seed)  # type: ignore[misc]
            served[number, networks] = drinkers.served
            events += drinkers.engine.events
        naive = Drinkers(number, network, 1, size.hours, seed)
        alone[number] = naive.served * size.relays
        events += naive.engine.events
        told((place + 1) / len(size.identities))
    few, many = size.identities[0], size.identities[-1]
    by_identity = [exactly(served[many, k], served[few, k]) for k in size.networks]
    first = size.networks[0]
    by_network = [exactly(served[n, k] * first, served[n, first] * k) for n in size.identities for k in size.networks]
    figures = [
        Figure(f"{many} identities against {few} on the same networks", max(by_identity), at_most=TOLERANCE, unit="×"),
        Figure("service for each network, most", max(by_network), at_most=TOLERANCE, unit="×"),
        Figure("service for each network, least", min(by_network), at_least=1 / TOLERANCE, unit="×"),
        Figure(
            f"one network's at one relay in {size.hours:.0f} h",
            served[few, first] / first / size.relays / 1e6,
            unit="MB",
        ),
    ]
    naive_gain = exactly(alone[many], alone[few])
    chart = Chart(
        "Drinking the free tier",
        "identities",
        f"GB in {size.hours:.0f} h at {size.relays} relays",
        {
            **{
                f"{k} network{'' if k == 1 else 's'}": [(float(n), served[n, k] / 1e9) for n in size.identities]
                for k in size.networks
            },
            "a tier for each identity (naive)": [(float(n), alone[n] / 1e9) for n in size.identities],
        },
        log_x=True,
        log_y=True,
    )
    return Report(
        "free-tier",
        f"up to {many} identities on up to {size.networks[-1]} networks, {size.relays} relays, {size.hours:.0f} h",
        figures,
        [Figure(f"{many} identities against {few}, tier by identity", naive_gain, at_most=TOLERANCE, unit="×")],
        chart,
        events,
    )
