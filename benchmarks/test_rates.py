"""Circuits and connections per second of the relay's CPU time.

A circuit: CONNECT, STOP accepted by the target, status at the dialer, FIN both ways, on connections that exist. What
is under way at the same time shares reads, messages and sends, so one and several at a time are shown. A connection:
TCP, Noise XX, yamux, one yamux ping answered, go-away and close, 16 at a time, from 32 loopback addresses and 1,024
identities; with identify, each side has also answered the other's. Pinned: the relay on CPU 1, the load generator on
CPU 0. It does not verify the relay's unchanged identity twice.
"""

import statistics
from collections.abc import Sequence

import pytest

from benchmarks.conftest import METER, Form, Judge
from benchmarks.generator import Churn, Generator
from benchmarks.relays import Relay
from benchmarks.results import Bound, Row

pytestmark = [pytest.mark.benchmark(timer=METER, group="circuits and connections"), pytest.mark.timeout(300)]

_TOGETHER = 8
"""rust-libp2p's relay serves at most 10 requests of a connection at once and drops what is beyond."""
_CIRCUITS = Bound(12_000, 25_000, at_least=True, absolute_time=True)
_CONNECTIONS = Bound(2_900, 4_000, at_least=True, absolute_time=True)
_IDENTIFIED = Bound(2_200, 3_500, at_least=True, absolute_time=True)


def _row(relay: Relay, what: str, runs: Sequence[Churn], bound: Bound) -> Row:
    rates = [run.per_cpu_second for run in runs]
    each = statistics.median(run.cpu_us_each for run in runs)
    return Row(
        relay.name,
        f"{what} per second of relay CPU",
        "/s",
        statistics.median(rates),
        tuple(rates),
        bound=bound if relay.name == "towpath" else None,
        note=f"{each:.0f} µs each",
    )


@pytest.mark.parametrize("depth", [1, _TOGETHER])
def test_circuits(depth: int, relay: Relay, generator: Generator, form: Form, judge: Judge) -> None:
    count = (1000 if form.short else 5000) * (1 if depth == 1 else 4)
    runs = [generator.circuits(relay, count, depth=depth) for _ in range(form.rounds)]
    judge(_row(relay, f"circuits opened and closed, {depth} at a time on each of 4 pairs,", runs, _CIRCUITS))


@pytest.mark.parametrize("identify", [False, True], ids=["bare", "with identify"])
def test_connections(identify: bool, relay: Relay, generator: Generator, form: Form, judge: Judge) -> None:
    count = 1000 if relay.name == "js" else 1500 if form.short else 5000
    runs = [generator.connections(relay, count, identify=identify) for _ in range(form.rounds)]
    what = "connections made and closed" + (", with identify both ways," if identify else "")
    judge(_row(relay, what, runs, _IDENTIFIED if identify else _CONNECTIONS))
