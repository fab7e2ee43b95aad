"""Circuits and connections per second of the relay's CPU time.

A circuit: CONNECT, STOP accepted by the target, status at the dialer, FIN both ways, on connections that exist. What
is under way at the same time shares reads, messages and sends, so one and several at a time are shown. A connection:
TCP, Noise XX, yamux, one yamux ping answered, go-away and close, 16 at a time, from 32 loopback addresses and 1,024
identities; with identify, each side has also answered the other's. Pinned: the relay on CPU 1, the load generator on
CPU 0. It does not verify the relay's unchanged identity twice.

The reference of a connection is the arithmetic that no Noise XX responder can do without, by libsodium in the same run:
its rate is the physical limit of the machine. What is required was stated for one where that is 7,000 a second.
"""

import statistics
from collections.abc import Sequence

import pytest

from benchmarks.conftest import METER, Form, Judge
from benchmarks.generator import Churn, Generator
from benchmarks.relays import Relay
from benchmarks.results import Bound, Row, compared

pytestmark = [pytest.mark.benchmark(timer=METER, group="circuits and connections"), pytest.mark.timeout(300)]

_TOGETHER = 8
"""rust-libp2p's relay serves at most 10 requests of a connection at once and drops what is beyond."""
_CIRCUITS = Bound(12_000, 25_000, at_least=True, absolute_time=True)
_LIMIT = 7_000
_CONNECTIONS = Bound(2_900 / _LIMIT, 4_000 / _LIMIT, at_least=True)
_IDENTIFIED = Bound(2_200 / _LIMIT, 3_500 / _LIMIT, at_least=True)


@pytest.mark.parametrize("depth", [1, _TOGETHER])
def test_circuits(depth: int, relay: Relay, generator: Generator, form: Form, judge: Judge) -> None:
    count = (1000 if form.short else 5000) * (1 if depth == 1 else 4)
    runs = [generator.circuits(relay, count, depth=depth) for _ in range(form.rounds)]
    rates = [run.per_cpu_second for run in runs]
    what = f"circuits opened and closed, {depth} at a time on each of 4 pairs, per second of relay CPU"
    bound = _CIRCUITS if relay.name == "towpath" else None
    judge(Row(relay.name, what, "/s", statistics.median(rates), tuple(rates), bound=bound, note=_each(runs)))


@pytest.mark.parametrize("identify", [False, True], ids=["bare", "with identify"])
def test_connections(identify: bool, relay: Relay, generator: Generator, form: Form, judge: Judge) -> None:
    count = 1000 if relay.name == "js" else 1500 if form.short else 5000
    runs, limits = [], []
    for _ in range(form.rounds):
        limits.append(generator.arithmetic())
        runs.append(generator.connections(relay, count, identify=identify))
    rates = [run.per_cpu_second for run in runs]
    what = f"connections made and closed{', with identify both ways' if identify else ''}, per second of relay CPU"
    bound = _IDENTIFIED if identify else _CONNECTIONS
    note = f"{_each(runs)}; to the arithmetic alone"
    judge(compared(relay.name, what, "/s", rates, limits, bound=bound if relay.name == "towpath" else None, note=note))


def _each(runs: Sequence[Churn]) -> str:
    return f"{statistics.median(run.cpu_us_each for run in runs):.0f} µs each"
