"""What a relay costs that does nothing: memory per idle reservation, memory at rest, time to start.

Memory per reservation: private memory of the process (clean, dirty and huge pages) before and after some thousand
connections, from 250 loopback addresses, have each reserved and then been left alone for 5 s. Kernel memory of
sockets is not in it. Start: from exec to the line that says "ready", program and modules warm in the page cache.
Rest: resident memory after 3 s.
"""

import statistics
import time
from pathlib import Path

import pytest

from benchmarks.conftest import METER, Form, Judge
from benchmarks.generator import Generator
from benchmarks.programs import Programs
from benchmarks.relays import open_relay
from benchmarks.results import Bound, Row

pytestmark = [pytest.mark.benchmark(timer=METER, group="footprint"), pytest.mark.timeout(600)]

_PER_RESERVATION = Bound(12, 6)
_AT_REST = Bound(45, 40)
_START = Bound(0.5, 0.25, absolute_time=True)
_REST_SECONDS = 3.0
_COUNTS = {"go": 3000, "rust": 3000, "js": 200}
"""As many as the other relays take."""


def test_memory_of_idle_reservations(
    relay_name: str, built: Programs, generator: Generator, form: Form, judge: Judge, tmp_path: Path
) -> None:
    ours = relay_name == "towpath"
    count = _COUNTS.get(relay_name, 2000 if form.short else 10_000)
    with open_relay(relay_name, built, tmp_path) as relay:
        idle = generator.idle(relay, count)
    judge(
        Row(
            relay_name,
            "private memory per idle reserved connection",
            "KiB",
            idle.kib_each,
            bound=_PER_RESERVATION if ours else None,
            note=f"{count:,} of them; together {idle.idle_cpu_ns_per_s / 1e6:.1f} ms CPU a second",
        )
    )


def test_start_and_rest(relay_name: str, built: Programs, form: Form, judge: Judge, tmp_path: Path) -> None:
    ours = relay_name == "towpath"
    seconds, resident = [], 0.0
    for round_ in range(form.rounds + 1):
        with open_relay(relay_name, built, tmp_path) as relay:
            if round_:  # the first one warms the page cache
                seconds.append(relay.ready_seconds)
            if round_ == form.rounds:
                time.sleep(_REST_SECONDS)
                resident = relay.resident_kib() / 1024
    judge(
        Row(
            relay_name,
            "start: exec to ready",
            "s",
            statistics.median(seconds),
            tuple(seconds),
            bound=_START if ours else None,
        ),
        Row(relay_name, "resident memory at rest", "MiB", resident, bound=_AT_REST if ours else None),
    )
