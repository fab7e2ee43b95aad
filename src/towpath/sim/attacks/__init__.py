"""The attacks that the network is built against, each as a scenario: what it is, its bound, and how it is run.

A row of docs/economics.md each. An attack runs the node's own policies, and beside them a naive rule that the same
attack breaks; its report has figures that fail past their bounds.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from towpath.sim.attacks.figures import Report

__all__ = ["ATTACKS", "Attack", "Scale"]

Scale = Literal["small", "full"]


class Attack(NamedTuple):
    """One attack; `module` holds its `run`, and its sizes SMALL (the tests) and FULL."""

    name: str
    title: str
    bound: str
    module: str

    def run(self, scale: Scale, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
        """Runs it; equal generators give equal reports. `told(share)` is called as it goes on, 0…1."""
        module = importlib.import_module(f"{__name__}.{self.module}")
        report: Report = module.run(module.SMALL if scale == "small" else module.FULL, rng, told)
        return report


_ALL: Final = (
    Attack(
        "self-dealing",
        "identities that sign receipts for one another",
        "credit gain at most 1.05, rank gain at most 1.5",
        "self_dealing",
    ),
    Attack(
        "free-tier",
        "N identities on k networks drink the free tier",
        "service grows with the networks, not with the identities",
        "free_tier",
    ),
    Attack(
        "whitewashing",
        "take, forget, and come back as somebody else",
        "pays no more than honesty",
        "whitewashing",
    ),
    Attack(
        "free-riding",
        "riders at a relay with 90% load",
        "a contributor's median wait is at most a quarter of a rider's",
        "free_riding",
    ),
    Attack(
        "never-signing",
        "a new account that signs for nothing",
        "a relay loses at most 4 MiB to it",
        "never_signing",
    ),
    Attack(
        "slander",
        "30% of all accounts lie about honest relays",
        "no honest score moves by more than 1",
        "slander",
    ),
    Attack(
        "sleeper",
        "a relay that is good for a month, then drops every circuit",
        "selection leaves it after at most 5 failures",
        "sleeper",
    ),
    Attack(
        "squatting",
        "1,000 provider records in one shard, from k prefixes",
        "an honest relay of it is known after at most 3 reads",
        "squatting",
    ),
    Attack(
        "eclipse",
        "the nodes closest to every shard key are the attacker's",
        "who kept relays from before connects",
        "eclipse",
    ),
    Attack(
        "hot-spot",
        "500 clients choose among 50 equal relays",
        "the fullest has at most twice the mean",
        "hot_spot",
    ),
)

ATTACKS: Final[dict[str, Attack]] = {attack.name: attack for attack in _ALL}
