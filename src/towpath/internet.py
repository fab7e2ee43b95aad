"""Which IP addresses are the Internet's, the one rule by which strangers' words may make a node dial; and which are in
one network. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

__all__ = ["PublicAddresses", "carries_ipv4", "prefix_of"]

_CARRY_IPV4: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::ffff:0:0/96", "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32")
)
"""IPv6 that leads to the IPv4 address inside: mapped, 6to4, NAT64, Teredo. Nobody is asked to dial these."""


def carries_ipv4(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Is there an IPv4 address inside, to which it leads?"""
    return ip.version == 6 and any(ip in network for network in _CARRY_IPV4)


def prefix_of(host: str | ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """The network that an address is counted under: the /24 of IPv4, the /48 of IPv6, as 3 or 6 bytes.

    An IPv4 address mapped into IPv6 counts as itself. ValueError when `host` is no IP address.
    """
    ip = ipaddress.ip_address(host.partition("%")[0]) if isinstance(host, str) else host
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.packed[:3] if ip.version == 4 else ip.packed[:6]


class PublicAddresses:
    """The Internet's addresses, and those of `ranges` (`network.public_ranges`): `host in public`.

    A host is an address or its text; a name is never in it, for it may lead anywhere.
    """

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[str] = ()) -> None:
        self._ranges = [ipaddress.ip_network(text, strict=False) for text in ranges]

    def __contains__(self, host: object) -> bool:
        try:
            ip = ipaddress.ip_address(host if isinstance(host, str) else str(host))
        except ValueError:
            return False
        if any(ip.version == network.version and ip in network for network in self._ranges):
            return True
        if not ip.is_global or ip.is_multicast:
            return False
        return not carries_ipv4(ip)
