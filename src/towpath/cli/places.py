"""Where things are on this machine: the data directory, its lock, the files in it that tell of a running node."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from towpath.control.paths import data_directory
from towpath.errors import TowpathError
from towpath.private_file import give_to_owner

__all__ = ["data_directory", "locked", "open_files", "replace_file"]


@contextlib.contextmanager
def locked(directory: Path, taken: str) -> Iterator[None]:
    """Makes the directory (0700) and holds it for this process.

    TowpathError(taken), with `{pid}` in it filled in, when another process does.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _open_lock(directory)
    except OSError as e:
        raise TowpathError(f"cannot write to {directory}: {e.strerror}; choose another --data directory") from e
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise TowpathError(taken.replace("{pid}", holder)) from e
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def _open_lock(directory: Path) -> int:
    path, flags = directory / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        lock = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    give_to_owner(lock, directory)
    return lock


def replace_file(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON so that a reader sees all of it or what was there before; readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as f:
            json.dump(content, f)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_files() -> int | None:
    """Raises this process's limit of open files as far as it may go and returns it; None when there is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems allow less than they say.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return None if soft == resource.RLIM_INFINITY else soft
