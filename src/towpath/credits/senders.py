"""Whom a relay carried for: by account and by network, on credit, on the free tier, or beyond both. Pure.

Every byte is counted once: credit is used first, then the free tier, and what neither covers is a gift of a quiet
relay, which makes no debt.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from towpath.credits.free_tier import FULL, Bucket, Tier

__all__ = ["MAX_SENDERS", "Charge", "Sender", "Senders"]

MAX_SENDERS: Final = 20_000
"""Accounts, and as many networks, of which something is known; those that sent last, and more than a `LITTLE`."""
LITTLE: Final = 1 << 20
"""Bytes. Anybody can invent accounts that send a byte each: who sent more is forgotten last."""
_WRONG_S: Final = 3600.0
FORGOTTEN_S: Final = 90 * 86400
"""Who sent nothing for so long is forgotten, if its free tier is full again."""


class Charge(NamedTuple):
    """What became of some bytes."""

    credit: int = 0
    free: int = 0
    beyond: int = 0


class Sender:
    """What was carried for one account or network, in bytes, and what is used of its free tier."""

    __slots__ = ("beyond", "bucket", "credit", "first_seen", "free", "last_seen")

    def __init__(
        self, credit: int, free: int, beyond: int, bucket: Bucket, first_seen: float, last_seen: float
    ) -> None:
        self.credit = credit
        self.free = free
        self.beyond = beyond
        self.bucket = bucket
        self.first_seen = first_seen
        self.last_seen = last_seen

    @property
    def carried(self) -> int:
        """All of it."""
        return self.credit + self.free + self.beyond

    def row(self) -> tuple[int, int, int, float, float, int, int]:
        """As the store keeps it, behind its key."""
        bucket = self.bucket
        seen = int(self.first_seen), int(self.last_seen)
        return (self.credit, self.free, self.beyond, bucket.used, bucket.at, *seen)


class Senders:
    """All of one relay. Keys are accounts (32 bytes) and networks (3 or 7 bytes)."""

    def __init__(self) -> None:
        self._accounts: dict[bytes, Sender] = {}
        self._networks: dict[bytes, Sender] = {}
        self._light: dict[bool, dict[bytes, None]] = {True: {}, False: {}}
        """Of accounts, and of networks, those that sent little, in the order in which they sent."""

    def __len__(self) -> int:
        return len(self._accounts) + len(self._networks)

    def get(self, who: bytes) -> Sender | None:
        """What is known of an account or network."""
        return self._of(who).get(who)

    def accounts(self) -> dict[bytes, Sender]:
        """All accounts, who sent last at the end; to be read only."""
        return self._accounts

    def networks(self) -> dict[bytes, Sender]:
        """All networks, likewise."""
        return self._networks

    def load(self, who: bytes, row: tuple[int, int, int, float, float, int, int]) -> None:
        """Takes what `Sender.row` gave; in the order in which they sent."""
        credit, free, beyond, used, at, first_seen, last_seen = row
        self._of(who)[who] = sender = Sender(credit, free, beyond, Bucket(used, at), first_seen, last_seen)
        self._weigh(who, sender)

    def free_left(self, who: bytes, tier: Tier, now: float) -> int:
        """What is left of the free tier of an account or network."""
        known = self._of(who).get(who)
        if known is None:
            return tier.left(FULL, now)
        if known.bucket.at > now + _WRONG_S:
            # It was the clock that was wrong: else it refills no sooner than at that time.
            known.bucket = known.bucket._replace(at=now)
        return tier.left(known.bucket, now)

    def charge(
        self, account: bytes | None, prefix: bytes, n: int, credit: int, tier: Tier, now: float
    ) -> tuple[Charge, list[bytes]]:
        """Counts `n` bytes of a sender who has so much credit; returns where they went, and who was forgotten."""
        on_credit = min(n, max(0, credit))
        rest = n - on_credit
        keys = [key for key in (account, prefix) if key]
        left = min((self.free_left(key, tier, now) for key in keys), default=0)
        free = min(rest, left)
        charge = Charge(on_credit, free, rest - free)
        forgotten: list[bytes] = []
        for key in keys:
            of = self._of(key)
            sender = of.pop(key, None)
            if sender is None:
                if len(of) >= MAX_SENDERS:
                    oldest = next(iter(self._light[_is_account(key)] or of))
                    self._forget(oldest)
                    forgotten.append(oldest)
                sender = Sender(0, 0, 0, FULL, now, now)
            of[key] = sender
            sender.credit += charge.credit
            sender.free += charge.free
            sender.beyond += charge.beyond
            sender.last_seen = max(sender.last_seen, now)
            if rest:
                sender.bucket = tier.take(sender.bucket, rest, now)
            self._weigh(key, sender)
        return charge, forgotten

    def forget(self, tier: Tier, now: float) -> list[bytes]:
        """Drops, and returns, whom nothing need be known of any more."""
        gone = [
            who
            for of in (self._accounts, self._networks)
            for who, sender in of.items()
            if now - sender.last_seen > FORGOTTEN_S and tier.used(sender.bucket, now) == 0
        ]
        for who in gone:
            self._forget(who)
        return gone

    def _weigh(self, who: bytes, sender: Sender) -> None:
        light = self._light[_is_account(who)]
        light.pop(who, None)
        if sender.carried < LITTLE:
            light[who] = None

    def _forget(self, who: bytes) -> None:
        del self._of(who)[who]
        self._light[_is_account(who)].pop(who, None)

    def _of(self, who: bytes) -> dict[bytes, Sender]:
        return self._accounts if _is_account(who) else self._networks


def _is_account(who: bytes) -> bool:
    return len(who) == 32
