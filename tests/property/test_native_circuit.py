"""Circuits under any traffic: bytes arrive in order, credit is passed on and not invented, nobody waits for ever."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tests.peerlab.yamux import FIN, WINDOW
from tests.unit.native.circuits import Joined, Policy, RelayInMemory, settle
from tests.unit.native.raw import RawPeer, RawStream
from tests.unit.native.still import World

KIB = 1024
PATTERN = bytes(range(251)) * 20000
SET_UP = 256
"""More than the bytes by which both ends' first windows may differ once a circuit is open: its negotiation's."""


def text(start: int, size: int) -> bytes:
    assert size <= len(PATTERN) - 251
    return PATTERN[start % 251 : start % 251 + size]


@dataclass
class Way:
    """One direction of a circuit."""

    source: RawStream
    sink: RawStream
    peer: RawPeer
    """the sink's"""
    said: int = 0
    heard: int = 0
    granted: int = 0
    """beyond the first window"""
    finished: bool = False

    def check(self) -> None:
        size = len(self.sink.received)
        assert self.sink.received == text(self.heard, size), f"wrong bytes at {self.heard}"
        self.sink.received.clear()
        self.heard += size
        assert self.heard <= self.said
        if self.sink.fin:
            assert self.finished
            assert self.heard == self.said, "ended before all had come"
        # What the sender was ever allowed is what the receiver ever allowed.
        assert self.said + self.source.credit <= WINDOW + self.granted + SET_UP

    def say(self, size: int, flags: int = 0) -> None:
        size = min(size, self.source.credit, 480 * KIB)
        self.source.send(text(self.said, size), flags)
        self.said += size

    def grant(self, size: int) -> None:
        self.granted += size
        self.sink.grant(size)


SIZES = st.one_of(st.integers(0, 50), st.integers(1, 9000), st.integers(1, 400 * KIB))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "grant", "grant", "room", "take", "finish", "empty"]), st.booleans(), SIZES
    ),
    min_size=15,
    max_size=60,
)


def make(world: World, circuits: int, policy: Policy | None = None) -> tuple[RelayInMemory, list[Way], list[Joined]]:
    relay = RelayInMemory(world, policy)
    target, dialer = relay.target(), relay.peer()
    joined = [relay.join(dialer, target) for _ in range(circuits)]
    ways = []
    for one in joined:
        ways += [Way(one.near, one.far, target), Way(one.far, one.near, dialer)]
    return relay, ways, joined


def settle_all(ways: list[Way]) -> None:
    settle(*{id(way.peer): way.peer for way in ways}.values())
    for way in ways:
        way.check()


def _step(ways: list[Way], step: str, way: Way, size: int) -> None:
    if step == "say" and not way.finished:
        way.say(size)
    elif step == "grant":
        way.grant(size)
    elif step == "room":
        way.peer.room = size
    elif step == "take":
        way.peer.take(size)
    elif step == "finish" and not way.finished:
        way.finished = True
        way.say(size, FIN)
    elif step == "empty" and not way.finished:
        way.source.send(b"")
    settle_all(ways)


@given(STEPS, st.lists(st.integers(0, 3), min_size=60, max_size=60), st.sampled_from([1, 1, 2]))
def test_whatever_the_ends_do_every_byte_arrives_and_no_credit_is_invented(
    steps: list[tuple[str, bool, int]], which: list[int], circuits: int
) -> None:
    with World() as world:
        relay, ways, _ = make(world, circuits)
        for n, (step, back, size) in enumerate(steps):
            circuit = which[n] % circuits
            _step(ways, step, ways[2 * circuit + back], size)
        for way in ways:
            way.peer.take()
        settle_all(ways)
        # Everything comes through once the receivers allow it, and there is always credit for more of it.
        for way in ways:
            rounds = 0
            while way.heard < way.said:
                rounds += 1
                assert rounds < 10
                way.grant(way.said)
                settle_all(ways)
            if not way.finished:
                way.grant(100)
                settle_all(ways)
                assert way.source.credit > 0
                way.say(1, FIN)
                way.finished = True
            settle_all(ways)
        for way in ways:
            assert way.sink.fin
            assert way.heard == way.said
            assert not way.sink.reset_by_them
            assert not way.peer.violations
        assert relay.idle
        assert world.reactor.held == 0


@given(
    st.lists(st.one_of(st.integers(1, 3), st.integers(1, 3000), st.integers(1, 300 * KIB)), min_size=1, max_size=30),
    st.lists(st.integers(1, 70000), min_size=1, max_size=8),
    st.booleans(),
)
def test_a_receiver_that_grants_in_any_pieces_never_stops_its_sender(
    grants: list[int], frames: list[int], back: bool
) -> None:
    """The sender uses up its credit, the receiver allows a little more, again and again: each time it may go on."""
    with World() as world:
        _, ways, _ = make(world, 1)
        way = ways[1] if back else ways[0]
        n = 0
        for grant in [0, *grants]:
            if grant:
                way.grant(grant)
                settle_all(ways)
            # A few frames of the sizes given, the rest of the credit in large ones.
            for frame in frames * 3:
                way.say(frame)
                settle_all(ways)
            while way.source.credit:
                way.say(way.source.credit)
                settle_all(ways)
                n += 1
                assert n < 1000
            assert way.sink.granted < SET_UP + 1, f"{way.sink.granted} bytes that the receiver allowed were kept back"
        assert way.heard >= WINDOW + way.granted - SET_UP


@given(
    st.integers(1, 300 * KIB),
    st.lists(st.tuples(st.integers(0, 60000), st.booleans()), min_size=1, max_size=40),
    st.integers(0, 2000),
)
def test_limits_hold_to_the_byte_in_each_direction(limit: int, pieces: list[tuple[int, bool]], early: int) -> None:
    with World() as world:
        relay, ways, (joined,) = make(world, 1, Policy(limit_data=limit))
        cut = False
        for size, back in pieces:
            way = ways[back]
            if not cut:
                way.say(size)
                cut = way.said > limit
            settle(*(way.peer for way in ways))
            assert len(ways[0].sink.received) == min(ways[0].said, limit)
            assert len(ways[1].sink.received) == min(ways[1].said, limit)
            assert joined.near.reset_by_them == joined.far.reset_by_them == cut
            assert bool(relay.service.circuits) != cut


@given(
    st.integers(300, 3000),
    st.lists(
        st.tuples(st.sampled_from(["say", "say", "say", "take", "reset", "open"]), st.integers(0, 30), SIZES),
        min_size=20,
        max_size=60,
    ),
)
def test_the_budget_holds_whoever_stalls(budget_kib: int, steps: list[tuple[str, int, int]]) -> None:
    """Receivers grant a lot and then take little: what is queued stays within the budget, whoever has to go for it."""
    with World(budget=budget_kib * KIB) as world:
        relay, ways, _ = make(world, 3)
        target, dialer = ways[0].peer, ways[1].peer
        open_ways = ways[::2]
        for way in open_ways:
            way.grant(512 * KIB)
        settle(target, dialer)
        target.room = 0
        for step, which, size in steps:
            way = open_ways[which % len(open_ways)]
            if step == "say" and not way.source.reset_by_them and not way.finished:
                way.say(size)
            elif step == "take":
                target.take(size)
            elif step == "reset":
                way.source.reset()
                way.finished = True
            elif step == "open" and len(open_ways) < 12:
                target.take()
                joined = relay.join(dialer, target)
                open_ways.append(Way(joined.near, joined.far, target))
                open_ways[-1].grant(512 * KIB)
                settle(target, dialer)
                target.room = 0
            dialer.settle()
            assert world.reactor.held <= budget_kib * KIB
            if target.closed:
                break
        target.take()
        settle(target, dialer)
        if target.closed:
            # It took nothing for longer than anybody else had been stalled.
            assert all(way.source.reset_by_them or way.finished for way in open_ways)
            return
        for way in open_ways:
            if way.finished or way.source.reset_by_them:
                assert way.sink.reset_by_them
                assert not way.sink.fin
            else:
                way.check()
                assert way.heard == way.said
        assert world.reactor.held == 0
        assert not target.violations
        assert not dialer.violations
