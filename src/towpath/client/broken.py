"""Circuits that ended without a goodbye: was it the relay, or had the peer gone? Pure; monotonic times are passed in.

Who sees a circuit break cannot tell. But a peer that is met again at once through another relay was there all the
time, so the relay had dropped it; of one that stays away nobody is blamed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["AGAIN_S", "MOST", "Broken"]

AGAIN_S: Final = 20.0
"""How soon a peer is met again that cannot have been away."""
MOST: Final = 256
"""Peers that are remembered."""


class Broken:
    """The last relay whose circuit to each peer broke."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def broke(self, peer: bytes, relay: bytes, now: float) -> None:
        """A circuit to `peer` through `relay` ended, and neither end had said that it would."""
        self._last[peer] = relay, now
        self._last.move_to_end(peer)
        while len(self._last) > MOST:
            self._last.popitem(last=False)

    def met(self, peer: bytes, relay: bytes | None, now: float) -> bytes | None:
        """`peer` is met through `relay` (None: directly): the other relay that is to blame for a break, told once."""
        last = self._last.pop(peer, None)
        if last is None:
            return None
        broke, at = last
        return broke if broke != relay and 0 <= now - at <= AGAIN_S else None
