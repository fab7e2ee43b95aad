"""The weights of what is open when the pipe is full. Pure: relay and simulator ask the same function.

Each account on credit, and each network on the free tier, counts once, however many circuits it has. Together the
free tier gets a fifth at least, as long as nobody on it gets more than half of what one who pays gets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from towpath.credits.policy import HEAVY, LIGHT

__all__ = ["LEAST_WEIGHT", "MOST_WEIGHT", "Sending", "shares", "weights"]

LEAST_WEIGHT: Final = 0.01
MOST_WEIGHT: Final = 100.0
_SHARE: Final = 0.2
"""Of the free tier, at least."""


class Sending(NamedTuple):
    """One direction of a circuit: whose bytes they are (an account on credit, else a network), and do they pay?"""

    who: bytes
    paying: bool


def shares(counts: Mapping[Sending, int]) -> dict[Sending, float]:
    """The weight of each circuit of a sender that has so many; between LEAST_WEIGHT and MOST_WEIGHT."""
    paying = sum(1 for one in counts if one.paying)
    free = len(counts) - paying
    head = LIGHT
    if free and paying:
        # So that free * head / (free * head + paying * HEAVY) is the share.
        wanted = _SHARE / (1 - _SHARE) * paying * HEAVY / free
        head = min(max(LIGHT, wanted), HEAVY / 2)
    each = {one: (HEAVY if one.paying else head) / max(1, n) for one, n in counts.items()}
    least, most = min(each.values(), default=LIGHT), max(each.values(), default=LIGHT)
    # Only ratios count, but what is dealt out in small pieces costs more.
    scale = min(LIGHT / least, MOST_WEIGHT / most) if least < LIGHT else 1.0
    # Also where what was divided and multiplied again is a hair more than it was.
    return {one: min(max(LEAST_WEIGHT, weight * scale), MOST_WEIGHT) for one, weight in each.items()}


def weights(sending: Sequence[Sending]) -> list[float]:
    """The weight of each of these circuits, in the same order."""
    each = shares(Counter(sending))
    return [each[one] for one in sending]
