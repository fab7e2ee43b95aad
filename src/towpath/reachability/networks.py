"""IP addresses as reachability sees them: what a binary multiaddr says. Pure.

Addresses that peers named are bounded by who decoded them.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from towpath._native.endpoint import pack_remote
from towpath.addresses import peer_id_to_bytes, to_text
from towpath.errors import AddressError

__all__ = ["Ip", "Place", "place_of"]

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


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
