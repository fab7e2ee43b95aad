"""What one relay knows of who owes what: the node's credit policy over plain dictionaries instead of its database.

Amounts go in the node's order: credit first, then the free tier of the account and of its network, then nothing more.
Credit is the flow along receipts that reaches the asker from the relay's own account.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from towpath.credits.flow import Graph
from towpath.credits.free_tier import FULL, Bucket, Tier
from towpath.credits.policy import LOADED, Asked, Decision, Enforce, Load, Seats, should_accept_circuit
from towpath.credits.receipts import MAX_EVIDENCE, unsigned_allowed

__all__ = ["Books", "Debts", "Terms", "Who"]

_FRESH_S: Final = 600.0
"""How long a computed credit is used again before receipts are looked at anew; what is used is taken off at once."""
_CHOSEN_S: Final = 3600.0
_NEVER: Final = float("inf")
_FADED: Final = 0.95
"""What a relay's graph used up is let fade when at most so much of it remains."""


class Terms(NamedTuple):
    """The settings `credits.*`."""

    enforce: Enforce = "under_load"
    tier: Tier = Tier()


class Who(NamedTuple):
    """Somebody who pays: an account, if it shows one, and its network. `signs`: it signs for what it had."""

    account: bytes | None
    prefix: bytes
    signs: bool = True


class Debts:
    """Every receipt there is: bytes that accounts had relayed by each other. Who knows of one is the reader's care."""

    def __init__(self) -> None:
        self.owed: dict[bytes, dict[bytes, float]] = {}
        """By payer, by the account of the relay; in bytes of the beginning, see `worth`."""
        self.earned: dict[bytes, dict[bytes, float]] = {}
        """The same, by the account of the relay first."""
        self.worth = 1.0
        """What remains of a byte of the beginning."""
        self.given: dict[bytes, int] = {}
        """Bytes that every relay owes accounts without a receipt: `credits.virtual`."""
        self.own = 0
        """Bytes that relays carried for their own owners: nobody owes these."""
        self._chosen: dict[bytes, tuple[float, list[bytes]]] = {}
        self._brought: dict[bytes, tuple[float, list[tuple[bytes, int]]]] = {}
        """What was brought last while that is the same, and until when it is at most."""

    def add(self, payer: bytes, relay: bytes, n: int) -> None:
        """`relay` has a receipt for `n` bytes more."""
        if payer == relay:
            self.own += n
        elif n > 0:
            then = n / self.worth
            self._brought.pop(relay, None)
            for rows, of, other in ((self.owed, payer, relay), (self.earned, relay, payer)):
                row = rows.get(of)
                if row is None:
                    rows[of] = {other: then}
                else:
                    row[other] = row.get(other, 0.0) + then

    def fade(self, share: float) -> None:
        """Time passes: so much of every amount remains."""
        self.worth *= share
        self._brought.clear()

    def brought_by(self, account: bytes, now: float) -> list[tuple[bytes, int]]:
        """The evidence that an account brings: its largest receipts, as many as may be brought, chosen once an hour."""
        known = self._brought.get(account)
        if known is not None and now < known[0]:
            return known[1]
        row, worth = self.earned.get(account), self.worth
        if row is None:
            return []
        if len(row) <= MAX_EVIDENCE:
            until, payers = _NEVER, list(row)
        else:
            chosen = self._chosen.get(account)
            if chosen is None or now - chosen[0] >= _CHOSEN_S:
                largest = sorted(row, key=row.__getitem__, reverse=True)[:MAX_EVIDENCE]
                chosen = self._chosen[account] = (now, largest)
            until, payers = chosen[0] + _CHOSEN_S, chosen[1]
        brought = [(payer, int(row[payer] * worth)) for payer in payers]
        self._brought[account] = (until, brought)
        return brought


class Books:
    """Of one relay, whose account is `account`."""

    __slots__ = (
        "_accounts",
        "_brought",
        "_credit",
        "_fades",
        "_graph",
        "_prefixes",
        "_promised",
        "_read_at",
        "_unsigned",
        "_used",
        "account",
        "debts",
        "quiet",
        "terms",
    )

    def __init__(self, account: bytes, terms: Terms, debts: Debts) -> None:
        self.account = account
        self.terms = terms
        self.debts = debts
        self._accounts: dict[bytes, Bucket] = {}
        self._prefixes: dict[bytes, Bucket] = {}
        self._promised: dict[bytes, int] = {}
        self._unsigned: dict[bytes, int] = {}
        self._used: dict[bytes, int] = {}
        """Credit that was used and is taken out of the graph when that is looked at next."""
        self._credit: dict[bytes, tuple[float, int]] = {}
        self._brought: dict[bytes, list[tuple[bytes, int]]] = {}
        """The evidence of each account that is in the graph."""
        self._graph: Graph | None = None
        self._fades = 1.0
        """What remains of the graph's amounts since they faded."""
        self._read_at = float("-inf")
        """When what its account owes was looked at."""
        self.quiet = should_accept_circuit(Asked(None, b"", 0), 0.0)
        """What everybody is answered who is asked for nothing."""

    # --- asking --------------------------------------------------------------------------------

    def asks_nothing(self, most: float) -> bool:
        """With so much in use of what is nearest to its end: is nothing asked in return?"""
        return most < LOADED and self.terms.enforce == "under_load"

    def decide(self, who: Who, load: Load, seats: Seats, now: float) -> Decision:
        """What the relay answers to a circuit for which `who` pays."""
        terms = self.terms
        account, promised = who.account, self._promised
        own = (1 << 62) if account is None else terms.tier.left(self._accounts.get(account, FULL), now)
        of_prefix = terms.tier.left(self._prefixes.get(who.prefix, FULL), now)
        asked = Asked(
            account,
            who.prefix,
            of_prefix - promised.get(who.prefix, 0),
            own if account is None else own - promised.get(account, 0),
            earned=0 if account is None else self.credit_of(account, now),
            load=load,
            enforce=terms.enforce,
            rider=account is not None and self.unsigned(account) > unsigned_allowed(0),
            tier=terms.tier,
            seats=seats,
        )
        return should_accept_circuit(asked, now)

    def weight(self, who: Who, now: float) -> float:
        """The weight of a circuit that is open, for which `who` pays."""
        earned = 0 if who.account is None or not who.signs else self.credit_of(who.account, now)
        if not earned:
            return self.quiet.weight
        return should_accept_circuit(Asked(who.account, who.prefix, 0, earned=earned), now).weight

    def credit_of(self, account: bytes, now: float) -> int:
        """Bytes that the receipts known here are worth to an account, less what of it was used."""
        known = self._credit.get(account)
        if known is not None and now - known[0] < _FRESH_S:
            return known[1]
        given = self.debts.given.get(account)
        if account not in self.debts.earned and given is None:
            # Who never relayed for anybody has nothing to bring.
            self._credit[account] = (now, 0)
            return 0
        graph = self._receipts(now)
        brought = self.debts.brought_by(account, now)
        if self._brought.get(account) is not brought:
            self._brought[account] = brought
            for payer, n in brought:
                graph.set_edge(payer, account, n)
        if given is not None and account != self.account and graph.edge(self.account, account) is None:
            graph.set_edge(self.account, account, given)
        credit = graph.credit(self.account, account)
        self._credit[account] = (now, credit)
        return credit

    def _receipts(self, now: float) -> Graph:
        graph = self._faded()
        if now - self._read_at >= _FRESH_S:
            self._read_at, worth = now, self.debts.worth
            for relay, of_beginning in self.debts.owed.get(self.account, {}).items():
                n = int(of_beginning * worth)
                edge = graph.edge(self.account, relay)
                if edge is None or edge.capacity < n:
                    graph.set_edge(self.account, relay, n)
        return graph

    def _faded(self) -> Graph:
        if self._graph is None:
            self._graph = Graph()
        for account, n in self._used.items():
            self._graph.take(self.account, account, n)
        self._used.clear()
        if self._fades <= _FADED:
            self._graph.fade(self._fades)
            self._brought.clear()
            self._fades = 1.0
        return self._graph

    # --- counting ------------------------------------------------------------------------------

    def carried(self, who: Who, n: int, now: float) -> None:
        """The relay carried `n` bytes for which `who` pays."""
        if n <= 0:
            return
        account, tier = who.account, self.terms.tier
        if account is not None:
            if who.signs:
                self.debts.add(account, self.account, n)
            else:
                self._unsigned[account] = self._unsigned.get(account, 0) + n
            known = self._credit.get(account)
            if known is not None and known[1] > 0 and who.signs:
                used = min(n, known[1])
                self._credit[account] = (known[0], known[1] - used)
                self._used[account] = self._used.get(account, 0) + used
                n -= used
            if n:
                self._accounts[account] = tier.take(self._accounts.get(account, FULL), n, now)
        if n:
            self._prefixes[who.prefix] = tier.take(self._prefixes.get(who.prefix, FULL), n, now)

    def unsigned(self, account: bytes) -> int:
        """Bytes for which an account owes a signature."""
        return self._unsigned.get(account, 0)

    def promise(self, who: Who, n: int) -> None:
        """A limit was told: so much is kept for that circuit; negative when it ended."""
        for key in (who.account, who.prefix):
            if key is not None:
                left = self._promised.get(key, 0) + n
                if left > 0:
                    self._promised[key] = left
                else:
                    self._promised.pop(key, None)

    def tidy(self, now: float, share: float) -> None:
        """A day has passed: `share` of every receipt remains; those whose free tier is full again are forgotten."""
        self._fades *= share
        tier = self.terms.tier
        for kept in (self._accounts, self._prefixes):
            for key in [key for key, bucket in kept.items() if tier.used(bucket, now) <= 0]:
                del kept[key]
        self._credit = {key: known for key, known in self._credit.items() if now - known[0] < _FRESH_S}
