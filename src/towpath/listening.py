"""Where a node's relay identity listens, and under which addresses that is reachable."""

from __future__ import annotations

import errno
import ipaddress
import os
import resource
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from towpath.addresses import parse, to_bytes
from towpath.errors import AddressError

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint

__all__ = ["Listeners", "open_files", "open_listeners", "reachable_at"]

_PORTS_TRIED: Final = 64


class Listeners:
    """The listening sockets of one endpoint, and what it tells of them."""

    def __init__(self, endpoint: Endpoint, peer_id: str) -> None:
        self._endpoint = endpoint
        self._suffix = f"/p2p/{peer_id}"
        self._wanted: tuple[str, ...] = ()
        self._bound: list[tuple[str, int]] = []
        self._announced: tuple[str, ...] = ()

    def listen(self, wanted: tuple[str, ...], *, move: bool) -> None:
        """Listens there and nowhere else; nothing changes for what it listens on already.

        `move`: see `open_listeners`. OSError when that is not possible; then it listens where it did before, unless
        somebody took a port meanwhile.
        """
        if wanted == self._wanted:
            return
        before, bound = self._wanted, self._bound
        self._close()
        try:
            self._bound = open_listeners(self._endpoint, wanted, move=move) if wanted else []
        except BaseException:
            self._endpoint.stop_listening()
            if bound:
                again = [f"/ip{6 if ':' in host else 4}/{host}/tcp/{port}" for host, port in bound]
                self._bound = open_listeners(self._endpoint, again, move=False)
                self._wanted = before
            raise
        self._wanted = wanted

    def stop(self) -> None:
        """Closes the sockets; the addresses are told on until `tell`."""
        self._endpoint.stop_listening()

    def tell(self, announced: tuple[str, ...]) -> None:
        """Has identify and reservations tell the announced addresses and those of the sockets."""
        self._announced = announced
        addresses = [to_bytes(text) for text in reachable_at(self._bound, announced)]
        self._endpoint.set_addresses(addresses)
        if self._endpoint.relay is not None:
            suffix = to_bytes(self._suffix)
            self._endpoint.relay.addresses = [address + suffix for address in addresses]

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as multiaddrs with the endpoint's id."""
        return [text + self._suffix for text in reachable_at(self._bound, ())]

    @property
    def told(self) -> list[str]:
        """What others are told: the announced addresses, then those it listens on."""
        return list(dict.fromkeys([*(text + self._suffix for text in self._announced), *self.addresses]))

    def _close(self) -> None:
        self._endpoint.stop_listening()
        self._bound, self._wanted = [], ()


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
