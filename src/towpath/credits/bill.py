"""The bill of one account at our relay: what its clients sent, what they signed for, what is due. No sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from towpath._native.purse import Purse
from towpath.credits.decay import decayed
from towpath.credits.receipts import (
    COUNTERSIGN_EVERY,
    DAY_S,
    Receipt,
    Signed,
    conflict,
    step,
    unsigned_allowed,
)

if TYPE_CHECKING:
    from towpath._native.reactor import Reactor

__all__ = ["DAYS", "Bill", "Contradiction"]

DAYS: Final = 2
"""Days that are kept open: this one and the one before."""


class Contradiction(Exception):
    """An account signed two receipts that cannot both be true; carries both."""

    def __init__(self, first: Signed, second: Signed) -> None:
        self.receipts = first, second
        super().__init__("two receipts contradict one another")


class _Day:
    """The receipts of one day."""

    __slots__ = ("countersigned", "newest", "safe", "safely", "taken")

    def __init__(self, newest: Signed | None) -> None:
        self.newest = newest
        self.taken = 0
        self.safe: Signed | None = None
        """The newest that is on the disk: what might be forgotten in a crash is not countersigned."""
        self.safely = 0
        """How many of those taken it was behind."""
        self.countersigned = 0
        """How many of those taken the last countersignature was behind."""


class Bill:
    """One account's. `due()` is called when its clients sent so much that a receipt is due, or one waits for that.

    `load(day)` is the newest receipt that is known of a day, `paid` what was carried for the account and it signed for,
    `debt` the unsigned bytes of connections that are over at the Unix time `now`.
    """

    def __init__(
        self,
        reactor: Reactor,
        account: bytes,
        due: Callable[[], None],
        load: Callable[[int], Signed | None],
        paid: int,
        debt: int,
        now: float,
    ) -> None:
        self.account = account
        self.purse = Purse(reactor, due)
        self.paid = paid
        self.debt = debt
        """Unsigned bytes of connections that are over; they make the allowance smaller, down to one step, and fade."""
        self.asked = 0
        """Bytes of the receipt that was asked for and has not come; 0: none was."""
        self.asked_at = 0.0
        self.asked_day = 0
        self.writing = 0
        """Receipts that are on their way to the disk."""
        self.rider = False
        """It did not sign in time: until it does, it pays for nothing and nothing is held back from it."""
        self._faded_at = now
        self._load = load
        self._days: dict[int, _Day] = {}
        self._allow()

    def owed(self) -> int:
        """Bytes that nothing is signed for; below 0 while signed ones are on their way here."""
        return self.purse.carried - self.purse.signed + self.debt

    def believable(self) -> int:
        """Bytes that a receipt may newly cover: what is owed, and what a crash of ours may have made us forget."""
        return self.owed() + unsigned_allowed(self.paid)

    def fade(self, now: float) -> None:
        """A payer that was killed cannot sign for its debt: it fades, day by day."""
        if self.debt and now - self._faded_at >= DAY_S:
            self.debt = int(decayed(self.debt, self._faded_at, now))
            self._faded_at = now
            self._allow()

    def last(self, today: int) -> Signed | None:
        """The newest receipt of this day or the one before."""
        return self._day(today).newest or self._day(today - 1).newest

    def take(self, signed: Signed) -> int:
        """A receipt with good signatures came: the bytes that it covers and none before did; 0: it says nothing new.

        Contradiction when it and the newest one cannot both be true.
        """
        receipt = signed.receipt
        day = self._day(receipt.day)
        newest = day.newest
        if newest is not None:
            if conflict(receipt, newest.receipt):
                raise Contradiction(newest, signed)
            if not _goes_on(receipt, newest.receipt):
                return 0
        day.newest = signed
        day.taken += 1
        covered = receipt.cum_bytes - (0 if newest is None else newest.receipt.cum_bytes)
        # A signature for what was not carried costs nothing, so it earns no trust.
        # It may sign for what is still on its way here. Whether it was that or the debt shows when nothing is.
        believed = min(covered, max(0, self.believable()))
        self.paid += min(covered, max(0, self.owed()))
        self.asked = 0
        self._allow(believed)
        return covered

    def rest(self) -> None:
        """Nothing is on its way: what is signed beyond what was carried was signed for the debt."""
        paid = min(self.debt, self.purse.signed - self.purse.carried)
        if paid > 0:
            self.debt -= paid
            self._allow(-paid)

    def taken(self, number: int) -> int:
        """How many receipts of a day came."""
        return self._day(number).taken

    def kept(self, signed: Signed, taken: int) -> None:
        """One is on the disk, and so are those before it: so many of its day had been taken then."""
        day = self._day(signed.receipt.day)
        if taken > day.safely:
            day.safe, day.safely = signed, taken

    def to_countersign(self, today: int, *, at_once: bool = False) -> list[Signed]:
        """The receipts that want our signature now: each eighth, and the last of a day, or of a client that leaves."""
        wanted = []
        for number, day in self._days.items():
            behind = day.safely - day.countersigned
            if day.safe is not None and behind and (at_once or number < today or behind >= COUNTERSIGN_EVERY):
                day.countersigned = day.safely
                wanted.append(day.safe)
        return wanted

    def _allow(self, covered: int = 0) -> None:
        one = step(self.paid)
        signed = self.purse.signed + covered
        self.purse.allow(signed, signed + one, signed + unsigned_allowed(self.paid, self.debt))

    def _day(self, number: int) -> _Day:
        found = self._days.get(number)
        if found is None:
            found = self._days[number] = _Day(self._load(number))
            while len(self._days) > DAYS + 1:
                del self._days[min(self._days)]
        return found


def _goes_on(receipt: Receipt, newest: Receipt) -> bool:
    return receipt.seq > newest.seq and receipt.cum_bytes > newest.cum_bytes
