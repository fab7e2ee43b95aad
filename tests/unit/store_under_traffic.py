"""A process that uses a quota and a store as fast as it may, and tells what it did: to be killed (test_killed.py).

Arguments: the store's file, the quota of a month in bytes, how far Unix time is from CLOCK_BOOTTIME, and `all`, or
`counters` to use nothing else, whose writing would take the counters with it. On stdout a first JSON line of what it
found, then a line `time moved counted balance` of every step: moved is said before it is charged.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from towpath.relay.allowance import Allowance
from towpath.relay.clock import Clock, read_clock
from towpath.store import Store

STEP = 150_000


async def main(path: Path, limit: int, offset: float, what: str) -> None:
    def clock() -> Clock:
        now = read_clock()
        return now._replace(wall_s=now.boottime_s + offset)

    store = await Store.open(path)
    allowance = Allowance(store, {"month": limit}, lambda: None, clock=clock)
    found = {
        "damaged": store.damaged,
        "total": (await store.totals())["received"],
        "used": allowance.rows()[-1]["used"],
        "balance": store.get("balance", 0),
    }
    print(json.dumps(found), flush=True)
    await allowance.start()
    moved = counted = 0
    balance = found["balance"]
    while True:
        granted, _ = allowance.granted_left()
        step = min(STEP, granted or 0) if what == "all" else 0
        moved += step
        os.write(1, f"{time.monotonic()} {moved} {counted} {balance}\n".encode())
        allowance.charge(step, step // 2)
        # Counters run on when the quota is used up, for there to be something to lose.
        counted += 1
        store.count(received=1)
        store.count_peer(f"peer {counted % 50}", 1, 1)
        if what == "all" and counted % 20 == 0 and await store.save("balance", balance + 1):
            balance += 1
        await asyncio.sleep(0.004)


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
