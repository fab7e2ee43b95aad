"""Credit as a flow that is used up: what reaches somebody along receipts, and taking some of it. Pure.

An edge payer → relay says: the relay's account carried so many bytes for the payer, so the payer owes it that much.
What a source owes a sink is the largest flow from one to the other along at most three edges, and serving the sink
takes that flow away. Invented identities therefore gain nothing: whatever they sign for one another, it all comes in
over the edges of work that was really done, and each of these can be used once.

Nodes are the 32-byte public keys of accounts. Amounts are bytes, as integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["MAX_HOPS", "Edge", "Graph", "Path"]

MAX_HOPS: Final = 3


class Path(NamedTuple):
    """An amount, and the nodes that it went along, from the source to the sink."""

    nodes: tuple[bytes, ...]
    amount: int


class Edge:
    """What is between a payer and a relay's account. Made and owned by its Graph; to be read only."""

    __slots__ = ("capacity", "used")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        """What the payer owes for, all in all."""
        self.used = 0
        """How much of that was given back, to the relay or to those whom it owes."""

    @property
    def left(self) -> int:
        """What is still owed; never negative."""
        return max(0, self.capacity - self.used)


class Graph:
    """The receipts that one node knows, and what of them it has used up."""

    def __init__(self) -> None:
        self._out: dict[bytes, dict[bytes, Edge]] = {}
        self._in: dict[bytes, dict[bytes, Edge]] = {}
        self._edges = 0

    def __len__(self) -> int:
        """How many edges there are."""
        return self._edges

    def edges(self) -> Iterator[tuple[bytes, bytes, Edge]]:
        """Each edge with its payer and its relay, in the order in which the payers were added."""
        for payer, row in self._out.items():
            for relay, edge in row.items():
                yield payer, relay, edge

    def edge(self, payer: bytes, relay: bytes) -> Edge | None:
        """The edge between the two, if there is one."""
        return self._out.get(payer, {}).get(relay)

    def owed_by(self, payer: bytes) -> Iterator[tuple[bytes, Edge]]:
        """The relays that a payer has used, each with its edge."""
        yield from self._out.get(payer, {}).items()

    def payers_of(self, relay: bytes) -> Iterator[bytes]:
        """Those that have used a relay."""
        yield from self._in.get(relay, {})

    # --- changing ------------------------------------------------------------------------------

    def add_edge(self, payer: bytes, relay: bytes, amount: int) -> None:
        """The relay carried `amount` bytes more for the payer. What one carries for oneself is left out."""
        if amount < 0:
            raise ValueError(f"{amount} bytes carried; receipts only grow")
        known = self.edge(payer, relay)
        self.set_edge(payer, relay, amount if known is None else known.capacity + amount)

    def set_edge(self, payer: bytes, relay: bytes, capacity: int) -> None:
        """The relay carried `capacity` bytes for the payer altogether. What was used of it stays used."""
        if capacity < 0:
            raise ValueError(f"a capacity of {capacity} bytes")
        if payer == relay:
            return
        known = self.edge(payer, relay)
        if known is not None:
            known.capacity = capacity
            return
        edge = Edge(capacity)
        self._out.setdefault(payer, {})[relay] = edge
        self._in.setdefault(relay, {})[payer] = edge
        self._edges += 1

    def remove(self, payer: bytes, relay: bytes) -> None:
        """Forgets an edge, and with it what was used of it: whoever may bring it again must remember that."""
        row = self._out.get(payer, {})
        if row.pop(relay, None) is None:
            return
        del self._in[relay][payer]
        self._edges -= 1
        if not row:
            del self._out[payer]
        if not self._in[relay]:
            del self._in[relay]

    def consume(self, payer: bytes, relay: bytes, amount: int) -> None:
        """Uses up `amount` of one edge; more than it has leaves it with nothing. KeyError when there is none."""
        if amount < 0:
            raise ValueError(f"{amount} bytes used; what is used is not given back")
        self._out[payer][relay].used += amount

    def fade(self, share: float) -> None:
        """Time passes: `share` (0…1) of every amount remains. What is left of an edge never grows by it."""
        if not 0 <= share <= 1:
            raise ValueError(f"a share of {share}")
        for _, _, edge in self.edges():
            edge.capacity = int(edge.capacity * share)
            # Rounded against whoever would gain.
            edge.used = int(edge.used * share) + 1 if edge.used else 0

    # --- asking --------------------------------------------------------------------------------

    def credit(self, source: bytes, sink: bytes, hops: int = MAX_HOPS) -> int:
        """How many bytes the source still owes the sink, along at most `hops` edges."""
        direct, shared = self._largest(source, sink, hops)
        return direct + sum(amount for _, _, amount in shared)

    def take(self, source: bytes, sink: bytes, amount: int, hops: int = MAX_HOPS) -> list[Path]:
        """Uses up `amount` bytes of that, or what there is; what was used, the shortest ways first.

        Exactly so much less is owed afterwards to the sink, and not more to anybody.
        """
        taken: list[Path] = []
        for path in self.paths(source, sink, hops):
            if amount <= 0:
                break
            part = min(amount, path.amount)
            amount -= part
            for payer, relay in zip(path.nodes, path.nodes[1:], strict=False):
                self._out[payer][relay].used += part
            taken.append(Path(path.nodes, part))
        return taken

    def paths(self, source: bytes, sink: bytes, hops: int = MAX_HOPS) -> list[Path]:
        """A largest flow from the source to the sink along at most `hops` (1 to 3) edges, the shortest paths first.

        With at most three edges an edge is always the first of a path, the middle one or the last, whatever the path;
        so a flow between two rows of nodes, those that the source owes and those that owe the sink, is exact.
        """
        direct, shared = self._largest(source, sink, hops)
        one = [Path((source, sink), direct)] if direct else []
        two = sorted((Path((source, x, sink), n) for x, y, n in shared if x == y), key=_largest_first)
        three = sorted((Path((source, x, y, sink), n) for x, y, n in shared if x != y), key=_largest_first)
        return [*one, *two, *three]

    def _largest(self, source: bytes, sink: bytes, hops: int) -> tuple[int, list[tuple[bytes, bytes, int]]]:
        """What goes directly, and what through one node (named twice) or two."""
        if not 1 <= hops <= MAX_HOPS:
            raise ValueError(f"{hops} hops; 1 to {MAX_HOPS} are possible")
        if source == sink:
            return 0, []
        edge = self.edge(source, sink)
        direct = 0 if edge is None else edge.left
        if hops == 1:
            return direct, []
        supply, demand = _left(self._out.get(source, {}), sink), _left(self._in.get(sink, {}), source)
        arcs = [(y, y, min(supply[y], demand[y])) for y in demand if y in supply]
        if hops == MAX_HOPS:
            for y in demand:
                for x, edge in self._in.get(y, {}).items():
                    if x in supply and edge.capacity > edge.used:
                        arcs.append((x, y, edge.capacity - edge.used))
        return direct, _Shared(supply, demand, arcs).flows()


def _left(edges: dict[bytes, Edge], but: bytes) -> dict[bytes, int]:
    # What is left of each that has any, but of one: without a call for each, as there are many.
    return {
        node: edge.capacity - edge.used for node, edge in edges.items() if edge.capacity > edge.used and node != but
    }


def _largest_first(path: Path) -> tuple[int, tuple[bytes, ...]]:
    return -path.amount, path.nodes


class _Shared:
    """A largest flow from suppliers to demanders over arcs with capacities, by Dinic's algorithm on these two rows.

    The level of a node is how many arcs, forward or taken back, lie between it and a supplier that has something left.
    """

    def __init__(
        self, supply: dict[bytes, int], demand: dict[bytes, int], arcs: list[tuple[bytes, bytes, int]]
    ) -> None:
        xs = {x: number for number, x in enumerate(supply)}
        ys = {y: number for number, y in enumerate(demand)}
        self._supply = list(supply.values())
        self._demand = list(demand.values())
        self._arcs = arcs
        self._head = [xs[x] for x, _, _ in arcs]
        self._tail = [ys[y] for _, y, _ in arcs]
        self._left = [capacity for _, _, capacity in arcs]
        self._flow = [0] * len(arcs)
        self._of_x: list[list[int]] = [[] for _ in xs]
        self._of_y: list[list[int]] = [[] for _ in ys]
        for arc, (x, y) in enumerate(zip(self._head, self._tail, strict=True)):
            self._of_x[x].append(arc)
            self._of_y[y].append(arc)

    def flows(self) -> list[tuple[bytes, bytes, int]]:
        """The arcs that carry something, and how much."""
        # Most of it needs no detour.
        supply, demand, left = self._supply, self._demand, self._left
        for arc, (x, y) in enumerate(zip(self._head, self._tail, strict=True)):
            if supply[x] and demand[y]:
                amount = min(supply[x], demand[y], left[arc])
                self._flow[arc] = amount
                supply[x] -= amount
                demand[y] -= amount
                left[arc] -= amount
        while self._levels():
            self._next_x = [0] * len(self._of_x)
            self._next_y = [0] * len(self._of_y)
            for x in range(len(supply)):
                if supply[x]:
                    self._augment(x)
        return [(x, y, n) for (x, y, _), n in zip(self._arcs, self._flow, strict=True) if n]

    def _levels(self) -> bool:
        """Finds each node's level; False when no demander can get any more."""
        self._level_x = [-1] * len(self._of_x)
        self._level_y = [-1] * len(self._of_y)
        row = [x for x, left in enumerate(self._supply) if left]
        for x in row:
            self._level_x[x] = 0
        level, reached = 0, False
        while row and not reached:
            level += 1
            across = []
            for x in row:
                for arc in self._of_x[x]:
                    y = self._tail[arc]
                    if self._left[arc] and self._level_y[y] < 0:
                        self._level_y[y] = level
                        reached = reached or self._demand[y] > 0
                        across.append(y)
            level += 1
            row = []
            for y in across:
                for arc in self._of_y[y]:
                    x = self._head[arc]
                    if self._flow[arc] and self._level_x[x] < 0:
                        self._level_x[x] = level
                        row.append(x)
        return reached

    def _augment(self, start: int) -> None:
        """Sends what this supplier has left along ways on which the level grows, until there is none."""
        path: list[int] = []
        x, y = start, -1
        while self._supply[start]:
            if len(path) % 2 == 0:
                arc = self._forward(x)
                if arc >= 0:
                    path.append(arc)
                    y = self._tail[arc]
                elif path:
                    self._level_x[x] = -1
                    y = self._tail[path.pop()]
                else:
                    return
            elif self._demand[y]:
                rooms = [self._flow[arc] if step % 2 else self._left[arc] for step, arc in enumerate(path)]
                amount = min(self._supply[start], self._demand[y], *rooms)
                self._send(start, y, path, amount)
                # On from where the way is full now: what leads there still has room.
                for step, room in enumerate(rooms):
                    if room == amount:
                        del path[step:]
                        break
                x = self._head[path[-1]] if path else start
                y = self._tail[path[-1]] if path else -1
            else:
                arc = self._back(y)
                if arc >= 0:
                    path.append(arc)
                    x = self._head[arc]
                else:
                    self._level_y[y] = -1
                    x = self._head[path.pop()]

    def _forward(self, x: int) -> int:
        """The next arc that leads on from a supplier, or -1."""
        arcs, left, tail, levels = self._of_x[x], self._left, self._tail, self._level_y
        level = self._level_x[x] + 1
        for step in range(self._next_x[x], len(arcs)):
            arc = arcs[step]
            if left[arc] and levels[tail[arc]] == level:
                self._next_x[x] = step
                return arc
        self._next_x[x] = len(arcs)
        return -1

    def _back(self, y: int) -> int:
        """The next arc that can be taken back from a demander, or -1."""
        arcs, flow, head, levels = self._of_y[y], self._flow, self._head, self._level_x
        level = self._level_y[y] + 1
        for step in range(self._next_y[y], len(arcs)):
            arc = arcs[step]
            if flow[arc] and levels[head[arc]] == level:
                self._next_y[y] = step
                return arc
        self._next_y[y] = len(arcs)
        return -1

    def _send(self, x: int, y: int, path: list[int], amount: int) -> None:
        self._supply[x] -= amount
        self._demand[y] -= amount
        for step, arc in enumerate(path):
            change = -amount if step % 2 else amount
            self._flow[arc] += change
            self._left[arc] -= change
