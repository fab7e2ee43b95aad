"""The data directory: there is room, it can be written, the database opens."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from towpath.host.diagnosis.finding import Finding, ok, problem, warning

__all__ = ["check_database", "check_disk", "judge_room"]

_TIGHT: Final = 256_000_000
_TOO_TIGHT: Final = 16_000_000
DATABASE: Final = "towpath.db"


def check_disk(data: Path) -> Iterator[Finding]:
    """Where the data is, or will be."""
    place = next(path for path in (data, *data.parents) if path.exists())
    if not place.is_dir():
        yield problem("disk", f"{place} is no directory", "name another place with --data DIR")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        advice = "run this as the account that the node runs as, or name another place with --data DIR"
        yield problem("disk", f"nothing can be written to {place}", advice)
        return
    found = os.statvfs(place)
    # Some file systems make inodes as they need them, and say 0.
    files = found.f_favail if found.f_files else None
    yield judge_room(data, found.f_bavail * found.f_frsize, files)


def judge_room(data: Path, free: int, files: int | None) -> Finding:
    """`free` bytes and `files` (None: any number) may still be written at `data`."""
    room = f"{free / 1e6:,.0f} MB are free for {data}"
    if free < _TOO_TIGHT or (files is not None and files < 16):
        what = room if free < _TOO_TIGHT else f"no more files can be made for {data}"
        return problem("disk", what, "make room: the node relays on, but forgets its counters and changed settings")
    if free < _TIGHT:
        return warning("disk", room, "make room before it is full: the node's counters need some")
    return ok("disk", room)


def check_database(data: Path, *, in_use: bool) -> Iterator[Finding]:
    """The database, and what was set aside of earlier ones. One that a node has in use is not opened."""
    aside = sorted(data.glob(f"{DATABASE}.damaged-*"))
    if aside:
        names = ", ".join(path.name for path in aside if not path.name.endswith(("-wal", "-shm", "-journal")))
        yield warning(
            "database",
            f"{data} holds a damaged database that was set aside: {names}",
            "delete it if you don't need it; if there are several, look at the disk",
        )
    path = data / DATABASE
    if in_use:
        yield ok("database", "the running node has it open")
    elif not path.exists():
        yield ok("database", "there is none yet")
    else:
        yield _look_into(path)


def _look_into(path: Path) -> Finding:
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2)
        try:
            said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as e:
        said = str(e)
    if said == "ok":
        return ok("database", f"{path.name} is sound ({path.stat().st_size / 1e6:.1f} MB)")
    if "locked" in said:
        return warning("database", f"another program holds {path}", "end that program: the node could not count")
    return problem(
        "database",
        f"{path} is damaged: {said}",
        "start the node: it sets the file aside and begins a new one. Identities and settings are not in it",
    )
