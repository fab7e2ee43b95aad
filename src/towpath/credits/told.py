"""What relays told this node as their client: how its account stands with them, and why they refused it. Pure."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from towpath.relaystream.messages import Refused, Standing
from towpath.relaystream.reasons import Request, refusal_sentence, size_in_words

__all__ = ["Refusal", "Told", "refused_in_words", "standing_in_words"]

_RELAYS: Final = 256
_EACH: Final = 8


class Refusal(NamedTuple):
    """A relay refused us, at a Unix time."""

    at: float
    relay: bytes
    refused: Refused


class Told:
    """The last refusals of each relay; the relays that refused last."""

    def __init__(self) -> None:
        self._refusals: OrderedDict[bytes, deque[Refusal]] = OrderedDict()

    def refused(self, relay: bytes, refused: Refused, now: float) -> None:
        """A relay says why it refuses."""
        kept = self._refusals.setdefault(relay, deque(maxlen=_EACH))
        self._refusals.move_to_end(relay)
        kept.append(Refusal(now, relay, refused))
        while len(self._refusals) > _RELAYS:
            self._refusals.popitem(last=False)

    def of(self, relay: bytes) -> list[Refusal]:
        """Those of one relay, the newest first."""
        return list(reversed(self._refusals.get(relay, ())))

    def newest(self, most: int) -> list[Refusal]:
        """Those of all relays, the newest first."""
        every = [refusal for kept in self._refusals.values() for refusal in kept]
        return sorted(every, key=lambda refusal: -refusal.at)[:most]


def refused_in_words(refusal: Refusal, who: str, local: Callable[[float], time.struct_time] = time.localtime) -> str:
    """`At 14:00 the relay X refused a circuit: …`, with what to do."""
    what = "a reservation" if refusal.refused.request == Request.RESERVE else "a circuit"
    at = time.strftime("%H:%M", local(refusal.at))
    return f"At {at} the relay {who} refused {what}: {refusal_sentence(refusal.refused)}."


def standing_in_words(standing: Standing) -> str:
    """What a relay says of our account."""
    free = "" if standing.free is None else f", and {size_in_words(standing.free)} of its free tier are left"
    if standing.priority:
        return (
            f"It serves this node first when it is crowded: {size_in_words(standing.credit)} of credit are left{free}."
        )
    return f"It gives this node no priority: {size_in_words(standing.credit)} of credit are left{free}."
