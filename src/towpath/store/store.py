"""Store: counters, per-peer totals, state and events that survive the process. Owned by the node's loop.

What is told to it is collected in memory and handed to the writer thread at most FLUSH_S later, state at once. So a
kill at any time costs at most the last second of counters. Nothing here blocks the loop, and no failure of the disk
reaches the caller: what cannot be written is kept, said once, and tried again every RETRY_S.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from towpath.errors import TowpathError
from towpath.log import get_logger
from towpath.store.batch import Batch, Value, check_row
from towpath.store.file import File
from towpath.store.history import MINUTE
from towpath.store.writer import Writer

__all__ = ["FLUSH_S", "RETRY_S", "WINDOWS", "Store"]

FLUSH_S: Final = 0.5
RETRY_S: Final = 10.0
WINDOWS: Final = {"5m": (300, 5), "1h": (3_600, 60), "24h": (86_400, 600), "30d": (30 * 86_400, 4 * 3_600)}
"""The windows of `traffic`: how long, and the length of a row, in seconds."""

_TOTALS: Final = ("received", "sent", "relayed", "circuits")
_SERIES: Final = ("received", "sent", "circuits", "own_received", "own_sent")
_DAYS_KEPT: Final = 4
T = TypeVar("T")
_log = get_logger("store")


class Store:
    """Made by `Store.open`; used on the loop that opened it; ended by `close`.

    `damaged` is a sentence when the file was found damaged, set aside and begun anew; `failing` is one while the file
    cannot be written (and everything is kept in memory), else None.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        self.damaged: str | None = None
        self.failing: str | None = None
        self._path = path
        self._clock = clock
        self._writer = Writer(path, clock)
        self._loop = asyncio.get_running_loop()
        self._pending = Batch()
        self._writing: Batch | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None
        self._urgent = False
        self._closed = False
        self._state: dict[str, str] = {}
        self._totals: dict[str, int] = {}
        self._days: dict[int, dict[str, int]] = {}
        self._day = (0.0, 0.0)
        self._recent: deque[tuple[int, dict[str, int]]] = deque(maxlen=WINDOWS["5m"][0] // WINDOWS["5m"][1] + 1)

    @property
    def kept(self) -> bool:
        """Is it in a file, so that it outlives the process?"""
        return self._path is not None

    @classmethod
    async def open(cls, path: Path | str | None, *, clock: Callable[[], float] = time.time) -> Store:
        """The store in this file, made when there is none; None keeps everything in memory.

        A damaged file is set aside and a new one begun. TowpathError when the file is used by another process, of a
        newer version, or not to be opened; a full disk is no error (see `failing`). `clock` is Unix time.
        """
        store = cls(None if path is None else Path(path), clock)
        try:
            await store._load()
        except BaseException:
            await store._writer.close()
            raise
        return store

    async def _load(self) -> None:
        today = self._today()

        def read(file: File) -> tuple[str | None, dict[str, str], dict[str, int], dict[str, int]]:
            return file.damaged, file.state(), file.sums(), file.sums(int(self._day[0]), int(self._day[1]))

        try:
            self.damaged, self._state, self._totals, sums = await self._writer.run(read)
        except sqlite3.OperationalError as e:
            self._failed(e)
            return
        today.update(sums)
        if self.damaged is not None:
            _log.error("store.damaged", note=self.damaged)

    async def close(self) -> None:
        """Writes what is left and closes the file. Whatever is told to it afterwards is lost."""
        if self._closed:
            return
        await self.flush()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._pending:
            _log.error("store.lost", note=f"what was counted since the disk failed is lost: {self.failing}")
        await self._writer.close()

    # --- counters ------------------------------------------------------------------------------

    def count(self, **amounts: int) -> None:
        """Adds to the counters of these names (received, sent, relayed, circuits, reservations, …), at this time."""
        now = self._clock()
        self._pending.count(int(now) // MINUTE * MINUTE, amounts)
        _add(self._totals, amounts)
        _add(self._today(), amounts)
        step = WINDOWS["5m"][1]
        at = int(now) // step * step
        if self._recent and self._recent[-1][0] == at:
            _add(self._recent[-1][1], amounts)
        else:
            self._recent.append((at, dict(amounts)))
        self._soon()

    def count_peer(self, peer_id: str, received: int, sent: int, circuits: int = 0) -> None:
        """Adds to the totals of one peer; the 10,000 seen last are kept. When it was seen is kept to the minute."""
        # Else the index of when peers were seen would change with every flush.
        self._pending.count_peer(peer_id, received, sent, circuits, int(self._clock()) // MINUTE * MINUTE)
        self._soon()

    async def totals(self) -> dict[str, int]:
        """Every counter since the file was begun, at least received, sent, relayed, circuits; `since` in Unix time."""
        return self._with_names(self._totals, self.get("since", int(self._clock())))

    def today(self) -> dict[str, int]:
        """Likewise for the local day; `since` is its start."""
        today = self._today()
        return self._with_names(today, int(self._day[0]))

    async def traffic(self, window: str) -> list[dict[str, int]]:
        """A row {at, seconds, received, sent, circuits, own_received, own_sent} for every step of a window, no gaps.

        The last one is not over yet. ValueError for a window that is not in WINDOWS. "5m" begins with this process.
        """
        if window not in WINDOWS:
            raise ValueError(f"there is no window {window!r}; use one of {', '.join(WINDOWS)}")
        length, step = WINDOWS[window]
        last = int(self._clock()) // step * step
        first = last - length + step
        if window == "5m":
            found: dict[int, dict[str, int]] = {}
            for at, amounts in self._recent:
                _add(found.setdefault(at, {}), amounts)
        else:
            await self.flush()
            found = await self._read(lambda file: file.series(first, step), {})
            for minute, amounts in self._pending.minutes.items():
                _add(found.setdefault(minute // step * step, {}), amounts)
        return [
            {"at": at, "seconds": step} | {name: found.get(at, {}).get(name, 0) for name in _SERIES}
            for at in range(first, last + step, step)
        ]

    async def peers(self, limit: int = 100) -> list[dict[str, Any]]:
        """Rows {peer_id, received, sent, circuits, first_seen, last_seen}, those seen last first."""
        await self.flush()
        return await self._read(lambda file: file.peers(limit), [])

    # --- state and events ----------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """The value that was put, as JSON keeps it; a copy."""
        text = self._state.get(key)
        return default if text is None else msgspec.json.decode(text)

    def put(self, key: str, value: Any) -> None:
        """Keeps a small JSON value, written at once; None forgets it."""
        self._put(key, value)

    async def save(self, key: str, value: Any, *, durable: bool = True) -> bool:
        """`put` that returns when the value is written; see `written`."""
        self._put(key, value)
        return await self.written(durable=durable)

    def _put(self, key: str, value: Any) -> None:
        if value is None:
            self._state.pop(key, None)
            self._pending.state[key] = None
        else:
            text = msgspec.json.encode(value).decode()
            self._state[key] = text
            self._pending.state[key] = text
        self._at_once()

    def keep(self, table: str, key: tuple[Value, ...], values: tuple[Value, ...] | None, *, soon: bool = False) -> None:
        """Keeps a row of a table of `schema.KEPT`, written at once; None removes it.

        What is kept in one turn of the loop is written in one transaction. `soon`: with the counters instead, for what
        may lose its last second. ValueError for what the file would refuse, and nothing is changed.
        """
        check_row(table, key, values)
        self._pending.rows[table, key] = values
        if soon:
            self._soon()
        else:
            self._at_once()

    def written(self, *, durable: bool = False) -> asyncio.Future[bool]:
        """Done when everything kept so far is written, and what this turn of the loop kept is, when `durable`, safe
        from a power cut too. False when the disk refuses it now: it is kept and tried again, as all else is.
        """
        waiter: asyncio.Future[bool] = self._loop.create_future()
        if self._closed:
            waiter.set_result(False)
            return waiter
        self._pending.durable |= durable
        self._pending.waiters.append(waiter)
        self._at_once()
        return waiter

    async def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Every row of a table of `schema.KEPT`, as it is in the file; [] when that cannot be read now."""
        await self.flush()
        return await self._read(lambda file: file.rows(table), [])

    def event(self, kind: str, sentence: str, **facts: Any) -> None:
        """Keeps an event; the last 5,000 are kept. `facts` are JSON values."""
        # What has no form in UTF-8 would hold up everything that is told beside it.
        plain = sentence.encode("utf-8", "replace").decode()
        self._pending.events.append((self._clock(), kind, plain, msgspec.json.encode(facts).decode()))
        self._soon()

    async def events(self, limit: int, after: int | None = None) -> list[dict[str, Any]]:
        """The newest `limit` events, or the first `limit` after the id `after`; oldest first.

        Rows {id, at, kind, sentence} and the facts; ids grow and are never used again.
        """
        await self.flush()
        return await self._read(lambda file: file.events(limit, after), [])

    # --- to the file ---------------------------------------------------------------------------

    async def flush(self) -> None:
        """Returns when everything told so far is written, or known not to be writable now."""
        await self._idle.wait()
        if self._pending and not self._closed:
            self._write()
            await self._idle.wait()

    def _soon(self) -> None:
        """Writes within FLUSH_S; while the disk fails, at the next try."""
        if self._timer is None and self._writing is None and not self._closed:
            self._timer = self._loop.call_later(FLUSH_S, self._write)

    def _at_once(self) -> None:
        if not self._urgent and not self._closed:
            self._urgent = True
            # What else this turn of the loop has to say goes with it.
            self._loop.call_soon(self._write_urgent)

    def _write_urgent(self) -> None:
        if self._writing is None:
            self._write()

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed or self._writing is not None or not self._pending:
            return
        self._urgent = False
        batch, self._pending = self._pending, Batch()
        self._writing = batch
        self._idle.clear()
        now = self._clock()

        def write(file: File) -> sqlite3.Error | None:
            file.write_state(batch)
            try:
                file.write_numbers(batch, now)
            except sqlite3.Error as e:
                # The state was written all the same.
                return e
            return None

        self._writer.run(write).add_done_callback(functools.partial(self._written, batch))

    def _written(self, batch: Batch, done: asyncio.Future[sqlite3.Error | None]) -> None:
        self._writing = None
        error = done.exception()
        state_is_safe = error is None
        if error is None:
            error = done.result()
        for waiter in batch.waiters:
            if not waiter.done():
                waiter.set_result(state_is_safe)
        batch.waiters.clear()
        if error is None:
            self._recovered()
        else:
            if state_is_safe:
                batch.state.clear()
                batch.rows.clear()
                batch.durable = False
            batch.absorb(self._pending)
            self._pending = batch
            self._failed(error)
        self._idle.set()
        if self._urgent:
            self._write()
        elif self._pending:
            self._soon()

    def _failed(self, error: BaseException) -> None:
        if self.failing is None:
            self.failing = f"{self._path} cannot be written ({error}): counters are kept in memory until it can"
            _log.error("store.failing", note=self.failing)
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(RETRY_S, self._write)

    def _recovered(self) -> None:
        if self.failing is not None:
            self.failing = None
            _log.info("store.recovered", note=f"{self._path} can be written again; nothing that was counted is lost")

    async def _read(self, job: Callable[[File], T], nothing: T) -> T:
        try:
            return await self._writer.run(job)
        except (sqlite3.Error, TowpathError) as e:
            self._failed(e)
            return nothing

    # --- the local day -------------------------------------------------------------------------

    def _today(self) -> dict[str, int]:
        now = self._clock()
        start, end = self._day
        if not start <= now < end:
            start, end = self._day = _local_day(now)
            # More than one, because a clock that was set wrong for a moment comes back.
            if int(start) not in self._days and len(self._days) >= _DAYS_KEPT:
                del self._days[next(iter(self._days))]
        return self._days.setdefault(int(start), {})

    @staticmethod
    def _with_names(sums: dict[str, int], since: int) -> dict[str, int]:
        return dict.fromkeys(_TOTALS, 0) | sums | {"since": since}


def _add(sums: dict[str, int], amounts: dict[str, int]) -> None:
    for name, amount in amounts.items():
        sums[name] = sums.get(name, 0) + amount


def _local_day(now: float) -> tuple[float, float]:
    """When the local day of `now` began and the next one begins, in Unix time."""
    t = time.localtime(now)
    first = time.mktime((t.tm_year, t.tm_mon, t.tm_mday, 0, 0, 0, 0, 0, -1))
    following = time.mktime((t.tm_year, t.tm_mon, t.tm_mday + 1, 0, 0, 0, 0, 0, -1))
    return first, max(following, first + 1)
