"""Whole paths in memory: dialer, relay and target are endpoints; inside their circuit runs a connection of its own."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.unit.native.circuits import Policy
from tests.unit.native.still import Cable, World
from towpath._native import messages
from towpath._native.appstream import open_stream
from towpath._native.endpoint import HandshakeFailed, WrongIdentity

HOP = "/libp2p/circuit/relay/0.2.0/hop"
STOP = "/libp2p/circuit/relay/0.2.0/stop"
APP = "/app/1"
OK = 100


class Path:
    """A dialer and a target that meet at a relay; the target has reserved."""

    def __init__(self, world: World, policy: Policy | None = None, piece: int = 1 << 20) -> None:
        self.world = world
        self.dialer, self.relay, self.target = world.endpoint(1), world.endpoint(2), world.endpoint(3)
        self.policy = policy or Policy()
        self.service = self.relay.start_relaying(self.policy)
        self.near = Cable(world, self.dialer, self.relay, piece)
        self.far = Cable(world, self.target, self.relay, piece)
        self.stops: list[Any] = []
        self.target.set_handler(STOP, self.stops.append)
        self.accepted: list[Any] = []
        self.target.set_handler(APP, self.accepted.append)
        assert self.ask(self.target, messages.hop_reserve())[0].status == OK

    def ask(self, who: Any, message: bytes) -> tuple[messages.Message, Any]:
        """Says a HOP message and reads the answer: (answer, the stream)."""
        made = open_stream(who.session_of(self.relay.peer_id), HOP)
        assert made is not None
        stream, agreed = made
        stream.write(message)
        self.world.run()
        assert agreed.result()
        return self.answer(stream), stream

    @staticmethod
    def answer(stream: Any) -> messages.Message:
        head = b""
        while (framed := messages.message_length(head)) is None:
            assert stream.available, "no answer"
            head += stream.read(1)
        return messages.read_hop(stream.read(framed[1]))

    def circuit(self) -> tuple[Any, Any]:
        """Both ends of a circuit, as streams in Python's hands."""
        session = self.dialer.session_of(self.relay.peer_id)
        assert session is not None
        made = open_stream(session, HOP)
        assert made is not None
        near = made[0]
        near.write(messages.hop_connect(self.target.peer_id))
        self.world.run()
        far = self.stops.pop()
        asked = messages.read_stop(far.read(1000)[1:])
        assert asked.peer_id == self.dialer.peer_id
        far.write(messages.stop_status(OK))
        self.world.run()
        assert self.answer(near).status == OK
        return near, far

    def secured(self, expected: bytes | None = None) -> tuple[asyncio.Future[Any], asyncio.Future[Any]]:
        """Both ends' futures of the connection inside a new circuit."""
        near, far = self.circuit()
        there = self.target.wrap(far, False, None, self.relay.peer_id)
        here = self.dialer.wrap(near, True, expected, self.relay.peer_id)
        self.world.run()
        return here, there


@pytest.mark.parametrize("piece", [1 << 20, 1000, 37])
def test_a_connection_inside_a_circuit_carries_streams(piece: int) -> None:
    with World() as world:
        path = Path(world, piece=piece)
        here, there = path.secured(path.target.peer_id)
        session = here.result()
        assert (session.peer_id, session.via, session.remote) == (path.target.peer_id, path.relay.peer_id, b"")
        assert there.result().peer_id == path.dialer.peer_id
        made = open_stream(session, APP)
        assert made is not None
        stream = made[0]
        text = random.Random(piece).randbytes(3 * piece if piece > 1000 else 20000)
        stream.write(text)
        stream.close_write()
        world.run()
        (app,) = path.accepted
        heard = b""
        while part := app.read(100000):
            heard += part
            world.run()
        assert heard == text
        assert app.ended
        app.write(b"heard")
        app.close_write()
        world.run()
        assert stream.read(100) == b"heard"
        assert stream.ended
        assert session.stream_count == 0


def test_another_identity_than_the_one_dialed_is_refused() -> None:
    with World() as world:
        path = Path(world)
        here, there = path.secured(path.relay.peer_id)
        assert isinstance(here.exception(), WrongIdentity)
        # The listener may have met the dialer before that hung up.
        assert there.done()
        world.run()
        assert not path.target.peers.get(path.dialer.peer_id)
        assert not path.service.circuits


@pytest.mark.parametrize("how", ["reset", "cut", "end"])
def test_a_handshake_inside_a_circuit_that_ends_fails(how: str) -> None:
    with World() as world:
        path = Path(world)
        near, far = path.circuit()
        here = path.dialer.wrap(near, True, None, path.relay.peer_id)
        if how == "reset":
            far.reset()
        elif how == "cut":
            path.near.cut()
        else:
            far.close_write()
        world.run()
        assert isinstance(here.exception(), HandshakeFailed)
        assert path.dialer.connections == (0 if how == "cut" else 1)


def test_who_gives_up_waiting_for_a_connection_inside_a_circuit_ends_it() -> None:
    with World() as world:
        path = Path(world)
        near, _ = path.circuit()
        here = path.dialer.wrap(near, True, None, path.relay.peer_id)
        here.cancel()
        world.run()
        assert not path.service.circuits
        assert path.dialer.connections == 1


def test_a_stream_that_has_ended_carries_no_connection() -> None:
    with World() as world:
        path = Path(world)
        near, far = path.circuit()
        far.reset()
        world.run()
        with pytest.raises(HandshakeFailed):
            path.dialer.wrap(near, True, None, path.relay.peer_id)


def test_a_connection_inside_a_circuit_may_not_reserve() -> None:
    with World() as world:
        path = Path(world)
        path.target.start_relaying(Policy())
        here, _ = path.secured()
        for message in (messages.hop_reserve(), messages.hop_connect(path.relay.peer_id)):
            made = open_stream(here.result(), HOP)
            assert made is not None
            made[0].write(message)
            world.run()
            assert path.answer(made[0]).status == 202


def test_a_reservation_does_not_outlive_its_holders_direct_connection() -> None:
    """Another one, inside a circuit of another relay, neither keeps it nor carries STOP."""
    with World() as world:
        path = Path(world)
        service = path.target.start_relaying(Policy())
        direct = Cable(world, path.dialer, path.target)
        session = path.dialer.session_of(path.target.peer_id)
        assert session is not None
        made = open_stream(session, HOP)
        assert made is not None
        made[0].write(messages.hop_reserve())
        world.run()
        assert path.answer(made[0]).status == OK
        here, _ = path.secured()
        # Whom it calls now, it calls directly.
        caller = path.relay.session_of(path.target.peer_id)
        assert caller is not None
        made = open_stream(caller, HOP)
        assert made is not None
        made[0].write(messages.hop_connect(path.dialer.peer_id))
        stops: list[Any] = []
        path.dialer.set_handler(STOP, stops.append)
        world.run()
        assert [stop.session.via for stop in stops] == [b""]
        direct.cut()
        assert not here.result().closed
        assert not service.reservations


def test_early_bytes_behind_the_circuits_answer_are_the_inner_handshakes() -> None:
    """The target's first bytes lie in the dialer's stream already when the connection inside begins."""
    with World() as world:
        path = Path(world)
        near, far = path.circuit()
        there = path.target.wrap(far, True, None, path.relay.peer_id)
        world.run()
        assert near.available > 0
        here = path.dialer.wrap(near, False, None, path.relay.peer_id)
        world.run()
        assert here.result().peer_id == path.target.peer_id
        assert there.result().peer_id == path.dialer.peer_id


def test_a_reader_that_stops_holds_its_writer_back_through_both_layers() -> None:
    with World() as world:
        path = Path(world)
        here, _ = path.secured()
        made = open_stream(here.result(), APP)
        assert made is not None
        stream = made[0]
        text = random.Random(9).randbytes(3_000_000)
        stream.write(text)
        world.run()
        (app,) = path.accepted
        # One window came, the rest waits where it was written; the relay holds next to nothing of it.
        assert 262000 < app.available <= 262144
        assert stream.pending == len(text) - app.available
        writable = stream.wait_writable()
        assert not writable.done()
        heard = bytearray()
        while len(heard) < len(text):
            part = app.read(50000)
            assert part, f"nothing more at {len(heard)}"
            heard += part
            world.run()
        assert heard == text
        assert writable.done()
        assert stream.pending == 0


def test_a_blocked_outer_transport_is_waited_for() -> None:
    with World() as world:
        path = Path(world)
        here, _ = path.secured()
        streams = []
        for n in range(3):
            made = open_stream(here.result(), APP)
            assert made is not None
            streams.append(made[0])
            world.run()
            made[0].write(bytes([n]) * 10)
        path.near.room[0] = 100_000
        text = random.Random(10).randbytes(200_000)
        for stream in streams:
            stream.write(text)
        world.run()
        path.near.open(0)
        for n, app in enumerate(path.accepted):
            heard = b""
            while part := app.read(1 << 20):
                heard += part
                world.run()
            assert heard == bytes([n]) * 10 + text


@pytest.mark.parametrize("who", ["near", "far", "relay"])
def test_a_path_cut_anywhere_resets_what_runs_inside(who: str) -> None:
    with World() as world:
        path = Path(world)
        here, there = path.secured()
        made = open_stream(here.result(), APP)
        assert made is not None
        stream = made[0]
        stream.write(bytes(5000))
        world.run()
        waiting = path.accepted[0].wait_readable()
        if who == "relay":
            (circuit,) = path.service.circuits.values()
            circuit.close()
        else:
            getattr(path, who).cut()
        world.run()
        assert here.result().closed
        assert there.result().closed
        assert stream.was_reset
        assert path.accepted[0].was_reset
        assert waiting.done()
        assert not path.service.circuits


def test_closing_a_connection_inside_a_circuit_ends_the_circuit() -> None:
    with World() as world:
        path = Path(world)
        here, there = path.secured()
        here.result().close()
        world.run()
        assert here.result().closed
        assert there.result().closed
        assert not path.service.circuits
        # Only the connections to the relay are left.
        assert path.dialer.connections == path.target.connections == 1


def test_a_limit_cuts_a_connection_inside_and_is_no_end() -> None:
    with World() as world:
        path = Path(world, Policy(limit_data=20000))
        here, _ = path.secured()
        made = open_stream(here.result(), APP)
        assert made is not None
        made[0].write(bytes(1000))
        world.run()
        made[0].write(bytes(50000))
        world.run()
        assert path.accepted[0].available == 1000
        assert path.accepted[0].was_reset
        assert not path.accepted[0].ended
        assert here.result().closed
        assert not path.service.circuits


@pytest.mark.slow
def test_circuits_with_connections_inside_leave_nothing() -> None:
    from tests.unit.native.memory import check_nothing_stays

    with World() as world:
        path = Path(world)

        def once() -> None:
            here, there = path.secured()
            made = open_stream(here.result(), APP)
            assert made is not None
            made[0].write(bytes(300_000))
            world.run()
            path.accepted.pop().read(1000)
            here.result().abort()
            world.run()
            assert there.result().closed
            path.policy.connect_asked.clear()

        check_nothing_stays(once, rounds=60, warm=200)
