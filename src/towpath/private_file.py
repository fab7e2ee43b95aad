"""Files that only their owner may read, and that are there as a whole or not at all. Blocking.

What root writes into somebody else's directory becomes theirs: `sudo towpath` may set up a service's data, and the
service's account must be able to read it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["create", "give_to_owner", "replace"]

_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def create(path: Path, data: bytes) -> bool:
    """Writes a new file, mode 0600; False (and nothing written) when the name is taken. OSError."""
    with _temporary(path, data) as temporary:
        try:
            # A link fails when the name is taken: of two at once exactly one creates the file.
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as e:
            if e.errno not in _NO_LINKS:
                raise
            # FAT, as on USB sticks: no links; nobody else creates files there at the same time.
            if path.exists():
                return False
            os.rename(temporary, path)
    _keep(path.parent)
    return True


def replace(path: Path, data: bytes) -> None:
    """Writes a file, mode 0600, in place of one that may be there; readers see all of the one or the other. OSError."""
    with _temporary(path, data) as temporary:
        os.replace(temporary, path)
    _keep(path.parent)


def give_to_owner(descriptor: int, directory: Path) -> None:
    """A file that root has just made in `directory` becomes the directory's owner's."""
    if os.geteuid() == 0:
        found = directory.stat()
        os.fchown(descriptor, found.st_uid, found.st_gid)


@contextlib.contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as f:
            give_to_owner(descriptor, path.parent)
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _keep(directory: Path) -> None:
    """Makes the names in a directory outlast a crash, on file systems that can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
