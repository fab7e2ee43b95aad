"""What a browser says of where it is and where it comes from, and whether that is to be believed. Pure.

A page elsewhere can make a browser ask this server (CSRF), and can make its own name lead here (DNS rebinding); it
cannot make the browser lie about Host, Origin and Sec-Fetch-Site.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final

__all__ = ["foreign", "host_of", "is_loopback", "known_host"]

_HOST: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?)(?::[0-9]{1,5})?", re.ASCII
)
_HERE: Final = ("same-origin", "none")


def host_of(header: str) -> str | None:
    """The host in a Host header, in lower case, without port and brackets; None when there is none."""
    found = _HOST.fullmatch(header)
    return None if found is None else found["host"].strip("[]").lower()


def is_loopback(host: str) -> bool:
    """Is this literal address this machine's own?"""
    address = _literal(host)
    return address is not None and address.is_loopback


def known_host(header: str, names: Collection[str]) -> bool:
    """May the page be asked for under this Host?

    Under `localhost`, the given names, and any literal address: nobody can make an address lead elsewhere.
    """
    host = host_of(header)
    return host is not None and (host == "localhost" or host in names or _literal(host) is not None)


def foreign(host: str, origin: str | None, site: str | None, destination: str | None, *, secure: bool) -> str | None:
    """Why a request comes from another page, as the end of a sentence; None when it comes from ours, or from no page.

    Of Host, Origin, Sec-Fetch-Site and Sec-Fetch-Dest as they came, None for one that did not. A link that somebody
    follows to the page is no request of the other page's.
    """
    if origin is not None and origin.lower() != f"{'https' if secure else 'http'}://{host.lower()}":
        return "its Origin is another page"
    if site is not None and site not in _HERE and destination != "document":
        return "its Sec-Fetch-Site says that another page makes it"
    return None


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
