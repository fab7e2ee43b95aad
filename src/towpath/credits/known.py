"""The receipts that a node knows of, and what it used up of the credit in them: bounded, fading, turned into a graph.

Pure: the process that computes owns one (`computing`), times are passed in. A receipt gets here countersigned and
checked. It is kept only while it can matter: when its payer is one that we owe, or that these owe.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from towpath.credits import walks
from towpath.credits.decay import HALF_LIFE_S, decayed
from towpath.credits.flow import Graph
from towpath.credits.receipts import DAY_S, Signed, day_of, fraud_proof

__all__ = ["MAX_AGE_DAYS", "MAX_ROWS", "MAX_USED", "Key", "Known", "Reach", "Row", "Taken", "Used"]

MAX_ROWS: Final = 10_000
"""Receipts, one of each day for whom a payer and a relay have between them."""
MAX_USED: Final = 10_000
"""Edges of which something was used up."""
MAX_LIARS: Final = 10_000
MAX_AGE_DAYS: Final = 180
"""Six half-lives: older ones are worth next to nothing."""
_MOST_HALVES: Final = 64.0
_MOST_USED: Final = 2**62

Key = tuple[bytes, bytes, int]
"""The relay's peer id, the payer, the day: of these the receipt with the highest `seq` counts."""
Ends = tuple[bytes, bytes]
"""The payer and the relay's account."""


class Row(NamedTuple):
    """A receipt that is known. `dual` is all of it, as it came."""

    relay: bytes
    payer: bytes
    day: int
    seq: int
    cum_bytes: int
    account: bytes
    dual: bytes

    @property
    def key(self) -> Key:
        """What it is the newest receipt of."""
        return self.relay, self.payer, self.day


class Used(NamedTuple):
    """What was used up of an edge: so many bytes, as of a day from which on they fade."""

    payer: bytes
    account: bytes
    amount: int
    day: int


class Reach(NamedTuple):
    """What is owed to an account: for what it carried for us, and through others."""

    direct: int
    through: int


class Taken(NamedTuple):
    """What became of receipts that somebody brought."""

    kept: list[Row]
    """To be written down, in place of earlier ones of the same keys."""
    dropped: list[Key]
    refused: int
    frauds: list[bytes]
    """Proofs that somebody signed two receipts of one number."""


class Known:
    """What is known to the owner of the account `own`."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._rows: dict[Key, Row] = {}
        self._of_edge: dict[Ends, set[Key]] = {}
        self._constant: dict[bytes, int] = {}
        self._used: dict[Ends, Used] = {}
        self._liars: dict[bytes, None] = {}
        self._graph: Graph | None = None
        self._today = 0

    def __len__(self) -> int:
        """How many receipts are known."""
        return len(self._rows)

    # --- what was written down -----------------------------------------------------------------

    def load(self, rows: Iterable[Row], used: Iterable[Used]) -> None:
        """Takes what an earlier life had; it is not checked again."""
        for row in rows:
            if row.payer not in self._liars:
                self._put(row)
        for one in used:
            self._used[one.payer, one.account] = one
        self._graph = None

    def give(self, edges: Mapping[bytes, int]) -> None:
        """From now on these accounts have credit for as many bytes each with us, without receipts, and no others.

        What was used of an edge that is taken away stays used should it come again.
        """
        if edges != self._constant:
            self._constant = {account: amount for account, amount in edges.items() if account != self._own}
            self._graph = None

    def distrust(self, account: bytes) -> list[Key]:
        """Forgets what this account signed as a payer, and takes no more of it. It was proven to have lied."""
        self._liars[account] = None
        if len(self._liars) > MAX_LIARS:
            del self._liars[next(iter(self._liars))]
        return self._forget([key for key in self._rows if key[1] == account])

    # --- what somebody brings ------------------------------------------------------------------

    def add(self, brought: Iterable[Signed], now: float) -> Taken:
        """Takes receipts, all of which were countersigned and checked, as far as they can matter."""
        taken = Taken([], [], 0, [])
        waiting = []
        refused = 0
        for signed in brought:
            # One proof a time is enough: who invents payers could otherwise keep everybody busy with theirs.
            if taken.frauds or self._refuses(signed, now):
                refused += 1
            elif (proof := self._fraud(signed)) is not None:
                taken.frauds.append(proof)
                taken.dropped.extend(self.distrust(signed.receipt.payer))
            else:
                waiting.append(signed)
        # One may lead to the next, whatever their order.
        while waiting:
            graph = self.graph(now)
            within: list[Signed] = []
            rest: list[Signed] = []
            for signed in waiting:
                (within if self._matters(graph, signed.receipt.payer) else rest).append(signed)
            if not within:
                break
            waiting = rest
            for signed in within:
                row = _row(signed)
                if row.payer not in self._liars and self._is_newer(row):
                    self._put(row)
                    self._refresh((row.payer, row.account))
                    taken.kept.append(row)
                else:
                    refused += 1
        dropped = [*taken.dropped, *self._trim(now)]
        gone = set(dropped)
        kept = [row for row in taken.kept if row.key not in gone]
        return Taken(kept, dropped, refused + len(waiting), taken.frauds)

    def _refuses(self, signed: Signed, now: float) -> bool:
        receipt, today = signed.receipt, day_of(now)
        return (
            signed.relay_account is None
            or signed.dual is None
            # What somebody owes us leads nowhere from us.
            or signed.relay_account in (receipt.payer, self._own)
            or receipt.payer in self._liars
            or not today - MAX_AGE_DAYS <= receipt.day <= today + 1
            or receipt.cum_bytes == 0
        )

    def _fraud(self, signed: Signed) -> bytes | None:
        row = _row(signed)
        known = self._rows.get(row.key)
        if known is None or known.seq != row.seq or known.cum_bytes == row.cum_bytes:
            return None
        return fraud_proof(_payers(known.dual), signed.raw)

    def _is_newer(self, row: Row) -> bool:
        known = self._rows.get(row.key)
        # A relay that names another account for the same work would have it counted, and used, twice.
        return known is None or (
            row.seq > known.seq and row.cum_bytes >= known.cum_bytes and row.account == known.account
        )

    def _matters(self, graph: Graph, payer: bytes) -> bool:
        """Can a path of three edges from us have its last, or an earlier one, begin at this payer?"""
        if payer == self._own or graph.edge(self._own, payer) is not None:
            return True
        return any(graph.edge(self._own, first) is not None for first in graph.payers_of(payer))

    # --- credit --------------------------------------------------------------------------------

    def graph(self, now: float) -> Graph:
        """Everything as it stands now; it fades from day to day, as receipts are of days."""
        today = day_of(now)
        if self._graph is None or self._today != today:
            self._today = today
            self._graph = Graph()
            for ends in self._of_edge.keys() | {(self._own, account) for account in self._constant}:
                self._refresh(ends)
        return self._graph

    def reach(self, account: bytes, now: float) -> Reach:
        """What this account could still use with us."""
        graph = self.graph(now)
        edge = graph.edge(self._own, account)
        direct = 0 if edge is None else edge.left
        return Reach(direct, graph.credit(self._own, account) - direct)

    def use(self, account: bytes, amount: int, now: float) -> list[Used]:
        """It used so many bytes, of which as many are taken from its credit as there are; what changed by that.

        An edge of which nothing is used any more, as far as is known, has the amount 0.
        """
        changed: dict[Ends, None] = {}
        for path in self.graph(now).take(self._own, account, amount):
            for ends in zip(path.nodes, path.nodes[1:], strict=False):
                amount = min(self._used_of(ends, day_of(now)) + path.amount, _MOST_USED)
                self._used[ends] = Used(*ends, amount, day_of(now))
                changed[ends] = None
        for ends in self._trim_used(now):
            changed[ends] = None
        return [self._used.get(ends, Used(*ends, 0, day_of(now))) for ends in changed]

    def scores(self, now: float, rng: random.Random) -> dict[bytes, float]:
        """The standing of the accounts that receipts lead to, 0…100."""
        return walks.points(walks.rank(self.graph(now), self._own, rng))

    # --- inside --------------------------------------------------------------------------------

    def _put(self, row: Row) -> None:
        before = self._rows.get(row.key)
        if before is not None:
            self._of_edge[before.payer, before.account].discard(row.key)
        self._rows[row.key] = row
        self._of_edge.setdefault((row.payer, row.account), set()).add(row.key)

    def _forget(self, keys: list[Key]) -> list[Key]:
        for key in keys:
            row = self._rows.pop(key)
            ends = row.payer, row.account
            self._of_edge[ends].discard(key)
            if not self._of_edge[ends]:
                del self._of_edge[ends]
            self._refresh(ends)
        return keys

    def _refresh(self, ends: Ends) -> None:
        """Brings one edge of the graph up to date, if there is a graph."""
        if self._graph is None:
            return
        payer, account = ends
        rows = [self._rows[key] for key in self._of_edge.get(ends, ())]
        capacity = sum(_worth_on(row, self._today) for row in rows)
        if payer == self._own:
            capacity += self._constant.get(account, 0)
        self._graph.remove(payer, account)
        if capacity:
            self._graph.set_edge(payer, account, capacity)
            self._graph.consume(payer, account, self._used_of(ends, self._today))

    def _used_of(self, ends: Ends, today: int) -> int:
        used = self._used.get(ends)
        if used is None:
            return 0
        # A clock that was set back must not give anything back: what was used is then more, as what is owed is.
        halves = max(-_MOST_HALVES, (today - used.day) * DAY_S / HALF_LIFE_S)
        # Rounded against whoever would gain.
        return math.ceil(used.amount * float(0.5**halves))

    def _trim(self, now: float) -> list[Key]:
        """Forgets what is too old, and what is worth least when there is too much."""
        oldest = day_of(now) - MAX_AGE_DAYS
        dropped = self._forget([key for key in self._rows if key[2] < oldest]) if len(self._rows) > MAX_ROWS else []
        if len(self._rows) > MAX_ROWS:
            worth = _worth(self.graph(now), self._own)
            by_worth = sorted(
                self._rows.values(),
                key=lambda row: (worth.get((row.payer, row.account), 0.0), _worth_on(row, day_of(now)), row.key),
            )
            dropped = dropped + self._forget([row.key for row in by_worth[: len(by_worth) - MAX_ROWS * 9 // 10]])
        return dropped

    def _trim_used(self, now: float) -> list[Ends]:
        if len(self._used) <= MAX_USED:
            return []
        # What goes out from us bounds all that comes behind it: that is forgotten last.
        least = sorted(self._used, key=lambda ends: (ends[0] == self._own, self._used_of(ends, day_of(now)), ends))
        for ends in least[: MAX_USED // 10]:
            del self._used[ends]
            self._refresh(ends)
        return least[: MAX_USED // 10]


def _row(signed: Signed) -> Row:
    receipt = signed.receipt
    if signed.relay_account is None or signed.dual is None:
        raise ValueError("a receipt that was not countersigned for an account")
    return Row(
        receipt.relay, receipt.payer, receipt.day, receipt.seq, receipt.cum_bytes, signed.relay_account, signed.dual
    )


def _payers(dual: bytes) -> bytes:
    """The receipt as its payer signed it, within a countersigned one."""
    from towpath.signed import OVERHEAD

    return dual[OVERHEAD + 32 :]


def _worth_on(row: Row, today: int) -> int:
    # One of tomorrow, by another's clock, counts when it is tomorrow: what was used must not fade earlier than it.
    return 0 if row.day > today else int(decayed(row.cum_bytes, row.day * DAY_S, today * DAY_S))


def _worth(graph: Graph, own: bytes) -> dict[Ends, float]:
    """How much can come over each edge from us when what comes in is shared among what goes out.

    So a payer that signs for many divides what it is worth, and cannot push out what others are worth.
    """
    worth: dict[Ends, float] = {}
    inflow = {own: math.inf}
    for _ in range(3):
        onward: dict[bytes, float] = {}
        for payer, comes in inflow.items():
            edges = list(graph.owed_by(payer))
            total = sum(edge.capacity for _, edge in edges)
            for account, edge in edges:
                amount = float(edge.capacity)
                if comes < total:
                    amount = comes * edge.capacity / total
                worth[payer, account] = max(worth.get((payer, account), 0.0), amount)
                if account != own:
                    onward[account] = onward.get(account, 0.0) + amount
        inflow = onward
    return worth
