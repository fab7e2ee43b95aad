"""Where a node listens, and under which addresses that is reachable."""

from __future__ import annotations

import errno
import ipaddress
import os
import resource
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from towpath.addresses import parse
from towpath.errors import AddressError

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint

__all__ = ["open_files", "open_listeners", "reachable_at"]

_PORTS_TRIED: Final = 64


def open_files() -> int | None:
    """The process's limit of open files; None: there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def open_listeners(endpoint: Endpoint, addresses: Iterable[str], *, move: bool) -> list[tuple[str, int]]:
    """Listens on every multiaddr (`/ip4/…/tcp/…`, `/ip6/…/tcp/…`); (IP address, port) of each.

    `move`: a taken port becomes the next free one. A machine without IPv6 is no error as long as something else
    listens. OSError, with a sentence, otherwise.
    """
    opened: list[tuple[str, int]] = []
    missing: OSError | None = None
    for text in addresses:
        address = parse(text)
        if address.family not in ("ip4", "ip6"):
            raise AddressError(f"cannot listen on {text}: give an IP address of this machine, or 0.0.0.0 or :: for all")
        try:
            opened.append((address.host, _listen(endpoint, address.host, address.port, move)))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) or address.family != "ip6":
                raise
            missing = error
    if missing is not None and not opened:
        raise missing
    return opened


def _listen(endpoint: Endpoint, host: str, port: int, move: bool) -> int:
    last = port + (_PORTS_TRIED if move and port else 0)
    for candidate in range(port, min(last, 65535) + 1):
        try:
            return endpoint.listen(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or candidate == last:
                reason = os.strerror(error.errno or 0).lower()
                raise OSError(
                    error.errno,
                    f"cannot listen on {host} port {candidate}: {reason}; "
                    "choose another address with --listen or network.listen",
                ) from error
    raise OSError(errno.EADDRINUSE, f"no free port from {port} on; choose one with --listen or network.listen")


def reachable_at(listening: Iterable[tuple[str, int]], announced: Iterable[str]) -> list[str]:
    """Multiaddrs of what listens, the announced ones first.

    A wildcard stands for the machine's own addresses: public ones if it has any, else private ones, else loopback.
    """
    found = list(announced)
    for host, port in listening:
        ip = ipaddress.ip_address(host)
        hosts = _own_addresses(ip.version) if ip.is_unspecified else [host]
        found += [f"/ip{4 if ip.version == 4 else 6}/{h}/tcp/{port}" for h in hosts]
    return list(dict.fromkeys(found))


def _own_addresses(version: int) -> list[str]:
    # zeroconf's own dependency; asks getifaddrs, loaded only when a wildcard listens
    import ifaddr

    mine = [
        ip
        for adapter in ifaddr.get_adapters()
        for address in adapter.ips
        if (ip := ipaddress.ip_address(address.ip if isinstance(address.ip, str) else address.ip[0])).version == version
        and not ip.is_link_local
    ]
    for wanted in ([i for i in mine if i.is_global], [i for i in mine if not i.is_loopback], mine):
        if wanted:
            return [str(ip) for ip in wanted]
    return []
