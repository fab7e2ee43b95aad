"""Sessions against a peer that says anything it may, in any pieces; and against one that says anything at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.peerlab import yamux
from tests.peerlab.upgrade import MULTISTREAM, line, proposal
from tests.peerlab.yamux import FIN, RST, SYN, WINDOW
from tests.unit.native.raw import RawPeer, RawStream, take_line
from tests.unit.native.still import World
from towpath._native.appstream import open_stream

APP = "/app/1"
PATTERN = bytes(range(256)) * 20000


def text(start: int, size: int) -> bytes:
    """Bytes that tell where in a stream they belong."""
    assert size <= len(PATTERN) - 256
    return PATTERN[start % 256 : start % 256 + size]


@dataclass
class Talk:
    """A stream as the model knows it: the raw end, the endpoint's end, and how far each has come."""

    raw: RawStream
    app: Any = None
    said: int = 0
    """bytes we have sent"""
    wrote: int = 0
    """bytes the endpoint's application wrote"""
    read: int = 0
    """bytes it has read"""
    heard: int = 0
    """bytes that arrived here and were checked"""
    finished: bool = False
    closed: bool = False
    """the application closed its direction"""
    cut: bool = False
    """reset by either"""


@dataclass
class Model:
    """Queues what the peer says, to be sealed and delivered in pieces of any size, and checks what comes back."""

    world: World
    peer: RawPeer
    accepted: list[Any]
    talks: list[Talk] = field(default_factory=list)
    queued: bytearray = field(default_factory=bytearray)
    wire: bytearray = field(default_factory=bytearray)
    opened: list[Talk] = field(default_factory=list)

    def say(self, data: bytes) -> None:
        self.queued += data

    def deliver(self, message: int, piece: int) -> None:
        """Seals everything said into messages of at most so many bytes, delivered in pieces of at most so many; of more
        when that would be thousands."""
        message = max(message, len(self.queued) // 1000)
        for at in range(0, len(self.queued), message):
            self.wire += self.peer.seal(bytes(self.queued[at : at + message]))
        self.queued.clear()
        piece = max(piece, len(self.wire) // 1000)
        for at in range(0, len(self.wire), piece):
            self.peer.channel.receive(bytes(self.wire[at : at + piece]))
        self.wire.clear()
        self.peer.settle()
        for talk in self.opened:
            talk.app = next((app for app in self.accepted if app.read(2) == talk.raw.id.to_bytes(2)), talk.app)
            if talk.app is not None:
                self.accepted.remove(talk.app)
        self.opened = [talk for talk in self.opened if talk.app is None and not talk.cut]
        for talk in self.talks:
            self.check(talk)

    def check(self, talk: Talk) -> None:
        raw = talk.raw
        if raw.received.startswith(line(MULTISTREAM)):
            take_line(raw.received)
            take_line(raw.received)
        size = len(raw.received)
        assert raw.received == text(talk.heard, size), f"wrong bytes at {talk.heard} of stream {raw.id}"
        raw.received.clear()
        talk.heard += size
        assert talk.heard <= talk.wrote
        if raw.fin:
            assert talk.closed
            assert talk.heard == talk.wrote, "ended before everything written had come"

    def read(self, talk: Talk, most: int) -> None:
        data = talk.app.read(most)
        assert data == text(talk.read, len(data))
        talk.read += len(data)


SIZES = st.one_of(st.integers(0, 40), st.integers(0, 5000), st.integers(0, WINDOW))
STEP_NAMES = ["open", "open", "called", "say", "say", "say", "grant", "finish", "reset", "ping", "empty"]
STEP_NAMES += ["write", "write", "write", "read", "read", "close", "app_reset", "deliver", "deliver"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(STEP_NAMES),
        st.integers(0, 7),
        SIZES,
    ),
    min_size=12,
    max_size=40,
)
PIECES = st.sampled_from([1, 7, 12, 13, 100, 4096, 65519, 1 << 20])


def _step(model: Model, endpoint: Any, step: str, which: int, size: int) -> None:
    peer = model.peer
    if step == "open":
        raw = peer.stream()
        talk = Talk(raw)
        first = proposal(APP) + raw.id.to_bytes(2)
        raw.credit -= len(first)
        model.say(yamux.data(raw.id, first, SYN))
        model.talks.append(talk)
        model.opened.append(talk)
        return
    if step == "called":
        made = open_stream(endpoint.session_of(peer.peer_id), APP)
        assert made is not None
        model.deliver(1000, 1000)
        raw = peer.opened.popleft()
        raw.take_lines(MULTISTREAM, APP)
        answer = line(MULTISTREAM) + line(APP)
        raw.credit -= len(answer)
        model.say(yamux.data(raw.id, answer, yamux.ACK))
        model.talks.append(Talk(raw, app=made[0]))
        model.deliver(1000, 3)
        return
    if not model.talks:
        return
    talk = model.talks[which % len(model.talks)]
    raw = talk.raw
    if step == "say" and not talk.finished and not talk.cut:
        size = min(size, raw.credit)
        model.say(yamux.data(raw.id, text(talk.said, size)))
        raw.credit -= size
        talk.said += size
    elif step == "grant" and not talk.cut:
        raw.granted += size
        model.say(yamux.window_update(raw.id, size))
    elif step == "finish" and not talk.finished and not talk.cut:
        size = min(size, raw.credit)
        model.say(yamux.data(raw.id, text(talk.said, size), FIN))
        raw.credit -= size
        talk.said += size
        talk.finished = True
    elif step == "reset" and not talk.cut:
        model.say(yamux.window_update(raw.id, 0, RST))
        talk.cut = True
    elif step == "ping" and len(peer.pongs) < 40:
        model.say(yamux.ping(which))
    elif step == "empty" and not talk.finished and not talk.cut:
        model.say(yamux.data(raw.id) + yamux.window_update(raw.id))
    elif talk.app is not None:
        _app_step(model, talk, step, size)


def _app_step(model: Model, talk: Talk, step: str, size: int) -> None:
    if step == "write" and not talk.closed and talk.app.write(text(talk.wrote, size)):
        talk.wrote += size
    elif step == "read":
        model.read(talk, size)
    elif step == "close" and not talk.app.was_reset:
        talk.app.close_write()
        talk.closed = True
    elif step == "app_reset":
        talk.app.reset()
        talk.cut = True


@given(STEPS, PIECES, PIECES)
def test_what_a_peer_may_say_arrives_and_what_it_may_take_it_gets(
    steps: list[tuple[str, int, int]], message: int, piece: int
) -> None:
    message = min(message, 65519)
    with World() as world:
        endpoint = world.endpoint()
        accepted: list[Any] = []
        endpoint.set_handler(APP, accepted.append)
        model = Model(world, RawPeer(world, endpoint).connect(), accepted)
        for step, which, size in steps:
            if step == "deliver":
                model.deliver(min(max(size, 1), 65519), piece if size % 2 else max(size, 1))
            else:
                _step(model, endpoint, step, which, size)
        model.deliver(message, max(piece, 7))
        # In the end everything that was not cut off gets through.
        for talk in model.talks:
            if not talk.cut:
                model.read(talk, 1 << 30)
                model.say(yamux.window_update(talk.raw.id, talk.wrote + 1))
                talk.raw.granted += talk.wrote + 1
        model.deliver(65519, 1 << 20)
        assert not model.peer.closed
        assert not model.peer.violations
        for talk in model.talks:
            if not talk.cut:
                assert talk.read == talk.said
                assert talk.heard == talk.wrote
                assert talk.app.ended == talk.finished
                assert talk.raw.fin == talk.closed
                assert not talk.app.was_reset
        assert world.reactor.held == 0


HEADERS = st.builds(
    lambda version, kind, flags, stream, length: yamux.frame(kind, flags, stream, length, version=version),
    st.sampled_from([0] * 30 + [1, 255]),
    st.sampled_from([0] * 12 + [1] * 12 + [2, 2, 3, 4, 255]),
    st.one_of(st.sampled_from([0, SYN, SYN, FIN, RST, SYN | FIN, SYN | RST, 15]), st.integers(0, 0xFFFF)),
    st.one_of(st.integers(0, 12), st.integers(0, 300), st.integers(0, 0xFFFFFFFF)),
    st.one_of(st.integers(0, 40), st.sampled_from([0, 1, WINDOW, WINDOW + 1, 1 << 24, 0xFFFFFFFF])),
)
SPEECH = st.lists(
    st.one_of(
        HEADERS,
        HEADERS,
        st.binary(max_size=50),
        st.builds(
            lambda stream, protocol, flags: yamux.data(stream, proposal(protocol), flags),
            st.integers(0, 12),
            st.sampled_from([APP, "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/unknown"]),
            st.sampled_from([SYN, SYN, SYN | FIN, 0]),
        ),
        st.builds(yamux.data, st.integers(0, 12), st.binary(max_size=3000), st.sampled_from([0, 0, FIN, RST, SYN])),
    ),
    min_size=6,
    max_size=30,
)


@given(SPEECH, PIECES, st.booleans())
def test_whatever_a_peer_says_costs_it_at_most_its_connection(speech: list[bytes], message: int, dials: bool) -> None:
    with World() as world:
        endpoint = world.endpoint()
        accepted: list[Any] = []
        endpoint.set_handler(APP, accepted.append)
        bystander = RawPeer(world, endpoint).connect()
        peer = RawPeer(world, endpoint, dials=dials).connect()
        said = b"".join(speech)
        for at in range(0, len(said), min(message, 65519)):
            if not peer.closed:
                peer.channel.receive(peer.seal(said[at : at + min(message, 65519)]))
            for app in accepted[-3:]:
                app.write(b"said while it lasts")
                app.read(100)
        world.run()
        bystander.ping()
        peer.channel.close()
        assert list(endpoint.peers) == [bystander.peer_id]
        for app in accepted:
            assert app.finished
            assert app.was_reset or app.ended
