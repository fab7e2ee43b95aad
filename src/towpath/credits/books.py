"""What billing and paying need kept: the seam between the control stream and the ledger."""

from __future__ import annotations

import asyncio
from typing import Protocol

from towpath.credits.receipts import Signed

__all__ = ["PayerBooks", "RelayBooks"]


class RelayBooks(Protocol):
    """Of a relay. Everything is called on the loop and answers at once."""

    def carried(self, payer: bytes | None, prefix: bytes, n: int, now: float) -> None:
        """A sender's bytes went through a circuit; None: it shows no account, or has not signed for too much."""

    def paid(self, payer: bytes, signed: Signed, n: int, now: float, network: bytes = b"") -> asyncio.Future[bool]:
        """A receipt came, from this network, that covers `n` bytes more than those before, as far as they can have been
        carried. Done when it is safe; False: it is not yet.
        """

    def countersigned(self, signed: Signed, now: float) -> None:
        """We countersigned it: evidence that we may bring to others."""

    def last_paid(self, payer: bytes, day: int) -> Signed | None:
        """The newest receipt of this account to us on this day."""

    def paid_for(self, payer: bytes) -> int:
        """Bytes that were carried for this account and that it signed for."""

    def debt(self, payer: bytes, now: float) -> int:
        """An account is shown that was not: the bytes that it has not signed for, of connections that are over."""

    def fraud(self, proof: bytes, now: float) -> None:
        """Somebody signed two receipts that contradict one another."""


class PayerBooks(Protocol):
    """Of who pays."""

    @property
    def unclean(self) -> bool:
        """Did the process before end without a word? Then more may have been signed than is known."""

    def last_signed(self, relay: bytes, day: int) -> tuple[int, int] | None:
        """The highest `seq` that was committed for this relay and day, and its total."""

    async def commit_seq(self, relay: bytes, day: int, seq: int, cum: int) -> bool:
        """Keeps both, safe from a power cut; False when the disk refuses, and nothing may be signed."""

    def owed(self, signed: Signed, now: float) -> None:
        """The relay countersigned what we paid: what it did for us, provable to others."""
