"""How often relays served us, and failed us, on each day: what our receipts say of them. Pure; times are passed in.

Only in memory: after a restart a day's receipts say less of it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from towpath.credits.receipts import day_of

__all__ = ["RELAYS", "Outcomes"]

RELAYS: Final = 1024
"""Relays and days of which something is known; those that were used last."""
_MOST: Final = 2**32 - 1


class Outcomes:
    """Of one node."""

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[bytes, int], tuple[int, int]] = OrderedDict()

    def note(self, relay: bytes, served: bool, now: float) -> None:
        """A relay served us, or failed us through its own fault."""
        key = relay, day_of(now)
        ok, fail = self._of.get(key, (0, 0))
        self._of[key] = min(ok + served, _MOST), min(fail + (not served), _MOST)
        self._of.move_to_end(key)
        if len(self._of) > RELAYS:
            self._of.popitem(last=False)

    def of(self, relay: bytes, day: int) -> tuple[int, int]:
        """How often it served us and failed us on a day."""
        return self._of.get((relay, day), (0, 0))
