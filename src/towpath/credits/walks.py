"""MeritRank (arXiv 2207.09950): who is well connected to us by receipts, by random walks that start from us. Pure.

A walk goes from a payer to one of the relays that it paid, the more it paid the likelier, and stops at each step with
some probability: who is far away gets little. A node that is reached mostly through one other node counts for a
fraction of its visits: that is what invented identities behind somebody look like. For ranking only; credit is `flow`.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Mapping
from typing import Final

from towpath.credits.flow import Graph

__all__ = ["BRIDGE", "WALKS", "points", "rank"]

WALKS: Final = 10_000
BRIDGE: Final = 0.4
"""The share of the walks to a node that may come through one other; less than a half, so that two don't do either."""


def rank(
    graph: Graph,
    source: bytes,
    rng: random.Random,
    walks: int = WALKS,
    stop: float = 0.4,
    decay: float = 0.8,
) -> dict[bytes, float]:
    """Each node that was reached, with its share of the standing of all of them; the source has none.

    A node counts once for each of the `walks` that visits it. `decay` is taken from it once for each bridge that it is
    behind: else who worked, and is behind a bridge himself, could invent identities for nothing. Amounts that were
    used up count as well: who got something back did not help less. The same graph, built in the same order, and an
    equal `rng` give the same shares.
    """
    if walks < 1 or not 0 < stop <= 1 or not 0 <= decay <= 1:
        raise ValueError(f"{walks} walks, stop {stop}, decay {decay}")
    choices: dict[bytes, tuple[list[bytes], list[int]]] = {}
    visits: dict[bytes, int] = {}
    through: dict[bytes, dict[bytes, int]] = {}
    for _ in range(walks):
        node = source
        path: list[bytes] = []
        while rng.random() >= stop:
            known = choices.get(node)
            if known is None:
                known = choices[node] = _choices(graph, node)
            relays, sums = known
            if not sums:
                break
            node = relays[bisect.bisect_right(sums, rng.random() * sums[-1], 0, len(sums) - 1)]
            if node == source or node in path:
                continue
            visits[node] = visits.get(node, 0) + 1
            before = through.setdefault(node, {})
            for other in path:
                before[other] = before.get(other, 0) + 1
            path.append(node)
    worth = {
        node: count * (1 - decay) ** sum(part >= BRIDGE * count for part in through[node].values())
        for node, count in visits.items()
    }
    total = sum(worth.values())
    return {node: one / total for node, one in worth.items()} if total else {}


def points(shares: Mapping[bytes, float]) -> dict[bytes, float]:
    """Shares as 0…100 for ranking: 100 for the largest one, and half as much for a quarter of its share."""
    largest = max(shares.values(), default=0.0)
    return {node: 100 * (share / largest) ** 0.5 for node, share in shares.items()} if largest else {}


def _choices(graph: Graph, node: bytes) -> tuple[list[bytes], list[int]]:
    owed = [(relay, edge.capacity) for relay, edge in graph.owed_by(node) if edge.capacity]
    return [relay for relay, _ in owed], list(itertools.accumulate(amount for _, amount in owed))
