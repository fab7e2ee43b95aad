"""The ledger of one node: what it carried for whom, what others signed for it, what it signed for others.

Kept in memory and in the store: what was signed is written at once, whole changes in one transaction; what was only
counted within a second. Used on the node's loop; nothing here waits for the disk but `commit_seq`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from towpath.credits.earned import KEPT_DAYS, Balance, Paid, PaidToUs
from towpath.credits.free_tier import Tier
from towpath.credits.receipts import Receipt, Signed, day_of, read_dual, unsigned_allowed
from towpath.credits.senders import Senders
from towpath.credits.unsigned import Unsigned

if TYPE_CHECKING:
    from towpath.store import Store

__all__ = ["NO_CREDIT", "CreditSource", "Ledger", "Standing"]

_OPEN: Final = "ledger.open"
_FLOOR: Final = "ledger.floor"


class Standing(NamedTuple):
    """The credit of an account here, in bytes: for what it relayed for us, what comes through others, what it used."""

    direct: int = 0
    through: int = 0
    used: int = 0


class CreditSource(Protocol):
    """What says how much credit an account has; answers at once."""

    def standing(self, account: bytes) -> Standing:
        """All that is known of its credit."""

    def credit_of(self, account: bytes) -> int:
        """What is left of it."""

    def used(self, account: bytes, n: int) -> None:
        """It used so many bytes of it."""

    def owes(self, signed: Signed) -> None:
        """A receipt of ours that its relay countersigned and named its account in."""


class _NoCredit:
    """Nobody has any."""

    def standing(self, account: bytes) -> Standing:
        """None."""
        return Standing()

    def credit_of(self, account: bytes) -> int:
        """None."""
        return 0

    def used(self, account: bytes, n: int) -> None:
        """There was none to use."""

    def owes(self, signed: Signed) -> None:
        """Counts for nobody."""


NO_CREDIT: Final[CreditSource] = _NoCredit()


class Ledger:
    """`relay` is this node's relay id; `tier()` the free tier as the settings have it now.

    `unclean` is true when the process before this one did not end as it should: its newest numbers may be lost.
    """

    def __init__(self, store: Store, relay: bytes, tier: Callable[[], Tier], source: CreditSource = NO_CREDIT) -> None:
        self.source = source
        self.unclean = False
        self.on_fraud: Callable[[bytes], None] = lambda proof: None
        """Called with the proof that somebody signed two receipts that contradict one another."""
        self._store = store
        self._tier = tier
        self._senders = Senders()
        self._paid = PaidToUs(relay)
        self._owed: dict[tuple[bytes, int], tuple[int, int, bytes]] = {}
        self._signing: dict[tuple[bytes, int], tuple[int, int]] = {}
        self._balance = Balance()
        self._unsigned = Unsigned()

    # --- life ----------------------------------------------------------------------------------

    async def load(self, now: float) -> None:
        """Reads what the store has; before anything else is called."""
        store = self._store
        self.unclean = store.damaged is not None or bool(store.get(_OPEN, False))
        self._paid.floor = int(store.get(_FLOOR, 0))
        for who, *row in sorted(await store.rows("senders"), key=lambda row: int(row[-1])):
            self._senders.load(who, tuple(row))
        for payer, day, *rest in await store.rows("receipts_paid"):
            self._paid.load(payer, day, Paid(*rest))
        for relay, day, seq, cum, dual in await store.rows("receipts_owed"):
            self._owed[relay, day] = (seq, cum, dual)
        for relay, day, seq, cum in await store.rows("signing"):
            self._signing[relay, day] = (seq, cum)
        for day, earned, spent in await store.rows("balance"):
            self._balance.days[day] = (earned, spent)
        for who in self._senders.forget(self._tier(), now):
            store.keep("senders", (who,), None, soon=True)
        self._dropped(self._paid.drop_old(now))
        self._forget_old(day_of(now) - KEPT_DAYS)
        # Not durable: what is later signed is, and with it all that was written before.
        await store.save(_OPEN, True, durable=False)

    async def close(self) -> None:
        """Writes what is left; the store is closed by its owner."""
        await self._store.save(_OPEN, None)

    def _forget_old(self, before: int) -> None:
        highest: dict[bytes, int] = {}
        for relay, day in self._signing:
            highest[relay] = max(highest.get(relay, 0), day)
        # The last day of each relay stays: numbers are never given twice.
        for relay, day in [key for key in self._signing if key[1] < min(before, highest[key[0]])]:
            del self._signing[relay, day]
            self._store.keep("signing", (relay, day), None, soon=True)
        for key in [key for key in self._owed if key[1] < before]:
            del self._owed[key]
            self._store.keep("receipts_owed", key, None, soon=True)

    # --- as a relay: what it carries, and what is signed for it ----------------------------------

    def carried(self, payer: bytes | None, prefix: bytes, n: int, now: float) -> None:
        """Counts `n` bytes that a sender (account and network) sent through this relay."""
        if n <= 0:
            return
        # Who does not sign has no credit to use, but its own free tier goes down with its network's.
        credit = 0 if payer is None or self.is_rider(payer, now) else self.source.credit_of(payer)
        charge, forgotten = self._senders.charge(payer, prefix, n, credit, self._tier(), now)
        if payer is not None:
            if charge.credit:
                self.source.used(payer, charge.credit)
            self._unsigned.carried(payer, n, now)
        for who in forgotten:
            self._store.keep("senders", (who,), None, soon=True)
        for key in (payer, prefix):
            sender = self._senders.get(key) if key else None
            if sender is not None:
                self._store.keep("senders", (key,), sender.row(), soon=True)

    def paid(self, payer: bytes, signed: Signed, n: int, now: float, network: bytes = b"") -> asyncio.Future[bool]:
        """Counts a checked receipt of `payer`: what is new in it, of which at most `n` bytes can have been carried.

        Who signs can say any number: what nothing was done for is not earned.
        Done when it is on disk, before which it must not be countersigned; False: the disk refuses it now, and it is
        kept in memory and tried again.
        """
        receipt = signed.receipt
        taken = self._paid.take(signed, now, network) if receipt.payer == payer else None
        if taken is not None:
            new, dropped = taken
            row = self._paid.get(payer, receipt.day)
            if row is not None:
                self._store.keep("receipts_paid", (payer, receipt.day), tuple(row))
            earned = min(new, n)
            if earned > 0:
                day = self._balance.add(receipt.day, earned=earned)
                self._store.keep("balance", (receipt.day,), day)
                self._unsigned.signed(payer, earned, now)
            self._dropped(dropped)
        return self._store.written()

    def countersigned(self, signed: Signed, now: float) -> None:
        """Keeps the countersigned form of a receipt that was paid to us, if that is kept: it may be shown to others."""
        receipt = signed.receipt
        if self._paid.get(receipt.payer, receipt.day) is not None and self._paid.take(signed, now) is not None:
            row = self._paid.get(receipt.payer, receipt.day)
            if row is not None:
                self._store.keep("receipts_paid", (receipt.payer, receipt.day), tuple(row))

    def fraud(self, proof: bytes, now: float) -> None:
        """Somebody signed two receipts that contradict one another; the proof of it was checked."""
        self.on_fraud(proof)

    def _dropped(self, keys: Iterable[tuple[bytes, int]]) -> None:
        dropped = False
        for key in keys:
            self._store.keep("receipts_paid", key, None)
            dropped = True
        if dropped:
            self._store.put(_FLOOR, self._paid.floor)

    def unsigned(self, payer: bytes, now: float) -> int:
        """Bytes that an account sent since this process began and has not signed for."""
        return self._unsigned.owed(payer, now)

    def debt(self, payer: bytes, now: float) -> int:
        """An account is shown that was not: what it has not signed for is a debt from now on, and fades."""
        return self._unsigned.begin(payer, now)

    def is_rider(self, payer: bytes, now: float) -> bool:
        """Did it have more than may go unsigned?"""
        return self.unsigned(payer, now) > unsigned_allowed(self.paid_for(payer))

    def last_paid(self, payer: bytes, day: int) -> Signed | None:
        """The newest receipt of a payer and day, as it was signed, without a countersignature."""
        row = self._paid.get(payer, day)
        if row is None:
            return None
        # Of several receipts only some are countersigned: `row.dual` may be of one before.
        receipt = Receipt(1, self._paid.relay, payer, day, row.seq, row.cum, row.ok, row.fail)
        return Signed(receipt, row.raw)

    def paid_ever(self, payer: bytes) -> int:
        """Bytes that an account signed for, over all days that are kept."""
        return self._paid.total(payer)

    def paid_for(self, payer: bytes) -> int:
        """Of what an account signed for what was carried for it as well."""
        sender = self._senders.get(payer)
        return 0 if sender is None else min(self._paid.total(payer), sender.carried)

    def paid_to_us(self, since_day: int) -> list[Receipt]:
        """The newest receipt of each payer and day, from a day on."""
        return list(self._paid.newest(since_day))

    def evidence(self, now: float, most: int = 64) -> list[bytes]:
        """Countersigned receipts for what this relay carried, those that are worth most: to be shown to others."""
        return self._paid.evidence(most, now)

    # --- as a sender: what relays carried for us -------------------------------------------------

    async def commit_seq(self, relay: bytes, day: int, seq: int, cum: int) -> bool:
        """Keeps that our account signs `cum` bytes of a day for this relay under `seq`, safe from a power cut.

        Before that the signature must not leave; False when the disk refuses, and nothing may be signed.
        """
        before = self._signing.get((relay, day), (0, 0))
        after = (max(before[0], seq), max(before[1], cum))
        self._signing[relay, day] = after
        spent = after[1] - before[1]
        self._store.keep("signing", (relay, day), after)
        if spent:
            self._store.keep("balance", (day,), self._balance.add(day, spent=spent))
        return await self._store.written(durable=True)

    def last_signed(self, relay: bytes, day: int) -> tuple[int, int] | None:
        """The highest number and total that our account gave this relay for a day."""
        return self._signing.get((relay, day))

    def owed(self, signed: Signed, now: float) -> None:
        """Keeps a checked receipt of ours that its relay countersigned: we owe its account that much."""
        receipt = signed.receipt
        key = (receipt.relay, receipt.day)
        before = self._owed.get(key)
        if signed.dual is None or (before is not None and before[:2] >= (receipt.seq, receipt.cum_bytes)):
            return
        self._owed[key] = (receipt.seq, receipt.cum_bytes, signed.dual)
        self._store.keep("receipts_owed", key, self._owed[key])
        if signed.relay_account is not None:
            self.source.owes(signed)

    def owed_duals(self) -> list[bytes]:
        """Every countersigned receipt of our own account that is kept."""
        return [dual for _, _, dual in self._owed.values()]

    def ours(self, day: int) -> list[Signed]:
        """The newest countersigned receipts of our own account of a day."""
        return [_read_own(dual) for (_, of), (_, _, dual) in self._owed.items() if of == day]

    def relayed_for_me(self, relay: bytes) -> int:
        """Bytes that our account signed for this relay, over all days that are kept."""
        return sum(cum for (of, _), (_, cum) in self._signing.items() if of == relay)

    # --- what it says ----------------------------------------------------------------------------

    @property
    def senders(self) -> Senders:
        """Whom this relay carried for; to be read only."""
        return self._senders

    def free_left(self, who: bytes, now: float) -> int:
        """What is left of the free tier of an account or network."""
        return self._senders.free_left(who, self._tier(), now)

    def balance(self, now: float) -> dict[str, Any]:
        """Of our own account, in bytes: earned, spent and their difference, faded; both as they ever were."""
        earned, spent = self._balance.earned(now), self._balance.spent(now)
        earned_ever, spent_ever = self._balance.ever()
        return {
            "earned": round(earned),
            "spent": round(spent),
            "balance": round(earned - spent),
            "earned_ever": earned_ever,
            "spent_ever": spent_ever,
            "payers": self._paid.payers(),
        }


# Whoever asks what is behind a digest asks for the same ones again and again: two signatures each.
_read_own = functools.lru_cache(maxsize=256)(read_dual)
