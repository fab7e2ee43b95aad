"""The relay's event loop: how long it holds the thread under full load, and what a busy Python thread takes away.

Slices: the node's own histogram of the time between two returns to the event loop, after 100 circuits over 40
connections have moved 64 KiB frames both ways; the process is new, so nothing but this load is in it.
Busy thread: bytes per second of wall time through one relay inside a Python program, in turns with and without a
thread that computes in pure Python all the time; relay and thread share CPU 1 and the GIL.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.conftest import METER, Form, Judge
from benchmarks.generator import Generator
from benchmarks.programs import Programs
from benchmarks.relays import Relay, open_relay
from benchmarks.results import Bound, Row, compared

pytestmark = [pytest.mark.benchmark(timer=METER, group="event loop"), pytest.mark.timeout(300)]

_SLICE = Bound(500, 200, absolute_time=True)
_BESIDE = Bound(0.4, 0.5, at_least=True)


def _status(data: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "towpath", "status", "--data", str(data), "--json"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def test_loop_slices(
    relay_name: str, built: Programs, generator: Generator, form: Form, judge: Judge, tmp_path: Path
) -> None:
    if relay_name != "towpath":
        pytest.skip("only towpath tells its slices")
    with open_relay(relay_name, built, tmp_path) as relay:
        moved = generator.bulk(relay, circuits=100, pairs=20, both_ways=True, seconds=5 * form.seconds)
        slices = _status(tmp_path)["data_plane"]["slice_ns"]
    judge(
        Row(
            relay_name,
            "loop slice under full load, p99.9",
            "µs",
            slices["p999"] / 1e3,
            (slices["p999"] / 1e3,),
            bound=_SLICE,
            note=f"{moved.mb_per_s:.0f} MB/s; the longest took {slices['max'] / 1e3:.0f} µs",
        )
    )


def test_beside_a_busy_thread(relay_name: str, generator: Generator, form: Form, judge: Judge, tmp_path: Path) -> None:
    if relay_name != "towpath":
        pytest.skip("only towpath runs inside a Python program")
    quiet, busy = [], []
    with Relay("busy", [sys.executable, "-m", "benchmarks.busy_relay", tmp_path]) as relay:
        for _ in range(form.rounds):
            quiet.append(generator.bulk(relay, seconds=form.seconds).mb_per_s)
            assert relay.tell("spin") == "spin"
            busy.append(generator.bulk(relay, seconds=form.seconds).mb_per_s)
            assert relay.tell("rest") == "rest"
    row = compared(
        relay_name,
        "throughput beside a Python thread that never sleeps, to that without",
        "MB/s",
        busy,
        quiet,
        bound=_BESIDE,
        note=f"spread {min(busy) / statistics.median(quiet):.2f} to {max(busy) / statistics.median(quiet):.2f}",
    )
    judge(row)
