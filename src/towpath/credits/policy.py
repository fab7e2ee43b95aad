"""Whether a circuit is accepted, and with what weight and limit. Pure: the numbers and the time are passed in.

The relay and the simulator ask the same function. Who sends pays: a relay asks it for the dialer and for the target.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, NamedTuple

from towpath.credits.free_tier import UNLIMITED, Tier
from towpath.relaystream.reasons import Reason

__all__ = [
    "HEAVY",
    "LEAST",
    "LIGHT",
    "LOADED",
    "NO_QUOTA",
    "NO_SEATS",
    "QUIET",
    "Asked",
    "Decision",
    "Enforce",
    "Ground",
    "Load",
    "QuotaLeft",
    "Seats",
    "may_go_on",
    "quota_part",
    "reservation_seat",
    "share",
    "should_accept_circuit",
]

LEAST: Final = 1 << 20
"""Bytes below which a circuit is refused: one that ends at once would only tease."""
LOADED: Final = 0.7
"""The share of anything from which on a relay counts as loaded."""
HEAVY: Final = 8.0
"""The weight of what is paid for with credit, beside `LIGHT` of what the free tier pays for."""
LIGHT: Final = 1.0
_PART: Final = 4
"""A circuit gets one part in so many of what is left, so that a few can be open beside it."""
_PART_LEAST: Final = 16 << 20
_RESERVED: Final = 5
"""One seat in so many is kept for the free tier, and one for who has credit."""

Enforce = Literal["under_load", "always", "never"]


class Load(NamedTuple):
    """What is in use of each thing that can run out, 0…1."""

    rate: float = 0.0
    circuits: float = 0.0
    reservations: float = 0.0
    quota: float = 0.0

    @property
    def most(self) -> float:
        """The share of what is nearest to its end."""
        return max(self)

    @property
    def high(self) -> bool:
        """Is anything used to more than a quiet relay's share?"""
        return max(self) >= LOADED

    @property
    def what(self) -> str:
        """The name of what is nearest to its end."""
        return max(zip(self, self._fields, strict=True))[1]


QUIET: Final = Load()


def share(used: float, limit: float | None) -> float:
    """The share that is in use, 0…1; 0 of what is unlimited."""
    if limit is None:
        return 0.0
    return min(1.0, used / limit) if limit > 0 else 1.0


class Seats(NamedTuple):
    """Circuits that are open: `limit` of them there may be; `paying` run on credit, `free` on the free tier, and
    `of_prefix` of these belong to the asker's network.
    """

    limit: int | None = None
    paying: int = 0
    free: int = 0
    of_prefix: int = 0


NO_SEATS: Final = Seats()


class QuotaLeft(NamedTuple):
    """Bytes that are left of the owner's quota (None: it does not run low), and what of them is promised: to who comes
    first, to all others, and of these to the asker's network. `until`: when it is full again (Unix time).
    """

    left: int | None = None
    paying: int = 0
    free: int = 0
    of_prefix: int = 0
    until: float | None = None


NO_QUOTA: Final = QuotaLeft()


class Ground(enum.IntEnum):
    """What a decision rests on."""

    NOT_ENFORCED = 0
    """The owner asks nothing in return."""
    QUIET = 1
    """There is room for everybody."""
    CREDIT = 2
    FREE_TIER = 3
    USED_UP = 4
    """Refused: neither credit nor free tier is left."""
    NO_SEAT = 5
    """Refused: its share of the circuits is in use."""
    NO_QUOTA = 6
    """Refused: its share of what is left of the quota is promised to others."""


class Asked(NamedTuple):
    """Who asks for a circuit, and how the relay stands. Amounts are bytes, what is promised to open circuits taken off.

    `earned` and `spent` are of the account; without one, and for a `rider` (who does not sign for what it had), they do
    not count, nor does the account's own free tier.
    """

    account: bytes | None
    prefix: bytes
    free_left_prefix: int
    free_left_account: int = UNLIMITED
    earned: int = 0
    spent: int = 0
    load: Load = QUIET
    enforce: Enforce = "under_load"
    rider: bool = False
    tier: Tier = Tier()
    seats: Seats = NO_SEATS
    quota: QuotaLeft = NO_QUOTA

    @property
    def credit(self) -> int:
        """Credit that is left."""
        return 0 if self.account is None or self.rider else max(0, self.earned - self.spent)

    @property
    def free_left(self) -> int:
        """Free tier that is left: of the account and of its network, the smaller."""
        if self.account is None or self.rider:
            return max(0, self.free_left_prefix)
        return max(0, min(self.free_left_account, self.free_left_prefix))

    @property
    def enforced(self) -> bool:
        """Is anything asked in return now?"""
        return self.enforce == "always" or (self.enforce == "under_load" and self.load.high)


class Decision(NamedTuple):
    """Accepted: with which weight, and with which limit in bytes each way (None: none). Refused: `code`; then `have`
    bytes of `limit` are there at `again_at` (Unix time; None: never), or `have` of `limit` circuits are open.
    """

    accept: bool
    ground: Ground
    weight: float = LIGHT
    limit_data: int | None = None
    code: Reason | None = None
    have: int | None = None
    limit: int | None = None
    again_at: float | None = None


def should_accept_circuit(asked: Asked, now: float) -> Decision:
    """Earned more than spent: yes. Free tier left: yes. Otherwise no, with the reason. `now` is Unix time."""
    credit = asked.credit
    # A fraction of what a circuit needs at least is no priority: it would be used up before it is noticed.
    paying = credit >= LEAST
    weight = HEAVY if paying else LIGHT
    if not asked.enforced:
        return Decision(True, Ground.NOT_ENFORCED if asked.enforce == "never" else Ground.QUIET, weight)
    left = credit + asked.free_left
    if left < LEAST:
        return _used_up(asked, now)
    # Less than unlimited by what is promised is unlimited still.
    limit = None if left >= UNLIMITED // 2 else max(min(left, _PART_LEAST), left // _PART)
    # Nobody is worse off for having credit: without a seat of that kind it is served as everybody.
    if not (paying and _paying_seat(asked.seats)) and not _free_seat(asked.seats):
        return _no_seat(asked)
    part = quota_part(asked.quota, paying)
    if part is not None:
        if part < LEAST:
            return _no_quota(asked)
        limit = part if limit is None else min(limit, part)
    return Decision(True, Ground.CREDIT if paying else Ground.FREE_TIER, weight, limit)


def may_go_on(asked: Asked, now: float) -> Decision:
    """The same of a circuit that is open and has no limit, as it was let in while the relay was quiet. It has a seat,
    and of a quota that runs low it has what nobody is promised, but for the fifth that is left to newcomers.
    """
    decision = should_accept_circuit(asked._replace(seats=NO_SEATS, quota=NO_QUOTA), now)
    quota = asked.quota
    if decision.accept and asked.enforced and quota.left is not None:
        vacant = quota.left - quota.paying - quota.free
        if vacant - quota.left // _RESERVED < LEAST:
            return _no_quota(asked)
    return decision


def _used_up(asked: Asked, now: float) -> Decision:
    tier = asked.tier
    own = asked.account is not None and not asked.rider and asked.free_left_account < asked.free_left_prefix
    code = Reason.FREE_TIER_ACCOUNT if own else Reason.FREE_TIER_NETWORK
    # Told is the moment at which coming back is worth it: an hour's refill, or what there is to be had at all.
    hour = int((tier.refill or 0.0) * 3600)
    wanted = min(tier.size or 0, asked.free_left + max(hour, LEAST))
    wait = tier.seconds_until(asked.free_left, wanted) if wanted >= LEAST else None
    return Decision(
        False,
        Ground.USED_UP,
        code=code,
        have=0 if wait is None else wanted,
        limit=tier.size,
        again_at=None if wait is None else now + wait,
    )


def _kept(limit: int) -> int:
    return limit // _RESERVED


def _paying_seat(seats: Seats) -> bool:
    return seats.limit is None or seats.paying < seats.limit - _kept(seats.limit)


def _free_seat(seats: Seats) -> bool:
    """Is one of the free tier's seats there for this network?

    Each may hold as many as are vacant beside a quarter that is left to networks that hold none, so that one network
    leaves half to the next and a newcomer finds a seat.
    """
    if seats.limit is None:
        return True
    kept = _kept(seats.limit)
    if not kept:
        # Too few to be divided: first come, first served.
        return True
    vacant = seats.limit - kept - seats.free
    if seats.of_prefix == 0:
        return vacant > 0
    return seats.of_prefix < vacant - kept // 4


def quota_part(quota: QuotaLeft, paying: bool) -> int | None:
    """Bytes of what is left of the quota that each end of one more circuit may be promised; None: any number.

    Who has credit leaves a fifth of it. A network on the free tier that is promised nothing gets a quarter of what is
    vacant, so that a newcomer always finds some; one that is promised something leaves that fifth and as much as it
    has.
    """
    if quota.left is None:
        return None
    kept = quota.left // _RESERVED
    vacant = quota.left - quota.paying - quota.free
    room = vacant // 4 if quota.of_prefix == 0 else (vacant - kept - quota.of_prefix) // 2
    if paying:
        room = max(room, vacant - kept)
    return max(0, room // 2)


def _no_quota(asked: Asked) -> Decision:
    return Decision(False, Ground.NO_QUOTA, code=Reason.QUOTA_PROMISED, again_at=asked.quota.until)


def _no_seat(asked: Asked) -> Decision:
    return Decision(False, Ground.NO_SEAT, code=Reason.FREE_SEATS, have=asked.seats.of_prefix, limit=asked.seats.limit)


def reservation_seat(paying: bool, reservations: int, limit: int | None, of_address: int, of_network: int = 0) -> bool:
    """May one more reservation be made, as far as credits say? `of_address` counts those of the asker's own address,
    `of_network` those of its /24 or /56, of which one household can have 256 addresses.

    From four fifths on one for each address, and for each network as long as it leaves room for those that hold none;
    the last tenth is for who has credit. Holding one costs little, so nobody is asked for anything while there is room.
    """
    if limit is None or paying:
        return True
    kept = _kept(limit)
    vacant = limit - limit // (2 * _RESERVED) - reservations
    if vacant <= 0 or reservations < limit - kept:
        return vacant > 0
    return of_address == 0 and (of_network == 0 or of_network < vacant - kept // 4)
