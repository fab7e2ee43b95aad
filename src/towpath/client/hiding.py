"""What hiding one's address means, as pure functions: which relays are too near, and what is missing at a moment.

docs/privacy.md tells users the same in words.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ["MOST_SEEN", "Seen", "Standing", "View", "ip_of", "missing", "neighbourhood", "own_address", "too_near"]

MOST_SEEN: Final = 16
"""Addresses of ours that are remembered; more are relays that make them up."""
_FAR: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"), ipaddress.ip_network("fe80::/10"))


def ip_of(multiaddr: bytes | None) -> str | None:
    """The IP address that a binary multiaddr begins with; None when it begins with none."""
    if multiaddr is None:
        return None
    if len(multiaddr) >= 5 and multiaddr[0] == 4:
        return str(ipaddress.ip_address(multiaddr[1:5]))
    if len(multiaddr) >= 17 and multiaddr[0] == 41:
        return str(ipaddress.ip_address(multiaddr[1:17]))
    return None


def neighbourhood(host: str) -> str | None:
    """The /24 or /56 that an IP address is in; None for a name, and for this machine's own, which tell nothing."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in _FAR if network.version == ip.version):
        return None
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 56), strict=False))


def too_near(hosts: Iterable[str], ours: Iterable[str]) -> bool:
    """Is one of these IP addresses in the /24 or /56 of one of ours? A circuit address there tells where we are."""
    near = {neighbourhood(host) for host in ours} - {None}
    return any(neighbourhood(host) in near for host in hosts)


def own_address(towards: str) -> str | None:
    """The address that this machine would send from to an IP address; None without a way there. Sends nothing."""
    try:
        family = socket.AF_INET6 if ":" in towards else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((towards, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


class Seen:
    """Where relays say that they see us.

    What one says counts for that relay itself, and for others once a second one, in another network, says the same:
    else a single relay could talk us out of using the others.
    """

    def __init__(self) -> None:
        self._by: dict[str, dict[bytes, str]] = {}

    def note(self, ours: str, relay_id: bytes, relay_host: str) -> None:
        """Relay `relay_id` at the IP address `relay_host` says that it sees us at `ours`."""
        for seers in self._by.values():
            seers.pop(relay_id, None)
        self._by.setdefault(ours, {})[relay_id] = neighbourhood(relay_host) or relay_host
        self._by = {ip: seers for ip, seers in self._by.items() if seers}
        while len(self._by) > MOST_SEEN:
            del self._by[next(iter(self._by))]

    def ours(self, relay_id: bytes | None = None) -> set[str]:
        """Our addresses, as far as they concern this relay (None: none in particular)."""
        return {ip for ip, seers in self._by.items() if relay_id in seers or len(set(seers.values())) > 1}


class Standing(NamedTuple):
    """A connection of the peer identity, as the one at its other end sees it."""

    peer: str
    """Who that is, in a few characters."""
    through: str | None
    """The relay that carries it; None: it knows our address."""
    ours: bool = False
    """We asked for the circuit, under our own id."""
    holds: bool = False
    """It holds a reservation of ours, or is being asked for one."""


class View(NamedTuple):
    """What decides at a moment whether the address is hidden."""

    wanted: bool
    """`client.hide_ip`."""
    listens: bool
    """Has the peer identity a listening socket?"""
    near: Sequence[str]
    """Relays that hold a reservation of ours and share our neighbourhood."""
    connections: Sequence[Standing]
    announced: bool = False
    """Is the peer identity told of on the local network, or in the DHT with an address?"""


def missing(view: View) -> list[str]:
    """What is missing for "IP hidden", a clause each; empty: it is hidden."""
    told = []
    if not view.wanted:
        told.append("client.hide_ip is off")
    if view.listens:
        told.append("the peer identity listens for connections")
    if view.announced:
        told.append("the peer identity is announced with an address")
    told += [
        f"relay {relay} is in the same network as this machine, so addresses there tell where it is"
        for relay in view.near
    ]
    for connection in view.connections:
        if connection.through is None and not connection.holds:
            told.append(f"{connection.peer} sees this machine's address and who it is, on a direct connection")
        elif connection.through is not None and connection.ours:
            told.append(f"relay {connection.through} sees that this machine talks with {connection.peer}")
    return list(dict.fromkeys(told))
