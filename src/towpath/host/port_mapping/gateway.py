"""The router of this machine: the IPv4 default route, as the kernel tells it."""

from __future__ import annotations

import ipaddress
from pathlib import Path

__all__ = ["default_gateway", "gateway_in"]

_ROUTES = Path("/proc/net/route")
_UP_AND_GATEWAY = 0x3


def default_gateway() -> ipaddress.IPv4Address | None:
    """The next hop of the default route with the least metric; None without one."""
    try:
        return gateway_in(_ROUTES.read_text("ascii"))
    except OSError:
        return None


def gateway_in(table: str) -> ipaddress.IPv4Address | None:
    """As `default_gateway`, of a table in the form of /proc/net/route."""
    found: list[tuple[int, ipaddress.IPv4Address]] = []
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) < 8 or words[1] != "00000000" or words[7] != "00000000":
            continue
        if int(words[3], 16) & _UP_AND_GATEWAY == _UP_AND_GATEWAY:
            # The kernel prints the word as this machine keeps it, lowest byte first.
            found.append((int(words[6]), ipaddress.IPv4Address(bytes.fromhex(words[2])[::-1])))
    return min(found)[1] if found else None
