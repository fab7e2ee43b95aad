"""What there is to advertise of our relay, and when: only while it relays and is known to be reachable. Pure.

An advertisement lives for two hours and is published anew every hour; for a step of the load at most every 10 min. One
that no longer holds is withdrawn: by a record with a higher number that takes nothing. `advertising` acts on it.
"""

from __future__ import annotations

import enum
import functools
from typing import Final, Literal, NamedTuple

import msgspec

from towpath.discovery.records import LIFE_S, MAX_ADDRESSES, NO_CAPACITY, Advertisement, Capacity, may_be_advertised

__all__ = ["AdvertFacts", "Do", "Plan", "load_step", "plan", "said_by"]

REFRESH_S: Final = 3600.0
"""After this long an advertisement is published anew; a random part of up to a fifth earlier."""
LOAD_S: Final = 600.0
"""Between publications for nothing but the load."""
CHANGE_S: Final = 30.0
"""Between any other two: whoever switches to and fro is not told of each time."""
LOOK_S: Final = 60.0
"""How often the load is looked at; whatever else changes is told."""


class AdvertFacts(NamedTuple):
    """What there is to say of our relay at this moment."""

    relaying: bool
    """It offers to relay, and takes somebody new."""
    addresses: tuple[bytes, ...] = ()
    """Binary multiaddrs, without /p2p, at which it is confirmed to be reachable."""
    mode: Literal["cooperative", "dedicated"] = "cooperative"
    capacity: Capacity = Capacity()
    load: int = 0
    """0–7, see `load_step`."""
    reputation: int | None = None
    uptime: int | None = None
    """Percent."""
    account: bytes | None = None
    family: str | None = None

    @property
    def fitting(self) -> tuple[bytes, ...]:
        """The addresses that an advertisement can hold, each once."""
        return _fitting(self.addresses)

    @property
    def offered(self) -> bool:
        """Is there a relay that others can reach, and that takes anybody?"""
        return self.relaying and bool(self.fitting) and 0 not in msgspec.structs.astuple(self.capacity)

    def but_for_load(self) -> tuple[object, ...]:
        """What makes another advertisement necessary soon. The shown figures and the load can wait."""
        return (self.fitting, self.mode, self.capacity, self.account, self.family)


@functools.lru_cache(maxsize=8192)
def _fitting(addresses: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(addr for addr in dict.fromkeys(addresses) if may_be_advertised(addr))[:MAX_ADDRESSES]


class Do(enum.Enum):
    """What to do now."""

    NOTHING = enum.auto()
    PUBLISH = enum.auto()
    WITHDRAW = enum.auto()


class Plan(NamedTuple):
    """What to do, and after how many seconds to ask again at the latest."""

    do: Do
    again_s: float


def plan(facts: AdvertFacts, said: Advertisement | None, now: float, jitter: float = 0.0) -> Plan:
    """What to do at `now` (Unix time), when `said` was published last.

    `jitter` in 0…1 keeps relays from publishing all at once. A clock that was set back makes what was said one of the
    future: it is said anew.
    """
    stands = said is not None and not said.withdrawn and now <= said.not_after
    if not facts.offered:
        return Plan(Do.WITHDRAW if stands else Do.NOTHING, REFRESH_S)
    if said is None or now < said.last_seen - 1 or now > said.not_after:
        return Plan(Do.PUBLISH, LOOK_S)
    at = said.last_seen + 1  # it was not later than that
    due = at + REFRESH_S * (1.0 - 0.2 * jitter)
    if due <= now:
        return Plan(Do.PUBLISH, LOOK_S)
    if said.withdrawn or _but_for_load(said) != facts.but_for_load():
        due = min(due, at + CHANGE_S)
    elif said.load != facts.load:
        due = min(due, at + LOAD_S)
    return Plan(Do.PUBLISH, LOOK_S) if due <= now else Plan(Do.NOTHING, min(due - now, LOOK_S))


def _but_for_load(record: Advertisement) -> tuple[object, ...]:
    return (record.addrs, record.mode, record.capacity, record.account, record.family)


def said_by(relay_id: bytes, facts: AdvertFacts, said: Advertisement | None, now: float) -> Advertisement:
    """The next advertisement after `said`: of what there is, or of nothing when nothing is offered.

    Its number is the time, and higher than the one before. A withdrawal lives as long as what it takes back.
    """
    seen = int(now)
    seq = seen if said is None else max(seen, said.seq + 1)
    if facts.offered:
        return Advertisement(
            v=1,
            peer_id=relay_id,
            addrs=facts.fitting,
            mode=facts.mode,
            capacity=facts.capacity,
            load=facts.load,
            price=0,
            reputation=facts.reputation,
            uptime_estimate=facts.uptime,
            last_seen=seen,
            seq=seq,
            not_after=seen + LIFE_S,
            account=facts.account,
            family=facts.family,
        )
    until = max(seen, seen if said is None else said.not_after)
    return Advertisement(
        v=1,
        peer_id=relay_id,
        addrs=(),
        mode=facts.mode,
        capacity=NO_CAPACITY,
        load=7,
        price=0,
        # With a clock that was set back it is one of the future, as is what it takes back.
        last_seen=max(seen, until - LIFE_S),
        seq=seq,
        not_after=until,
    )


def load_step(*used: float) -> int:
    """0–7: how much of the scarcest of several things is used, each 0…1 (1 and more: nothing is left)."""
    return max(0, min(7, int(8 * max(used, default=0.0))))
