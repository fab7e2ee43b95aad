"""Relays that might serve us: what was found of each, and what we measured of it ourselves. Values only, no I/O.

Times are Unix time in seconds; addresses are the text of multiaddrs that end in /p2p/ and the relay's id.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from towpath.addresses import parse, peer_id_to_text, to_text
from towpath.errors import AddressError

if TYPE_CHECKING:
    from towpath.discovery.records import Advertisement

__all__ = [
    "MAX_ADDRESSES",
    "SOURCES",
    "Candidate",
    "Found",
    "Measured",
    "ip_addresses",
    "networks",
    "usable_addresses",
]

SOURCES: Final = ("mdns", "dht", "bootstrap", "cache")
MAX_ADDRESSES: Final = 8
"""Of one relay; more is a relay that wants others dialed in its name."""

# What is not one place in the Internet: being there together says nothing.
_NOWHERE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)


IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """Our own measurements of one relay; `noted` makes the next one of it. Half of what is counted fades in 30 days."""

    successful: float = 0.0
    failed: float = 0.0
    """Things tried that were served, and that failed."""
    up_s: float = 0.0
    watched_s: float = 0.0
    """Seconds for which we can say whether it was up, and of them those it was."""
    latency_ms: float | None = None
    """Round trip, averaged over the last few."""
    health: float = 1.0
    """0…1: falls by 40% with each failure, wins back a tenth of what is missing with each success."""
    failing: int = 0
    """Failures in a row that were its own."""
    unsure: bool = False
    """Its last failure may have been ours: nothing at all answered."""
    failed_at: float = 0.0
    refused_at: float = 0.0
    observed_at: float = 0.0
    """When something of it was seen last, good or bad; 0: never."""

    @property
    def tries(self) -> float:
        """How much was tried with it and served or failed."""
        return self.successful + self.failed

    @property
    def uptime(self) -> float:
        """The share of time that it was up, 0…1; 0 without a measurement."""
        return self.up_s / self.watched_s if self.watched_s > 0 else 0.0


class Found(NamedTuple):
    """What a source says of one relay; `addresses` are checked (`usable_addresses`)."""

    relay_id: bytes
    addresses: tuple[str, ...]
    source: str
    """One of SOURCES."""
    advertisement: Advertisement | None = None
    raw: bytes | None = None
    """The advertisement as it was signed."""
    relays: bool = True
    """False: it is only known to be there; its identify must tell whether it relays."""


class Candidate(msgspec.Struct, frozen=True):
    """A relay that might serve us. `walk` is its score by others' evidence, 0…100, None where there is none."""

    relay_id: bytes
    addresses: tuple[str, ...]
    source: str
    advertisement: Advertisement | None = None
    own: Measured = Measured()
    seen_at: float = 0.0
    """When a source last told of it."""
    walk: float | None = None
    fraud: bool = False
    """Did its account sign two receipts that contradict each other? It is proven, as gossip says nothing else."""

    @property
    def text(self) -> str:
        """Its id as people write it."""
        return peer_id_to_text(self.relay_id)

    @property
    def family(self) -> str | None:
        """Whom it says to belong to, with others."""
        return self.advertisement.family if self.advertisement is not None else None

    @property
    def networks(self) -> frozenset[str]:
        """See `networks`."""
        return networks(self.addresses)


@functools.lru_cache(maxsize=2048)
def ip_addresses(addresses: tuple[str, ...]) -> tuple[IpAddress, ...]:
    """The IP addresses among some multiaddrs, without those that are names."""
    found = []
    for text in addresses:
        try:
            found.append(ipaddress.ip_address(parse(text).host))
        except (AddressError, ValueError):
            continue
    return tuple(found)


@functools.lru_cache(maxsize=2048)
def networks(addresses: tuple[str, ...]) -> frozenset[str]:
    """The /16 (IPv4) and /32 (IPv6) networks of some addresses; those at home or on this machine count as none."""
    return frozenset(
        str(ipaddress.ip_network((ip, 16 if ip.version == 4 else 32), strict=False))
        for ip in ip_addresses(addresses)
        if not any(ip in network for network in _NOWHERE if network.version == ip.version)
    )


def usable_addresses(
    relay_id: bytes, given: Iterable[bytes | str], allowed: Callable[[str], bool] = lambda host: True
) -> tuple[str, ...]:
    """Of the multiaddrs that a source tells of a relay those that we may dial, at most MAX_ADDRESSES.

    That is TCP, not through another relay, to a host (an IP address or name) that is `allowed`, for this relay's id if
    for any. The rest is passed over: what speaks other transports tells those as well.
    """
    found: list[str] = []
    suffix = f"/p2p/{peer_id_to_text(relay_id)}"
    for item in given:
        try:
            address = parse(to_text(item) if isinstance(item, bytes) else item)
        except AddressError:
            continue
        if address.circuit or address.port == 0 or address.peer_id not in (None, relay_id):
            continue
        text = address.transport + suffix
        if text not in found and allowed(address.host):
            found.append(text)
            if len(found) == MAX_ADDRESSES:
                break
    return tuple(found)
