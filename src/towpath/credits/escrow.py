"""What is promised to open circuits: a limit that was told is there, whatever its sender begins meanwhile. Pure."""

from __future__ import annotations

__all__ = ["Escrow", "Promise"]


class Promise:
    """The part of one circuit's limit that one sender has not used yet; made by Escrow.promise."""

    __slots__ = ("account", "credit", "free", "paying", "prefix", "used")

    def __init__(self, account: bytes | None, prefix: bytes, credit: int, free: int, paying: bool) -> None:
        self.account = account
        self.prefix = prefix
        self.credit = credit
        self.free = free
        self.paying = paying
        """Is it one of those that come first?"""
        self.used = 0


class Escrow:
    """Promised bytes by account and network: of credit, and of the free tier."""

    def __init__(self) -> None:
        self._credit: dict[bytes, int] = {}
        self._free: dict[bytes, int] = {}
        self._of_prefix: dict[bytes, int] = {}
        self.paying = 0
        """Bytes promised, all together, to those who come first,"""
        self.not_paying = 0
        """and to all others."""

    def __bool__(self) -> bool:
        return bool(self._credit or self._free)

    def credit(self, account: bytes) -> int:
        """Bytes of an account's credit that are promised."""
        return self._credit.get(account, 0)

    def free(self, who: bytes) -> int:
        """Bytes of the free tier of an account or network that are promised."""
        return self._free.get(who, 0)

    def of_prefix(self, prefix: bytes) -> int:
        """Bytes that are promised to senders in a network who do not come first."""
        return self._of_prefix.get(prefix, 0)

    def promise(
        self, account: bytes | None, prefix: bytes, limit: int, credit: int, *, paying: bool = False
    ) -> Promise:
        """Promises a limit to a sender who has so much credit left, which is used first; `paying`: it comes first."""
        on_credit = min(limit, max(0, credit)) if account is not None else 0
        made = Promise(account, prefix, on_credit, limit - on_credit, paying)
        self._add(made, made.credit, made.free)
        return made

    def use(self, promise: Promise, used: int) -> None:
        """So many of its bytes, all together, were sent and are counted."""
        more = used - promise.used
        if more <= 0:
            return
        promise.used = used
        on_credit = min(more, promise.credit)
        on_free = min(more - on_credit, promise.free)
        promise.credit -= on_credit
        promise.free -= on_free
        self._add(promise, -on_credit, -on_free)

    def end(self, promise: Promise) -> None:
        """Its circuit has ended: what was not used is free again."""
        self._add(promise, -promise.credit, -promise.free)
        promise.credit = promise.free = 0

    def _add(self, promise: Promise, credit: int, free: int) -> None:
        if promise.account is not None:
            _change(self._credit, promise.account, credit)
            _change(self._free, promise.account, free)
        if promise.prefix:
            _change(self._free, promise.prefix, free)
        if promise.paying:
            self.paying += credit + free
        else:
            self.not_paying += credit + free
            _change(self._of_prefix, promise.prefix, credit + free)


def _change(of: dict[bytes, int], who: bytes, n: int) -> None:
    now = of.get(who, 0) + n
    if now > 0:
        of[who] = now
    else:
        of.pop(who, None)
