"""The relay's event loop: how long it holds the thread under full load, and what a busy Python thread takes away.

Slices: the node's own histogram of the time between two returns to the event loop, after 100 circuits over 40
connections have moved 64 KiB frames both ways; the process is new, so nothing but this load is in it. On the wall, so
whatever else gets the CPU in between is in it, too. How much that is, the C reference's events (a read of at most
256 KiB, its frames, a send) under the same load show, in turns: a row counts only if they stay within what is required.
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

from benchmarks.conftest import METER, MOST_ATTEMPTS, Form, Judge
from benchmarks.generator import Bulk, Generator
from benchmarks.programs import Programs
from benchmarks.relays import Relay, open_relay, timed_reference
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
    slices, of_reference, rates = [], [], []

    def load(relay: Relay) -> Bulk:
        return generator.bulk(relay, circuits=100, pairs=20, both_ways=True, seconds=form.seconds)

    with timed_reference(built) as reference:
        for turn in range(form.rounds):
            with open_relay(relay_name, built, tmp_path / str(turn)) as relay:
                rates.append(load(relay).mb_per_s)
                slices.append(_status(tmp_path / str(turn))["data_plane"]["slice_ns"])
            load(reference)
            of_reference.append(json.loads(reference.tell("slices"))["p999"] / 1e3)
    p999 = [each["p999"] / 1e3 for each in slices]
    p50 = statistics.median(each["p50"] / 1e3 for each in slices)
    least = statistics.median(of_reference)
    judge(
        Row(
            relay_name,
            "loop slice under full load, p99.9",
            "µs",
            statistics.median(p999),
            tuple(p999),
            least,
            bound=_SLICE,
            doubt=f"the reference's own events took {least:,.0f} µs" if least > _SLICE.must else "",
            note=f"{statistics.median(rates):.0f} MB/s; p50 {p50:.0f} µs",
        )
    )


def test_beside_a_busy_thread(relay_name: str, generator: Generator, form: Form, judge: Judge, tmp_path: Path) -> None:
    if relay_name != "towpath":
        pytest.skip("only towpath runs inside a Python program")
    with Relay("busy", [sys.executable, "-m", "benchmarks.busy_relay", tmp_path]) as relay:
        for _ in range(MOST_ATTEMPTS):
            row = _beside(relay, relay_name, generator, form)
            if row.verdict != "missed":
                break
    judge(row)


def _beside(relay: Relay, name: str, generator: Generator, form: Form) -> Row:
    quiet, busy = [], []
    for _ in range(form.rounds):
        quiet.append(generator.bulk(relay, seconds=form.seconds).mb_per_s)
        assert relay.tell("spin") == "spin"
        busy.append(generator.bulk(relay, seconds=form.seconds).mb_per_s)
        assert relay.tell("rest") == "rest"
    return compared(
        name,
        "throughput beside a Python thread that never sleeps, to that without",
        "MB/s",
        busy,
        quiet,
        bound=_BESIDE,
        note=f"spread {min(busy) / statistics.median(quiet):.2f} to {max(busy) / statistics.median(quiet):.2f}",
    )
