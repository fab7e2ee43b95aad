"""TCP ports that the control API and the pages beside it are served on. Apart from the server: a taken port is to be
known before the node says that it is ready.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from towpath.errors import TowpathError
from towpath.settings.values import HostPort

__all__ = ["bind"]

PORTS_TRIED: Final = 64


def bind(at: HostPort, key: str, *, move: bool) -> socket.socket:
    """A listening socket at a place, or with `move` at one of the next free ports. Short, but looks up names.

    TowpathError names `key`, the setting that asked for it.
    """
    last = min(at.port + PORTS_TRIED, 65536) if move and at.port else at.port + 1
    for port in range(at.port, last):
        try:
            return _listen(at.host, port)
        except OSError as e:
            if e.errno == errno.EADDRINUSE and port + 1 < last:
                continue
            reason = e.strerror or str(e)
            raise TowpathError(
                f"cannot listen on {HostPort(at.host, port)}: {reason}; set {key} to another HOST:PORT, or to none"
            ) from e
    raise AssertionError(at)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(128)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
