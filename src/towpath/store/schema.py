"""The schema of the store's file, its versions, and the migrations between them.

The version is SQLite's `user_version`. A migration is a script that makes version N + 1 of version N, in one
transaction with the number; the scripts of versions that were in use never change. A new file runs them all.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from towpath.errors import TowpathError

__all__ = ["MIGRATIONS", "check_version", "migrate"]

MIGRATIONS: Final = (
    # 1: Every amount lives in exactly one row: of its minute, later of its hour, later of its day.
    """
    CREATE TABLE counters (
        span INTEGER NOT NULL,   -- seconds: 60, 3600 or 86400
        at INTEGER NOT NULL,     -- Unix time of the start, a multiple of span
        name TEXT NOT NULL,
        value INTEGER NOT NULL,
        PRIMARY KEY (span, at, name)
    ) WITHOUT ROWID;
    CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE peers (
        peer_id TEXT PRIMARY KEY,
        received INTEGER NOT NULL,
        sent INTEGER NOT NULL,
        circuits INTEGER NOT NULL,
        first_seen INTEGER NOT NULL,
        last_seen INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    # 2: Events, and peers by when they were seen, to drop those not seen for longest.
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        sentence TEXT NOT NULL,
        facts TEXT NOT NULL      -- a JSON object
    );
    CREATE INDEX peers_by_last_seen ON peers (last_seen);
    """,
)


def check_version(connection: sqlite3.Connection) -> int:
    """The file's version, 0 for a new one; TowpathError when this program is too old for it. Writes nothing."""
    version: int
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise TowpathError(
            f"the store was written by a newer towpath (its version is {version}, this one knows {len(MIGRATIONS)}); "
            "update towpath, or move the file towpath.db away to begin a new one"
        )
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the file to the newest version; TowpathError as `check_version`."""
    for number in range(check_version(connection), len(MIGRATIONS)):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
            )
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
