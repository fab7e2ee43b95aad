"""Made-up relays for tests of discovery: ids by number, and what they advertise."""

from __future__ import annotations

import functools
from typing import Any, Final

from towpath.addresses import peer_id_to_bytes, to_bytes
from towpath.discovery.records import Advertisement, Capacity, sign
from towpath.identity import Identity

NOW: Final = 1_800_000_000


@functools.cache
def identity(number: int) -> Identity:
    """The keys of relay number so and so, the same each time."""
    return Identity(number.to_bytes(4, "big") * 8)


def relay_id(number: int) -> bytes:
    """The id of relay number so and so."""
    return peer_id_to_bytes(identity(number).text)


def advertisement(number: int, *ips: str, now: int = NOW, **more: Any) -> Advertisement:
    """What that relay says of itself, at port 4001 of these addresses."""
    said: dict[str, Any] = {
        "v": 1,
        "peer_id": relay_id(number),
        "addrs": tuple(to_bytes(f"/ip{6 if ':' in ip else 4}/{ip}/tcp/4001") for ip in ips),
        "mode": "cooperative",
        "capacity": Capacity(128, 256),
        "load": 0,
        "price": 0,
        "last_seen": now,
        "seq": 1,
        "not_after": now + 7200,
    }
    return Advertisement(**said | more)


def signed(number: int, *ips: str, now: int = NOW, **more: Any) -> bytes:
    """The same, signed."""
    return sign(advertisement(number, *ips, now=now, **more), identity(number).seed)
