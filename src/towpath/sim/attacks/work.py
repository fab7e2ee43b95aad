"""Who worked for whom: made-up networks of honest accounts, and what one relay of them knows of it.

An amount is what a relay's account carried for a payer, in bytes, as receipts say. Volunteers differ as people do: a
few carry much. A relay knows its own receipts, those of the relays that it uses itself, and what a requester brings.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Final

from towpath.credits.flow import Graph

__all__ = ["MIB", "Work", "account", "honest_work", "known_to"]

MIB: Final = 1 << 20
Work = Mapping[bytes, Mapping[bytes, int]]
"""By payer and relay: bytes."""

_USED: Final = 8
"""Relays that one account uses in a month."""
_TYPICAL: Final = 400 * MIB
_SPREAD: Final = 1.2


def account(kind: str, number: int) -> bytes:
    """An account by its kind and number; kinds of one letter stay apart."""
    return f"{kind}{number:07}".encode().ljust(32, b".")


def honest_work(number: int, rng: random.Random) -> dict[bytes, dict[bytes, int]]:
    """What `number` honest accounts carried for each other: each used some relays, the willing ones more often."""
    accounts = [account("h", one) for one in range(number)]
    willing = [rng.paretovariate(1.5) for _ in accounts]
    work: dict[bytes, dict[bytes, int]] = {}
    for payer in accounts:
        row = work.setdefault(payer, {})
        for relay in rng.choices(accounts, willing, k=_USED):
            if relay != payer:
                row[relay] = row.get(relay, 0) + int(_TYPICAL * rng.lognormvariate(0, _SPREAD))
    return work


def known_to(relay: bytes, work: Work, brought: Iterable[tuple[bytes, bytes, int]] = ()) -> Graph:
    """The receipts that one relay knows: what it paid, what those paid whom it paid, and what requesters bring."""
    graph = Graph()
    own = work.get(relay, {})
    for payer in (relay, *own):
        for other, amount in work.get(payer, {}).items():
            graph.set_edge(payer, other, amount)
    for payer, other, amount in brought:
        graph.set_edge(payer, other, amount)
    return graph
