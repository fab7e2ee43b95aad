"""Nothing outlives its use: the native classes stand outside Python's garbage collector, where a circle stays for ever.

Each test opens and ends many circuits, streams or connections in one of the ways there are, and counts memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.peerlab import circuit as pb
from tests.peerlab import yamux
from tests.peerlab.circuit import HOP, STOP, Status
from tests.peerlab.upgrade import MULTISTREAM, line, proposal
from tests.peerlab.yamux import FIN, RST, SYN
from tests.unit.native.circuits import Policy, RelayInMemory, settle
from tests.unit.native.memory import check_nothing_stays
from tests.unit.native.raw import RawPeer
from tests.unit.native.still import World
from towpath._native.appstream import AppStream, open_stream

pytestmark = pytest.mark.slow

KIB = 1024
APP = "/app/1"
ROUNDS = 60
WARM = 200
"""until every id that a session remembers of the streams it reset is one that Python has to make an object of"""


class Bench:
    """A relay with a dialer and a target that stay, and forget their streams between rounds."""

    def __init__(self, world: World, policy: Policy | None = None) -> None:
        self.world = world
        self.relay = RelayInMemory(world, policy)
        self.target, self.dialer = self.relay.target(), self.relay.peer()

    def forget(self) -> None:
        settle(self.dialer, self.target)
        for peer in (self.dialer, self.target):
            assert not peer.closed
            peer.streams.clear()
            peer.frames.clear()
            peer.messages.clear()
            peer.opened.clear()
            peer.violations.clear()
        self.relay.policy.reserve_asked.clear()
        self.relay.policy.connect_asked.clear()
        assert self.relay.idle
        assert self.world.reactor.held == 0


def by_half_close(b: Bench) -> None:
    joined = b.relay.join(b.dialer, b.target)
    joined.near.send(bytes(5000), FIN)
    joined.far.send(bytes(100), FIN)


def by_reset(b: Bench) -> None:
    joined = b.relay.join(b.dialer, b.target)
    joined.near.send(bytes(5000))
    joined.far.reset()


def by_reset_of_the_dialer(b: Bench) -> None:
    joined = b.relay.join(b.dialer, b.target)
    joined.near.reset()


def by_data_and_reset_in_one_frame(b: Bench) -> None:
    joined = b.relay.join(b.dialer, b.target)
    b.dialer.post(yamux.data(joined.near.id, bytes(100), RST))


def by_the_limit(b: Bench) -> None:
    b.relay.policy.connect_with = LIMITED
    joined = b.relay.join(b.dialer, b.target)
    joined.near.send(bytes(2000))


def by_the_limit_while_parked(b: Bench) -> None:
    b.relay.policy.connect_with = LIMITED_MORE
    joined = b.relay.join(b.dialer, b.target)
    joined.far.grant(256 * KIB)
    b.dialer.settle()
    b.target.room = 0
    for _ in range(6):
        joined.near.send(bytes(min(60 * KIB, joined.near.credit)))
        b.dialer.settle()
    b.target.take()


def by_a_reset_while_parked(b: Bench) -> None:
    joined = b.relay.join(b.dialer, b.target)
    joined.far.grant(256 * KIB)
    b.dialer.settle()
    b.target.room = 0
    for _ in range(6):
        joined.near.send(bytes(60 * KIB))
    joined.near.reset()
    b.target.take()


def by_closing_it(b: Bench) -> None:
    b.relay.join(b.dialer, b.target)
    for circuit in list(b.relay.service.circuits.values()):
        circuit.close()


def by_a_dialer_that_gives_up(b: Bench) -> None:
    near = b.relay.calls(b.dialer, b.target, early=bytes(1000))
    b.target.accept(STOP)
    near.reset()


def by_a_dialer_that_gives_up_before_stop_is_agreed_on(b: Bench) -> None:
    near = b.relay.calls(b.dialer, b.target)
    near.reset()


def by_a_target_that_refuses(b: Bench) -> None:
    near = b.relay.calls(b.dialer, b.target, early=bytes(6000))
    b.target.accept(STOP).send(pb.stop_status(Status.PERMISSION_DENIED), FIN)
    near.finish()


def by_a_target_that_resets(b: Bench) -> None:
    near = b.relay.calls(b.dialer, b.target)
    b.target.accept(STOP).reset()
    near.finish()


def by_a_target_that_does_not_speak_stop(b: Bench) -> None:
    near = b.relay.calls(b.dialer, b.target)
    b.target.settle()
    b.target.opened.popleft().send(line(MULTISTREAM) + line("na"), yamux.ACK)
    near.finish()


def by_nobody_there(b: Bench) -> None:
    b.dialer.open(HOP, pb.connect_message(b.dialer.peer_id)).finish()


def by_nonsense(b: Bench) -> None:
    b.dialer.open(HOP, b"\x03\xff\xff\xff").reset()
    b.dialer.open(HOP, b"\xff" * 10)


def by_reserving(b: Bench) -> None:
    b.target.open(HOP, pb.reserve_message()).finish()


def by_never_negotiating(b: Bench) -> None:
    b.dialer.stream().send(line(MULTISTREAM) + b"\x10/half", SYN)
    b.dialer.post(yamux.window_update(b.dialer.streams.popitem()[0], flags=RST))
    b.dialer.stream().send(b"\x01\n", SYN)


WAYS = [
    by_half_close, by_reset, by_reset_of_the_dialer, by_data_and_reset_in_one_frame, by_the_limit,
    by_the_limit_while_parked, by_a_reset_while_parked, by_closing_it, by_a_dialer_that_gives_up,
    by_a_dialer_that_gives_up_before_stop_is_agreed_on, by_a_target_that_refuses, by_a_target_that_resets,
    by_a_target_that_does_not_speak_stop, by_nobody_there, by_nonsense, by_reserving, by_never_negotiating,
]  # fmt: skip

LIMITED = Policy(limit_data=1000).connect_with
LIMITED_MORE = Policy(limit_data=300 * KIB).connect_with


def repeat(way: Callable[[Bench], None], rounds: int) -> None:
    with World() as world:
        bench = Bench(world)
        granted = bench.relay.policy.connect_with

        def once() -> None:
            bench.relay.policy.connect_with = granted
            way(bench)
            bench.forget()

        check_nothing_stays(once, rounds=rounds, warm=max(WARM, rounds // 10))


@pytest.mark.parametrize("way", WAYS)
def test_circuits_ended_in_any_way_leave_nothing(way: Callable[[Bench], None]) -> None:
    repeat(way, ROUNDS)


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
def test_ten_thousand_circuits_ended_in_any_way_leave_nothing(way: Callable[[Bench], None]) -> None:
    repeat(way, 10000 if "parked" not in way.__name__ else 1000)


# Connections ---------------------------------------------------------------------------------------------------------


def dies_idle(world: World, relay: RelayInMemory) -> None:
    relay.peer().channel.close()


def dies_while_shaking_hands(world: World, relay: RelayInMemory) -> None:
    peer = RawPeer(world, relay.endpoint)
    peer.feed(proposal("/noise") + b"\x00")
    peer.channel.close()
    RawPeer(world, relay.endpoint, dials=False).feed(b"\x00")


def dies_with_a_reservation(world: World, relay: RelayInMemory) -> None:
    relay.target().channel.close()


def dies_with_circuits(world: World, relay: RelayInMemory) -> None:
    target, dialer = relay.target(), relay.peer()
    for _ in range(3):
        relay.join(dialer, target).near.send(bytes(3000))
    dialer.channel.close()
    target.channel.close()


def dies_as_target_of_a_pending_stop(world: World, relay: RelayInMemory) -> None:
    target, dialer = relay.target(), relay.peer()
    relay.calls(dialer, target, early=bytes(500))
    relay.calls(dialer, target)
    target.accept(STOP)
    target.channel.close()
    dialer.channel.close()


def dies_as_dialer_of_a_pending_stop(world: World, relay: RelayInMemory) -> None:
    target, dialer = relay.target(), relay.peer()
    relay.calls(dialer, target, early=bytes(500))
    relay.calls(dialer, target)
    target.accept(STOP)
    dialer.channel.close()
    target.channel.close()


def dies_for_a_violation_inside_a_frame(world: World, relay: RelayInMemory) -> None:
    target, dialer = relay.target(), relay.peer()
    joined = relay.join(dialer, target)
    dialer.post(yamux.frame(yamux.DATA, 0, joined.near.id, 5000) + bytes(100))
    dialer.feed(bytes(40))
    target.post(yamux.frame(9))


def dies_with_bytes_nobody_takes(world: World, relay: RelayInMemory) -> None:
    target, dialer = relay.target(), relay.peer()
    joined = relay.join(dialer, target)
    joined.far.grant(256 * KIB)
    dialer.settle()
    target.room = 0
    for _ in range(6):
        joined.near.send(bytes(60 * KIB))
    target.channel.close()
    dialer.channel.close()


def dies_as_its_bytes_are_sent(world: World, relay: RelayInMemory) -> None:
    target, dialer = relay.target(), relay.peer()
    joined = relay.join(dialer, target)
    joined.near.grant(640 * KIB)
    relay.calls(dialer, target)
    far = target.accept(STOP)
    target.settle()
    dialer.dead = True
    frames = b"".join(yamux.data(joined.far.id, bytes(65507)) for _ in range(4))
    target.post(frames + yamux.data(far.id, pb.stop_status(Status.OK)) + yamux.data(joined.far.id, bytes(60)))
    assert dialer.closed
    target.channel.close()


def dies_with_half_a_message(world: World, relay: RelayInMemory) -> None:
    peer = relay.peer()
    peer.feed(b"\xff\xff" + bytes(1000))
    peer.channel.close()


DEATHS = [
    dies_idle, dies_while_shaking_hands, dies_with_a_reservation, dies_with_circuits, dies_as_target_of_a_pending_stop,
    dies_as_dialer_of_a_pending_stop, dies_for_a_violation_inside_a_frame, dies_with_bytes_nobody_takes,
    dies_as_its_bytes_are_sent, dies_with_half_a_message,
]  # fmt: skip


def die_again_and_again(death: Callable[[World, RelayInMemory], None], rounds: int) -> None:
    with World() as world:
        relay = RelayInMemory(world)

        def once() -> None:
            death(world, relay)
            world.run()
            relay.policy.reserve_asked.clear()
            relay.policy.connect_asked.clear()
            assert not relay.endpoint.peers
            assert not relay.service.reservations
            assert relay.idle
            assert world.reactor.held == 0

        check_nothing_stays(once, rounds=rounds, warm=20)


@pytest.mark.parametrize("death", DEATHS)
def test_connections_that_die_in_any_way_leave_nothing(death: Callable[[World, RelayInMemory], None]) -> None:
    die_again_and_again(death, 50)


@pytest.mark.full
@pytest.mark.parametrize("death", DEATHS)
def test_thousands_of_connections_that_die_in_any_way_leave_nothing(
    death: Callable[[World, RelayInMemory], None],
) -> None:
    die_again_and_again(death, 2000)


# Streams in Python's hands -------------------------------------------------------------------------------------------


def app_closes(peer: RawPeer, app: Any) -> None:
    app.write(bytes(3000))
    app.close_write()
    peer.post(yamux.data(peer.streams.popitem()[0], b"bye", FIN))
    app.read(100)


def app_resets_with_readers_waiting(peer: RawPeer, app: Any) -> None:
    app.wait_readable()
    app.write(bytes(300 * KIB))
    app.write(bytes(300 * KIB))
    app.wait_writable()
    app.reset()


def peer_resets_with_readers_waiting(peer: RawPeer, app: Any) -> None:
    app.wait_readable()
    app.write(bytes(600 * KIB))
    app.wait_writable()
    peer.post(yamux.window_update(peer.streams.popitem()[0], flags=RST))


def app_discards(peer: RawPeer, app: Any) -> None:
    app.close_write()
    app.discard()
    peer.post(yamux.data(peer.streams.popitem()[0], bytes(200), FIN))


def peer_sends_and_nobody_reads(peer: RawPeer, app: Any) -> None:
    peer.post(yamux.data(next(reversed(peer.streams)), bytes(50000)))
    peer.post(yamux.window_update(peer.streams.popitem()[0], flags=RST))


USES = [
    app_closes, app_resets_with_readers_waiting, peer_resets_with_readers_waiting, app_discards,
    peer_sends_and_nobody_reads,
]  # fmt: skip


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("inbound", [True, False])
def test_streams_in_pythons_hands_leave_nothing(use: Callable[[RawPeer, Any], None], inbound: bool) -> None:
    with World() as world:
        endpoint = world.endpoint()
        accepted: list[Any] = []
        endpoint.set_handler(APP, accepted.append)
        peer = RawPeer(world, endpoint).connect()
        session = endpoint.session_of(peer.peer_id)
        assert session is not None

        def once() -> None:
            if inbound:
                peer.open(APP)
                app = accepted.pop()
            else:
                made = open_stream(session, APP)
                assert made is not None
                app, agreed = made
                peer.accept(APP)
                assert agreed.result()
            use(peer, app)
            world.run()
            del app
            assert session.stream_count == 0
            peer.streams.clear()
            peer.frames.clear()
            peer.messages.clear()
            peer.violations.clear()

        check_nothing_stays(once, rounds=ROUNDS, warm=WARM)


def test_outbound_streams_that_are_refused_or_abandoned_leave_nothing() -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint).connect()
        session = endpoint.session_of(peer.peer_id)
        assert session is not None

        def once() -> None:
            for end in ("na", "reset", "fin", "abandoned"):
                made = open_stream(session, APP)
                assert made is not None
                app, agreed = made
                peer.settle()
                stream = peer.opened.popleft()
                if end == "na":
                    stream.send(line(MULTISTREAM) + line("na"))
                elif end == "reset":
                    stream.reset()
                elif end == "fin":
                    stream.finish()
                else:
                    app.reset()
                world.run()
                assert end == "abandoned" or agreed.result() is (False if end == "na" else None)
            assert session.stream_count == 0
            peer.settle()
            peer.streams.clear()
            peer.frames.clear()
            peer.messages.clear()
            peer.violations.clear()

        check_nothing_stays(once, rounds=ROUNDS, warm=WARM)


def test_streams_reset_while_they_wait_for_a_full_channel_do_not_pile_up() -> None:
    """Someone who reads nothing opens and resets streams without end."""
    with World() as world:
        endpoint = world.endpoint()

        def write(size: int, stream: AppStream) -> None:
            stream.write(bytes(size))

        endpoint.set_handler(APP, partial(write, 100))
        endpoint.set_handler("/bulk", partial(write, 600 * KIB))
        peer = RawPeer(world, endpoint).connect()
        filler = peer.open("/bulk")
        filler.grant(1024 * KIB)
        peer.room = 0
        peer.settle()
        peer.stream().send(proposal("/bulk"), SYN)
        peer.settle()

        def once() -> None:
            for _ in range(50):
                stream = peer.stream()
                stream.send(proposal(APP), SYN)
                stream.reset()
                del peer.streams[stream.id]

        check_nothing_stays(once, rounds=10, warm=4)
        assert not peer.closed


# Everything together -------------------------------------------------------------------------------------------------


def test_a_world_that_ends_takes_everything_along() -> None:
    def once() -> None:
        with World() as world:
            relay = RelayInMemory(world)
            target, dialer = relay.target(), relay.peer()
            joined = relay.join(dialer, target)
            joined.near.send(bytes(10000))
            relay.calls(dialer, target)
            RawPeer(world, relay.endpoint)

    check_nothing_stays(once, rounds=10, warm=5)


def test_a_stream_given_up_before_it_was_agreed_on_leaves_no_timer() -> None:
    for end in ("connection", "refusal", "reset"):
        with World() as world:
            endpoint = world.endpoint()
            peer = RawPeer(world, endpoint).connect()
            session = endpoint.session_of(peer.peer_id)
            assert session is not None
            made = open_stream(session, APP)
            assert made is not None
            app = made[0]
            app.close_write()
            app.discard()
            peer.settle()
            if end == "connection":
                peer.channel.close()
                assert world.timers == 0
            elif end == "refusal":
                peer.opened.popleft().send(line(MULTISTREAM) + line("na"))
                assert world.timers == 1
            else:
                app.reset()
                assert world.timers == 1
