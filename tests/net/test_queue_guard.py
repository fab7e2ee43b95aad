"""Relaying beside the owner's own use of a slow line: the real relay, peers and a ping, each on a host of its own."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.net.lab import Home, Lab, Peer, Pings, Relay, connect, home_line, ping

LINE = 1_250_000.0
"""10 Mbit/s."""
BUFFER_S = 0.5
PINGED_S = 0.06
BLOATED_S = 0.2
USED = 0.8


@dataclass(frozen=True)
class Measured:
    pings: Pings
    line: float
    """The part of the uplink that was used, packet headers included."""
    payload: float
    """The part of it that was relayed bytes."""


def measure(home: Home, targets: list[Peer], seconds: float) -> Measured:
    sent, moved, begun = home.uplink_bytes(), sum(t.moved() for t in targets), time.monotonic()
    pings = ping(home.owner, home.world[0].address, seconds)
    took = time.monotonic() - begun
    return Measured(
        pings,
        (home.uplink_bytes() - sent) / took / LINE,
        (sum(t.moved() for t in targets) - moved) / took / LINE,
    )


@contextlib.contextmanager
def a_home(**line: float) -> Iterator[Home]:
    with Lab() as lab:
        yield home_line(lab, up=LINE, buffer_s=BUFFER_S, **line)


def relayed(home: Home, data: Path, settle_s: float, seconds: float, **settings: str) -> Measured:
    relay = Relay(home.relay, data, **settings)
    _, target = connect(home.world[1], relay, home.world[0])
    time.sleep(settle_s)
    return measure(home, [target], seconds)


def test_a_ping_beside_relayed_traffic_stays_quick_and_the_line_is_used(tmp_path: Path) -> None:
    with a_home(delay_s=0.02) as home:
        m = relayed(home, tmp_path, 2.0, 5.0)
    print(f"guarded: ping {m.pings.median * 1e3:.1f} ms, line {m.line:.0%}, payload {m.payload:.0%}")
    assert m.pings.median < PINGED_S
    assert m.payload >= USED


def test_without_the_guard_the_queue_fills(tmp_path: Path) -> None:
    with a_home(delay_s=0.02) as home:
        m = relayed(home, tmp_path, 2.0, 3.0, relay__queue_guard="false")
    print(f"unguarded: ping {m.pings.median * 1e3:.1f} ms, line {m.line:.0%}, payload {m.payload:.0%}")
    assert m.pings.median > BLOATED_S
