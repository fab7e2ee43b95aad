"""Identify and identify push, which protocol a stream speaks, and the relay's messages as Python sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.peerlab import circuit as pb
from tests.peerlab.circuit import HOP, Status
from tests.peerlab.protobuf import Fields, message, prefixed, varint
from tests.peerlab.upgrade import MULTISTREAM, NOT_AVAILABLE, line, proposal
from tests.peerlab.yamux import FIN, SYN
from tests.unit.native.raw import RawPeer, RawStream
from tests.unit.native.still import World
from towpath._native import messages
from towpath._native.appstream import open_stream
from towpath._native.endpoint import Endpoint

APP = "/app/1"
ID = "/ipfs/id/1.0.0"
PUSH = "/ipfs/id/push/1.0.0"
LISTEN = b"\x04\x01\x02\x03\x04\x06\x0f\xa1"


class Known:
    """An endpoint that asks who its peers are, and whom it came to know."""

    def __init__(self, world: World) -> None:
        self.endpoint: Endpoint = world.endpoint()
        self.sessions: list[Any] = []
        self.endpoint.on_identified = self.sessions.append
        self.endpoint.ask_identify = True
        self.peer = RawPeer(world, self.endpoint).connect()

    def asked(self) -> RawStream:
        return self.peer.accept(ID)


def said(agent: bytes = b"test/1", protocols: tuple[bytes, ...] = (b"/a", b"/b"), observed: bytes = LISTEN) -> bytes:
    fields: list[tuple[int, int | bytes]] = [(3, protocol) for protocol in protocols]
    return message([*fields, (4, observed), (6, agent)])


def test_it_says_who_it_is_what_it_speaks_and_where() -> None:
    with World() as world:
        endpoint = world.endpoint()
        endpoint.set_addresses([LISTEN])
        endpoint.set_handler(APP, lambda stream: None)
        peer = RawPeer(world, endpoint).connect()
        stream = peer.open(ID)
        fields = Fields(stream.take_message())
        assert fields.binary(1) == b"\x08\x01\x12\x20" + endpoint.identity.public_key
        assert fields.all_binary(2) == [LISTEN]
        assert set(fields.all_binary(3)) == {name.encode() for name in (ID, PUSH, "/ipfs/ping/1.0.0", APP)}
        assert fields.binary(6) == b"towpath"
        # A connection over memory is seen from nowhere.
        assert 4 not in fields
        assert stream.fin
        endpoint.set_handler(APP, None)
        assert APP.encode() not in Fields(peer.open(ID).take_message()).all_binary(3)


def test_what_a_peer_says_of_itself_is_known_from_then_on() -> None:
    with World() as world:
        known = Known(world)
        stream = known.asked()
        stream.send(prefixed(said()), FIN)
        (session,) = known.sessions
        assert session.agent == "test/1"
        assert session.protocols == {"/a", "/b"}
        assert session.observed == LISTEN
        known.peer.settle()
        assert stream.fin
        push = known.peer.open(PUSH)
        push.send(prefixed(said(b"test/2", (b"/c",))), FIN)
        assert session.agent == "test/2"
        assert session.protocols == {"/c"}
        assert len(known.sessions) == 2


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(prefixed(said())[:-1], id="cut off"),
        pytest.param(varint(1 << 40), id="an endless length"),
        pytest.param(b"\xff" * 10, id="no length"),
    ],
)
def test_what_is_no_message_tells_nothing(whole: bytes) -> None:
    with World() as world:
        known = Known(world)
        known.asked().send(whole, FIN)
        assert not known.sessions
        known.peer.ping()


def test_a_malformed_message_changes_nothing() -> None:
    with World() as world:
        known = Known(world)
        known.asked().send(prefixed(said()), FIN)
        (session,) = known.sessions
        for bad in (b"\xff\xff\xff", b"\x32\x05abc", message([(6, 5)]), message([(3, 7), (6, b"other")])):
            known.peer.open(PUSH).send(prefixed(bad), FIN)
        assert session.agent == "test/1"
        assert session.protocols == {"/a", "/b"}


def test_a_message_may_come_in_any_pieces_up_to_its_bound() -> None:
    with World() as world:
        known = Known(world)
        whole = prefixed(said(b"x" * 500, (b"/" + b"y" * 7000,)))
        stream = known.asked()
        for at in range(0, len(whole), 13):
            stream.send(whole[at : at + 13])
        stream.finish()
        (session,) = known.sessions
        assert session.agent == "x" * 128
        assert session.protocols == {"/" + "y" * 7000}


def test_a_message_beyond_its_bound_is_cut_off() -> None:
    with World() as world:
        known = Known(world)
        stream = known.asked()
        stream.send(varint(9000) + bytes(9000))
        known.peer.settle()
        assert stream.reset_by_them
        assert not known.sessions
        known.peer.ping()


@pytest.mark.parametrize("observed", [b"", b"\x04\x01", b"nonsense", b"\x04" * 200, b"\x29" + bytes(15)])
def test_impossible_addresses_and_names_are_not_believed(observed: bytes) -> None:
    with World() as world:
        known = Known(world)
        known.asked().send(prefixed(said(b"\xff\xfe", (b"\xff",), observed)), FIN)
        (session,) = known.sessions
        assert session.observed is None
        assert session.agent == "\ufffd\ufffd"
        assert session.protocols == {"\ufffd"}


def test_thousands_of_names_do_not_pile_up() -> None:
    with World() as world:
        known = Known(world)
        known.asked()
        for n in range(1100):
            known.peer.open(PUSH).send(prefixed(said(b"agent %d" % n, (b"/p/%d" % n,))), FIN)
        assert known.sessions[-1].agent == "agent 1099"
        assert known.sessions[-1].stream_count == 1


def test_a_push_tells_every_peer_anew() -> None:
    with World() as world:
        endpoint = world.endpoint()
        peers = [RawPeer(world, endpoint).connect() for _ in range(3)]
        endpoint.set_addresses([LISTEN])
        endpoint.push_identify()
        for peer in peers:
            stream = peer.accept(PUSH)
            peer.settle()
            assert Fields(stream.take_message()).all_binary(2) == [LISTEN]
            assert stream.fin
            stream.finish()
        # One that does not speak it loses nothing by it.
        endpoint.push_identify()
        peers[0].settle()
        peers[0].opened.popleft().send(line(MULTISTREAM) + line(NOT_AVAILABLE))
        peers[0].ping()


# Negotiation ---------------------------------------------------------------------------------------------------------


def test_protocols_nobody_knows_are_declined_and_another_may_follow() -> None:
    with World() as world:
        endpoint = world.endpoint()
        accepted: list[Any] = []
        endpoint.set_handler(APP, accepted.append)
        peer = RawPeer(world, endpoint).connect()
        stream = peer.stream()
        stream.send(proposal("/unknown") + line("/also/unknown") + line(APP) + b"early", SYN)
        stream.take_lines(MULTISTREAM, NOT_AVAILABLE, NOT_AVAILABLE, APP)
        assert accepted[0].read(10) == b"early"
        assert accepted[0].protocol == APP


def test_a_proposal_may_come_byte_by_byte() -> None:
    with World() as world:
        endpoint = world.endpoint()
        accepted: list[Any] = []
        endpoint.set_handler(APP, accepted.append)
        peer = RawPeer(world, endpoint).connect()
        stream = peer.stream()
        stream.send(b"", SYN)
        for byte in proposal(APP) + b"x":
            stream.send(bytes([byte]))
        stream.take_lines(MULTISTREAM, APP)
        assert accepted[0].read(10) == b"x"


@pytest.mark.parametrize(
    "proposed",
    [
        pytest.param(line("/multistream/0.9.0"), id="another version"),
        pytest.param(line(APP), id="no header"),
        pytest.param(b"\x01\n", id="an empty line"),
        pytest.param(varint(1025), id="a line too long"),
        pytest.param(b"\xff\xff", id="an endless length"),
        pytest.param(line(MULTISTREAM) + prefixed(b"/app/1 "), id="no newline"),
        pytest.param(line(MULTISTREAM) + line("/unknown") * 32, id="proposals without end"),
    ],
)
def test_who_negotiates_badly_loses_the_stream_and_nothing_else(proposed: bytes) -> None:
    with World() as world:
        endpoint = world.endpoint()
        endpoint.set_handler(APP, lambda stream: None)
        peer = RawPeer(world, endpoint).connect()
        stream = peer.stream()
        stream.send(proposed, SYN)
        assert stream.reset_by_them
        peer.ping()
        assert world.reactor.held == 0


def test_a_stream_that_ends_before_it_is_agreed_on_is_reset() -> None:
    with World() as world:
        peer = RawPeer(world, world.endpoint()).connect()
        for early in (b"", line(MULTISTREAM)):
            stream = peer.stream()
            stream.send(early, SYN)
            stream.finish()
            assert stream.reset_by_them


@pytest.mark.parametrize(
    "answer",
    [
        line(MULTISTREAM) + line(NOT_AVAILABLE),
        line(MULTISTREAM) + line("/app/2"),
        line("/multistream/2.0.0"),
        b"\x00",
        varint(5000),
    ],
)
def test_a_proposal_answered_with_anything_else_is_refused(answer: bytes) -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint).connect()
        session = endpoint.session_of(peer.peer_id)
        assert session is not None
        made = open_stream(session, APP)
        assert made is not None
        app, agreed = made
        app.write(b"written in good faith")
        peer.settle()
        stream = peer.opened.popleft()
        stream.send(answer)
        assert agreed.result() is False
        assert app.was_reset
        assert not app.write(b"more")
        peer.settle()
        assert stream.reset_by_them


@pytest.mark.parametrize("end", ["reset", "fin", "connection"])
def test_a_proposal_cut_off_is_not_one_refused(end: str) -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint).connect()
        session = endpoint.session_of(peer.peer_id)
        assert session is not None
        made = open_stream(session, APP)
        assert made is not None
        app, agreed = made
        peer.settle()
        stream = peer.opened.popleft()
        stream.send(line(MULTISTREAM))
        if end == "reset":
            stream.reset()
        elif end == "fin":
            stream.finish()
        else:
            session.abort()
        world.run()
        assert agreed.result() is None
        assert app.was_reset
        assert not app.write(b"more")


def test_what_is_written_before_the_answer_goes_along_with_the_proposal() -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint).connect()
        session = endpoint.session_of(peer.peer_id)
        assert session is not None
        made = open_stream(session, APP)
        assert made is not None
        made[0].write(b"at once")
        stream = peer.accept(APP, answer=b"and back")
        assert made[1].result() is True
        assert bytes(stream.received) == b"at once"
        assert made[0].read(100) == b"and back"
        assert len({h.flags & SYN for h in peer.frames if h.stream == stream.id}) == 1


def test_a_protocol_too_long_to_be_said_is_not_proposed() -> None:
    with World() as world:
        endpoint = world.endpoint()
        peer = RawPeer(world, endpoint).connect()
        session = endpoint.session_of(peer.peer_id)
        assert session is not None
        assert open_stream(session, "/" + "x" * 1030) is None
        assert session.stream_count == 0
        peer.settle()
        assert not [stream for stream in peer.streams.values() if not stream.reset_by_them]


# Messages ------------------------------------------------------------------------------------------------------------


def test_what_a_client_says_is_what_peerlab_reads() -> None:
    target = b"\x00\x24\x08\x01\x12\x20" + bytes(32)
    assert messages.hop_reserve() == pb.reserve_message()
    assert messages.hop_connect(target) == pb.connect_message(target)
    for status in (100, 200, 401, 0, 1 << 20):
        assert messages.stop_status(status) == pb.stop_status(status)
    with pytest.raises(ValueError, match="not a peer id"):
        messages.hop_connect(b"\x00\x24short")


def test_what_a_relay_says_is_decoded_with_everything_in_it() -> None:
    with World() as world:
        endpoint = world.endpoint()
        from tests.unit.native.circuits import Policy

        endpoint.start_relaying(Policy(ttl_s=99, limit_s=5, limit_data=7))
        relay = endpoint.relay
        assert relay is not None
        relay.addresses = [LISTEN, LISTEN + b"\x01"]
        peer = RawPeer(world, endpoint).connect()
        told = messages.read_hop(peer.open(HOP, pb.reserve_message()).take_message())
        assert (told.type, told.status) == (2, Status.OK)
        assert told.addresses == relay.addresses
        assert (told.limit_s, told.limit_data) == (5, 7)
        assert told.voucher is not None
        assert messages.read_voucher(told.voucher) == (endpoint.peer_id, peer.peer_id, told.expires_at)
        for at in range(len(told.voucher)):
            forged = bytearray(told.voucher)
            forged[at] ^= 1
            with pytest.raises(ValueError, match="voucher"):
                messages.read_voucher(bytes(forged))


@pytest.mark.parametrize("bad", [b"\xff", b"\x08", message([(2, 5)]), message([(1, b"x")])])
def test_malformed_messages_are_value_errors(bad: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        messages.read_hop(bad)
    with pytest.raises(ValueError, match="malformed"):
        messages.read_stop(bad)


def test_lengths_are_bounded_before_anything_is_kept() -> None:
    assert messages.message_length(b"") is None
    assert messages.message_length(b"\x80") is None
    assert messages.message_length(b"\x05") == (1, 5)
    assert messages.message_length(varint(4096)) == (2, 4096)
    for bad in (varint(4097), b"\xff" * 9, b"\x80\x00"):
        with pytest.raises(ValueError, match="4096"):
            messages.message_length(bad)
