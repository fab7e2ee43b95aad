"""The store: what was told to it is there after any end, what is old is rolled up, and no disk stops its owner."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools import missing
from towpath.errors import StoreInUse, TowpathError
from towpath.store import Store, batch, file, store
from towpath.store.schema import MIGRATIONS

NOON = 1_767_268_800  # 1 January 2026, 12:00 UTC


class Wall:
    """A wall clock that stands still until it is set."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def opened(path: Path | None, wall: Wall | None = None) -> AsyncIterator[Store]:
    one = await Store.open(path, clock=wall or Wall())
    try:
        yield one
    finally:
        await one.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "towpath.db"


@pytest.fixture(autouse=True)
def _universal_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# --- what is kept ------------------------------------------------------------------------------


async def test_rows_of_the_ledger_are_written_at_once_and_replaced_by_their_key(path: Path) -> None:
    async with opened(path) as first:
        first.keep("signing", (b"relay", 7), (1, 100))
        first.keep("signing", (b"relay", 8), (2, 50))
        first.keep("balance", (7,), (10, 20))
        assert await first.written(durable=True)
        assert await first.written(), "there is nothing left to write"
        first.keep("signing", (b"relay", 7), (3, 300))
        first.keep("signing", (b"relay", 8), None)
        assert await first.rows("signing") == [(b"relay", 7, 3, 300)]
    async with opened(path) as again:
        assert await again.rows("signing") == [(b"relay", 7, 3, 300)]
        assert await again.rows("balance") == [(7, 10, 20)]


@pytest.mark.parametrize(
    ("table", "key", "values"),
    [
        ("balance", (1,), (2**63, 1)),
        ("balance", (-(2**63) - 1,), (1, 1)),
        ("senders", (b"net",), (0, 0, 0, float("nan"), 0.0, 0, 0)),
        ("senders", (b"net",), (0, 0, 0, 0.0, float("inf"), 0, 0)),
        ("receipts_owed", (b"relay", 1), (1, 1, bytes(64 * 1024 + 1))),
        ("signing", (b"relay", "\udc80"), (1, 1)),
        ("signing", (b"relay",), None),
        ("nothing", (b"relay",), (1,)),
    ],
)
async def test_what_the_file_would_refuse_is_refused_at_once_and_holds_up_nothing(
    path: Path, table: str, key: tuple[batch.Value, ...], values: tuple[batch.Value, ...] | None
) -> None:
    async with opened(path) as store:
        store.keep("balance", (1,), (2**63 - 1, -(2**63)))
        with pytest.raises(ValueError, match=r"kept|integers|more than|surrogates"):
            store.keep(table, key, values)
        assert await store.written()
        assert await store.rows("balance") == [(1, 2**63 - 1, -(2**63))]


async def test_a_sentence_that_utf8_has_no_form_for_holds_up_nothing(path: Path) -> None:
    async with opened(path) as store:
        store.event("named", "A setting is \udcff")
        store.keep("balance", (1,), (1, 1))
        assert await store.written()
        assert [event["sentence"] for event in await store.events(1)] == ["A setting is ?"]


async def test_what_is_kept_in_one_turn_of_the_loop_is_written_all_or_none(path: Path) -> None:
    async with opened(path) as first:
        first.keep("balance", (1,), (1, 1))
        assert await first.written()
        first.keep("balance", (1,), (2, 2))
        first.keep("signing", (b"relay", 1), ("no number", None))  # NOT NULL refuses it
        assert not await first.written()
        assert await first._writer.run(lambda file: file.rows("balance")) == [(1, 1, 1)]
        first.keep("signing", (b"relay", 1), (1, 1))
        assert await first.written(), "it is tried again with what came after"
        assert await first.rows("balance") == [(1, 2, 2)]


async def test_everything_told_is_there_after_a_restart(path: Path) -> None:
    async with opened(path) as first:
        first.count(received=10, sent=12, relayed=9, circuits=1)
        first.count(received=5, dials=2)
        first.count_peer("peer", 3, 4, circuits=1)
        first.put("mode", {"name": "cooperative", "until": None})
        first.put("gone", 1)
        first.put("gone", None)
        first.event("paused", "Paused for an hour", seconds=3600)
    async with opened(path) as again:
        expected = {"received": 15, "sent": 12, "relayed": 9, "circuits": 1, "dials": 2}
        assert await again.totals() == expected | {"since": NOON}
        assert again.today() == expected | {"since": NOON - 12 * 3600}
        assert again.get("mode") == {"name": "cooperative", "until": None}
        assert again.get("gone", "nothing") == "nothing"
        assert await again.peers() == [
            {"peer_id": "peer", "received": 3, "sent": 4, "circuits": 1, "first_seen": NOON, "last_seen": NOON}
        ]
        assert await again.events(10) == [
            {"id": 1, "at": NOON, "kind": "paused", "sentence": "Paused for an hour", "seconds": 3600}
        ]
        assert again.damaged is None
        assert again.failing is None


async def test_without_a_file_it_works_the_same_in_memory() -> None:
    async with opened(None) as memory:
        memory.count(received=1)
        assert await memory.save("key", [1])
        assert (await memory.totals())["received"] == 1
        assert (await memory.traffic("1h"))[-1]["received"] == 1
        assert memory.get("key") == [1]


async def test_a_value_got_is_a_copy(path: Path) -> None:
    async with opened(path) as one:
        one.put("list", [1])
        one.get("list").append(2)
        assert one.get("list") == [1]


async def test_nobody_else_may_read_the_file(path: Path) -> None:
    async with opened(path) as one:
        assert await one.save("key", 1)
        for made in path.parent.iterdir():
            assert stat.S_IMODE(made.stat().st_mode) == 0o600


async def test_events_are_read_from_where_one_left_off(path: Path) -> None:
    async with opened(path) as one:
        for number in range(5):
            one.event("kind", f"event {number}")
        newest = await one.events(2)
        assert [row["sentence"] for row in newest] == ["event 3", "event 4"]
        assert [row["sentence"] for row in await one.events(2, after=1)] == ["event 1", "event 2"]
        assert await one.events(2, after=newest[-1]["id"]) == []


async def test_facts_do_not_replace_what_every_event_has(path: Path) -> None:
    async with opened(path) as one:
        one.event("kind", "sentence", at="elsewhere", id="other")
        assert await one.events(1) == [{"id": 1, "at": NOON, "kind": "kind", "sentence": "sentence"}]


async def test_events_and_peers_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_EVENTS", 10)
    monkeypatch.setattr(file, "MAX_PEERS", 20)
    wall = Wall()
    async with opened(path, wall) as one:
        for number in range(50):
            wall.now = NOON + number * 60 + 59
            one.event("kind", str(number))
            one.count_peer(f"peer {number}", 1, 1)
            await one.flush()
        assert [row["sentence"] for row in await one.events(100)] == [str(number) for number in range(40, 50)]
        assert [row["peer_id"] for row in await one.peers()] == [f"peer {number}" for number in reversed(range(30, 50))]


# --- time --------------------------------------------------------------------------------------


async def test_minutes_become_hours_and_hours_days_and_no_byte_is_lost(path: Path) -> None:
    wall = Wall()
    days = 100
    async with opened(path, wall) as one:
        for hour in range(days * 24):
            wall.now = NOON + hour * 3600
            one.count(received=hour)
            wall.now += 1800
            one.count(received=1)
            await one.flush()
        assert (await one.totals())["received"] == sum(range(days * 24)) + days * 24
    with contextlib.closing(sqlite3.connect(path)) as c:
        spans = {
            span: (oldest, newest, total)
            for span, oldest, newest, total in c.execute(
                "SELECT span, min(at), max(at), sum(value) FROM counters GROUP BY span"
            )
        }
    assert set(spans) == {60, 3600, 86400}
    assert sum(total for _, _, total in spans.values()) == sum(range(days * 24)) + days * 24
    assert wall.now - 49 * 3600 <= spans[60][0] < spans[60][1] == wall.now
    assert spans[3600][1] == spans[60][0] - 3600, "each moment is in one row"
    assert wall.now - 91 * 86400 <= spans[3600][0] <= wall.now - 90 * 86400
    async with opened(path, wall) as again:
        assert (await again.totals())["received"] == sum(range(days * 24)) + days * 24


@pytest.mark.parametrize(
    ("window", "rows", "step"), [("5m", 60, 5), ("1h", 60, 60), ("24h", 144, 600), ("30d", 180, 14400)]
)
async def test_a_window_has_a_row_for_every_step(path: Path, window: str, rows: int, step: int) -> None:
    wall = Wall(NOON + 1)
    async with opened(path, wall) as one:
        one.count(received=1, sent=2, circuits=3)
        wall.now += step
        one.count(received=10)
        one.count(received=100)
        found = await one.traffic(window)
        assert len(found) == rows
        assert [row["at"] - found[0]["at"] for row in found] == [step * n for n in range(rows)]
        own = {"own_received": 0, "own_sent": 0}
        assert found[-2:] == [
            {"at": NOON, "seconds": step, "received": 1, "sent": 2, "circuits": 3, **own},
            {"at": NOON + step, "seconds": step, "received": 110, "sent": 0, "circuits": 0, **own},
        ]
        assert not any(row["received"] or row["sent"] or row["circuits"] for row in found[:-2])


async def test_a_window_reaches_into_rolled_up_hours(path: Path) -> None:
    wall = Wall(NOON - 5 * 86400)
    async with opened(path, wall) as one:
        one.count(sent=7)
        wall.now = NOON
        one.count(sent=1)
        await one.flush()
        assert sum(row["sent"] for row in await one.traffic("30d")) == 8
        assert sum(row["sent"] for row in await one.traffic("24h")) == 1
        with pytest.raises(ValueError, match="5m, 1h, 24h, 30d"):
            await one.traffic("1y")


async def test_today_begins_at_local_midnight(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    midnight = NOON + 17 * 3600
    wall = Wall(midnight - 1)
    async with opened(path, wall) as one:
        one.count(received=1)
        assert one.today()["since"] == midnight - 86400
        wall.now = midnight
        assert one.today() == {"received": 0, "sent": 0, "relayed": 0, "circuits": 0, "since": midnight}
        one.count(received=2)
    async with opened(path, wall) as again:
        assert again.today()["received"] == 2
        assert (await again.totals())["received"] == 3


async def test_a_clock_set_wrong_for_a_moment_does_not_lose_today(path: Path) -> None:
    wall = Wall()
    async with opened(path, wall) as one:
        one.count(received=1)
        for wrong in (86400, -86400, 400 * 86400):
            wall.now = NOON + wrong
            one.count(received=10)
            await one.flush()
        wall.now = NOON
        assert one.today()["received"] == 1
        assert (await one.totals())["received"] == 31
    async with opened(path, wall) as again:
        assert (await again.totals())["received"] == 31


# --- how it is written ---------------------------------------------------------------------------


async def test_numbers_are_written_within_half_a_second_and_state_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as one:
        loop = asyncio.get_running_loop()
        written: asyncio.Queue[float] = asyncio.Queue()
        recovered = one._recovered

        def noted() -> None:
            recovered()
            written.put_nowait(loop.time())

        monkeypatch.setattr(one, "_recovered", noted)
        began = loop.time()
        one.count(received=1)
        assert await written.get() - began < store.FLUSH_S + 0.4
        began = loop.time()
        one.count(received=1)
        one.put("key", 1)
        assert await written.get() - began < store.FLUSH_S


@pytest.mark.slow
async def test_nothing_wakes_while_nothing_changes(path: Path) -> None:
    async with opened(path) as one:
        one.count(received=1)
        await one.flush()
        assert one._timer is None
        (writer,) = [thread for thread in threading.enumerate() if thread.name == "store"]

        def switches() -> int:
            text = Path(f"/proc/self/task/{writer.native_id}/status").read_text()
            return int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])

        # Until it has gone to sleep after its last work.
        await asyncio.sleep(0.1)
        before = switches()
        await asyncio.sleep(1.2)
        assert switches() == before


async def test_a_second_store_on_the_file_is_refused(path: Path) -> None:
    async with opened(path) as one:
        assert await one.save("key", 1)
        with pytest.raises(StoreInUse, match="another process has it open"):
            await Store.open(path)
        assert one.get("key") == 1


async def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as c:
        c.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(TowpathError, match="newer towpath"):
        await Store.open(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


async def test_a_file_of_version_1_is_brought_up_to_date(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as c:
        c.executescript((Path(__file__).parent / "data" / "store-1.sql").read_text())
    async with opened(path) as one:
        assert await one.totals() == {
            "received": 1_500,
            "sent": 700,
            "relayed": 0,
            "circuits": 3,
            "since": 1_767_200_000,
        }
        assert one.get("relay.pause") == {"until": None}
        assert [row["peer_id"] for row in await one.peers()] == ["seen last", "seen first"]
        one.event("kind", "sentence")
        one.count(received=1)
    with contextlib.closing(sqlite3.connect(path)) as c:
        assert c.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    async with opened(path) as again:
        assert len(await again.events(10)) == 1
        assert (await again.totals())["received"] == 1_501


async def test_what_is_told_after_the_end_is_no_error(path: Path) -> None:
    async with opened(path) as one:
        pass
    one.count(received=1)
    one.put("key", 1)
    one.event("kind", "sentence")
    assert not await one.save("key", 2)
    await one.close()


# --- a bad disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["header", "middle", "short", "not one"])
async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path: Path, harm: str) -> None:
    async with opened(path) as one:
        for number in range(300):
            one.count_peer(f"peer {number:050}", 1, 1)
        one.count(received=5)
    content = bytearray(path.read_bytes())
    if harm == "header":
        content[0:16] = bytes(16)
    elif harm == "middle":
        content[len(content) // 4 : len(content) // 4 + 8192] = os.urandom(8192)
    elif harm == "short":
        del content[len(content) // 2 :]
    else:
        content = bytearray(b"this is no database, but a note that somebody left here\n" * 100)
    path.write_bytes(content)
    (path.parent / "peer.key").write_bytes(b"key")
    async with opened(path) as anew:
        assert anew.damaged is not None
        assert "towpath.db.damaged-1" in anew.damaged
        assert (await anew.totals())["received"] == 0
        anew.count(received=1)
    assert path.with_name("towpath.db.damaged-1").read_bytes() == bytes(content)
    assert (path.parent / "peer.key").read_bytes() == b"key"
    async with opened(path) as again:
        assert again.damaged is None
        assert (await again.totals())["received"] == 1
    path.write_bytes(b"damaged again")
    async with opened(path) as anew:
        assert "towpath.db.damaged-2" in str(anew.damaged)


async def test_state_outlives_damage_elsewhere_in_the_file(path: Path) -> None:
    async with opened(path) as one:
        one.put("relay.pause", {"until": None})
        one.keep("signing", (b"relay", 7), (1, 100))
        for number in range(300):
            one.count_peer(f"peer {number:050}", 1, 1)
    content = bytearray(path.read_bytes())
    content[-8192:] = os.urandom(8192)
    path.write_bytes(content)
    async with opened(path) as anew:
        assert anew.damaged is not None
        assert anew.get("relay.pause") == {"until": None}
        assert await anew.rows("signing") == [(b"relay", 7, 1, 100)]


@contextlib.contextmanager
def _mounted(at: Path, size: int) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(at), b"tmpfs", 0, f"size={size}".encode()):
        missing("the right to mount a tmpfs")
    try:
        yield
    finally:
        libc.umount2(os.fsencode(at), 2)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    at = tmp_path / "disk"
    at.mkdir()
    with _mounted(at, 3 << 20):
        yield at


def fill(disk: Path) -> Path:
    filling = disk / "filling"
    with filling.open("wb", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(4096))
    return filling


@pytest.mark.slow
async def test_a_full_disk_stops_nothing_and_loses_nothing(full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RETRY_S", 0.05)
    said = listen(monkeypatch)
    wall = Wall()
    async with opened(full_disk / "towpath.db", wall) as one:
        one.count(received=1)
        await one.flush()
        filling = fill(full_disk)
        for minute in range(2_000):
            wall.now = NOON + minute * 60
            one.count(received=1, **{f"counter {n}": 1 for n in range(10)})
            if minute % 200 == 0:
                await one.flush()
        await one.flush()
        assert one.failing is not None
        assert "disk is full" in one.failing
        one.event("kind", "sentence while full")
        assert (await one.totals())["received"] == 2_001
        assert sum(row["received"] for row in await one.traffic("1h")) == 60
        filling.unlink()
        async with asyncio.timeout(10):
            while one.failing is not None:  # noqa: ASYNC110 - a retry tells nobody but the log
                await asyncio.sleep(0.02)
        assert said == ["store.failing", "store.recovered"]
    async with opened(full_disk / "towpath.db", wall) as again:
        assert (await again.totals())["received"] == 2_001
        assert len(await again.events(10)) == 1


async def test_a_disk_full_from_the_beginning_stops_nothing(full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RETRY_S", 0.05)
    filling = fill(full_disk)
    async with opened(full_disk / "towpath.db") as one:
        assert one.failing is not None
        one.count(received=1)
        assert not await one.save("key", "value")
        assert one.get("key") == "value"
        assert await one.events(10) == []
        filling.unlink()
        async with asyncio.timeout(10):
            while one.failing is not None:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.02)
    async with opened(full_disk / "towpath.db") as again:
        assert (await again.totals())["received"] == 1
        assert again.get("key") == "value"


def listen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged from now on, by event."""
    said: list[str] = []

    class Log:
        def error(self, event: str, **_: Any) -> None:
            said.append(event)

        info = warning = error

    monkeypatch.setattr(store, "_log", Log())
    return said


@pytest.mark.slow
async def test_what_waits_for_the_disk_is_bounded() -> None:
    waiting = batch.Batch()
    for minute in range(10_000):
        waiting.count(minute * 60, {"received": 1})
        waiting.count_peer(f"peer {minute}", 1, 1, 0, minute)
        waiting.count_peer(f"other {minute}", 1, 1, 0, minute)
        waiting.events.append((0.0, "", "", "{}"))
    assert sum(amounts["received"] for amounts in waiting.minutes.values()) == 10_000
    assert len(waiting.minutes) <= 2_880
    assert len(waiting.peers) == batch.MAX_PEERS
    assert list(waiting.peers)[-1] == "other 9999"
    assert len(waiting.events) == 500


async def test_an_unusable_path_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "towpath.db").mkdir()
    with pytest.raises(TowpathError, match=r"cannot use .*towpath\.db"):
        await Store.open(tmp_path / "towpath.db")


# --- what it costs -------------------------------------------------------------------------------

_COSTS = """
import asyncio, resource, sys
from towpath.store import Store

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 1024

async def main():
    before = resident()
    store = await Store.open(sys.argv[1])
    for n in range(20_000):
        store.count(received=n, sent=n, circuits=1)
        store.count_peer(f"peer {n}", n, n)
        if n % 500 == 0:
            await store.flush()
    await store.flush()
    print(resident() - before)
    await store.close()

asyncio.run(main())
"""


@pytest.mark.slow
def test_it_stays_small_in_memory(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _COSTS, path], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 4 * 1024
