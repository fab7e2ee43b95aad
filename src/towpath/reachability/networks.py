"""IP addresses as reachability sees them: which are the Internet's, which belong to one network, and what a binary
multiaddr says. Pure; addresses that peers named are bounded by who decoded them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import NamedTuple

from towpath._native.endpoint import pack_remote
from towpath.addresses import peer_id_to_bytes, to_text
from towpath.errors import AddressError

__all__ = ["Ip", "Network", "Place", "network_of", "place_of", "public_by"]

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
_CARRIED_BY = tuple(ipaddress.ip_network(text) for text in ("2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32"))
"""IPv6 that leads to the IPv4 address inside: 6to4, NAT64, Teredo. Nobody dials these for others."""


class Place(NamedTuple):
    """Where a TCP connection goes."""

    ip: Ip
    port: int

    @property
    def address(self) -> bytes:
        """As a binary multiaddr."""
        return pack_remote(str(self.ip), self.port)


def place_of(address: bytes, peer_id: bytes | None = None) -> Place | None:
    """Where a binary multiaddr of the form /ip4|ip6/…/tcp/… leads; None for every other form.

    With `peer_id` it may end in /p2p/ and that very id.
    """
    try:
        words = to_text(address).split("/")
    except AddressError:
        return None
    if len(words) == 7 and words[5] == "p2p" and peer_id is not None:
        if peer_id_to_bytes(words[6]) != peer_id:
            return None
        del words[5:]
    if len(words) != 5 or words[1] not in ("ip4", "ip6") or words[3] != "tcp":
        return None
    port = int(words[4])
    return Place(ipaddress.ip_address(words[2]), port) if port else None


def network_of(ip: Ip) -> Network:
    """The network that an address is counted under: its /24 or /48."""
    return ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False)


def public_by(ranges: Sequence[str]) -> Callable[[Ip], bool]:
    """Tells whether an address is one of the Internet's, or in one of these prefixes (`network.public_ranges`)."""
    networks = [ipaddress.ip_network(text, strict=False) for text in ranges]

    def public(ip: Ip) -> bool:
        if any(ip.version == network.version and ip in network for network in networks):
            return True
        if not ip.is_global or ip.is_multicast:
            return False
        return ip.version == 4 or not (ip in _MAPPED or any(ip in network for network in _CARRIED_BY))

    return public
