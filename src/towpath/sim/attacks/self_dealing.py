"""Self-dealing and collusion: real work done once, then identities that sign receipts for one another.

The attacker's first account really relayed for a few others. Behind it stand 1, 10 or 50 invented accounts, and what
they say that they carried for each other is worth millions of times that work: a star (parallel), a ring (cyclic), a
chain (serial), or everybody for everybody (mesh); or three colluders share the work, and all sign for all. Then all of
them ask every relay for all that it would serve. The gain is what the group is served at all relays together, or ranked
by them, over what those who worked are without the others.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from towpath.credits import walks
from towpath.credits.flow import Graph
from towpath.credits.virtual import Probed, given_edges
from towpath.sim.attacks.figures import Chart, Figure, Report, exactly
from towpath.sim.attacks.relays import relay_id
from towpath.sim.attacks.work import MIB, account, honest_work, known_to

__all__ = ["CREDIT_GAIN", "FULL", "RANK_GAIN", "SHAPES", "SMALL", "Size", "forged", "run"]

CREDIT_GAIN: Final = 1.05
RANK_GAIN: Final = 1.5
_PAYERS: Final = 12
"""Honest accounts that the attacker's first account really relayed for."""
_LIE: Final = 1 << 50
"""Bytes in each invented receipt."""
_WORK: Final = 400 * MIB
"""Bytes that it carried for each of them."""
_FREE_TIER: Final = 1 << 30
_ALONE: Final = "alone"
_COLLUDING: Final = "three colluders"

Edges = list[tuple[bytes, bytes, int]]


class Size(NamedTuple):
    """How many honest accounts there are, how many of them judge, how many identities, walks of each judge."""

    honest: int
    judges: int
    identities: tuple[int, ...] = (1, 10, 50)
    walks: int = walks.WALKS


SMALL: Final = Size(honest=150, judges=60, walks=1_000)
FULL: Final = Size(honest=2_000, judges=40)


def forged(shape: str, first: bytes, sybils: list[bytes]) -> Edges:
    """The receipts that the group signs for itself."""
    chain = [first, *sybils]
    if shape == "parallel":
        return [(first, one, _LIE) for one in sybils]
    if shape == "serial":
        return [(payer, relay, _LIE) for payer, relay in itertools.pairwise(chain)]
    if shape == "cyclic":
        return [(payer, relay, _LIE) for payer, relay in zip(chain, [*sybils, first], strict=True)]
    return [(payer, relay, _LIE) for payer in chain for relay in chain if payer != relay]


SHAPES: Final = ("parallel", "cyclic", "serial", "mesh")
"""Of the receipts that a group signs for itself."""


class _Group(NamedTuple):
    name: str
    members: list[bytes]
    receipts: Edges
    """All that the group shows: of its work, and what it signed for itself."""
    alone: str
    """What it is compared with: the same work, and nobody invented."""


def run(size: Size, rng: random.Random, told: Callable[[float], None] = lambda _: None) -> Report:
    """Every shape with every number of identities, by the node's flow and walks and by naive rules."""
    work = honest_work(size.honest, rng)
    payers = rng.sample(sorted(work), _PAYERS)
    groups = _groups(payers, size.identities)
    compared = [group for group in groups if group.name != group.alone]
    # The naive walks are walked for one shape only.
    worst = {_ALONE, *(f"cyclic × {number}" for number in size.identities)}
    judges = rng.sample(sorted(work), size.judges)
    served: dict[str, int] = {}
    ranked: dict[str, float] = {}
    undepleted: dict[str, int] = {}
    visited: dict[str, float] = {}
    events = 0
    for done, judge in enumerate(judges):
        seed = rng.random()
        for group in groups:
            graph = known_to(judge, work, group.receipts)
            members = rng.sample(group.members, len(group.members))
            _add(ranked, group.name, _share(walks.rank(graph, judge, random.Random(seed), size.walks), members))
            if group.name in worst:
                _add(visited, group.name, _visits(graph, judge, random.Random(seed), size.walks, members))
            _add(undepleted, group.name, sum(graph.credit(judge, member) for member in members))
            _add(served, group.name, drain(graph, judge, members))
            events += len(members) + size.walks
        told((done + 1) / len(judges))
    summed = {group.name: _summed(group.receipts, group.members) for group in groups}

    def gains(of: dict[str, float] | dict[str, int]) -> dict[str, float]:
        return {group.name: exactly(of[group.name], of[group.alone]) for group in compared if group.name in of}

    credit, rank = gains(served), gains(ranked)
    figures = [
        Figure("credit gain, worst of all shapes", max(credit.values()), at_most=CREDIT_GAIN, unit="×"),
        Figure("rank gain, worst of all shapes", max(rank.values()), at_most=RANK_GAIN, unit="×"),
        Figure("credit of 50 probed relays in one network, against one", _probed(50, 1), at_most=CREDIT_GAIN, unit="×"),
        Figure(
            "rank gain of three colluders who share the work", rank[f"{_COLLUDING} × {max(size.identities)}"], unit="×"
        ),
        Figure(
            f"served to one alone by {size.judges} relays, over its work",
            exactly(served[_ALONE], _PAYERS * _WORK),
            unit="×",
        ),
    ]
    naive = [
        Figure("credit gain, sum of receipts", max(gains(summed).values()), at_most=CREDIT_GAIN, unit="×"),
        Figure("credit gain, flow not used up", max(gains(undepleted).values()), at_most=CREDIT_GAIN, unit="×"),
        Figure("rank gain, walks without decay", max(gains(visited).values()), at_most=RANK_GAIN, unit="×"),
    ]
    lines = {
        "credit (flow that is used up)": _curve(credit, size.identities),
        "rank (decayed walks)": _curve(rank, size.identities),
        "credit, flow not used up (naive)": _curve(gains(undepleted), size.identities),
        "rank, plain walks (naive)": _curve(gains(visited), size.identities),
    }
    chart = Chart("Invented identities", "identities behind one that worked", "gain, worst shape", lines, RANK_GAIN)
    scale = f"{size.honest} honest accounts, {size.judges} of them judging, up to {max(size.identities)} identities"
    return Report("self-dealing", scale, figures, naive, chart._replace(log_x=True, log_y=True), events)


def drain(graph: Graph, judge: bytes, members: Iterable[bytes]) -> int:
    """All that one relay serves a group, whoever of it asks first, until nobody gets any more."""
    total = 0
    asking = list(members)
    while asking:
        got = 0
        for member in asking:
            got += sum(path.amount for path in graph.take(judge, member, graph.credit(judge, member)))
        total += got
        asking = asking if got else []
    return total


def _groups(payers: list[bytes], identities: Sequence[int]) -> list[_Group]:
    """The one who worked alone, with every number of invented identities in every shape; then the same of three."""
    first = account("a", 0)
    real = [(payer, first, _WORK) for payer in payers]
    groups = [_Group(_ALONE, [first], real, _ALONE)]
    for shape in SHAPES:
        for number in identities:
            sybils = [account("s", one) for one in range(number)]
            receipts = [*real, *forged(shape, first, sybils)]
            groups.append(_Group(f"{shape} × {number}", [first, *sybils], receipts, _ALONE))
    three = [account("a", one) for one in range(3)]
    shared = [(payer, three[place % 3], _WORK) for place, payer in enumerate(payers)]
    groups.append(_Group("three alone", three, shared, "three alone"))
    for number in identities:
        sybils = [account("s", one) for one in range(number)]
        everybody = [*three, *sybils]
        lies = [(payer, relay, _LIE) for payer in everybody for relay in sybils if payer != relay]
        groups.append(_Group(f"{_COLLUDING} × {number}", everybody, [*shared, *lies], "three alone"))
    return groups


def _probed(relays: int, networks: int) -> float:
    """What so many relays of the attacker get without receipts from one that has probed them, over what one gets."""
    probed = [Probed(relay_id("probed", one), account("s", one), 30.0, str(one % networks)) for one in range(relays)]
    return exactly(sum(given_edges(probed, _FREE_TIER, ()).values()), _FREE_TIER)


def _share(shares: dict[bytes, float], members: Iterable[bytes]) -> float:
    return sum(shares.get(member, 0.0) for member in members)


def _visits(graph: Graph, judge: bytes, rng: random.Random, number: int, members: Iterable[bytes]) -> float:
    # The same walks with nothing taken from those behind a bridge: what a personalised PageRank sees.
    return _share(walks.rank(graph, judge, rng, number, stop=0.15, decay=0.0), members)


def _summed(receipts: Edges, members: Iterable[bytes]) -> int:
    among = set(members)
    return sum(amount for _, relay, amount in receipts if relay in among)


def _add(to: dict[str, int] | dict[str, float], name: str, value: float) -> None:
    to[name] = to.get(name, 0) + value  # type: ignore[assignment]


def _curve(gains: dict[str, float], identities: Iterable[int]) -> list[tuple[float, float]]:
    return [
        (float(number), max(gain for name, gain in gains.items() if name.endswith(f"× {number}")))
        for number in identities
    ]
