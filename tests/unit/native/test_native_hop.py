"""HOP and STOP: every status where it belongs, messages in any pieces, and nothing left behind by who gives up."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.peerlab import circuit as pb
from tests.peerlab import yamux
from tests.peerlab.circuit import HOP, STOP, HopType, Limit, Status, StopType, hop_message
from tests.peerlab.keys import Identity
from tests.peerlab.protobuf import prefixed, varint
from tests.peerlab.upgrade import MULTISTREAM, NOT_AVAILABLE, line, proposal
from tests.peerlab.yamux import ACK, FIN, RST, SYN
from tests.unit.native.circuits import Policy, RelayInMemory, ask, settle
from tests.unit.native.raw import RawPeer, RawStream
from tests.unit.native.still import World
from towpath._native.hop import Verdict
from towpath.addresses import to_bytes

KIB = 1024


# Reservations --------------------------------------------------------------------------------------------------------


def test_a_reservation_tells_voucher_addresses_and_limits() -> None:
    with World() as world:
        relay = RelayInMemory(world, Policy(ttl_s=600, limit_s=120, limit_data=1 << 17))
        relay.service.addresses = [b"\x04\x01\x02\x03\x04\x06\x0f\xa1"]
        peer = relay.peer()
        answer = ask(peer, pb.reserve_message())
        assert answer.status == Status.OK
        assert answer.limit == Limit(120, 1 << 17)
        assert answer.reservation is not None
        assert abs(answer.reservation.expires - time.time() - 600) < 5
        assert answer.reservation.addresses == relay.service.addresses
        voucher = answer.reservation.checked_voucher()
        assert voucher.relay == voucher.signer == relay.endpoint.peer_id
        assert voucher.peer == peer.peer_id
        assert voucher.expires == answer.reservation.expires
        (reservation,) = relay.service.reservations.values()
        assert (reservation.limit_s, reservation.limit_data) == (120, 1 << 17)


@pytest.mark.parametrize(
    ("first", "neighbour", "stranger"),
    [
        ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/2", "/ip4/192.0.2.2/tcp/1"),
        ("/ip6/2001:db8::1/tcp/1", "/ip6/2001:db8::ffff:2/tcp/1", "/ip6/2001:db8:0:1::1/tcp/1"),
    ],
    ids=["IPv4 address", "IPv6 /64"],
)
def test_policy_learns_how_many_places_a_household_has(first: str, neighbour: str, stranger: str) -> None:
    with World() as world:
        relay = RelayInMemory(world)
        for remote in (first, neighbour, stranger, neighbour):
            ask(relay.peer(remote=to_bytes(remote)), pb.reserve_message())
        assert [asked[4] for asked in relay.policy.reserve_asked] == [0, 1, 0, 2]


def test_policy_is_asked_once_with_the_numbers_that_are_true() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        first, second = relay.target(), relay.target()
        ask(first, pb.reserve_message())
        assert [asked[0] for asked in relay.policy.reserve_asked] == [first.peer_id, second.peer_id, first.peer_id]
        assert [asked[2:] for asked in relay.policy.reserve_asked] == [(False, 0, 0), (False, 1, 1), (True, 2, 2)]
        relay.join(first, second)
        relay.calls(first, second)
        assert relay.policy.connect_asked == [
            (first.peer_id, second.peer_id, b"", 0, 0, 0),
            (first.peer_id, second.peer_id, b"", 1, 1, 1),
        ]


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict(Status.RESERVATION_REFUSED), Status.RESERVATION_REFUSED),
        (Verdict(Status.PERMISSION_DENIED), Status.PERMISSION_DENIED),
        (Verdict(Status.RESOURCE_LIMIT_EXCEEDED), Status.RESOURCE_LIMIT_EXCEEDED),
        (ValueError("a policy that fails"), Status.RESERVATION_REFUSED),
        (None, Status.RESERVATION_REFUSED),
        ("no verdict", Status.RESERVATION_REFUSED),
    ],
)
def test_who_may_not_reserve_is_told_so(verdict: object, status: Status) -> None:
    with World() as world:
        relay = RelayInMemory(world)
        relay.policy.reserve_with = verdict
        peer = relay.peer()
        assert ask(peer, pb.reserve_message()).status == status
        assert not relay.service.reservations
        complaints = [str(one["exception"]) for one in world.loop.complaints]
        assert bool(complaints) == (not isinstance(verdict, Verdict) and verdict is not None)
        world.loop.complaints.clear()


def test_a_refused_renewal_leaves_the_reservation_as_it_was() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        peer = relay.target()
        relay.policy.reserve_with = Verdict(Status.RESERVATION_REFUSED)
        assert ask(peer, pb.reserve_message()).status == Status.RESERVATION_REFUSED
        assert list(relay.service.reservations) == [peer.peer_id]


def test_a_reservation_ends_with_its_time_and_lets_its_connection_go() -> None:
    with World() as world:
        relay = RelayInMemory(world, Policy(ttl_s=1))
        relay.endpoint.idle_ms = 64
        peer = relay.target()
        session = relay.endpoint.session_of(peer.peer_id)
        assert session is not None
        assert session.pins == 1
        ask(peer, pb.reserve_message())
        assert session.pins == 1
        world.loop.run_until(lambda: not relay.service.reservations, "the reservation's end")
        assert session.pins == 0
        assert not peer.closed
        world.loop.run_until(lambda: peer.closed, "the end of its connection")


def test_a_reservation_ends_with_the_last_of_its_connections() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        identity = Identity.ed25519()
        first = relay.peer(identity=identity)
        assert ask(first, pb.reserve_message()).status == Status.OK
        second = relay.peer(identity=identity)
        sessions = relay.endpoint.peers[identity.peer_id].sessions[:]
        assert [session.pins for session in sessions] == [1, 0]
        first.channel.close()
        # The other connection keeps it from now on.
        assert list(relay.service.reservations) == [identity.peer_id]
        assert sessions[1].pins == 1
        second.channel.close()
        assert not relay.service.reservations
        assert world.timers == 0


def test_reservations_are_counted_by_the_network_that_their_addresses_are_in() -> None:
    places = ["/ip4/192.0.2.1", "/ip4/192.0.2.200", "/ip4/192.0.3.1", "/ip6/2001:db8:0:1::1", "/ip6/2001:db8:0:2::1"]
    networks = [bytes((192, 0, 2)), bytes((192, 0, 3)), bytes.fromhex("20010db8000000"), bytes(7)]
    with World() as world:
        relay = RelayInMemory(world)
        for place in places:
            peer = RawPeer(world, relay.endpoint, remote=to_bytes(f"{place}/tcp/1")).connect()
            for _ in range(2):
                assert ask(peer, pb.reserve_message()).status == Status.OK
        assert [relay.service.reserved_in(network) for network in networks] == [2, 1, 2, 0]
        for peer_id in list(relay.service.reservations):
            relay.service.withdraw(peer_id)
        assert [relay.service.reserved_in(network) for network in networks] == [0, 0, 0, 0]


def test_a_withdrawn_reservation_is_gone() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        relay.service.withdraw(target.peer_id)
        relay.service.withdraw(target.peer_id)
        relay.service.withdraw(dialer.peer_id)
        assert ask(dialer, pb.connect_message(target.peer_id)).status == Status.NO_RESERVATION
        session = relay.endpoint.session_of(target.peer_id)
        assert session is not None
        assert session.pins == 0


# Messages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "status"),
    [
        pytest.param(prefixed(b""), Status.MALFORMED_MESSAGE, id="nothing"),
        pytest.param(hop_message((5, 100)), Status.MALFORMED_MESSAGE, id="no type"),
        pytest.param(hop_message((1, 7)), Status.MALFORMED_MESSAGE, id="an unknown type"),
        pytest.param(hop_message((1, 1 << 40)), Status.MALFORMED_MESSAGE, id="a huge type"),
        pytest.param(hop_message((1, HopType.STATUS), (5, 100)), Status.UNEXPECTED_MESSAGE, id="a status"),
        pytest.param(prefixed(b"\xff\xff\xff"), Status.MALFORMED_MESSAGE, id="not protobuf"),
        pytest.param(prefixed(b"\x08"), Status.MALFORMED_MESSAGE, id="cut off"),
        pytest.param(hop_message((1, HopType.CONNECT)), Status.MALFORMED_MESSAGE, id="no peer"),
        pytest.param(hop_message((1, HopType.CONNECT), (2, b"")), Status.MALFORMED_MESSAGE, id="an empty peer"),
        pytest.param(pb.connect_message(b""), Status.MALFORMED_MESSAGE, id="an empty id"),
        pytest.param(pb.connect_message(b"\x12\x20" + bytes(31)), Status.MALFORMED_MESSAGE, id="a short id"),
        pytest.param(pb.connect_message(b"\x00\x30" + bytes(48)), Status.MALFORMED_MESSAGE, id="a long id"),
        pytest.param(hop_message((1, HopType.RESERVE), (2, 5)), Status.MALFORMED_MESSAGE, id="a peer that is a number"),
        pytest.param(hop_message((1, b"\x00")), Status.MALFORMED_MESSAGE, id="a type that is bytes"),
        pytest.param(pb.connect_message(Identity.ed25519().peer_id), Status.NO_RESERVATION, id="a stranger"),
        pytest.param(
            hop_message((1, HopType.RESERVE), (99, b"x" * 4000)), Status.OK, id="unknown fields up to the bound"
        ),
    ],
)
@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
def test_each_hop_message_gets_the_status_it_deserves(said: bytes, status: Status, split: bool) -> None:
    with World() as world:
        relay = RelayInMemory(world)
        peer = relay.peer()
        stream = peer.open(HOP)
        step = 1 if len(said) < 200 else 97
        for piece in [said[at : at + step] for at in range(0, len(said), step)] if split else [said]:
            stream.send(piece)
        answer = pb.hop_answer(stream.take_message())
        assert answer.type == HopType.STATUS
        assert answer.status == status
        assert stream.fin
        stream.finish()
        assert world.reactor.held == 0
        session = relay.endpoint.session_of(peer.peer_id)
        assert session is not None
        assert session.stream_count == 0


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(varint(4097), id="a byte too long"),
        pytest.param(b"\xff" * 10, id="an endless length"),
        pytest.param(b"\x80\x00", id="a length not in its shortest form"),
    ],
)
def test_impossible_lengths_are_a_reset(said: bytes) -> None:
    with World() as world:
        relay = RelayInMemory(world)
        peer = relay.peer()
        stream = peer.open(HOP, said)
        assert stream.reset_by_them
        peer.ping()


def test_a_hop_stream_that_ends_before_it_says_anything_is_reset() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        peer = relay.peer()
        for said in (b"", b"\x02", pb.reserve_message()[:-1]):
            stream = peer.open(HOP, said)
            stream.finish()
            assert stream.reset_by_them
        peer.ping()


def test_what_follows_an_answer_is_ignored() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        peer = relay.peer()
        stream = peer.open(HOP, pb.reserve_message() * 3 + b"and more")
        stream.send(bytes(50000))
        assert pb.hop_answer(stream.take_message()).status == Status.OK
        assert not stream.received
        assert len(relay.policy.reserve_asked) == 1
        stream.finish()
        peer.ping()


def test_nobody_is_connected_to_oneself_or_to_the_relay() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        peer = relay.target()
        for target in (peer.peer_id, relay.endpoint.peer_id):
            assert ask(peer, pb.connect_message(target)).status == Status.PERMISSION_DENIED
        assert not relay.policy.connect_asked


def test_a_peer_without_reservation_is_not_reached() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        one, other = relay.peer(), relay.peer()
        assert ask(one, pb.connect_message(other.peer_id)).status == Status.NO_RESERVATION
        assert not other.opened


def test_a_target_that_said_goodbye_is_not_called_any_more() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        target.post(yamux.frame(yamux.GO_AWAY))
        assert not target.closed
        assert ask(dialer, pb.connect_message(target.peer_id)).status == Status.NO_RESERVATION


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict(Status.RESOURCE_LIMIT_EXCEEDED), Status.RESOURCE_LIMIT_EXCEEDED),
        (Verdict(Status.PERMISSION_DENIED), Status.PERMISSION_DENIED),
        (RuntimeError("a policy that fails"), Status.RESOURCE_LIMIT_EXCEEDED),
        (42, Status.RESOURCE_LIMIT_EXCEEDED),
    ],
)
def test_who_may_not_connect_is_told_so(verdict: object, status: Status) -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        relay.policy.connect_with = verdict
        assert ask(dialer, pb.connect_message(target.peer_id)).status == status
        assert relay.idle
        assert bool(world.loop.complaints) == (not isinstance(verdict, Verdict))
        world.loop.complaints.clear()


# STOP ----------------------------------------------------------------------------------------------------------------


def test_stop_names_the_dialer_and_the_limits() -> None:
    with World() as world:
        relay = RelayInMemory(world, Policy(limit_s=60, limit_data=1000))
        target, dialer = relay.target(), relay.peer()
        relay.calls(dialer, target)
        request = pb.stop_request(target.accept(STOP).take_message())
        assert request.type == StopType.CONNECT
        assert request.peer == dialer.peer_id
        assert request.limit == Limit(60, 1000)


def _reset(target: RawPeer, stop: RawStream) -> None:
    stop.reset()


def _finish(target: RawPeer, stop: RawStream) -> None:
    stop.finish()


def _vanish(target: RawPeer, stop: RawStream) -> None:
    target.channel.close()


def _violate(target: RawPeer, stop: RawStream) -> None:
    target.post(yamux.frame(9))


def _says(said: bytes, flags: int = 0) -> Callable[[RawPeer, RawStream], None]:
    def say(target: RawPeer, stop: RawStream) -> None:
        stop.send(said, flags)

    return say


ENDS = [
    pytest.param(_says(pb.stop_status(Status.PERMISSION_DENIED)), Status.CONNECTION_FAILED, id="denied"),
    pytest.param(_says(pb.stop_status(Status.RESOURCE_LIMIT_EXCEEDED)), Status.CONNECTION_FAILED, id="exceeded"),
    pytest.param(_says(pb.stop_status(Status.NO_RESERVATION)), Status.CONNECTION_FAILED, id="its own NO_RESERVATION"),
    pytest.param(_says(pb.stop_status(0)), Status.CONNECTION_FAILED, id="status 0"),
    pytest.param(_says(pb.stop_status(1 << 33)), Status.CONNECTION_FAILED, id="a huge status"),
    pytest.param(_says(hop_message((1, StopType.STATUS))), Status.CONNECTION_FAILED, id="no status"),
    pytest.param(_says(hop_message((4, 100))), Status.CONNECTION_FAILED, id="no type"),
    pytest.param(_says(hop_message((1, StopType.CONNECT), (4, 100))), Status.CONNECTION_FAILED, id="a CONNECT"),
    pytest.param(_says(prefixed(b"\xff")), Status.CONNECTION_FAILED, id="not protobuf"),
    pytest.param(_says(prefixed(b"")), Status.CONNECTION_FAILED, id="nothing"),
    pytest.param(_says(varint(5000)), Status.CONNECTION_FAILED, id="too long"),
    pytest.param(_says(b"\xff" * 10), Status.CONNECTION_FAILED, id="an endless length"),
    pytest.param(_says(pb.stop_status(200), FIN), Status.CONNECTION_FAILED, id="refused and ended"),
    pytest.param(_says(b"\x04\x08", FIN), Status.CONNECTION_FAILED, id="ended within a message"),
    pytest.param(_reset, Status.CONNECTION_FAILED, id="reset"),
    pytest.param(_finish, Status.CONNECTION_FAILED, id="ended"),
    pytest.param(_vanish, Status.NO_RESERVATION, id="gone"),
    pytest.param(_violate, Status.NO_RESERVATION, id="gone for a violation"),
]


@pytest.mark.parametrize(("end", "status"), ENDS)
@pytest.mark.parametrize("agreed", [True, False], ids=["agreed", "asked"])
def test_a_target_that_fails_is_never_the_dialers_fault(
    end: Callable[[RawPeer, RawStream], None], status: Status, agreed: bool
) -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        near = relay.calls(dialer, target)
        assert relay.service.connecting == 1
        if agreed:
            stop = target.accept(STOP)
        else:
            # Nothing agreed on: what it says is not even multistream-select.
            target.settle()
            stop = target.opened.popleft()
        end(target, stop)
        dialer.settle()
        if near.received:
            assert pb.hop_answer(near.take_message()).status == status
            assert near.fin
            near.finish()
        else:
            # Half a line may become a whole one: only time tells.
            assert not agreed
            near.reset()
        assert relay.idle
        assert relay.service.circuits_opened == 0


def test_a_target_that_does_not_speak_stop_is_a_failed_connection() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        near = relay.calls(dialer, target)
        target.settle()
        stop = target.opened.popleft()
        stop.send(line(MULTISTREAM) + line(NOT_AVAILABLE), ACK)
        dialer.settle()
        assert pb.hop_answer(near.take_message()).status == Status.CONNECTION_FAILED
        assert stop.reset_by_them
        assert relay.idle


@pytest.mark.parametrize("agreed", [True, False])
@pytest.mark.parametrize("how", ["reset", "gone", "violation"])
def test_a_dialer_that_gives_up_frees_stop_at_once(agreed: bool, how: str) -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        near = relay.calls(dialer, target, early=b"never to arrive")
        target.settle()
        stop = target.accept(STOP) if agreed else target.opened[0]
        if how == "reset":
            near.reset()
        elif how == "gone":
            dialer.channel.close()
        else:
            dialer.post(yamux.frame(9))
        target.settle()
        assert stop.reset_by_them
        assert relay.idle
        # An answer that was under way is late, nothing more.
        target.post(yamux.data(stop.id, pb.stop_status(Status.OK)))
        target.ping()
        assert relay.idle
        assert relay.service.circuits_opened == 0


def test_a_dialer_that_ends_its_direction_early_still_gets_its_circuit() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        near = relay.calls(dialer, target, early=b"all there is")
        near.finish()
        far = target.accept(STOP)
        far.take_message()
        far.send(pb.stop_status(Status.OK) + b"and the answer", FIN)
        settle(dialer, target)
        assert bytes(far.received) == b"all there is"
        assert far.fin
        assert pb.hop_answer(near.take_message()).status == Status.OK
        assert bytes(near.received) == b"and the answer"
        assert near.fin
        assert relay.idle


def test_many_hop_streams_at_once_each_get_their_own_answer() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        targets = [relay.target() for _ in range(4)]
        dialer = relay.peer()
        near = [relay.calls(dialer, targets[n % 4]) for n in range(64)]
        far = [targets[n % 4].accept(STOP) for n in range(64)]
        assert relay.service.connecting == 64
        for n in reversed(range(64)):
            far[n].take_message()
            far[n].send(pb.stop_status(Status.OK if n % 3 else Status.PERMISSION_DENIED))
        dialer.settle()
        for n, stream in enumerate(near):
            expected = Status.OK if n % 3 else Status.CONNECTION_FAILED
            assert pb.hop_answer(stream.take_message()).status == expected
        assert len(relay.service.circuits) == sum(1 for n in range(64) if n % 3)
        assert relay.endpoint.peers[dialer.peer_id].circuits == len(relay.service.circuits)


def test_who_stops_relaying_makes_no_circuit_of_what_was_asked_before() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        joined = relay.join(dialer, target)
        near = relay.calls(dialer, target)
        waiting = dialer.open(HOP)
        far = target.accept(STOP)
        relay.endpoint.stop_relaying()
        settle(dialer, target)
        assert joined.near.reset_by_them
        assert joined.far.reset_by_them
        if not far.reset_by_them:
            far.send(pb.stop_status(Status.OK))
        waiting.send(pb.reserve_message())
        settle(dialer, target)
        assert pb.hop_answer(near.take_message()).status == Status.CONNECTION_FAILED
        assert pb.hop_answer(waiting.take_message()).status == Status.PERMISSION_DENIED
        assert relay.idle
        assert not relay.service.reservations


def test_hop_can_be_taken_back_while_circuits_and_reservations_go_on() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        joined = relay.join(dialer, target)
        relay.endpoint.offer_relaying(False)
        late = dialer.stream()
        late.send(proposal(HOP), SYN)
        late.take_lines(MULTISTREAM, NOT_AVAILABLE)
        joined.near.send(b"still there")
        target.settle()
        assert bytes(joined.far.received) == b"still there"
        assert list(relay.service.reservations) == [target.peer_id]
        relay.endpoint.offer_relaying(True)
        relay.join(relay.peer(), target)
        assert len(relay.service.circuits) == 2
        relay.endpoint.offer_relaying(False)
        relay.endpoint.stop_relaying()
        settle(dialer, target)
        assert joined.near.reset_by_them
        assert relay.idle


def test_each_circuit_that_ends_is_told_once_with_its_bytes() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        ended: list[tuple[bytes, bytes, int, int]] = []
        relay.service.circuit_ended = lambda c: ended.append((c.dialer_id, c.target_id, c.bytes_in, c.bytes_out))
        target, dialer = relay.target(), relay.peer()
        joined = relay.join(dialer, target)
        joined.near.send(b"12345")
        joined.far.send(b"123")
        settle(dialer, target)
        assert ended == []
        joined.near.reset()
        settle(dialer, target)
        assert ended == [(dialer.peer_id, target.peer_id, 5, 3)]


def test_accounting_that_fails_leaves_circuits_alone() -> None:
    with World() as world:
        relay = RelayInMemory(world)

        def fail(_: object) -> None:
            raise RuntimeError("no more paper")

        relay.service.circuit_ended = fail
        target, dialer = relay.target(), relay.peer()
        relay.join(dialer, target).near.reset()
        settle(dialer, target)
        assert relay.idle
        assert [str(seen["exception"]) for seen in world.loop.complaints] == ["no more paper"]
        world.loop.complaints.clear()


# Connections that turn out to be dead in the middle of it ------------------------------------------------------------


def fill(relay: RelayInMemory, target: RawPeer, far: RawStream) -> bytes:
    """What a target says so that the dialer's channel is over its bound, and flushed by whoever sends next."""
    frames = [yamux.data(far.id, bytes(65507)) for _ in range(4)]
    far.credit -= 4 * 65507
    return b"".join(frames)


def test_a_circuit_whose_dialer_dies_as_it_is_told_ends_at_once() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        joined = relay.join(dialer, target)
        joined.near.grant(64 * KIB)
        relay.calls(dialer, target)
        far = target.accept(STOP)
        far.take_message()
        target.settle()
        dialer.dead = True
        target.post(fill(relay, target, joined.far) + yamux.data(far.id, pb.stop_status(Status.OK)))
        assert dialer.closed
        assert far.reset_by_them
        assert joined.far.reset_by_them
        assert relay.idle
        assert world.reactor.held == 0


def test_bytes_for_a_connection_that_dies_as_they_are_sent_are_not_kept() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        joined = relay.join(dialer, target)
        joined.near.grant(640 * KIB)
        target.settle()
        dialer.dead = True
        target.post(fill(relay, target, joined.far) + yamux.data(joined.far.id, bytes(100)))
        assert dialer.closed
        assert joined.far.reset_by_them
        assert relay.idle
        assert world.reactor.held == 0


def test_a_stream_whose_connection_dies_as_it_is_accepted_is_nobodys() -> None:
    with World() as world:
        endpoint = world.endpoint()
        accepted = []

        def take(stream: object) -> None:
            accepted.append(stream)
            stream.write(bytes(256 * KIB))  # type: ignore[attr-defined]

        endpoint.set_handler("/app/1", take)
        peer = RawPeer(world, endpoint).connect()
        first, second = peer.stream(), peer.stream()
        second.send(line(MULTISTREAM), yamux.SYN)
        first.send(line(MULTISTREAM), yamux.SYN)
        first.grant(640 * KIB)
        peer.dead = True
        peer.post(yamux.data(first.id, line("/app/1")) + yamux.data(second.id, line("/app/1")))
        assert peer.closed
        assert len(accepted) == 1
        assert world.reactor.held == 0


def test_a_stop_that_cannot_be_sent_is_a_vanished_target() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        joined = relay.join(dialer, target)
        joined.far.grant(64 * KIB)
        dialer.settle()
        target.dead = True
        near = dialer.open(HOP)
        frames = b"".join(yamux.data(joined.near.id, bytes(65507)) for _ in range(4))
        dialer.post(frames + yamux.data(near.id, pb.connect_message(target.peer_id)))
        assert target.closed
        assert pb.hop_answer(near.take_message()).status == Status.NO_RESERVATION
        assert joined.near.reset_by_them
        assert relay.idle
        assert world.reactor.held == 0


def test_reset_flags_and_windows_of_a_target_do_not_reach_the_dialer_before_its_circuit_does() -> None:
    with World() as world:
        relay = RelayInMemory(world)
        target, dialer = relay.target(), relay.peer()
        near = relay.calls(dialer, target)
        stop = target.accept(STOP)
        stop.grant(1 << 20)
        dialer.settle()
        assert near.credited == 0
        assert not near.received
        target.post(yamux.data(stop.id, b"", RST))
        dialer.settle()
        assert pb.hop_answer(near.take_message()).status == Status.CONNECTION_FAILED
        assert not near.reset_by_them
