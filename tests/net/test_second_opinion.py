"""py-libp2p's Noise, yamux, identify, ping and messages at our relay: a second opinion on the wire."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.peerlab import Peer, RelayProcess, meanwhile, within
from tests.peerlab.circuit import HOP
from tests.peerlab.keys import from_base58
from tests.tools import missing

SCRIPT = Path(__file__).with_name("py_libp2p_peer.py")
SIZE = 1 << 20
START_UP = 30.0


class Foreigner:
    """A py-libp2p host in its own process; `tells` waits for its next fact."""

    def __init__(self, process: asyncio.subprocess.Process, complaints: Path) -> None:
        self._process, self._complaints = process, complaints

    async def tells(self, event: str) -> dict[str, Any]:
        assert self._process.stdout
        async with within(START_UP, f"py-libp2p's {event}"):
            row = await self._process.stdout.readline()
        assert row, f"py-libp2p ended before {event!r}: {self._complaints.read_text()[-2000:]}"
        fact: dict[str, Any] = json.loads(row)
        assert fact["event"] == event, fact
        return fact


@asynccontextmanager
async def foreigner(directory: Path, relay: RelayProcess, role: str, *arguments: str) -> AsyncIterator[Foreigner]:
    if importlib.util.find_spec("libp2p") is None:
        missing("the Python package libp2p (towpath[dht])")
    complaints = directory / "py-libp2p.stderr"
    with complaints.open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            relay.addresses[0],
            role,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=err,
        )
    try:
        yield Foreigner(process, complaints)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_py_libp2p_connects_identifies_pings_and_reserves(relay: RelayProcess, tmp_path: Path) -> None:
    async with foreigner(tmp_path, relay, "probe") as peer:
        assert HOP in (await peer.tells("connected"))["protocols"]
        assert (await peer.tells("pinged"))["replies"] == 3
        reserved = await peer.tells("reserved")
        assert reserved["status"] == 100
        assert sorted(reserved["addresses"]) == sorted(relay.addresses)


async def test_py_libp2p_dials_through_the_relay(relay: RelayProcess, tmp_path: Path) -> None:
    async with Peer() as bob:
        link = await bob.dial(relay)
        await link.reserve()
        async with foreigner(tmp_path, relay, "dial", bob.identity.text) as peer:
            stop = await link.next_stop(START_UP)
            stream = await stop.accept()
            assert (await peer.tells("connected"))["status"] == 100
            while part := await stream.read_some():
                await stream.write(part)
            await stream.finish()
            assert await peer.tells("echo") == {"event": "echo", "equal": True, "size": SIZE}


async def test_py_libp2p_is_reached_through_the_relay(relay: RelayProcess, tmp_path: Path) -> None:
    async with Peer() as alice, foreigner(tmp_path, relay, "listen") as peer:
        await peer.tells("reserved")
        target = (await peer.tells("listening"))["peer_id"]
        link = await alice.dial(relay)
        data = os.urandom(SIZE)
        stream = await link.connect(from_base58(target))
        async with meanwhile(stream.write(data, fin=True)):
            assert await stream.read_rest() == data
        assert await peer.tells("echoed") == {"event": "echoed", "source": alice.identity.text, "size": SIZE}
