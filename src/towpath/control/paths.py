"""Where a node's control socket and ready file are. Blocking file access, all of it short."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from towpath.errors import TowpathError

__all__ = ["READY_FILE", "SOCKET_PATH_MAX", "socket_path"]

READY_FILE: Final = "ready.json"
SOCKET_PATH_MAX: Final = 107
"""Bytes in the path of a Unix socket on Linux, without the NUL."""


def socket_path(data: Path) -> Path:
    """DIR/api.sock, or a place in the user's runtime directory when that path is too long for a socket."""
    path = data.absolute() / "api.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    name = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]
    return _runtime_directory() / f"{name}.sock"


def _runtime_directory() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "towpath" if runtime else Path(tempfile.gettempdir()) / f"towpath-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise TowpathError(f"{base} belongs to or is open to others; choose a shorter --data directory")
    return base
