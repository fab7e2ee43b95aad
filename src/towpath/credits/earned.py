"""Receipts that were paid to us and that we paid, by day, and the balance that they make. Pure.

A receipt says how much it was all together that day, so that order, repetition and crashes change nothing: what is new
in it is what it says beyond the highest that was known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from towpath.credits.decay import decayed
from towpath.credits.fair import has_place
from towpath.credits.receipts import DAY_S, Receipt, Signed, day_of

__all__ = ["KEPT_DAYS", "MAX_RECEIPTS", "Balance", "Paid", "PaidToUs"]

MAX_RECEIPTS: Final = 20_000
KEPT_DAYS: Final = 90
"""Behind that an eighth is left of what they are worth."""
_OPEN_DAYS: Final = 2
"""Receipts of these days before today, and of tomorrow, may still come: clocks differ."""


class Paid(NamedTuple):
    """The newest receipt of one payer and day."""

    seq: int
    cum: int
    ok: int
    fail: int
    raw: bytes
    dual: bytes | None


class PaidToUs:
    """What others signed for what this relay carried. `relay` is its peer id."""

    def __init__(self, relay: bytes) -> None:
        self.relay = relay
        self._rows: dict[tuple[bytes, int], Paid] = {}
        self._totals: dict[bytes, int] = {}
        self._of_day: Counter[int] = Counter()
        self._of_network: dict[int, Counter[bytes]] = {}
        """Of each day, and of those that came since the start."""
        self.floor = 0
        """Receipts of days before this one are no longer taken: of some of them nothing is known any more."""

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, payer: bytes, day: int, row: Paid) -> None:
        """Takes a row from the store."""
        self._rows[payer, day] = row
        self._of_day[day] += 1
        self._totals[payer] = self._totals.get(payer, 0) + row.cum

    def take(self, signed: Signed, now: float, network: bytes = b"") -> tuple[int, list[tuple[bytes, int]]] | None:
        """The bytes that are new in a checked receipt, and the rows that were dropped for it; None: it changes nothing,
        or its payer's network has had its share of the rows.

        The countersigned form of a receipt takes the place of the plain one, and is 0 new bytes.
        """
        receipt = signed.receipt
        if receipt.relay != self.relay:
            return None
        key = (receipt.payer, receipt.day)
        before = self._rows.get(key)
        if before is None and (receipt.day < self.floor or not self._is_open(receipt.day, now)):
            return None
        if before is not None:
            same = (before.seq, before.cum) == (receipt.seq, receipt.cum_bytes)
            if same and signed.dual is not None and before.dual != signed.dual:
                self._rows[key] = before._replace(raw=signed.raw, dual=signed.dual)
                return 0, []
            if receipt.seq <= before.seq or receipt.cum_bytes < before.cum:
                return None
        dropped: list[tuple[bytes, int]] = []
        if before is None:
            if not self._has_place(network, now):
                return None
            dropped = self._make_room(now)
            self._of_day[receipt.day] += 1
            self._of_network.setdefault(receipt.day, Counter())[network] += 1
        new = receipt.cum_bytes - (0 if before is None else before.cum)
        dual = signed.dual or (None if before is None else before.dual)
        self._rows[key] = Paid(receipt.seq, receipt.cum_bytes, receipt.ok, receipt.fail, signed.raw, dual)
        self._totals[receipt.payer] = self._totals.get(receipt.payer, 0) + new
        return new, dropped

    def get(self, payer: bytes, day: int) -> Paid | None:
        """The newest of a payer and day."""
        return self._rows.get((payer, day))

    def total(self, payer: bytes) -> int:
        """Bytes that a payer signed for, over all days that are kept."""
        return self._totals.get(payer, 0)

    def payers(self) -> int:
        """How many accounts signed."""
        return len(self._totals)

    def newest(self, since_day: int) -> Iterator[Receipt]:
        """The newest receipt of each payer and day from a day on."""
        for (payer, day), row in self._rows.items():
            if day >= since_day:
                yield Receipt(1, self.relay, payer, day, row.seq, row.cum, row.ok, row.fail)

    def evidence(self, most: int, now: float) -> list[bytes]:
        """Countersigned receipts that are worth most now."""
        worth = sorted(
            (
                (decayed(row.cum, (day + 1) * DAY_S, now), row.dual)
                for (_, day), row in self._rows.items()
                if row.dual is not None
            ),
            reverse=True,
        )
        return [dual for _, dual in worth[:most]]

    def drop_old(self, now: float) -> list[tuple[bytes, int]]:
        """Drops, and returns, what is too old to be of use."""
        before = day_of(now) - KEPT_DAYS
        return self._drop([key for key in self._rows if key[1] < before])

    def _is_open(self, day: int, now: float) -> bool:
        return -_OPEN_DAYS <= day - day_of(now) <= 1

    def _has_place(self, network: bytes, now: float) -> bool:
        # Rows of open days cannot be dropped: what was dropped would be taken, and earned, again.
        today = day_of(now)
        open_days = range(today - _OPEN_DAYS, today + 2)
        held = sum(self._of_network[day][network] for day in open_days if day in self._of_network)
        return has_place(held, MAX_RECEIPTS - sum(self._of_day[day] for day in open_days))

    def _make_room(self, now: float) -> list[tuple[bytes, int]]:
        if len(self._rows) < MAX_RECEIPTS:
            return []
        # Anybody can invent accounts that sign for a byte each: what is worth least goes first, not what is oldest.
        worth = [
            (decayed(row.cum, (key[1] + 1) * DAY_S, now), key)
            for key, row in self._rows.items()
            if not self._is_open(key[1], now)
        ]
        closed = [key for _, key in sorted(worth)]
        return self._drop(closed[: max(1, MAX_RECEIPTS // 16)])

    def _drop(self, keys: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        for key in keys:
            row = self._rows.pop(key)
            self._of_day[key[1]] -= 1
            if not self._of_day[key[1]]:
                del self._of_day[key[1]]
                self._of_network.pop(key[1], None)
            left = self._totals[key[0]] - row.cum
            if left > 0:
                self._totals[key[0]] = left
            else:
                del self._totals[key[0]]
            self.floor = max(self.floor, key[1] + 1)
        return keys


class Balance:
    """What this node's account earned and spent, in bytes by day. A day's part begins to fade when the day is over."""

    def __init__(self) -> None:
        self.days: dict[int, tuple[int, int]] = {}

    def add(self, day: int, earned: int = 0, spent: int = 0) -> tuple[int, int]:
        """Counts bytes of a day; returns that day's row."""
        before = self.days.get(day, (0, 0))
        self.days[day] = row = (before[0] + earned, before[1] + spent)
        return row

    def earned(self, now: float) -> float:
        """What is left of what was earned."""
        return sum(decayed(row[0], (day + 1) * DAY_S, now) for day, row in self.days.items())

    def spent(self, now: float) -> float:
        """What is left of what was spent."""
        return sum(decayed(row[1], (day + 1) * DAY_S, now) for day, row in self.days.items())

    def ever(self) -> tuple[int, int]:
        """Both without fading."""
        return sum(row[0] for row in self.days.values()), sum(row[1] for row in self.days.values())
