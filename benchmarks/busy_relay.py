"""A dedicated relay inside a Python program that also computes: `python -m benchmarks.busy_relay DATA`.

The first line it prints is the relay's address as `towpath run --json` prints it. "spin" on standard input sets a
Python thread computing without a pause until "rest"; each is answered with the same word. Ends with its standard
input.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.relays import NO_LIMITS
from towpath import Node, Settings
from towpath.log import configure

_STRIDE: Final = 10_000


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _spin(wanted: threading.Event) -> None:
    """Pure Python arithmetic that never sleeps, never calls into the system and never lets go of the GIL by itself."""
    value = 0
    while True:
        wanted.wait()
        while wanted.is_set():
            for number in range(_STRIDE):
                value = (value * 31 + number) & 0xFFFF


def _obey(wanted: threading.Event, finish: Callable[[], None]) -> None:
    for line in sys.stdin:
        if line.strip() == "spin":
            wanted.set()
        else:
            wanted.clear()
        _say(line.strip())
    finish()


async def _relay(data: Path) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    wanted = threading.Event()
    settings = Settings.load({"relay.mode": "dedicated", "network.listen": ["/ip4/127.0.0.1/tcp/0"], **NO_LIMITS})
    configure(settings.log)
    async with Node(settings, data=data) as node:
        _say(json.dumps({"event": "ready", "listen": node.listen_addresses}))
        threading.Thread(target=_spin, args=(wanted,), daemon=True).start()
        threading.Thread(target=_obey, args=(wanted, lambda: loop.call_soon_threadsafe(ended.set)), daemon=True).start()
        await ended.wait()
        wanted.clear()


if __name__ == "__main__":
    uvloop.run(_relay(Path(sys.argv[1])))
