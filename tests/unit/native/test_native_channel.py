"""The channel: messages out of any pieces, damage noticed, small frames merged, large ones split, memory given back."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.peerlab import yamux
from tests.peerlab.noise import PLAIN_MAX
from tests.peerlab.yamux import DATA, HEADER, WINDOW
from tests.unit.native.raw import RawPeer
from tests.unit.native.still import World

APP = "/app/1"
FRAME_PAYLOAD = PLAIN_MAX - HEADER


class App:
    """An endpoint that serves APP, and the streams that came."""

    def __init__(self, world: World) -> None:
        self.endpoint = world.endpoint()
        self.streams: list[Any] = []
        self.endpoint.set_handler(APP, self.streams.append)


def test_one_byte_at_a_time_is_as_good_as_all_at_once() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        peer.open(APP)
        text = random.Random(1).randbytes(700)
        peer.streams[1].credit -= len(text)
        sealed = peer.seal(yamux.data(1, text[:300])) + peer.seal(yamux.data(1, text[300:]))
        for at in range(len(sealed)):
            peer.feed(sealed[at : at + 1])
        assert app.streams[0].read(1000) == text


@pytest.mark.parametrize("at", [0, 1, 2, 3, 17, 18, -17, -16, -1])
def test_a_flipped_bit_closes_and_nothing_of_the_message_is_believed(at: int) -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        peer.open(APP)
        damaged = bytearray(peer.seal(yamux.data(1, b"to be damaged")))
        damaged[at] ^= 0x04
        # Behind a larger length there must be enough to make the message whole.
        peer.feed(bytes(damaged) + bytes(1100))
        assert peer.closed
        assert app.streams[0].available == 0
        assert app.streams[0].was_reset


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_message_shorter_than_its_tag_closes(length: int) -> None:
    with World() as world:
        peer = RawPeer(world, world.endpoint()).connect()
        peer.feed(length.to_bytes(2) + bytes(20))
        assert peer.closed


def test_an_empty_message_means_nothing() -> None:
    with World() as world:
        peer = RawPeer(world, world.endpoint()).connect()
        for _ in range(1000):
            peer.feed(peer.seal(b""))
        peer.ping()


def test_messages_replayed_or_out_of_turn_close() -> None:
    for order in ((0, 0), (1, 0)):
        with World() as world:
            peer = RawPeer(world, world.endpoint()).connect()
            messages = [peer.seal(yamux.ping(n)) for n in range(2)]
            for n in order:
                peer.feed(messages[n])
            assert peer.closed


def test_what_is_behind_a_damaged_message_is_not_looked_at() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        good = peer.seal(yamux.ping(1))
        damaged = bytearray(peer.seal(yamux.ping(2)))
        damaged[-1] ^= 1
        peer.feed(good + bytes(damaged) + peer.seal(yamux.ping(3)))
        peer.settle()
        assert peer.closed
        assert peer.pongs in ([], [1])


def test_small_writes_of_a_stream_become_one_frame_and_one_message() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        stream = peer.open(APP)
        peer.frames.clear()
        peer.messages.clear()
        for n in range(100):
            app.streams[0].write(bytes([n]) * 10)
        peer.settle()
        assert stream.received == b"".join(bytes([n]) * 10 for n in range(100))
        assert [h.length for h in peer.frames] == [1000]
        assert peer.messages == [HEADER + 1000]


def test_frames_of_several_streams_keep_their_order_and_never_mix() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        streams = [peer.open(APP) for _ in range(3)]
        peer.frames.clear()
        peer.messages.clear()
        for n in (0, 0, 1, 1, 2, 0, 0):
            app.streams[n].write(b"abc")
        peer.settle()
        assert [(h.stream, h.length) for h in peer.frames] == [(1, 6), (3, 6), (5, 3), (1, 6)]
        assert len(peer.messages) == 1
        assert [bytes(stream.received) for stream in streams] == [b"abc" * 4, b"abc" * 2, b"abc"]


def test_a_window_or_an_end_between_two_writes_ends_the_frame() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        stream = peer.open(APP)
        app.streams[0].write(b"first")
        app.streams[0].close_write()
        peer.settle()
        assert bytes(stream.received) == b"first"
        assert stream.fin
        assert not peer.violations


@pytest.mark.parametrize("size", [4095, 4096, FRAME_PAYLOAD - 1, FRAME_PAYLOAD, FRAME_PAYLOAD + 1, WINDOW - 8])
def test_writes_of_any_size_are_split_into_messages_that_noise_allows(size: int) -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        stream = peer.open(APP)
        stream.grant(WINDOW)
        peer.messages.clear()
        text = random.Random(size).randbytes(size)
        app.streams[0].write(b"small")
        app.streams[0].write(text)
        peer.settle()
        assert stream.received == b"small" + text
        assert max(peer.messages) <= PLAIN_MAX
        assert len(peer.messages) <= (size + 5) // FRAME_PAYLOAD + 2
        assert not peer.violations


def test_a_plaintext_of_the_largest_size_arrives_whole() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        stream = peer.open(APP)
        text = random.Random(3).randbytes(FRAME_PAYLOAD)
        stream.send(text)
        assert app.streams[0].read(100000) == text
        # A frame as large as the window, in messages that don't end where it does.
        stream.send(text[:1000], frame=7)
        assert app.streams[0].read(100000) == text[:1000]
        rest = random.Random(4).randbytes(100000)
        stream.credit -= len(rest)
        whole = yamux.data(stream.id, rest)
        for at in range(0, len(whole), 10007):
            peer.post(whole[at : at + 10007])
        assert app.streams[0].read(200000) == rest


def test_an_idle_connection_holds_nothing_and_one_with_unsent_bytes_what_it_must() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        stream = peer.open(APP)
        assert world.reactor.held == 0
        peer.room = 0
        app.streams[0].write(bytes(1000))
        peer.settle()
        # The few bytes were moved out of the large chunk they were sealed in.
        assert 1000 < world.reactor.held < 2000
        app.streams[0].write(bytes(100000))
        peer.settle()
        assert 101000 < world.reactor.held < 300000
        peer.take()
        assert world.reactor.held == 0
        assert len(stream.received) == 101000
        # What the window holds back is counted, too, and goes with its stream.
        app.streams[0].write(bytes(WINDOW))
        peer.settle()
        assert world.reactor.held >= 101000
        stream.reset()
        assert world.reactor.held == 0


def test_a_full_transport_holds_streams_back_until_it_has_drained() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        streams = [peer.open(APP) for _ in range(4)]
        for stream in streams:
            stream.grant(16 * WINDOW)
        peer.room = 0
        parts = [random.Random(n).randbytes(1000000) for n in range(4)]
        for n, part in enumerate(parts):
            app.streams[n].write(part)
        peer.settle()
        assert not peer.closed
        assert sum(stream.pending for stream in app.streams) > 3000000
        peer.take()
        peer.settle()
        assert [bytes(stream.received) for stream in streams] == parts
        assert [stream.pending for stream in app.streams] == [0, 0, 0, 0]


def test_held_back_streams_take_turns() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        streams = [peer.open(APP) for _ in range(3)]
        for stream in streams:
            stream.grant(16 * WINDOW)
        peer.room = 0
        app.streams[0].write(bytes(2000000))
        for n in (1, 2):
            app.streams[n].write(bytes(20000))
        peer.settle()
        peer.frames.clear()
        peer.take()
        peer.settle()
        order = [h.stream for h in peer.frames if h.type == DATA]
        # The small ones don't wait for the end of the large one.
        assert max(order.index(5), order.index(3)) < len(order) / 2


def test_one_large_write_into_a_large_window_does_not_end_the_connection() -> None:
    """More than a channel may queue: it goes as the transport takes it."""
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        stream = peer.open(APP)
        stream.grant(16 * 1024 * 1024)
        peer.room = 0
        text = random.Random(5).randbytes(12 * 1024 * 1024)
        assert app.streams[0].write(text)
        peer.settle()
        assert not peer.closed
        peer.take()
        peer.settle()
        assert stream.received == text


def test_answers_nobody_reads_end_the_connection() -> None:
    with World() as world:
        peer = RawPeer(world, world.endpoint()).connect()
        peer.room = 0
        # Refused streams are answered each; the answers wait, and refusals are limited.
        opened = 0
        while not peer.closed:
            peer.post(yamux.window_update(peer.stream().id, flags=yamux.SYN))
            opened += 1
            assert opened < 1000


def test_close_says_goodbye_behind_what_was_queued() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        stream = peer.open(APP)
        app.streams[0].write(b"the last words")
        next(iter(app.endpoint.peers.values())).sessions[0].close()
        peer.settle()
        assert bytes(stream.received) == b"the last words"
        assert peer.go_away == 0
        assert peer.closed
        assert app.streams[0].was_reset


def test_bytes_that_arrive_behind_the_end_are_nobodys() -> None:
    with World() as world:
        app = App(world)
        peer = RawPeer(world, app.endpoint).connect()
        peer.open(APP)
        peer.channel.close()
        peer.feed(peer.seal(yamux.data(1, b"late")))
        peer.channel.close()
        assert app.streams[0].available == 0
        assert app.endpoint.connections == 0
