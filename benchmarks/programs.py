"""Builds the C reference and the load generator into the cache, and starts measured processes on a CPU of their own."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, NamedTuple

from tests.tools import cache, require

LOAD_CPU: Final = 0
RELAY_CPU: Final = 1
_SOURCES: Final = Path(__file__).parent
_PRIORITY: Final = -10


class Programs(NamedTuple):
    """Paths of the built programs."""

    load: Path
    reference: Path


def build() -> Programs:
    """Builds what is not up to date. Skips the test when the machine lacks CMake or a compiler."""
    cmake = require("cmake")
    require("cc")
    place = cache() / "benchmarks"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cached = place / "CMakeCache.txt"
        if cached.exists() and not all(kept in cached.read_text() for kept in (f"={_SOURCES}\n", "=Ninja\n")):
            shutil.rmtree(place / "core", ignore_errors=True)
            shutil.rmtree(place / "CMakeFiles", ignore_errors=True)
            cached.unlink()
        _run([cmake, "-S", str(_SOURCES), "-B", str(place), "-G", "Ninja"])
        _run([cmake, "--build", str(place), "-j2"])
    return Programs(place / "load", place / "reference")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise RuntimeError(f"{' '.join(command)} failed")


def start(
    command: Sequence[str | Path], *, cpu: int | None, stderr: int | IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a process with pipes, on one CPU if one is named, before others where this user may ask for that."""
    before = os.sched_getaffinity(0)
    if cpu is not None and cpu in before:
        os.sched_setaffinity(0, {cpu})
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    finally:
        os.sched_setaffinity(0, before)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, process.pid, _PRIORITY)
    return process
