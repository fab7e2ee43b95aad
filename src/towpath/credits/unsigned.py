"""What accounts had carried without signing for it: the present connections', and debts of those that are over. Pure.

Debts fade as everything else does: a client that was killed knows nothing of its last bytes and cannot sign for them.
That is no gain to anybody, as whoever would wait for it has the same allowance under a new account at once.
"""

from __future__ import annotations

from typing import Final

from towpath.credits.decay import decayed

__all__ = ["MAX_ACCOUNTS", "Unsigned"]

MAX_ACCOUNTS: Final = 20_000
"""Of which it is known; those that sent or signed last."""


class _Of:
    __slots__ = ("at", "debt", "live")

    def __init__(self, at: float) -> None:
        self.live = 0
        """Below 0 while a receipt covers what is only counted in the second to come."""
        self.debt = 0.0
        self.at = at

    def fade(self, now: float) -> None:
        self.debt = decayed(self.debt, self.at, now)
        # A clock that was set back has nothing fade twice.
        self.at = max(self.at, now)


class Unsigned:
    """Of all accounts of one relay. `now` is Unix time."""

    def __init__(self) -> None:
        self._of: dict[bytes, _Of] = {}

    def carried(self, account: bytes, n: int, now: float) -> None:
        """So many bytes were carried for it."""
        self._touched(account, now).live += n

    def signed(self, account: bytes, n: int, now: float) -> None:
        """It signed for so many more: for its present connections first, then for the others."""
        of = self._touched(account, now)
        rest = n - max(0, of.live)
        if rest <= 0 or not of.debt:
            of.live -= n
            return
        of.fade(now)
        paid = min(float(rest), of.debt)
        of.debt -= paid
        of.live -= n - round(paid)

    def owed(self, account: bytes, now: float) -> int:
        """Bytes that it has not signed for."""
        of = self._of.get(account)
        return 0 if of is None else max(0, of.live + int(decayed(of.debt, of.at, now)))

    def begin(self, account: bytes, now: float) -> int:
        """Its first connection of now is there: what it owes for those before, which from now on fades."""
        of = self._of.get(account)
        if of is None:
            return 0
        of.fade(now)
        of.debt = max(0.0, of.debt + of.live)
        of.live = 0
        return int(of.debt)

    def _touched(self, account: bytes, now: float) -> _Of:
        of = self._of.pop(account, None)
        if of is None:
            if len(self._of) >= MAX_ACCOUNTS:
                del self._of[next(iter(self._of))]
            of = _Of(now)
        self._of[account] = of
        return of
