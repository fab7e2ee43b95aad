"""Where a node's data directory, control socket and ready file are. Blocking file access, all of it short.

Apart from the server, so that a node can have its socket, and be ready, before it loads what answers there.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Final

from towpath.errors import TowpathError

__all__ = ["READY_FILE", "SOCKET_PATH_MAX", "data_directory", "listen", "socket_path"]

READY_FILE: Final = "ready.json"
SOCKET_PATH_MAX: Final = 107
"""Bytes in the path of a Unix socket on Linux, without the NUL."""


def data_directory(option: str | Path | None) -> Path:
    """`--data`, else TOWPATH_DATA, else the user's own place for data. Nothing is created."""
    chosen = option or os.environ.get("TOWPATH_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_DATA_HOME")
    try:
        home = Path(base) if base and os.path.isabs(base) else Path.home() / ".local" / "share"
    except RuntimeError as e:
        raise TowpathError("there is no home directory to keep data in; name a place with --data DIR") from e
    return home / "towpath"


def socket_path(data: Path) -> Path:
    """DIR/api.sock, or a place in the user's runtime directory when that path is too long for a socket."""
    path = data.absolute() / "api.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    name = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]
    return _runtime_directory() / f"{name}.sock"


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600, in place of one that a node left behind when it died.

    The caller holds the data directory, so nobody can be using it.
    """
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen(128)
    except OSError as e:
        sock.close()
        raise TowpathError(f"cannot make the socket {path}: {e.strerror}; choose another --data") from e
    finally:
        os.umask(before)
    return sock


def _runtime_directory() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "towpath" if runtime else Path(tempfile.gettempdir()) / f"towpath-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise TowpathError(f"{base} belongs to others or is open to them; choose a shorter --data directory")
    return base
