"""Round trips through the relay: a message to the other end and back, one at a time.

Measured: from handing the message to the first socket until it is back, p50 and p99; the load generator sleeps in
epoll between events, as an application does, so waking up counts alike for every relay. Pinned: the relay on CPU 1,
both ends on CPU 0. Beside bulk: one byte on one circuit while another circuit of the same two connections moves
64 KiB frames.
"""

import statistics

import pytest

from benchmarks.conftest import METER, Compare, Form, Judge
from benchmarks.generator import LARGEST_FRAME, Generator
from benchmarks.relays import Relay
from benchmarks.results import Bound, Row

pytestmark = [pytest.mark.benchmark(timer=METER, group="round trips"), pytest.mark.timeout(300)]

_P50 = Bound(1.15, 1.05)
_BESIDE_P50 = Bound(2000, 500, absolute_time=True)
_BESIDE_P99 = Bound(20000, 5000, absolute_time=True)


def test_round_trip(
    relay: Relay, reference: Relay, generator: Generator, form: Form, compare: Compare, judge: Judge
) -> None:
    p99: list[float] = []

    def of_relay() -> float:
        measured = generator.round_trips(relay, seconds=form.seconds)
        p99.append(measured.p99_us)
        return measured.p50_us

    def of_reference() -> float:
        return generator.round_trips(reference, seconds=form.seconds).p50_us

    row = compare(relay, "round trip of 64 bytes, p50", "µs", of_relay, of_reference, bound=_P50)
    judge(row, Row(relay.name, "round trip of 64 bytes, p99", "µs", statistics.median(p99), tuple(p99)))


def test_round_trip_beside_bulk(relay: Relay, generator: Generator, form: Form, judge: Judge) -> None:
    runs = [
        generator.round_trips(relay, size=1, beside=LARGEST_FRAME, seconds=form.seconds) for _ in range(form.rounds)
    ]
    p50, p99 = [run.p50_us for run in runs], [run.p99_us for run in runs]
    ours = relay.name == "towpath"
    what = "round trip of 1 byte while another circuit of the same peers moves bulk"
    moved = statistics.median(run.bulk_bytes / run.seconds / 1e6 for run in runs)
    judge(
        Row(
            relay.name,
            f"{what}, p50",
            "µs",
            statistics.median(p50),
            tuple(p50),
            bound=_BESIDE_P50 if ours else None,
            note=f"beside {moved:.0f} MB/s",
        ),
        Row(relay.name, f"{what}, p99", "µs", statistics.median(p99), tuple(p99), bound=_BESIDE_P99 if ours else None),
    )
