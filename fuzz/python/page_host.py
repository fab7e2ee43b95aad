"""Host and Origin of a request to the page: only this machine's names, addresses and the owner's names are known, and
only the very same origin is ours.
"""

from __future__ import annotations

import ipaddress

from towpath.web.names import foreign, host_of, known_host

__all__ = ["check", "seeds"]

_NAMES = frozenset({"relay.example"})


def seeds() -> list[bytes]:
    """Hosts as browsers and attackers send them, each with an Origin."""
    hosts = ("localhost:4080", "127.0.0.1", "[::1]:80", "relay.example:443", "evil.example", "127.0.0.1.nip.io", "[::1")
    return [f"{host}\n{scheme}://{host}".encode() for host in hosts for scheme in ("http", "https")]


def check(data: bytes) -> None:
    """AssertionError when somebody is let in who must not be; any other exception is a fault of the reader, too."""
    header, _, origin = data.decode("latin-1").partition("\n")
    host = host_of(header)
    if known_host(header, _NAMES):
        _must(host is not None and (host in _NAMES | {"localhost"} or _is_address(host)), f"{header!r} is known")
    if host is not None:
        _must(header.lower().strip("[").startswith(host), f"{header!r} was read as {host!r}")
    for secure in (False, True):
        if foreign(header, origin, None, None, secure=secure) is None:
            _must(origin.lower() == f"http{'s' * secure}://{header.lower()}", f"{origin!r} is taken for {header!r}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
