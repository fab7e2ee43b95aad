"""The free tier: what everybody may have relayed for nothing, by account and by network. Pure: times are passed in.

A network is an IPv4 /24 or an IPv6 /56. A bucket is what one account or network has used; it refills with time. Who is
under an account draws on both, so that a hundred accounts of one network share what one of them would have.
"""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

__all__ = ["FULL", "UNLIMITED", "Bucket", "Tier", "network_in_words", "prefix_of", "prefix_of_ip"]

UNLIMITED: Final = 1 << 62
"""What is left of a free tier without a limit."""
_IP4: Final = 0x04
_IP6: Final = 0x29
_MAPPED: Final = bytes(10) + b"\xff\xff"


class Bucket(NamedTuple):
    """What is used of one free tier, in bytes, and when (Unix time) that was so."""

    used: float = 0.0
    at: float = 0.0


FULL: Final = Bucket()
"""Of whom nothing is known: nothing is used."""


class Tier(NamedTuple):
    """`credits.free_tier` in bytes and `credits.free_tier_refill` in bytes per second; None: unlimited."""

    size: int | None = 1 << 30
    refill: float | None = 50e6 / 3600

    @property
    def limited(self) -> bool:
        """Does it ever end?"""
        return self.size is not None and self.refill is not None

    def used(self, bucket: Bucket, now: float) -> float:
        """What is used of a bucket now. A clock that goes back neither fills nor empties it."""
        if self.size is None or self.refill is None:
            return 0.0
        used, at = bucket
        if now > at:
            used -= self.refill * (now - at)
        return min(used, float(self.size)) if used > 0 else 0.0

    def left(self, bucket: Bucket, now: float) -> int:
        """Bytes that are left of it now: UNLIMITED, or 0 … size."""
        if self.size is None or self.refill is None:
            return UNLIMITED
        return max(0, int(self.size - self.used(bucket, now)))

    def take(self, bucket: Bucket, n: int, now: float) -> Bucket:
        """The bucket after `n` more bytes. It is never more than empty: what nobody counted on makes no debt."""
        if self.size is None or self.refill is None:
            return FULL
        return Bucket(min(self.used(bucket, now) + n, float(self.size)), now)

    def seconds_until(self, left: int, wanted: int) -> float | None:
        """Seconds until `wanted` bytes are there of which `left` are there now; None: never."""
        if left >= wanted or self.size is None or self.refill is None:
            return 0.0
        if wanted > self.size or self.refill <= 0:
            return None
        return (wanted - left) / self.refill


def prefix_of_ip(ip: bytes) -> bytes:
    """The network of an address of 4 or 16 bytes: 3 bytes of an IPv4, 7 of an IPv6 address."""
    if len(ip) == 16 and ip.startswith(_MAPPED):
        ip = ip[12:]
    return ip[:3] if len(ip) == 4 else ip[:7]


def prefix_of(remote: bytes) -> bytes:
    """The network in a binary multiaddr of a connection; empty when it names no address."""
    if len(remote) >= 17 and remote[0] == _IP6:
        return prefix_of_ip(remote[1:17])
    if len(remote) >= 5 and remote[0] == _IP4:
        return remote[1:4]
    return b""


def network_in_words(prefix: bytes) -> str:
    """`192.0.2.0/24`, `2001:db8::/56`: for the owner alone."""
    if len(prefix) == 3:
        return f"{ipaddress.IPv4Address(prefix + bytes(1))}/24"
    if len(prefix) == 7:
        return f"{ipaddress.IPv6Address(prefix + bytes(9))}/56"
    return "an unknown network"
