"""Two ends of a tunneled connection, by any schedule of writes, deliveries and losses: nothing doubled or lost."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from towpath.client.tunnel import flow, wire
from towpath.client.tunnel.flow import LEAST_WINDOW, WINDOW, Incoming, Outgoing, window
from towpath.client.tunnel.patience import Patience, Verdict
from towpath.client.tunnel.wire import FrameReader, Kind, TunnelProtocolError


class End:
    """One end, without sockets: what was written at it, what came out of it, and the stream between."""

    def __init__(self) -> None:
        self.out = Outgoing()
        self.into = Incoming()
        self.written = bytearray()
        self.came = bytearray()
        self.waiting: deque[bytes] = deque()
        self.wire = bytearray()
        """On its way from here to the other end."""
        self.frames = FrameReader()
        self.end_sent = False

    def send(self, most: int) -> None:
        while data := self.out.next(most):
            self.wire += wire.data_header(len(data)) + data
        if self.out.ended and not self.end_sent and self.out.sent == self.out.total:
            self.end_sent = True
            self.wire += wire.END

    def arrive(self, data: bytes) -> None:
        for kind, value in self.frames.feed(data):
            if isinstance(value, memoryview):
                self.into.take(len(value))
                self.waiting.append(bytes(value))
            elif kind == Kind.END:
                self.into.end()
            elif kind == Kind.ACK:
                self.out.acknowledge(value)

    def pass_on(self) -> None:
        while self.waiting:
            data = self.waiting.popleft()
            self.came += data
            self.into.pass_on(len(data))
        if self.into.ended and self.into.passed_on < self.into.received:
            self.into.pass_on(1)

    def lose(self) -> int:
        self.wire.clear()
        self.frames = FrameReader()
        return self.into.received

    def go_on(self, received: int) -> None:
        self.out.go_on_from(received)
        self.end_sent = received > self.out.total


class Tunnel(RuleBasedStateMachine):
    """A connection with bytes both ways, whose stream may be lost between any two bytes."""

    sides = st.integers(0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.ends = (End(), End())

    @rule(side=sides, data=st.binary(min_size=1, max_size=100), direct=st.booleans())
    def write(self, side: int, data: bytes, direct: bool) -> None:
        end = self.ends[side]
        if end.out.ended:
            return
        all_sent = end.out.sent == end.out.total
        if direct and all_sent:
            end.out.add(data, sent=True)
            end.wire += wire.data_header(len(data)) + data
        else:
            end.out.add(memoryview(data), sent=False)
        end.written += data

    @rule(side=sides, most=st.integers(1, 64))
    def send(self, side: int, most: int) -> None:
        self.ends[side].send(most)

    @rule(side=sides)
    def finish(self, side: int) -> None:
        self.ends[side].out.finish()

    @rule(side=sides, most=st.integers(1, 300))
    def deliver(self, side: int, most: int) -> None:
        end, other = self.ends[side], self.ends[1 - side]
        data = bytes(end.wire[:most])
        del end.wire[:most]
        other.arrive(data)

    @rule(side=sides)
    def pass_on(self, side: int) -> None:
        self.ends[side].pass_on()

    @rule(side=sides)
    def acknowledge(self, side: int) -> None:
        end = self.ends[side]
        end.wire += wire.ack(end.into.acknowledge())

    @rule()
    def lose(self) -> None:
        received = [end.lose() for end in self.ends]
        for end, other_has in zip(self.ends, reversed(received), strict=True):
            end.go_on(other_has)

    @invariant()
    def nothing_is_doubled_or_out_of_order(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            assert end.written.startswith(other.came)
            assert end.out.acknowledged <= other.into.passed_on <= other.into.received
            assert other.into.received <= end.out.total + end.out.ended
            assert end.out.unacknowledged >= 0

    def teardown(self) -> None:
        # However it went until here, it comes to a good end.
        self.lose()
        for side in (0, 1):
            self.finish(side)
        for _ in range(3):
            for side in (0, 1):
                self.send(side, 64)
                self.deliver(side, 1 << 20)
                self.pass_on(1 - side)
                self.acknowledge(1 - side)
                self.deliver(1 - side, 1 << 20)
        for end, other in (self.ends, self.ends[::-1]):
            assert other.came == end.written
            assert end.out.done
            assert end.into.done
            assert end.out.next(1) == b""


TestTunnel = Tunnel.TestCase


@given(st.lists(st.integers(1, 200_000), max_size=40), st.data())
def test_what_is_kept_is_what_is_not_safe_yet(sizes: list[int], data: st.DataObject) -> None:
    out = Outgoing()
    total = 0
    for size in sizes:
        out.add(bytes(size), sent=False)
        total += size
        offset = data.draw(st.integers(0, total))
        out.acknowledge(offset)
        assert out.unacknowledged == total - out.acknowledged
        kept = sum(len(piece) for piece in out._kept)
        assert out.unacknowledged <= kept < out.unacknowledged + max(sizes) + 64 * 1024


@given(st.integers(0, 1000), st.integers(0, 2000))
def test_an_acknowledgement_of_what_was_never_sent_is_refused(size: int, offset: int) -> None:
    out = Outgoing()
    if size:
        out.add(bytes(size), sent=True)
    if offset > size:
        with pytest.raises(TunnelProtocolError):
            out.acknowledge(offset)
        with pytest.raises(TunnelProtocolError):
            out.go_on_from(offset)
    else:
        out.acknowledge(offset)
        if offset:
            with pytest.raises(TunnelProtocolError):
                out.go_on_from(offset - 1)


def test_a_sender_that_passes_the_window_is_refused() -> None:
    into = Incoming()
    into.take(WINDOW)
    with pytest.raises(TunnelProtocolError):
        into.take(1)
    into = Incoming()
    into.take(WINDOW)
    into.pass_on(1000)
    into.acknowledge()
    into.take(1000)


def test_nothing_comes_behind_the_end() -> None:
    into = Incoming()
    into.end()
    with pytest.raises(TunnelProtocolError):
        into.take(1)
    with pytest.raises(TunnelProtocolError):
        into.end()


@given(st.integers(0, 100_000))
def test_many_connections_together_keep_little(connections: int) -> None:
    each = window(connections)
    assert LEAST_WINDOW <= each <= WINDOW
    assert each == LEAST_WINDOW or each * connections <= flow._TOGETHER


def test_single_bytes_are_kept_together() -> None:
    out = Outgoing()
    for _ in range(200_000):
        out.add(b"x", sent=True)
    assert len(out._kept) < 10


# --- patience ----------------------------------------------------------------------------------------------------


def silence(patience: Patience, now: float) -> tuple[list[float], float]:
    """When it asks, and when it gives up, of nothing but silence."""
    asked = []
    while True:
        now = patience.next_look(now)
        verdict = patience.look(now)
        if verdict is Verdict.DEAD:
            return asked, now
        if verdict is not Verdict.WAIT:
            asked.append(now)


@given(st.floats(0, 1e6), st.floats(0, 30))
@example(0.0, 1 / 3)
def test_what_is_sent_is_asked_for_each_second_and_given_up_after_three(now: float, quiet: float) -> None:
    patience = Patience(now)
    patience.heard(now, owed=False, progress=True)
    now += quiet
    patience.expect(now)
    asked, dead = silence(patience, now)
    assert [round(at - now, 3) for at in asked] == [1, 2]
    assert dead - now == pytest.approx(3, abs=1e-3)


@given(st.floats(0, 1e6), st.floats(1, 1.5))
def test_who_only_received_notices_silence_as_well(now: float, slower: float) -> None:
    patience = Patience(now, slower=slower)
    patience.heard(now, owed=False, progress=True)
    asked, dead = silence(patience, now)
    assert asked[0] - now == pytest.approx(slower, abs=1e-3)
    assert dead - now <= slower + 2 + 1e-3


@given(st.lists(st.floats(0.01, 0.9), min_size=1, max_size=50))
def test_whatever_comes_counts_as_life(gaps: list[float]) -> None:
    now = 0.0
    patience = Patience(now)
    patience.expect(now)
    for gap in gaps:
        now += gap
        assert patience.look(now) is not Verdict.DEAD
        patience.heard(now, owed=True, progress=False)


def test_quiet_is_asked_about_less_and_less_often() -> None:
    now = 0.0
    patience = Patience(now)
    patience.heard(now, owed=False, progress=True)
    asked = []
    while now < 60:
        now = patience.next_look(now)
        if patience.look(now) is Verdict.ASK:
            asked.append(now)
            patience.heard(now, owed=False, progress=False)
    gaps = [b - a for a, b in itertools.pairwise(asked)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 5


def test_one_that_was_only_slow_gets_more_time_until_it_goes_on() -> None:
    patience = Patience(0.0)
    waits = []
    now = 0.0
    for _ in range(5):
        patience.restart(now)
        _, dead = silence(patience, now)
        waits.append(round(dead - now))
        now = dead
    assert waits == [3, 6, 12, 24, 24]
    patience.heard(now, owed=True, progress=True)
    _, dead = silence(patience, now)
    assert round(dead - now) == 3
