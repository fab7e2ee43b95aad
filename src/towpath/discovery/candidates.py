"""Relays that might serve us: what was found of each, and what we measured of it ourselves. Values only, no I/O.

Times are Unix time in seconds; addresses are the text of multiaddrs that end in /p2p/ and the relay's id.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from towpath.addresses import parse, peer_id_to_text, to_text
from towpath.errors import AddressError
from towpath.waiting import doubled

if TYPE_CHECKING:
    from towpath.discovery.records import Advertisement

__all__ = [
    "MAX_ADDRESSES",
    "SOURCES",
    "Candidate",
    "Found",
    "Measured",
    "Outcome",
    "blamed",
    "ip_addresses",
    "networks",
    "noted",
    "rest_left",
    "usable_addresses",
]

SOURCES: Final = ("mdns", "dht", "bootstrap", "cache")
MAX_ADDRESSES: Final = 8
"""Of one relay; more is a relay that wants others dialed in its name."""

_HALF_LIFE_S: Final = 30 * 86400.0
_LONGEST_GAP_S: Final = 3600.0
_FIRST_GAP_S: Final = 60.0
_BETTER: Final = 0.1
_WORSE: Final = 0.6
_SICK: Final = 0.2
_FIRST_REST_S: Final = 10.0
_LONGEST_REST_S: Final = 3600.0
_SICK_REST_S: Final = 3600.0
_REFUSED_REST_S: Final = 60.0
_LATENCY_WEIGHT: Final = 0.25

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


class Outcome(enum.StrEnum):
    """What became of something tried with a relay."""

    CONNECTED = "connected"
    """It answered: up, but nothing served by that; also each minute that it holds a reservation of ours."""
    SERVED = "served"
    """It granted a reservation, or made a circuit."""
    KEPT = "kept"
    """It refreshed a reservation: served, which says nothing of circuits; a relay that drops them all can do that."""
    REFUSED = "refused"
    """It answered no: it has no room, or does not take us. No fault of its own."""
    FAILED = "failed"
    """It did not answer, or broke off what it carried."""
    AWAY = "away"
    """It holds a reservation of ours and still cannot be reached: down, and no failure more than was told."""


# Looked up once: `noted` is asked so often in a simulation that finding a member by its name would be half of it.
_SERVED: Final = Outcome.SERVED
_KEPT: Final = Outcome.KEPT
_REFUSED: Final = Outcome.REFUSED
_FAILED: Final = Outcome.FAILED
_AWAY: Final = Outcome.AWAY


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


def noted(
    before: Measured, outcome: Outcome, now: float, *, rtt_ms: float | None = None, blame: bool = True
) -> Measured:
    """The measurements after something more was seen.

    `blame=False`: nothing at all answers us at the moment, so a failure says nothing of the relay; it rests a little.
    A clock that was set back counts as no time.
    """
    if outcome is _AWAY and not blame:
        return before
    fade, gap = 1.0, _FIRST_GAP_S
    if before.observed_at:
        passed = max(0.0, now - before.observed_at)
        fade, gap = 0.5 ** (passed / _HALF_LIFE_S), min(_LONGEST_GAP_S, passed)
    up = outcome is not _FAILED and outcome is not _AWAY
    successful, failed, health = before.successful * fade, before.failed * fade, before.health
    up_s, watched_s = before.up_s * fade, before.watched_s * fade
    failing, unsure, failed_at, refused_at = before.failing, before.unsure, before.failed_at, before.refused_at
    if up or blame:
        watched_s += gap
        up_s += gap if up else 0.0
    if outcome is _KEPT:
        successful += 1
    elif outcome is _SERVED:
        successful += 1
        health += (1.0 - health) * _BETTER
        failing, unsure, refused_at = 0, False, 0.0
    elif outcome is _REFUSED:
        refused_at = now
    elif outcome is _FAILED:
        unsure, failed_at = not blame, now
        if blame:
            failing += 1
            failed += 1
            health *= _WORSE
    latency = before.latency_ms
    if rtt_ms is not None and rtt_ms >= 0:
        latency = rtt_ms if latency is None else latency + (rtt_ms - latency) * _LATENCY_WEIGHT
    return Measured(successful, failed, up_s, watched_s, latency, health, failing, unsure, failed_at, refused_at, now)


def blamed(measured: Measured) -> Measured:
    """The measurements when a failure that was noted without blame turns out to have been the relay's."""
    return msgspec.structs.replace(
        measured,
        failed=measured.failed + 1,
        health=measured.health * _WORSE,
        failing=measured.failing + 1,
        unsure=False,
    )


def rest_left(measured: Measured, now: float) -> float:
    """Seconds for which it is not asked: longer with each failure in a row, an hour when it fails too often at all.

    0: it is not resting. One that refused us rests for a minute. A clock that was set back makes none of it longer.
    """
    if not measured.refused_at and measured.failed_at <= 0:
        return 0.0
    failed_at, refused_at = min(measured.failed_at, now), min(measured.refused_at, now)
    left = 0.0
    if refused_at:
        left = refused_at + _REFUSED_REST_S - now
    if measured.failed_at > 0:
        # A failure that was nobody's fault is repeated soon: our own line may be back.
        rest = doubled(_FIRST_REST_S, _LONGEST_REST_S, max(measured.failing, 1) - 1)
        if measured.health < _SICK:
            rest = max(rest, _SICK_REST_S)
        elif not measured.failing:
            rest = _FIRST_REST_S if measured.unsure else 0.0
        left = max(left, failed_at + rest - now)
    return max(0.0, left)


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
