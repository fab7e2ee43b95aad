"""Where the page is: its socket, its URL, its token, its certificate. Made before the node says that it is ready, so
nothing here is heavy; what answers is in `serving`, loaded when the first browser connects.
"""

from __future__ import annotations

import importlib
import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from towpath import private_file
from towpath.control.ports import bind
from towpath.errors import TowpathError
from towpath.settings import HostPort, RelayMode, Settings
from towpath.web.names import is_loopback
from towpath.web.ticket import NONCE, issue

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["TOKEN_FILE", "Place", "address_to_keep", "address_to_open", "open_place"]

TOKEN_FILE: Final = "page.token"  # noqa: S105 - a name
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_KEY: Final = "web.listen"


@dataclass(frozen=True)
class Place:
    """A listening socket on which the page and the control API are served; see LateServer."""

    sock: socket.socket
    url: str
    """Without the token."""
    token: str
    """Whoever says it may do everything that the node's owner may."""
    names: frozenset[str]
    """Host names, besides localhost, under which it answers."""
    tls: ssl.SSLContext | None

    def load(self) -> Callable[[web.Application], None]:
        """What makes the control API's application the page's. Slow and blocking: it imports aiohttp, reads files."""
        serving = importlib.import_module("towpath.web.serving")
        port = self.sock.getsockname()[1]
        dress: Callable[[web.Application], None] = serving.Dress(
            self.token, port, self.names, secure=self.tls is not None
        )
        return dress


def open_place(settings: Settings, data: Path) -> Place | None:
    """The page's place as the settings say; None where they say none. Blocking, short.

    TowpathError when it cannot be: a sentence that names the setting.
    """
    at = settings.web.listen
    if at is None:
        return None
    tls = _tls(settings)
    # Nobody asked for just this port when it is the default.
    default = settings.source(_KEY) == "default"
    sock = bind(at, _KEY, move=default or settings.relay.mode is not RelayMode.DEDICATED_SERVER)
    try:
        host, port = sock.getsockname()[:2]
        if tls is None and not is_loopback(host) and not settings.web.without_tls:
            raise TowpathError(
                f"web.listen {at} is for other machines too, and without TLS whoever listens on the way can take over "
                "this node: name a certificate (web.certificate and web.certificate_key), listen on 127.0.0.1 and come "
                "through SSH, or set web.without_tls to true where the way is safe, such as a VPN"
            )
        url = f"{'http' if tls is None else 'https'}://{HostPort(_shown(host, settings), port)}"
        return Place(sock, url, _token(data), frozenset(settings.web.names), tls)
    except BaseException:
        sock.close()
        raise


def address_to_keep(data: Path, url: str) -> str:
    """The URL with the token, which a browser turns into the owner. TowpathError when the token cannot be read."""
    return f"{url}/#token={_kept_token(data)}"


def address_to_open(data: Path, url: str) -> str:
    """The URL that a browser may be started with: others see it, so it is good once, and soon. TowpathError, too."""
    return f"{url}/#ticket={issue(_kept_token(data), time.time(), secrets.token_bytes(NONCE))}"


def _shown(host: str, settings: Settings) -> str:
    if settings.web.names:
        return settings.web.names[0]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not to listen on


def _token(data: Path) -> str:
    """The token on this data directory, made when there is none: it outlives the process, or every restart of the node
    would log its owner out. Deleting the file makes the next start take another one.
    """
    made = secrets.token_urlsafe(32)
    try:
        created = private_file.create(data / TOKEN_FILE, f"{made}\n".encode())
    except OSError as e:
        raise TowpathError(f"cannot write {data / TOKEN_FILE}: {e.strerror or e}") from e
    return made if created else _kept_token(data)


def _kept_token(data: Path) -> str:
    path = data / TOKEN_FILE
    try:
        found = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise TowpathError(f"the page's token cannot be read from {path}: {e}; start the node again") from e
    if not _TOKEN.fullmatch(found):
        raise TowpathError(f"{path} is damaged; delete it, and start the node again")
    return found


def _tls(settings: Settings) -> ssl.SSLContext | None:
    certificate, key = settings.web.certificate, settings.web.certificate_key
    if certificate is None:
        if key is not None:
            raise TowpathError("web.certificate_key names a key, but web.certificate no certificate; set both or none")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    loaded = _Certificate(context, Path(certificate), None if key is None else Path(key))
    try:
        loaded.load()
    except (OSError, ValueError) as e:
        raise TowpathError(
            f"web.certificate {certificate} cannot be used: {getattr(e, 'strerror', None) or e}; it has to be PEM, "
            "with its key in the same file or in web.certificate_key, without a passphrase"
        ) from e
    context.sni_callback = loaded.look
    return context


class _Certificate:
    """Loads the certificate again when its file changed: it is renewed every few weeks, and a node runs for months."""

    def __init__(self, context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
        self._context = context
        self._certificate = certificate
        self._key = key
        self._of = 0

    def load(self) -> None:
        self._of = self._certificate.stat().st_mtime_ns
        # An empty passphrase, or OpenSSL would ask for one on the terminal.
        self._context.load_cert_chain(self._certificate, self._key, password="")

    def look(self, _connection: object, _name: str | None, _context: object) -> None:
        """For each connection; the one that finds a new file still gets the old certificate, which is not over yet."""
        try:
            if self._certificate.stat().st_mtime_ns != self._of:
                self.load()
        except (OSError, ValueError):
            # Half written: the next connection looks again.
            self._of = 0
