"""One relay as one simulated user knows it: what it measured, and what the node's policy makes of that.

What follows from measurements alone is computed when it is asked for and kept until something is measured anew.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from towpath.client.choice import Offer
from towpath.discovery.candidates import Candidate, Measured
from towpath.discovery.outcomes import Outcome, noted, rest_left
from towpath.discovery.selection import Standing, arranged, asked_all_the_same, score_of, standing

if TYPE_CHECKING:
    from towpath.discovery.records import Advertisement
    from towpath.sim.relays import Relay

__all__ = ["Known", "offered"]

_NEW = Measured()


class Known:
    """`bootstrap`: it stands in the user's settings; else the user found it. `seen_at` is when it was found last."""

    __slots__ = ("_offer", "_standing", "bootstrap", "own", "record", "relay", "rests_until", "seen_at")

    def __init__(self, relay: Relay, record: Advertisement | None, seen_at: float, *, bootstrap: bool) -> None:
        self.relay = relay
        self.bootstrap = bootstrap
        self.own = _NEW
        self.rests_until = 0.0
        """Until then it is not asked, as it failed or refused."""
        self.record = record
        self.seen_at = seen_at
        self._standing: Standing | None = None
        self._offer: Offer | None = None

    def read(self, record: Advertisement | None, now: float) -> None:
        """It was found again, with this advertisement: of what that says the load may be another one."""
        if record is None or self.record is None or record.load != self.record.load:
            self._standing = self._offer = None
        self.record, self.seen_at = record, now

    def note(self, outcome: Outcome, now: float, rtt_ms: float | None) -> None:
        """Remembers what became of something tried with it."""
        self.own = own = noted(self.own, outcome, now, rtt_ms=rtt_ms)
        self.rests_until = now + rest_left(own, now) if own.refused_at or own.failed_at else 0.0
        self._standing = self._offer = None

    @property
    def candidate(self) -> Candidate:
        """As the node's policy looks at it."""
        relay = self.relay
        source = "bootstrap" if self.bootstrap else "dht"
        return Candidate(relay.id, relay.addresses, source, self.record, self.own, self.seen_at)

    @property
    def standing(self) -> Standing:
        """Its place while it is usable."""
        found = self._standing
        return self._judged()[0] if found is None else found

    @property
    def offer(self) -> Offer:
        """As `client.choice` is told of it."""
        found = self._offer
        return self._judged()[1] if found is None else found

    def _judged(self) -> tuple[Standing, Offer]:
        candidate, relay = self.candidate, self.relay
        stands = standing(candidate)
        offer = Offer(relay.id, relay.networks, candidate.family, float(score_of(candidate)), self.bootstrap)
        self._standing, self._offer = stands, offer
        return stands, offer


def offered(known: Iterable[Known], now: float, rng: random.Random) -> list[Offer]:
    """Relays that may be asked, the best first (as `discovery.guiding` offers them)."""
    able: list[tuple[Standing, Known]] = []
    resting: list[Known] = []
    for one in known:
        if one.rests_until > now:
            resting.append(one)
        else:
            able.append((one._standing or one.standing, one))
    if not able:
        able = [(one.standing, one) for one in resting if asked_all_the_same(one.own, now)]
        resting = [one for one in resting if not asked_all_the_same(one.own, now)]
    offers = [one._offer or one.offer for one, _ in arranged(able, rng)]
    # A bootstrap relay that failed is among them: there may be no other.
    return [*offers, *(one.offer for one in resting if one.bootstrap)]
