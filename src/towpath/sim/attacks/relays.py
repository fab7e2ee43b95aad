"""Made-up relays for the attacks on discovery and choice: their ids, where they are, what they advertise.

Nobody holds their keys: what would be signed on the wire is taken as signed here. Number n is in a /16 of its own.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final

from towpath.addresses import peer_id_to_text, to_bytes
from towpath.discovery.candidates import Candidate, Measured
from towpath.discovery.records import LIFE_S, Advertisement, Capacity
from towpath.signed import PEER_ID_PREFIX

__all__ = ["RESERVATIONS", "address", "advertised", "candidate", "ip_in", "ip_of", "relay_id"]

RESERVATIONS: Final = 128
"""What a volunteer's relay holds (`relay.max_reservations`)."""


@functools.lru_cache(maxsize=1 << 17)
def relay_id(kind: str, number: int) -> bytes:
    """The id of relay `number` of a kind."""
    return PEER_ID_PREFIX + hashlib.sha256(f"{kind} {number}".encode()).digest()


def ip_of(number: int) -> str:
    """The address of relay `number`: each in another /16, which everybody takes for a public one."""
    return f"{20 + number // 256 % 60}.{number % 256}.7.9"


def ip_in(prefix: int, number: int) -> str:
    """The address of number `number` in the /24 `prefix`; a hundred /24 to a /16."""
    return f"{110 + prefix // 10_000}.{prefix // 100 % 100}.{prefix % 100}.{1 + number % 250}"


@functools.lru_cache(maxsize=1 << 14)
def address(of: bytes, ip: str) -> str:
    """The multiaddr of a relay at an address."""
    return f"/ip4/{ip}/tcp/4001/p2p/{peer_id_to_text(of)}"


def advertised(of: bytes, ip: str, now: float, *, load: int = 0, family: str | None = None) -> Advertisement:
    """What a relay says of itself."""
    return Advertisement(
        v=1,
        peer_id=of,
        addrs=(_binary(ip),),
        mode="cooperative",
        capacity=Capacity(RESERVATIONS, 2 * RESERVATIONS),
        load=load,
        price=0,
        last_seen=int(now),
        seq=int(now),
        not_after=int(now) + LIFE_S,
        family=family,
    )


def candidate(
    of: bytes, ip: str, now: float, own: Measured, *, load: int = 0, walk: float | None = None, source: str = "dht"
) -> Candidate:
    """A relay as the node's selection sees it."""
    return Candidate(of, (address(of, ip),), source, advertised(of, ip, now, load=load), own, now, walk)


@functools.lru_cache(maxsize=1 << 14)
def _binary(ip: str) -> bytes:
    return to_bytes(f"/ip4/{ip}/tcp/4001")
