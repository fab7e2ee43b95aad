"""Circuits: every byte both ways, limits to the byte and the second, half-close, reset, counters, and the budget."""

from __future__ import annotations

import random

import pytest

from tests.peerlab import circuit as pb
from tests.peerlab import yamux
from tests.peerlab.circuit import STOP, Limit, Status
from tests.peerlab.upgrade import MULTISTREAM, proposal
from tests.peerlab.yamux import FIN, WINDOW
from tests.unit.native.circuits import Joined, Policy, RelayInMemory, settle
from tests.unit.native.raw import RawPeer
from tests.unit.native.still import World

KIB = 1024
STATUS_OK = 5
"""bytes of a STATUS message that says OK and no more"""


class Pair:
    """A dialer and a target at a relay."""

    def __init__(self, world: World, policy: Policy | None = None) -> None:
        self.world = world
        self.relay = RelayInMemory(world, policy)
        self.target, self.dialer = self.relay.target(), self.relay.peer()

    def join(self) -> Joined:
        return self.relay.join(self.dialer, self.target)

    def settle(self) -> None:
        settle(self.dialer, self.target)


def carry(pair: Pair, joined: Joined, data: bytes, *, back: bool = False) -> None:
    """Sends data across, granting as it is taken."""
    source, sink = (joined.far, joined.near) if back else (joined.near, joined.far)
    start, at = len(sink.received), 0
    while at < len(data):
        assert source.credit > 0, f"no credit at {at}"
        piece = data[at : at + source.credit]
        source.send(piece)
        at += len(piece)
        pair.settle()
        sink.grant(len(piece))
        pair.settle()
    assert bytes(sink.received[start:]) == data


def test_bytes_cross_in_both_directions_and_are_counted() -> None:
    with World() as world:
        pair = Pair(world)
        joined = pair.join()
        there, back = random.Random(1).randbytes(900 * KIB), random.Random(2).randbytes(1300 * KIB)
        carry(pair, joined, there)
        carry(pair, joined, back, back=True)
        (circuit,) = pair.relay.service.circuits.values()
        assert (circuit.bytes_in, circuit.bytes_out) == (len(there), len(back))
        assert (circuit.dialer_id, circuit.target_id) == (pair.dialer.peer_id, pair.target.peer_id)
        assert pair.relay.service.totals() == (len(there), len(back))
        totals = {
            pair.dialer.peer_id: [len(there), len(back)],
            pair.target.peer_id: [len(back), len(there)],
        }
        assert pair.relay.service.peer_totals() == totals
        joined.near.finish()
        joined.far.finish()
        pair.settle()
        assert not pair.relay.service.circuits
        assert pair.relay.service.totals() == (len(there), len(back))
        assert pair.relay.service.peer_totals() == totals
        assert not pair.dialer.violations
        assert not pair.target.violations


@pytest.mark.parametrize("size", [1, 100, 4095, 4096, 5000, 70000, WINDOW - 200])
@pytest.mark.parametrize("frame", [1 << 20, 3000])
def test_early_bytes_of_both_ends_belong_to_the_circuit(size: int, frame: int) -> None:
    """Behind CONNECT while STOP is under way, and behind STOP's answer in the same frame."""
    with World() as world:
        pair = Pair(world)
        text = random.Random(size).randbytes(size)
        near = pair.dialer.open(pb.HOP)
        near.send(pb.connect_message(pair.target.peer_id) + text, frame=frame)
        far = pair.target.accept(STOP)
        far.take_message()
        far.send(pb.stop_status(Status.OK) + text[::-1], frame=frame)
        pair.settle()
        assert pb.hop_answer(near.take_message()).status == Status.OK
        assert bytes(far.received) == text
        assert bytes(near.received) == text[::-1]
        (circuit,) = pair.relay.service.circuits.values()
        assert (circuit.bytes_in, circuit.bytes_out) == (size, size)


def test_a_stop_answer_in_any_pieces_opens_the_circuit() -> None:
    with World() as world:
        pair = Pair(world, Policy(limit_s=100, limit_data=1 << 20))
        near = pair.relay.calls(pair.dialer, pair.target)
        far = pair.target.accept(STOP)
        far.take_message()
        for byte in pb.stop_status(Status.OK) + b"xyz":
            far.send(bytes([byte]))
        pair.settle()
        answer = pb.hop_answer(near.take_message())
        assert answer.limit == Limit(100, 1 << 20)
        assert bytes(near.received) == b"xyz"


@pytest.mark.parametrize("back", [False, True], ids=["dialer", "target"])
def test_each_direction_closes_on_its_own(back: bool) -> None:
    with World() as world:
        pair = Pair(world)
        joined = pair.join()
        first, second = (joined.far, joined.near) if back else (joined.near, joined.far)
        first.send(b"the last of this direction", FIN)
        pair.settle()
        assert bytes(second.received) == b"the last of this direction"
        assert second.fin
        assert not first.fin
        carry(pair, joined, random.Random(3).randbytes(600 * KIB), back=not back)
        second.finish()
        pair.settle()
        assert first.fin
        assert not first.reset_by_them
        assert pair.relay.idle
        assert world.reactor.held == 0


@pytest.mark.parametrize("how", ["reset", "connection", "violation"])
@pytest.mark.parametrize("back", [False, True], ids=["dialer", "target"])
def test_what_cuts_one_side_off_resets_the_other_and_no_other_circuit(how: str, back: bool) -> None:
    with World() as world:
        pair = Pair(world)
        joined, neighbour = pair.join(), pair.join()
        peer, stream, other = (pair.target, joined.far, joined.near) if back else (pair.dialer, joined.near, joined.far)
        other_peer = pair.dialer if back else pair.target
        stream.send(b"half a sent")
        if how == "reset":
            stream.reset()
        elif how == "connection":
            peer.channel.close()
        else:
            peer.post(yamux.frame(9))
        other_peer.settle()
        assert other.reset_by_them
        assert not other.fin
        if how == "reset":
            carry(pair, neighbour, b"undisturbed")
            assert len(pair.relay.service.circuits) == 1
        else:
            assert pair.relay.idle
        other_peer.ping()


@pytest.mark.parametrize("pieces", [1, 3, 100])
@pytest.mark.parametrize("back", [False, True], ids=["dialer", "target"])
def test_a_limit_is_kept_to_the_byte(pieces: int, back: bool) -> None:
    with World() as world:
        limit = 100 * KIB + 7
        pair = Pair(world, Policy(limit_data=limit))
        joined = pair.join()
        source, sink = (joined.far, joined.near) if back else (joined.near, joined.far)
        source_peer = pair.target if back else pair.dialer
        text = random.Random(4).randbytes(limit + 1)
        for n in range(pieces):
            source.send(text[n * limit // pieces : (n + 1) * limit // pieces])
        pair.settle()
        assert bytes(sink.received) == text[:limit]
        assert not sink.reset_by_them
        # The other direction has a limit of its own, untouched.
        sink.send(bytes(1000))
        pair.settle()
        assert len(source.received) == 1000
        source.send(text[limit:])
        pair.settle()
        assert bytes(sink.received) == text[:limit]
        assert sink.reset_by_them
        assert source.reset_by_them
        assert pair.relay.idle
        source_peer.ping()


def test_what_exceeds_a_limit_within_one_frame_is_cut_at_the_byte() -> None:
    with World() as world:
        pair = Pair(world, Policy(limit_data=1000))
        joined = pair.join()
        joined.near.send(bytes(5000), FIN)
        pair.settle()
        assert len(joined.far.received) == 1000
        assert joined.far.reset_by_them
        assert not joined.far.fin


def test_exactly_the_limit_and_an_end_is_complete() -> None:
    with World() as world:
        pair = Pair(world, Policy(limit_data=1000))
        joined = pair.join()
        joined.near.send(bytes(1000), FIN)
        joined.far.send(bytes(1000), FIN)
        pair.settle()
        for stream in (joined.near, joined.far):
            assert len(stream.received) == 1000
            assert stream.fin
            assert not stream.reset_by_them
        assert pair.relay.idle


def test_early_bytes_count_towards_the_limit() -> None:
    with World() as world:
        pair = Pair(world, Policy(limit_data=1000))
        near = pair.relay.calls(pair.dialer, pair.target, early=bytes(5000))
        far = pair.target.accept(STOP)
        far.take_message()
        far.send(pb.stop_status(Status.OK) + bytes(3000))
        pair.settle()
        assert len(far.received) == 1000
        assert near.reset_by_them
        assert far.reset_by_them
        near.take_message()
        assert len(near.received) <= 1000
        assert pair.relay.idle


def test_a_limit_reached_while_the_receiver_is_full_still_delivers_what_was_within_it() -> None:
    with World() as world:
        limit = WINDOW + 10 * KIB
        pair = Pair(world, Policy(limit_data=limit))
        joined = pair.join()
        # Fill the receiver's window, and let it grant so little that its own sender gets ahead of it.
        while joined.near.credit:
            joined.near.send(bytes(joined.near.credit))
            pair.settle()
        joined.far.grant(20 * KIB)
        pair.settle()
        joined.near.send(bytes(joined.near.credit))
        pair.settle()
        if not joined.near.reset_by_them:
            joined.far.grant(20 * KIB)
            pair.settle()
            joined.near.send(bytes(joined.near.credit))
        joined.far.grant(WINDOW)
        pair.settle()
        assert len(joined.far.received) == limit
        assert joined.far.reset_by_them
        assert joined.near.reset_by_them
        assert pair.relay.idle


@pytest.mark.slow
def test_what_is_within_a_limit_waits_two_seconds_for_a_receiver_that_takes_nothing() -> None:
    with World() as world:
        pair = Pair(world, Policy(limit_data=400 * KIB))
        joined = pair.join()
        # A target that withholds its transport: bytes are parked, then the limit is passed.
        pair.target.room = 0
        joined.far.grant(512 * KIB)
        pair.settle()
        sent = 0
        while not joined.near.reset_by_them and joined.near.credit:
            size = min(joined.near.credit, 60 * KIB)
            joined.near.send(bytes(size))
            sent += size
            pair.dialer.settle()
        if not joined.near.reset_by_them:
            pytest.fail(f"{sent} bytes did not reach the limit")
        assert len(pair.relay.service.circuits) == 1
        world.loop.run_until(lambda: pair.relay.idle, "the end of its patience")
        pair.target.take()
        assert joined.far.reset_by_them
        assert not joined.far.fin
        assert len(joined.far.received) <= 400 * KIB


def test_a_circuit_ends_with_its_time() -> None:
    with World() as world:
        pair = Pair(world, Policy(limit_s=1))
        joined = pair.join()
        carry(pair, joined, bytes(1000))
        world.loop.run_until(lambda: not pair.relay.service.circuits, "the circuit's end")
        pair.settle()
        assert joined.near.reset_by_them
        assert joined.far.reset_by_them
        assert pair.relay.idle


def test_a_circuit_closed_from_outside_resets_both() -> None:
    with World() as world:
        pair = Pair(world)
        joined = pair.join()
        (circuit,) = pair.relay.service.circuits.values()
        circuit.close()
        circuit.close()
        pair.settle()
        assert joined.near.reset_by_them
        assert joined.far.reset_by_them
        assert pair.relay.idle
        assert circuit.bytes_in == 0


def test_two_hundred_circuits_of_one_pair_of_connections_come_and_go_alone() -> None:
    with World() as world:
        pair = Pair(world)
        joined = [pair.join() for _ in range(200)]
        assert pair.relay.endpoint.peers[pair.target.peer_id].circuits == 200
        order = list(range(200))
        random.Random(5).shuffle(order)
        for count, n in enumerate(order):
            one = joined[n]
            if count % 3 == 0:
                one.near.reset()
            elif count % 3 == 1:
                one.far.reset()
            else:
                one.near.finish()
                one.far.finish()
            pair.settle()
            assert len(pair.relay.service.circuits) == 199 - count
            if count % 20 == 0 and count < 199:
                carry(pair, joined[order[-1]], bytes([count]))
        assert pair.relay.idle


def test_a_reader_that_stops_parks_nothing_here() -> None:
    with World() as world:
        pair = Pair(world)
        joined = pair.join()
        while joined.near.credit:
            joined.near.send(bytes(joined.near.credit))
            pair.settle()
        # All but the few bytes by which the hops' set-up differs lie at the receiver.
        assert joined.far.granted < 256
        assert world.reactor.held < 512
        assert len(joined.far.received) >= WINDOW - 256


# The budget ----------------------------------------------------------------------------------------------------------


def park(pair: Pair, joined: Joined) -> None:
    """Makes the relay park bytes: the receiver's transport takes next to nothing, and its sender has credit."""
    while joined.near.credit and not joined.near.reset_by_them:
        joined.near.send(bytes(min(joined.near.credit, 64 * KIB)))
        pair.dialer.settle()
        pair.target.take(1)


def test_over_budget_the_circuit_that_has_been_stalled_longest_is_reset() -> None:
    with World(budget=1536 * KIB) as world:
        pair = Pair(world)
        joined = [pair.join() for _ in range(10)]
        for one in joined:
            one.far.grant(WINDOW)
        pair.settle()
        pair.target.room = 0
        for n, one in enumerate(joined):
            park(pair, one)
            assert world.reactor.held <= 1536 * KIB, f"over budget with {n}"
        assert world.reactor.budget_resets > 0
        gone = [one.near.reset_by_them for one in joined]
        # What the first sent went into the transport, and stalled nowhere; then the oldest of the stalled went first.
        first = gone.index(True)
        assert first <= 1
        assert gone[first:] == sorted(gone[first:], reverse=True)
        assert not gone[-1]
        pair.target.take()
        pair.settle()
        for one in joined:
            assert one.far.reset_by_them == one.near.reset_by_them
            if not one.near.reset_by_them:
                one.far.grant(WINDOW)
                pair.settle()
                carry(pair, one, b"alive")
        assert world.reactor.held == 0


def test_the_circuit_that_is_sending_may_be_the_one_that_has_to_go() -> None:
    with World(budget=600 * KIB) as world:
        pair = Pair(world)
        joined = pair.join()
        joined.far.grant(4 * WINDOW)
        pair.settle()
        pair.target.room = 0
        park(pair, joined)
        assert joined.near.reset_by_them
        assert world.reactor.budget_resets == 1
        assert pair.relay.idle
        assert world.reactor.held <= 600 * KIB
        pair.target.take()
        assert joined.far.reset_by_them
        assert world.reactor.held == 0


def test_a_circuit_that_is_no_longer_stalled_is_not_reset_for_its_past() -> None:
    with World(budget=1200 * KIB) as world:
        pair = Pair(world)
        past = pair.join()
        past.far.grant(WINDOW)
        pair.settle()
        pair.target.room = 0
        park(pair, past)
        past.near.send(b"", FIN)
        pair.target.take()
        pair.settle()
        assert world.reactor.held == 0
        assert past.far.fin
        filler = [pair.join() for _ in range(4)]
        for one in filler:
            one.far.grant(4 * WINDOW)
        pair.settle()
        pair.target.room = 0
        for one in filler:
            park(pair, one)
        assert world.reactor.budget_resets > 0
        assert not past.near.reset_by_them


def test_over_budget_connections_that_take_nothing_are_closed_those_longest_that_moved_last() -> None:
    """Each holds a transport's queue, and no circuit that could be reset instead."""
    with World(budget=4096 * KIB) as world:
        relay = RelayInMemory(world)
        dialer = relay.peer()
        targets: list[RawPeer] = []
        for n in range(40):
            target = relay.target()
            joined = relay.join(dialer, target)
            joined.far.grant(WINDOW)
            dialer.settle()
            target.room = 0
            while joined.near.credit and not joined.near.reset_by_them:
                joined.near.send(bytes(min(joined.near.credit, 64 * KIB)))
                dialer.settle()
            targets.append(target)
            if n >= 4:
                # The second to fifth read slowly, but they read.
                for slow in targets[1:5]:
                    slow.take(1)
            assert world.reactor.held <= 4096 * KIB
        assert world.reactor.budget_resets > 20
        assert not any(target.closed for target in targets[1:5])
        assert not targets[-1].closed
        assert targets[0].closed
        order = [target.closed for target in targets[5:]]
        assert order == sorted(order, reverse=True)
        for target in targets:
            target.take()


def test_over_budget_a_connect_that_holds_early_bytes_fails() -> None:
    with World(budget=1024 * KIB) as world:
        relay = RelayInMemory(world)
        dialer, target = relay.peer(), relay.target()
        calls = []
        for _ in range(8):
            near = relay.calls(dialer, target)
            near.send(bytes(near.credit))
            calls.append(near)
            assert world.reactor.held <= 1024 * KIB
        ended = [bool(near.received) for near in calls]
        assert ended[:4] == [True] * 4
        assert not ended[-1]
        assert pb.hop_answer(calls[0].take_message()).status == Status.CONNECTION_FAILED
        # Those that are left may go on: the last of them does.
        target.settle()
        stops = [target.opened.popleft() for _ in range(8)]
        assert [stop.reset_by_them for stop in stops] == ended
        stops[-1].take_lines(MULTISTREAM, STOP)
        stops[-1].take_message()
        stops[-1].send(proposal(STOP) + pb.stop_status(Status.OK))
        assert len(stops[-1].received) > 256000
        for near in calls:
            near.reset()
        assert relay.idle
        assert world.reactor.held == 0


def test_relays_of_two_endpoints_share_a_budget_and_nothing_else() -> None:
    with World() as world:
        first, second = RelayInMemory(world), RelayInMemory(world)
        target = first.target()
        dialer = RawPeer(world, second.endpoint).connect()
        near = dialer.open(pb.HOP, pb.connect_message(target.peer_id))
        assert pb.hop_answer(near.take_message()).status == Status.NO_RESERVATION
