"""The wall clock: synchronised, plausible, and not jumping."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from towpath.host.diagnosis.finding import Finding, Running, ok, problem, warning

__all__ = ["check_clock", "judge_clock", "judge_jump", "synchronised"]

_UNSYNCHRONISED: Final = 5
"""TIME_ERROR of adjtimex(2)."""
_TOLERATED: Final = 60.0
_DAY: Final = 86400.0
_FILES: Final = ("ready.json", "towpath.db")


def check_clock(data: Path, running: Running | None) -> Iterator[Finding]:
    """The clock of this machine."""
    latest = 0.0
    for name in _FILES:
        with contextlib.suppress(OSError):
            latest = max(latest, (data / name).stat().st_mtime)
    yield judge_clock(time.time(), latest, synchronised())
    if running is not None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            yield judge_jump(*_since_start(data, running.pid))


def judge_clock(now: float, latest: float, synchronised: bool | None) -> Finding:
    """`now` by the wall clock; `latest`: when the node last wrote (0: never); None: nobody knows whether it is
    synchronised.
    """
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if latest - now > _DAY:
        when = time.strftime("%Y-%m-%d", time.gmtime(latest))
        return problem(
            "clock",
            f"it is {shown} by the clock, but the node last wrote on {when}",
            "set the clock: quotas would wait, and vouchers and tickets would be refused",
        )
    if synchronised is False:
        return warning(
            "clock",
            f"it is {shown} by the clock, which nothing keeps right",
            "let it be synchronised: `timedatectl set-ntp true`, or install chrony",
        )
    return ok("clock", f"it is {shown}" + (", synchronised" if synchronised else ""))


def judge_jump(wall: float, boot: float) -> Finding:
    """Since the node started `wall` seconds went by on the wall clock and `boot` in truth (suspended time, too)."""
    jumped = wall - boot
    if abs(jumped) < _TOLERATED:
        return ok("clock", "the wall clock did not jump while the node ran")
    direction = "forward" if jumped > 0 else "back"
    return warning(
        "clock",
        f"the wall clock was set {direction} by {abs(jumped):,.0f} s while the node ran",
        "nothing, if that was on purpose: quotas go by a clock that nobody can set",
    )


def synchronised() -> bool | None:
    """Does somebody keep the kernel's clock right (adjtimex(2))? None: the kernel does not tell."""
    # struct timex is some 200 bytes; all zero, it asks and changes nothing.
    answer = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))
    return None if answer < 0 else answer != _UNSYNCHRONISED


def _since_start(data: Path, pid: int) -> tuple[float, float]:
    # After the name in parentheses, which may hold anything, the 20th field is the start in ticks since boot.
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - (data / "ready.json").stat().st_mtime, boot
