"""The three clocks a quota is told the time by, read together."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Clock", "read_clock"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Clock(NamedTuple):
    """A moment: seconds of CLOCK_BOOTTIME (which counts sleep and cannot be set), Unix time, and of which boot."""

    boottime_s: float
    wall_s: float
    boot_id: str


def read_clock() -> Clock:
    """Now. Takes about a microsecond."""
    return Clock(time.clock_gettime(time.CLOCK_BOOTTIME), time.time(), _this_boot())


@functools.cache
def _this_boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        # Every start then counts as a new boot: Unix time is believed when it goes forward.
        return f"unknown-{time.time_ns()}"
