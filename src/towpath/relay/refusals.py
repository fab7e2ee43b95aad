"""What the owner is told of refusals: that somebody was refused, why, and which setting decides that.

At most one event in ten seconds, however many ask: the rest is counted, and said with the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from towpath.addresses import peer_id_to_text
from towpath.log import short_peer_id
from towpath.relaystream.reasons import Reason, Request

__all__ = ["PACE_S", "Refusals", "owners_reason"]

PACE_S: Final = 10.0
_WHY: Final = {
    Reason.RESERVATIONS_FULL: "{counted}reservations are held (relay.max_reservations)",
    Reason.NETWORK_FULL: "{counted}reservations of its network are held (relay.max_reservations_per_ip)",
    Reason.CIRCUITS_FULL: "{counted}circuits are open (relay.max_circuits)",
    Reason.PEER_FULL: "{counted}circuits of one of the two are open (relay.max_circuits_per_peer)",
    Reason.QUOTA: "less than a tenth of the {period}'s budget is left (relay.max_bandwidth_per_{period})",
    Reason.RATE: "the rate is used up by the circuits that are open (relay.max_rate)",
    Reason.PAUSED: "the relay is paused",
    Reason.MODE: "relay mode is off",
    Reason.SCHEDULE: "the relay rests at this hour (relay.schedule)",
    Reason.DENIED: "the lists of who may do not let it in (relay.allow and relay.deny)",
    Reason.RESTING: "the machine or its line is wanted for something else",
    Reason.STOPPING: "the node is about to end",
    Reason.FREE_TIER_NETWORK: "the free tier of its network is used up, and it has no credit (credits.free_tier)",
    Reason.FREE_TIER_ACCOUNT: "its free tier is used up, and it has no credit (credits.free_tier)",
    Reason.FREE_SEATS: "{counted}places that are free without credit are taken by its network (credits.enforce)",
    Reason.QUOTA_PROMISED: "its share of what is left of the quota is promised to open circuits (credits.enforce)",
    Reason.OTHER_END: "the peer at the other end has neither credit nor free tier left (credits.free_tier)",
}
_WHAT: Final = {Request.RESERVE: "reservation", Request.CONNECT: "circuit"}


def owners_reason(code: int, have: int | None, limit: int | None, period: str | None) -> str:
    """Why, as the end of a sentence, for the owner; any code."""
    counted = "all " if have is None or limit is None else f"{have} of {limit} "
    form = _WHY.get(code)  # type: ignore[call-overload]
    if form is None:
        return f"of reason {code}"
    return str(form.format(counted=counted, period=period or "day"))


class Refusals:
    """Takes every refusal as RelaySide.refused does; `publish` is EventHub.publish."""

    def __init__(self, publish: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        self._publish = publish
        self._clock = clock
        self._next = float("-inf")
        self._untold = 0

    def note(
        self,
        peer_id: bytes,
        request: Request,
        code: Reason,
        have: int | None = None,
        limit: int | None = None,
        *,
        period: str | None = None,
        again_at: float | None = None,
        target: bytes | None = None,
    ) -> None:
        """Somebody is refused; see RelaySide.refused. Cheap when it is not told."""
        now = self._clock()
        if now < self._next:
            self._untold += 1
            return
        self._next, untold, self._untold = now + PACE_S, self._untold, 0
        what, peer = _WHAT.get(request, "request"), peer_id_to_text(peer_id)
        why = owners_reason(code, have, limit, period)
        more = f"; {untold} more since the last one told" if untold else ""
        self._publish(
            f"{what}_refused",
            f"A {what} of {short_peer_id(peer)} was refused: {why}{more}",
            peer=peer,
            target=None if target is None else peer_id_to_text(target),
            reason=why,
            code=int(code),
            again_at=again_at,
            more=untold,
        )
