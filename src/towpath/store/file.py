"""The SQLite file itself: opened, checked, set aside when damaged, written and read. For the writer thread only."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from towpath.errors import StoreInUse, TowpathError
from towpath.store import history
from towpath.store.batch import MAX_PEERS, Batch, Value
from towpath.store.schema import KEPT, check_version, migrate

__all__ = ["File"]

MAX_EVENTS: Final = 5_000
_COMPANIONS: Final = ("-wal", "-journal", "-shm")
Rows = Mapping[tuple[str, tuple[Value, ...]], tuple[Value, ...] | None]
_NOT_DAMAGE: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class File:
    """One open file, or one in memory.

    `damaged` is a sentence when a damaged file was found and set aside, else None. Opening raises TowpathError
    (StoreInUse when another process has it) when the file cannot be used and is not damaged, sqlite3.OperationalError
    when there is no file and none can be made now.
    """

    def __init__(self, path: Path | None, now: float) -> None:
        self.damaged: str | None = None
        self._peers_unchecked = MAX_PEERS
        self._rolled_hour = -1
        self._columns: dict[str, list[str]] = {}
        try:
            self._connection = _connect(path)
        except sqlite3.DatabaseError as e:
            if path is None or _is_new(path):
                raise
            if not _is_damage(e):
                raise _refusal(path, e) from e
            state, rows = _salvage(path)
            aside = _set_aside(path)
            self.damaged = (
                f"{path} was damaged ({e}): it was set aside as {aside.name} and a new one begun; "
                "totals and history begin again, identities are untouched"
            )
            self._connection = _connect(path)
            # Of an older version's table what is missing is not known.
            whole = {key: row for key, row in rows.items() if len(key[1]) + len(row or ()) == len(self._names(key[0]))}
            self._write_state(state, whole)
        # On a full disk both can wait.
        with contextlib.suppress(sqlite3.OperationalError), self._connection as c:
            c.execute("BEGIN IMMEDIATE")
            c.execute("INSERT OR IGNORE INTO state VALUES ('since', ?)", (str(int(now)),))

    def close(self) -> None:
        """Folds the log into the file and closes it."""
        self._connection.close()

    # --- writing -------------------------------------------------------------------------------

    def write_state(self, batch: Batch) -> None:
        """Writes a batch's state and rows in one transaction; when `durable`, a power cut does not undo it either."""
        if not batch.state and not batch.rows:
            return
        if batch.durable:
            self._connection.execute("PRAGMA synchronous = FULL")
        try:
            self._write_state(batch.state, batch.rows)
        finally:
            if batch.durable:
                self._connection.execute("PRAGMA synchronous = NORMAL")

    def _write_state(self, state: dict[str, str | None], rows: Rows) -> None:
        with self._connection as c:
            c.execute("BEGIN IMMEDIATE")
            for key, value in state.items():
                if value is None:
                    c.execute("DELETE FROM state WHERE key = ?", (key,))
                else:
                    c.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))
            for (table, key_values), values in rows.items():
                if values is None:
                    named = " AND ".join(f"{name} = ?" for name in self._names(table)[: KEPT[table]])
                    c.execute(f"DELETE FROM {table} WHERE {named}", key_values)  # noqa: S608 - a name of KEPT
                else:
                    row = (*key_values, *values)
                    places = ", ".join("?" * len(row))
                    c.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", row)  # noqa: S608 - likewise

    def _names(self, table: str) -> list[str]:
        if table not in self._columns:
            self._columns[table] = [name for _, name, *_ in self._connection.execute(f"PRAGMA table_info({table})")]
        return self._columns[table]

    def write_numbers(self, batch: Batch, now: float) -> None:
        """Writes a batch's counters, peers and events, all or nothing; once an hour rolls up what is old."""
        if batch.minutes or batch.peers or batch.events:
            with self._connection as c:
                c.execute("BEGIN IMMEDIATE")
                history.add(c, batch.minutes)
                self._write_peers(c, batch)
                if batch.events:
                    c.executemany("INSERT INTO events (at, kind, sentence, facts) VALUES (?, ?, ?, ?)", batch.events)
                    c.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (MAX_EVENTS,))
            hour = int(now) // 3600
            if hour != self._rolled_hour:
                history.roll(self._connection, now)
                self._rolled_hour = hour

    def _write_peers(self, c: sqlite3.Connection, batch: Batch) -> None:
        if not batch.peers:
            return
        c.executemany(
            "INSERT INTO peers VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT DO UPDATE SET"
            " received = received + excluded.received, sent = sent + excluded.sent,"
            " circuits = circuits + excluded.circuits, last_seen = max(last_seen, excluded.last_seen)",
            [(peer_id, *numbers) for peer_id, numbers in batch.peers.items()],
        )
        # Counting rows is slow: only when enough were written that there may be a hundredth too many.
        self._peers_unchecked += len(batch.peers)
        if self._peers_unchecked * 100 > MAX_PEERS:
            self._peers_unchecked = 0
            (rows,) = c.execute("SELECT count(*) FROM peers").fetchone()
            if rows > MAX_PEERS:
                c.execute(
                    "DELETE FROM peers WHERE peer_id IN (SELECT peer_id FROM peers ORDER BY last_seen LIMIT ?)",
                    (rows - MAX_PEERS,),
                )

    # --- reading -------------------------------------------------------------------------------

    def state(self) -> dict[str, str]:
        """All state, as JSON."""
        return dict(self._connection.execute("SELECT key, value FROM state"))

    def rows(self, table: str) -> list[tuple[Value, ...]]:
        """Every row of a table of KEPT."""
        return self._connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - a name of KEPT

    def sums(self, start: int = 0, end: int | None = None) -> dict[str, int]:
        """Each counter's sum over the minutes, hours and days that begin in [start, end)."""
        return history.sums(self._connection, start, end)

    def series(self, start: int, step: int) -> dict[int, dict[str, int]]:
        """Each counter's sum for every `step` seconds from `start` on that hold anything."""
        return history.series(self._connection, start, step)

    def events(self, limit: int, after: int | None) -> list[dict[str, Any]]:
        """See Store.events."""
        chosen = "WHERE id > ?1 ORDER BY id LIMIT ?2" if after is not None else "ORDER BY id DESC LIMIT ?2"
        found = self._connection.execute(
            f"SELECT id, at, kind, sentence, facts FROM events {chosen}",  # noqa: S608 - one of two constants
            (after or 0, limit),
        ).fetchall()
        rows = [
            msgspec.json.decode(facts) | {"id": number, "at": at, "kind": kind, "sentence": sentence}
            for number, at, kind, sentence, facts in found
        ]
        return sorted(rows, key=lambda row: int(row["id"]))

    def peers(self, limit: int) -> list[dict[str, Any]]:
        """See Store.peers."""
        found = self._connection.execute("SELECT * FROM peers ORDER BY last_seen DESC LIMIT ?", (limit,))
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        # SQLite makes files that others may read: what is written here is nobody's business.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as e:
            if e.errno == errno.ENOSPC:
                raise sqlite3.OperationalError(e.strerror) from e
            raise TowpathError(f"cannot use {path}: {e.strerror}") from e
    connection = sqlite3.connect(
        ":memory:" if path is None else path, isolation_level=None, timeout=0.5, check_same_thread=False
    )
    try:
        check_version(connection)
        # Small pages, because a flush changes few bytes and cheap storage wears; a log that is folded in early
        # stays in the page cache; nobody else may have it open, so there is no shared memory either.
        connection.executescript(
            "PRAGMA page_size = 1024; PRAGMA synchronous = NORMAL; PRAGMA locking_mode = EXCLUSIVE;"
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 256; PRAGMA journal_size_limit = 524288;"
            "PRAGMA cache_size = -256; PRAGMA temp_store = MEMORY;"
        )
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(" ".join(verdict.split()))
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_new(path: Path) -> bool:
    """Was nothing ever written to it?"""
    try:
        with path.open("rb") as f:
            header = f.read(100)
    except OSError:
        return False
    if path.with_name(path.name + "-wal").exists():
        return False
    # What a first attempt leaves on a full disk: nothing, or a file of version 0.
    return not header or (header.startswith(b"SQLite format 3\0") and header[60:64] == bytes(4))


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Does the file hold nonsense, rather than being refused by the system?"""
    code = getattr(error, "sqlite_errorcode", None)
    return not isinstance(error, sqlite3.OperationalError) or (code is not None and code & 0xFF == sqlite3.SQLITE_ERROR)


def _refusal(path: Path, error: sqlite3.DatabaseError) -> TowpathError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_DAMAGE:
        return StoreInUse(f"cannot use {path}: another process has it open; stop that one, or use another directory")
    return TowpathError(f"cannot use {path}: {error}; check the disk and the file's permissions")


def _salvage(path: Path) -> tuple[dict[str, str | None], Rows]:
    """What can still be read: a pause, a quota's use or a signed receipt should not be forgotten for a bad sector
    elsewhere.
    """
    found: dict[str, str | None] = {}
    rows: dict[tuple[str, tuple[Value, ...]], tuple[Value, ...] | None] = {}
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(path)) as connection:
        for key, value in connection.execute("SELECT key, value FROM state"):
            if key != "since" and isinstance(key, str) and isinstance(value, str):
                with contextlib.suppress(msgspec.DecodeError):
                    msgspec.json.decode(value)
                    found[key] = value
    for table, keys in KEPT.items():
        with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(path)) as connection:
            for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 - a name of KEPT
                rows[table, row[:keys]] = row[keys:]
    return found, rows


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for companion in ("", *_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + companion).rename(aside.with_name(aside.name + companion))
    return aside
