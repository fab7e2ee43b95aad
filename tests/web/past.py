"""A month that a node looks back on: what it relayed by day and by night, counted as it counts itself."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Final

from towpath.node import STORE_FILE
from towpath.relay.allowance import STATE_KEY
from towpath.relay.clock import Clock, read_clock
from towpath.relay.quota import Quota
from towpath.store import Store

_STEP_S: Final = 300
_DAYS: Final = 30
_LIMITS: Final = {"hour": 500_000_000, "day": 5_000_000_000, "month": 100_000_000_000}
_FASTEST: Final = 70_000.0
"""Bytes per second in the evening: well below every limit."""


async def give_a_month(data: Path) -> None:
    """Fills the store of the node in this directory, which does not run."""
    rng = random.Random(7)
    now = read_clock()
    begin = now.wall_s // _STEP_S * _STEP_S - _DAYS * 86400
    at = begin
    store = await Store.open(data / STORE_FILE, clock=lambda: at)
    quota = Quota(_LIMITS, None, _then(now, begin))
    while at < now.wall_s - _STEP_S:
        local = time.localtime(at)
        evening = 0.5 - 0.5 * math.cos((local.tm_hour + local.tm_min / 60 - 4) / 24 * 2 * math.pi)
        sent = int(_STEP_S * _FASTEST * evening**3 * rng.uniform(0.4, 1.0))
        received = int(sent * rng.uniform(1.0, 1.03))
        store.count(received=received, sent=sent, relayed=received, circuits=sent // 2_500_000)
        quota.charge(received, sent, _then(now, at))
        at += _STEP_S
    quota.advance(now)
    store.put(STATE_KEY, quota.closing())
    await store.close()


def _then(now: Clock, wall_s: float) -> Clock:
    return Clock(now.boottime_s - (now.wall_s - wall_s), wall_s, now.boot_id)
