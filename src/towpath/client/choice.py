"""Which relays hold our reservations: what to ask for and what to give up. Pure; time is passed in.

Two are wanted, in different networks and of different families, so that what takes one of them away leaves the other.
Something better takes the place of something worse only after it stands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ["BOOTSTRAP_S", "PATIENCE_S", "SETTLED_S", "WANTED", "Offer", "Plan", "Seat", "in_order", "plan"]

WANTED: Final = 2
PATIENCE_S: Final = 2.0
"""How long a relay that was asked is waited for before another one is asked beside it."""
SETTLED_S: Final = 300.0
"""How long a reservation stands at least before something merely better takes its place."""
BOOTSTRAP_S: Final = 10.0
"""The same of one at a bootstrap relay, before a volunteer takes its place."""
LOST_S: Final = 30.0
"""How long a lost one is kept trying when there are enough others."""
BETTER: Final = 20.0
"""Points of score that make another relay worth a move."""


class Offer(NamedTuple):
    """A relay that could be asked. `score` 0…100; `bootstrap`: it is there to begin with, not to stay."""

    relay_id: bytes
    networks: frozenset[str] = frozenset()
    family: str | None = None
    score: float = 0.0
    bootstrap: bool = False


class Seat(NamedTuple):
    """A reservation that we hold or have asked for. `state` as of HeldReservation, `since` when it came to that."""

    offer: Offer
    state: str
    since: float
    ours_to_end: bool = True
    """False: the application asked for it, and only the application gives it up."""


class Plan(NamedTuple):
    """Relays to ask, best first, and relays to leave."""

    reserve: tuple[bytes, ...]
    release: tuple[bytes, ...]
    lacking: int
    """How many of the wanted ones are neither there nor under way."""


def apart(one: Offer, other: Offer) -> bool:
    """Do they share neither network nor family?"""
    return one.networks.isdisjoint(other.networks) and (one.family is None or one.family != other.family)


def _fits(one: Offer, others: Iterable[Offer]) -> bool:
    for other in others:
        if not apart(one, other):
            break
    else:
        return True
    return False


def in_order(seats: Iterable[Seat]) -> list[Seat]:
    """Those that lead to us now, best first: the first is the active one, the next its standby."""
    good = [seat for seat in seats if seat.state == "active"]
    if len(good) < 2:
        return good
    return sorted(good, key=lambda seat: (seat.offer.bootstrap, -seat.offer.score, seat.since))


def plan(seats: Sequence[Seat], offers: Sequence[Offer], now: float, wanted: int = WANTED) -> Plan:
    """What to do now. `offers` in the order of preference; those that cannot be asked at the moment are left out."""
    good = [seat.offer for seat in in_order(seats)]
    asked = [seat.offer for seat in seats if seat.state == "connecting" and now - seat.since < PATIENCE_S]
    taken = {seat.offer.relay_id for seat in seats}
    free = [offer for offer in offers if offer.relay_id not in taken]
    chosen = _spread([*good, *asked], free, wanted)
    lacking = max(0, wanted - len(good) - len(asked) - len(chosen))
    if not chosen and not asked and not lacking:
        chosen = _improvement(seats, good, free, now, wanted)
    return Plan(tuple(offer.relay_id for offer in chosen), _superfluous(seats, good, now, wanted), lacking)


def _spread(have: Sequence[Offer], free: Sequence[Offer], wanted: int) -> list[Offer]:
    # Volunteers before bootstrap relays, and apart from each other if that is possible.
    chosen: list[Offer] = []
    if len(have) >= wanted:
        return chosen
    for far in (True, False):
        for bootstrap in (False, True):
            for offer in free:
                if len(have) + len(chosen) >= wanted:
                    return chosen
                if offer.bootstrap is not bootstrap or offer in chosen:
                    continue
                if not far or (_fits(offer, have) and _fits(offer, chosen)):
                    chosen.append(offer)
    return chosen


def _improvement(
    seats: Sequence[Seat], good: Sequence[Offer], free: Sequence[Offer], now: float, wanted: int
) -> list[Offer]:
    # One that may take the place of one of ours: it is asked now, and that one is left when it has answered.
    if len(good) != wanted:
        return []
    age = {seat.offer: now - seat.since for seat in seats if seat.ours_to_end}
    for worst in reversed(good):
        if age.get(worst, -1.0) < min(BOOTSTRAP_S, SETTLED_S):
            continue
        rest = [other for other in good if other is not worst]
        crowded = not _fits(worst, rest)
        for offer in free:
            fits = _fits(offer, rest)
            if not (fits or crowded) or (offer.bootstrap and not worst.bootstrap):
                continue
            volunteers = worst.bootstrap and not offer.bootstrap
            better = volunteers or (fits and crowded) or offer.score >= worst.score + BETTER
            if better and age.get(worst, -1.0) >= (BOOTSTRAP_S if volunteers else SETTLED_S):
                return [offer]
    return []


def _superfluous(seats: Sequence[Seat], good: Sequence[Offer], now: float, wanted: int) -> tuple[bytes, ...]:
    if len(good) < wanted:
        return ()
    surplus: list[bytes] = []
    if len(good) > wanted:
        kept = _best(good, wanted)
        surplus = [offer.relay_id for offer in good if offer not in kept]
    idle = [seat.offer.relay_id for seat in seats if seat.state == "lost" and now - seat.since >= LOST_S]
    if not surplus and not idle:
        return ()
    free_to_end = {seat.offer.relay_id for seat in seats if seat.ours_to_end}
    return tuple(relay_id for relay_id in [*surplus, *idle] if relay_id in free_to_end)


def _best(good: Sequence[Offer], wanted: int) -> list[Offer]:
    # The best ones that are apart from each other, else the best. Not greedily: the best of all may stand in the way of
    # every set that is apart, and what an improvement brings would be left again at once.
    for some in itertools.combinations(good, min(wanted, len(good))):
        if all(_fits(one, some[number + 1 :]) for number, one in enumerate(some)):
            return list(some)
    return list(good[:wanted])
