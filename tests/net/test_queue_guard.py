"""Relaying beside the owner's own use of a slow line: the real relay, peers and a ping, each on a host of its own."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests.net.lab import Home, Lab, Peer, Pings, Relay, connect, home_line, ping

LINE = 1_250_000.0
"""10 Mbit/s."""
BUFFER_S = 0.5
QUICK_S = 0.06
BLOATED_S = 0.2
USED = 0.8
SETTLED_S = 2.0
"""The first bytes of a circuit meet an unknown line."""
TRIES = 4
UNGUARDED = {"relay.queue_guard": "false"}


@dataclass(frozen=True)
class Measured:
    """What the owner's pings took, and the part of the line that was used in the median second.

    The median, because a machine that stands still for a moment looks like a line that does.
    """

    pings: Pings
    line: float
    """Packet headers included."""
    payload: float
    """Relayed bytes alone."""

    def __str__(self) -> str:
        late = self.pings.part(0.95)
        return (
            f"ping {self.pings.median * 1e3:.1f} ms, 95% within {late * 1e3:.1f} ms, "
            f"line {self.line:.0%}, payload {self.payload:.0%}"
        )


def measure(home: Home, targets: list[Peer], seconds: int) -> Measured:
    """Pings a host beyond the line while bytes are relayed to `targets`."""
    times: list[float] = []
    lost = 0
    counts = [_counts(home, targets)]
    for _ in range(seconds):
        pings = ping(home.owner, home.world[0].address, 1.0)
        times += pings.times
        lost += pings.lost
        counts.append(_counts(home, targets))
    used = [[(b - a) / (y - x) / LINE for a, b in zip(m, n, strict=True)] for (x, m), (y, n) in pairwise(counts)]
    line, payload = (statistics.median(part) for part in zip(*used, strict=True))
    return Measured(Pings(times, lost), line, payload)


def measure_until(good: Callable[[Measured], bool], home: Home, targets: list[Peer], seconds: int) -> Measured:
    """The first of a few measurements that is good, else the last: a machine whose host has no time for it looks like a
    bad line, and that passes; a guard that does not keep the queue short never is good."""
    for _ in range(TRIES):
        measured = measure(home, targets, seconds)
        if good(measured):
            break
    return measured


def _kept(measured: Measured) -> bool:
    return measured.pings.median < QUICK_S and measured.payload >= USED


def _counts(home: Home, targets: list[Peer]) -> tuple[float, tuple[int, int]]:
    return time.monotonic(), (home.uplink_bytes(), sum(target.moved() for target in targets))


@contextlib.contextmanager
def a_home(*, world: int = 2, delay_s: float | None = None) -> Iterator[Home]:
    with Lab() as lab:
        yield home_line(lab, up=LINE, buffer_s=BUFFER_S, world=world, delay_s=delay_s)


def test_a_ping_beside_relayed_traffic_stays_quick_and_the_line_is_used(tmp_path: Path) -> None:
    with a_home() as home:
        relay = Relay(home.relay, tmp_path)
        _, target = connect(home.world[1], relay, home.world[0], circuits=4)
        time.sleep(SETTLED_S)
        measured = measure_until(_kept, home, [target], 4)
    assert measured.pings.median < QUICK_S, measured
    assert measured.payload >= USED, measured


def test_without_the_guard_the_queue_fills(tmp_path: Path) -> None:
    with a_home() as home:
        relay = Relay(home.relay, tmp_path, UNGUARDED)
        _, target = connect(home.world[1], relay, home.world[0], circuits=4)
        time.sleep(SETTLED_S)
        measured = measure_until(lambda m: m.pings.median > BLOATED_S, home, [target], 3)
    assert measured.pings.median > BLOATED_S, measured


@pytest.mark.full
def test_a_peer_that_delays_its_answers_slows_itself_alone(tmp_path: Path) -> None:
    with a_home(world=3, delay_s=0.02) as home:
        relay = Relay(home.relay, tmp_path)
        _, honest = connect(home.world[2], relay, home.world[0])
        _, liar = connect(home.world[2], relay, home.world[1])
        time.sleep(SETTLED_S)
        home.delays[1].set(0.2)
        time.sleep(SETTLED_S)
        before, begun = liar.moved(), time.monotonic()
        measured = measure_until(_kept, home, [honest], 4)
        lied = (liar.moved() - before) / (time.monotonic() - begun) / LINE
    assert measured.payload >= USED, measured
    assert measured.pings.median < QUICK_S, measured
    assert lied < 0.15


@pytest.mark.full
@pytest.mark.parametrize("circuits", [1, 6])
@pytest.mark.parametrize("delay_s", [None, 0.02, 0.1])
def test_in_the_long_run(tmp_path: Path, circuits: int, delay_s: float | None) -> None:
    with a_home(delay_s=delay_s) as home:
        relay = Relay(home.relay, tmp_path)
        _, target = connect(home.world[1], relay, home.world[0], circuits)
        time.sleep(SETTLED_S)
        measured = measure(home, [target], 30)
    print(measured)
    assert measured.pings.median - (delay_s or 0.0) < QUICK_S - 0.02, measured
    assert measured.payload >= USED, measured
