"""The schema of the store's file, its versions, and the migrations between them.

The version is SQLite's `user_version`. A migration is a script that makes version N + 1 of version N, in one
transaction with the number; the scripts of versions that were in use never change. A new file runs them all.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from towpath.errors import TowpathError

__all__ = ["KEPT", "MIGRATIONS", "check_version", "migrate"]

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
    # 3: The ledger. Amounts are bytes, days are counted from 1970, UTC.
    """
    CREATE TABLE senders (        -- whom this relay carried for: an account (32 bytes) or a network (3 or 7 bytes)
        who BLOB PRIMARY KEY,
        credit INTEGER NOT NULL,  -- carried for it on its credit,
        free INTEGER NOT NULL,    -- on its free tier,
        beyond INTEGER NOT NULL,  -- and on neither, while nothing was asked in return
        used REAL NOT NULL,       -- what is used of its free tier
        at REAL NOT NULL,         -- and when that was so, Unix time
        first_seen INTEGER NOT NULL,
        last_seen INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE receipts_paid (  -- signed by others for what this relay carried: the newest of each day
        payer BLOB NOT NULL,
        day INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        ok INTEGER NOT NULL,
        fail INTEGER NOT NULL,
        raw BLOB NOT NULL,        -- as the payer signed it
        dual BLOB,                -- as this relay countersigned it
        PRIMARY KEY (payer, day)
    ) WITHOUT ROWID;
    CREATE TABLE receipts_owed (  -- signed by this node's account, countersigned by the relay that carried
        relay BLOB NOT NULL,
        day INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        dual BLOB NOT NULL,
        PRIMARY KEY (relay, day)
    ) WITHOUT ROWID;
    CREATE TABLE signing (        -- the highest number that was given, written before a signature leaves
        relay BLOB NOT NULL,
        day INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (relay, day)
    ) WITHOUT ROWID;
    CREATE TABLE balance (        -- of this node's account
        day INTEGER PRIMARY KEY,
        earned INTEGER NOT NULL,
        spent INTEGER NOT NULL
    );
    """,
    # 4: What credit is computed from: others' receipts, and what was used up of each edge between two accounts.
    """
    CREATE TABLE evidence (       -- the newest of a relay, payer and day that is known
        relay BLOB NOT NULL,
        payer BLOB NOT NULL,
        day INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        account BLOB NOT NULL,    -- of the relay
        dual BLOB NOT NULL,       -- as both signed it
        PRIMARY KEY (relay, payer, day)
    ) WITHOUT ROWID;
    CREATE TABLE credit_used (
        payer BLOB NOT NULL,
        account BLOB NOT NULL,    -- of the relay that it owes
        bytes INTEGER NOT NULL,
        day INTEGER NOT NULL,     -- from which on they fade
        PRIMARY KEY (payer, account)
    ) WITHOUT ROWID;
    """,
)

KEPT: Final = {
    "senders": 1,
    "receipts_paid": 2,
    "receipts_owed": 2,
    "signing": 2,
    "balance": 1,
    "evidence": 3,
    "credit_used": 2,
}
"""Tables that `Store.keep` writes, and how many of their columns, the first ones, are the key."""


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
