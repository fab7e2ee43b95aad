"""The session: yamux as the specification says, and what a peer that breaks it is told: nothing more."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.peerlab import yamux
from tests.peerlab.upgrade import MULTISTREAM, line, proposal
from tests.peerlab.yamux import ACK, DATA, FIN, PING, RST, SYN, WINDOW, WINDOW_UPDATE, frame
from tests.unit.native.raw import RawPeer
from tests.unit.native.still import World

APP = "/app/1"
PING_PROTOCOL = "/ipfs/ping/1.0.0"


class App:
    """An endpoint that serves APP, a connection to it, and the streams that came."""

    def __init__(self, world: World, *, dials: bool = True) -> None:
        self.endpoint = world.endpoint()
        self.streams: list[Any] = []
        self.endpoint.set_handler(APP, self.streams.append)
        self.peer = RawPeer(world, self.endpoint, dials=dials).connect()

    @property
    def session(self) -> Any:
        (peer,) = self.endpoint.peers.values()
        return peer.sessions[0]


def closed(id: int) -> Callable[[App], None]:
    """A stream that both sides have closed."""

    def prepare(app: App) -> None:
        stream = app.peer.open(APP)
        assert stream.id == id
        stream.finish()
        app.streams[-1].close_write()
        app.peer.settle()
        assert stream.fin

    return prepare


def opened(app: App) -> None:
    app.peer.open(APP)


def half_closed(app: App) -> None:
    app.peer.open(APP).finish()


def reset(app: App) -> None:
    app.peer.open(APP)
    app.streams[-1].reset()
    app.peer.settle()


def nothing(app: App) -> None:
    pass


def skipped(app: App) -> None:
    """The highest id is 2,001, and few below it were seen."""
    app.peer.expect_id(2001)
    app.peer.open(APP)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        pytest.param(nothing, frame(DATA, SYN, 1, version=1), id="another version"),
        pytest.param(nothing, frame(4), id="an unknown type"),
        pytest.param(nothing, frame(255), id="the last type"),
        pytest.param(nothing, frame(DATA, SYN, 0), id="stream 0"),
        pytest.param(nothing, frame(WINDOW_UPDATE, SYN, 0, 5), id="a window for stream 0"),
        pytest.param(nothing, frame(DATA, 0, 0), id="data on stream 0"),
        pytest.param(nothing, frame(DATA, SYN, 2), id="wrong parity"),
        pytest.param(nothing, frame(WINDOW_UPDATE, SYN, 2), id="wrong parity with a window"),
        pytest.param(nothing, frame(DATA, 0, 1), id="data before SYN"),
        pytest.param(nothing, frame(WINDOW_UPDATE, 0, 1, 5), id="a window before SYN"),
        pytest.param(nothing, frame(WINDOW_UPDATE, RST, 1), id="a reset before SYN"),
        pytest.param(nothing, frame(DATA, FIN, 1), id="an end before SYN"),
        pytest.param(nothing, frame(DATA, 0, 2), id="data for a stream we never opened"),
        pytest.param(nothing, frame(WINDOW_UPDATE, ACK, 2), id="an answer to a stream we never opened"),
        pytest.param(opened, frame(DATA, SYN, 1), id="an id twice"),
        pytest.param(opened, frame(WINDOW_UPDATE, SYN, 1), id="an id twice with a window"),
        pytest.param(closed(1), frame(DATA, SYN, 1), id="an id of a closed stream"),
        pytest.param(reset, frame(DATA, SYN, 1), id="an id of a reset stream"),
        pytest.param(skipped, frame(DATA, SYN, 2001 - 2 * 64), id="an id too far behind"),
        pytest.param(half_closed, frame(DATA, 0, 1, 1), id="data behind FIN"),
        pytest.param(nothing, frame(DATA, SYN, 1, WINDOW + 1), id="a first frame over the window"),
        pytest.param(opened, frame(DATA, 0, 1, WINDOW), id="a frame over what is left of the window"),
        pytest.param(opened, frame(DATA, 0, 1, 0xFFFFFFFF), id="the largest frame"),
        pytest.param(opened, frame(DATA, RST, 1, 0xFFFFFFFF), id="the largest frame with a reset"),
        pytest.param(opened, frame(WINDOW_UPDATE, 0, 1, 0xFFFFFFFF), id="a window beyond 32 bits"),
        pytest.param(closed(1), frame(DATA, 0, 1, 0xFFFFFFFF), id="the largest frame for a closed stream"),
        pytest.param(reset, frame(DATA, 0, 1, WINDOW), id="a reset stream's window overrun"),
    ],
)
def test_who_breaks_yamux_loses_the_connection(prepare: Callable[[App], None], said: bytes) -> None:
    with World() as world:
        app = App(world)
        prepare(app)
        app.peer.post(said + bytes(100))
        assert app.peer.closed
        assert app.peer.go_away == 1
        assert app.endpoint.connections == 0
        assert not app.peer.violations
        for stream in app.streams:
            assert stream.finished


def test_a_window_filled_to_its_last_byte_is_fine_and_one_more_is_not() -> None:
    with World() as world:
        app = App(world)
        stream = app.peer.open(APP)
        stream.send(bytes(stream.credit))
        app.peer.ping()
        assert app.streams[0].available == WINDOW - len(proposal(APP))
        app.peer.post(frame(DATA, 0, 1, 1))
        assert app.peer.closed


def test_windows_add_up_to_32_bits_and_no_further() -> None:
    with World() as world:
        app = App(world)
        app.peer.open(APP)
        app.peer.post(yamux.window_update(1, 0xFFFFFFFF - WINDOW))
        app.peer.ping()
        # What went out (the answer to the proposal) may be granted again.
        app.peer.post(yamux.window_update(1, len(proposal(APP))))
        app.peer.ping()
        app.peer.post(yamux.window_update(1, 1))
        assert app.peer.closed


def test_our_streams_are_told_apart_from_theirs() -> None:
    """The endpoint dials: it opens odd streams, the other side even ones."""
    with World() as world:
        app = App(world, dials=False)
        stream = app.peer.open(APP)
        assert stream.id == 2
        app.peer.post(frame(DATA, SYN, 3))
        assert app.peer.closed


@pytest.mark.parametrize("end", ["both closed", "reset by us", "reset by them"])
def test_closed_streams_ignore_what_was_still_under_way(end: str) -> None:
    with World() as world:
        app = App(world)
        stream = app.peer.open(APP)
        if end == "both closed":
            stream.finish()
            app.streams[0].close_write()
        elif end == "reset by us":
            app.streams[0].reset()
        else:
            stream.reset()
        app.peer.settle()
        before = len(app.peer.frames)
        if end == "reset by us":
            app.peer.post(yamux.data(1, bytes(1000)))
        app.peer.post(yamux.window_update(1, 100) + yamux.data(1, b"", FIN) + yamux.window_update(1, flags=RST))
        app.peer.post(yamux.window_update(1, flags=FIN) + yamux.data(1, b"", RST))
        assert len(app.peer.frames) == before
        app.peer.ping()


@pytest.mark.parametrize("split", [False, True])
def test_ends_come_in_every_kind_of_frame(split: bool) -> None:
    with World() as world:
        app = App(world)
        ends: list[Callable[[int], bytes]] = [
            lambda n: yamux.data(n, b"", FIN),
            lambda n: yamux.data(n, b"with data", FIN),
            lambda n: yamux.window_update(n, 0, FIN),
            lambda n: yamux.window_update(n, 77, FIN),
        ]
        for n, end in enumerate(ends):
            stream = app.peer.open(APP)
            said = end(stream.id)
            for piece in [said[at : at + 1] for at in range(len(said))] if split else [said]:
                app.peer.post(piece)
            assert app.streams[n].ended
            assert app.streams[n].read(100) == (b"with data" if n == 1 else b"")
            assert not app.streams[n].was_reset
            # A second end changes nothing.
            app.peer.post(yamux.data(stream.id, b"", FIN))
            app.streams[n].write(b"still open this way")
            app.streams[n].close_write()
            app.peer.settle()
            assert bytes(stream.received) == b"still open this way"
            assert stream.fin
        assert app.session.stream_count == 0
        app.peer.ping()


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])
def test_a_stream_may_be_opened_and_reset_in_one_frame(kind: int) -> None:
    with World() as world:
        app = App(world)
        app.peer.post(frame(kind, SYN | RST, 1))
        app.peer.ping()
        assert app.session.stream_count == 0
        app.peer.post(yamux.data(3, proposal(APP) + b"all at once", SYN | FIN))
        assert app.streams[0].read(100) == b"all at once"
        assert app.streams[0].ended


def test_streams_opened_by_tasks_that_overtake_each_other_are_welcome() -> None:
    with World() as world:
        app = App(world)
        ids = [129, *range(3, 129, 2)]
        for id in ids[:60]:
            app.peer.post(yamux.window_update(id, flags=SYN))
        app.peer.ping()
        assert app.session.stream_count == 60


def test_streams_without_a_protocol_are_limited_and_refusals_too() -> None:
    with World() as world:
        app = App(world)
        peer = app.peer
        streams = [peer.stream() for _ in range(64)]
        for stream in streams:
            stream.send(line(MULTISTREAM), SYN)
        assert app.session.stream_count == 64
        for _ in range(256):
            refused = peer.stream()
            refused.send(b"", SYN)
            assert refused.reset_by_them
        peer.ping()
        # One that is agreed on makes room for another.
        streams[0].send(line(APP))
        peer.stream().send(b"", SYN)
        assert app.session.stream_count == 65
        peer.post(yamux.window_update(peer.stream().id, flags=SYN))
        assert peer.closed


def test_a_refused_stream_is_forgiven_after_a_second() -> None:
    with World() as world:
        app = App(world)
        peer = app.peer
        for _ in range(64):
            peer.stream().send(line(MULTISTREAM), SYN)
        for _ in range(256):
            peer.stream().send(b"", SYN)
        soon = time.monotonic() + 1.1
        world.loop.run_until(lambda: time.monotonic() > soon, "a second's end")
        peer.ping()
        peer.stream().send(b"", SYN)
        assert not peer.closed
        peer.stream().send(b"", SYN)
        assert peer.closed


def test_a_connection_has_at_most_1024_inbound_streams() -> None:
    with World() as world:
        app = App(world)
        for _ in range(1024):
            app.peer.open(APP)
        refused = app.peer.stream()
        refused.send(proposal(APP), SYN)
        assert refused.reset_by_them
        app.peer.streams[1].reset()
        app.peer.open(APP)
        assert app.session.stream_count == 1024


def test_pings_are_answered_until_they_are_too_many() -> None:
    with World() as world:
        app = App(world)
        app.peer.post(yamux.ping(0xFFFFFFFF))
        assert app.peer.pongs == [0xFFFFFFFF]
        for n in range(49):
            app.peer.post(yamux.ping(n))
        assert not app.peer.closed
        for n in range(20):
            app.peer.post(yamux.ping(n))
        assert app.peer.closed
        assert len(app.peer.pongs) < 60


def test_pongs_nobody_waits_for_mean_nothing() -> None:
    with World() as world:
        app = App(world)
        for n in range(1000):
            app.peer.post(yamux.ping(n, ACK))
        assert app.session.rtt_s == 0
        app.session.ping()
        app.peer.settle()
        assert app.session.ping_pending
        app.peer.post(yamux.ping(app.peer.pings[0], ACK))
        assert app.session.rtt_s > 0
        assert not app.session.ping_pending


def test_the_ping_protocol_echoes_and_ends_who_floods_it() -> None:
    with World() as world:
        app = App(world)
        stream = app.peer.open(PING_PROTOCOL)
        text = bytes(range(32))
        for size in (32, 5, 27, 64):
            stream.send((text * 2)[:size])
        assert bytes(stream.received) == text + text[:5] + text[:27] + text * 2
        for _ in range(60):
            if not app.peer.closed:
                stream.send(text)
        assert app.peer.closed


def test_a_ping_stream_ends_when_its_asker_does() -> None:
    with World() as world:
        app = App(world)
        stream = app.peer.open(PING_PROTOCOL)
        stream.send(bytes(40))
        stream.finish()
        assert len(stream.received) == 40
        assert stream.fin
        assert app.session.stream_count == 0


def test_a_goodbye_closes_what_is_unused_and_waits_for_what_is_used() -> None:
    with World() as world:
        app = App(world)
        app.peer.post(frame(yamux.GO_AWAY))
        assert app.peer.closed
        app = App(world)
        stream = app.peer.open(APP)
        app.peer.post(frame(yamux.GO_AWAY))
        assert app.session.going_away
        stream.send(b"still served")
        assert app.streams[0].read(100) == b"still served"
        stream.finish()
        app.streams[0].close_write()
        app.peer.settle()
        assert app.peer.closed


def test_a_connection_that_is_not_used_is_closed_after_its_time() -> None:
    with World() as world:
        endpoint = world.endpoint()
        endpoint.idle_ms = 100
        unused, used = RawPeer(world, endpoint).connect(), RawPeer(world, endpoint).connect()
        endpoint.set_handler(APP, lambda stream: None)
        stream = used.open(APP)
        world.loop.run_until(lambda: unused.closed, "the end of the unused connection")
        assert unused.go_away is None
        unused.settle()
        assert unused.go_away == 0
        assert not used.closed
        stream.reset()
        world.loop.run_until(lambda: used.closed, "the end of the other once it is unused")


def test_a_pinned_connection_outlives_its_time() -> None:
    from towpath._native.endpoint import pin_session

    with World() as world:
        endpoint = world.endpoint()
        endpoint.idle_ms = 64
        pinned, other = RawPeer(world, endpoint).connect(), RawPeer(world, endpoint).connect()
        session = endpoint.session_of(pinned.peer_id)
        assert session
        pin_session(session, 2)
        world.loop.run_until(lambda: other.closed, "the end of the other")
        assert session.pins == 2
        assert not pinned.closed
        pin_session(session, -1)
        assert world.timers == 0
        pin_session(session, -1)
        world.loop.run_until(lambda: pinned.closed, "its end once let go")


def test_headers_may_be_cut_anywhere_and_bodies_too() -> None:
    with World() as world:
        app = App(world)
        assert app.peer.stream().id == 1
        said = yamux.data(1, proposal(APP) + b"abcdefgh", SYN) + yamux.ping(9) + yamux.data(1, b"ijk", FIN)
        for at in range(len(said)):
            app.peer.post(said[at : at + 1])
        assert app.streams[0].read(100) == b"abcdefghijk"
        assert app.streams[0].ended
        assert app.peer.pongs == [9]


def test_a_connection_that_dies_inside_a_frame_resets_its_streams() -> None:
    with World() as world:
        app = App(world)
        app.peer.open(APP)
        app.peer.post(yamux.frame(DATA, 0, 1, 5000) + bytes(100))
        app.peer.channel.close()
        assert app.streams[0].was_reset
        assert app.streams[0].read(1000) == bytes(100)


def test_a_frame_of_a_stream_reset_in_its_middle_is_skipped_to_its_end() -> None:
    with World() as world:
        app = App(world)
        app.peer.open(APP)
        app.peer.post(yamux.frame(DATA, FIN, 1, 5000) + bytes(100))
        app.streams[0].reset()
        app.peer.post(bytes(4900) + yamux.ping(3))
        assert app.peer.pongs == [3]


def test_the_credit_of_a_reader_comes_back_in_halves() -> None:
    with World() as world:
        app = App(world)
        stream = app.peer.open(APP)
        stream.send(bytes(200000))
        assert stream.credited == 0
        assert len(app.streams[0].read(100000)) == 100000
        app.peer.settle()
        assert stream.credited == 0
        app.streams[0].read(40000)
        app.peer.settle()
        assert stream.credited == 140000


def test_unknown_flags_and_an_ack_that_nobody_expects_are_ignored() -> None:
    with World() as world:
        app = App(world)
        app.peer.open(APP)
        app.peer.post(yamux.data(1, b"abc", 0xFFF0 | ACK) + frame(PING, 0x10 | SYN, 0, 4))
        assert app.streams[0].read(10) == b"abc"
        assert app.peer.pongs == [4]


def test_every_frame_we_send_is_well_formed() -> None:
    with World() as world:
        app = App(world)
        stream = app.peer.open(APP)
        app.streams[0].write(bytes(1000))
        app.streams[0].close_write()
        app.peer.settle()
        assert stream.acked
        assert [h.flags & SYN for h in app.peer.frames] == [0] * len(app.peer.frames)
        assert struct.calcsize(">BBHII") == yamux.HEADER
        assert not app.peer.violations
