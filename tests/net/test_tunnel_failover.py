"""A transfer through a tunnel, its relays killed one after another: real processes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

MIB = 1 << 20
WAIT = 30.0
STALL_S = 3.0
MEDIAN_S = 1.0


class Command:
    """A towpath command that tells JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._told = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self._told:
                self.events.append(json.loads(line))
                self._told.notify_all()

    async def event(self, name: str, number: int = 1) -> dict[str, Any]:
        """That event, when it was told so many times; its last telling."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if event.get("event") == name]

        async with asyncio.timeout(WAIT), self._told:
            await self._told.wait_for(lambda: len(found()) >= number)
            return found()[number - 1]

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


@contextlib.asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[Any]:
    """Starts commands, and ends them all."""
    running: list[Command] = []
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TOWPATH_")}
    environ |= {"TOWPATH_DISCOVERY__DHT": "false", "TOWPATH_DISCOVERY__MDNS": "false"}

    async def start(name: str, *words: str) -> Command:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "towpath", *words, "--data", str(directory / name), "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environ,
        )
        running.append(Command(process))
        return running[-1]

    try:
        yield start
    finally:
        for command in reversed(running):
            await command.kill()


class Download:
    """Reads from a connection, hashing, and remembers when how much had come."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []
        self.digest = hashlib.sha256()
        self._come = asyncio.Condition()

    async def run(self, reader: asyncio.StreamReader) -> None:
        size = 0
        while data := await reader.read(MIB):
            self.digest.update(data)
            size += len(data)
            async with self._come:
                self.marks.append((time.monotonic(), size))
                self._come.notify_all()

    async def reached(self, size: int) -> None:
        async with asyncio.timeout(WAIT), self._come:
            await self._come.wait_for(lambda: self.marks and self.marks[-1][1] >= size)

    def stall_after(self, moment: float) -> float:
        """The longest pause that begins at most 5 s after a moment."""
        times = [at for at, _ in self.marks]
        return max(b - a for a, b in itertools.pairwise(times) if b > moment and a < moment + 5)


class Blocks:
    """A service that sends so many numbered blocks of 1 MiB to whoever connects."""

    def __init__(self, count: int) -> None:
        self.size = count * MIB
        self.sent = hashlib.sha256()
        self.at = ""
        self._block = random.Random(count).randbytes(MIB)

    async def serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(self.size // MIB):
            numbered = number.to_bytes(8, "big") + self._block[8:]
            self.sent.update(numbered)
            writer.write(numbered)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(count: int) -> AsyncIterator[Blocks]:
    blocks = Blocks(count)
    server = await asyncio.start_server(blocks.serve, "127.0.0.1", 0)
    async with server:
        blocks.at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield blocks


async def some_relays(start: Any, count: int) -> tuple[dict[str, Command], list[str]]:
    """Relays by their ids, and the words that tell a command of them."""
    relays: dict[str, Command] = {}
    known: list[str] = []
    for number in range(count):
        words = ("--mode", "dedicated", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-web")
        relay = await start(f"relay{number}", "run", *words)
        ready = await relay.event("ready")
        relays[ready["relay_id"]] = relay
        known += ["--bootstrap", ready["listen"][0]]
    return relays, known


@contextlib.asynccontextmanager
async def downloading(opener: Command) -> AsyncIterator[Download]:
    """What comes through the tunnel; leaving waits for its end."""
    host, _, port = (await opener.event("open"))["listen"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=4 * MIB)
    download = Download()
    task = asyncio.create_task(download.run(reader))
    try:
        yield download
        async with asyncio.timeout(500):
            await task
    finally:
        task.cancel()
        writer.close()


@pytest.mark.parametrize("mib", [256, pytest.param(1024, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
async def test_a_transfer_survives_the_deaths_of_three_relays(tmp_path: Path, mib: int) -> None:
    async with serving(mib) as blocks, stage(tmp_path) as start:
        relays, known = await some_relays(start, 4)
        sharer = await start("sharer", "share", blocks.at, *known)
        opener = await start("opener", "open", (await sharer.event("shared"))["ticket"])
        killed: list[float] = []
        async with downloading(opener) as download:
            via = (await opener.event("connection_opened"))["via"]
            for number in range(1, 4):
                await download.reached(blocks.size * number // 4)
                killed.append(time.monotonic())
                await relays.pop(via).kill()
                via = (await opener.event("connection_moved", number))["via"]
        assert download.marks[-1][1] == blocks.size
        assert download.digest.digest() == blocks.sent.digest()
        closed = await sharer.event("connection_closed")
        assert (closed["sent"], closed["ended"]) == (blocks.size, "closed")
    stalls = [download.stall_after(moment) for moment in killed]
    assert max(stalls) <= STALL_S, stalls
    assert statistics.median(stalls) < MEDIAN_S, stalls


async def test_a_relay_that_holds_reservations_of_both_ends_dies_once(tmp_path: Path) -> None:
    async with serving(128) as blocks, stage(tmp_path) as start:
        # There are no others, so both ends hold both.
        relays, known = await some_relays(start, 2)
        sharer = await start("sharer", "share", blocks.at, *known)
        bob = await start("bob", "run", "--no-web", *known)
        await bob.event("reserved", 2)
        opener = await start("bob", "open", (await sharer.event("shared"))["ticket"])
        async with downloading(opener) as download:
            via = (await opener.event("connection_opened"))["via"]
            await download.reached(blocks.size // 2)
            killed = time.monotonic()
            await relays.pop(via).kill()
            assert (await opener.event("connection_moved"))["via"] in relays
        assert download.digest.digest() == blocks.sent.digest()
        assert download.stall_after(killed) <= STALL_S
        assert [event["event"] for event in opener.events].count("connection_moved") == 1
