"""Bad messages get the specification's status, and what goes wrong at the target is not the dialer's fault."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from tests.net.conftest import Meeting, StartRelay, meeting_at
from tests.peerlab import (
    Identity,
    Link,
    Peer,
    Refused,
    RelayProcess,
    Status,
    asked_until,
    circuit_between,
    meanwhile,
    yamux,
)
from tests.peerlab.circuit import (
    HOP,
    MESSAGE_MAX,
    STOP,
    HopType,
    StopType,
    connect_message,
    hop_answer,
    hop_message,
    peer,
    reserve_message,
    stop_status,
)
from tests.peerlab.peer import NotSupported, Stop, answer_stop, say_nothing
from tests.peerlab.protobuf import prefixed

SOMEBODY = Identity.ed25519().peer_id

MALFORMED = {
    "bytes that are no protobuf": prefixed(b"\xff" * 20),
    "a message cut short inside a field": prefixed(b"\x12\x7f\x0a\x02"),
    "an empty message": prefixed(b""),
    "a message without a type": hop_message((2, peer(SOMEBODY))),
    "a type of the wrong wire type": prefixed(b"\x0a\x01\x00"),
    "a connect without a peer": hop_message((1, HopType.CONNECT)),
    "a connect to an empty peer": hop_message((1, HopType.CONNECT), (2, b"")),
    "a connect to an empty peer id": hop_message((1, HopType.CONNECT), (2, peer(b""))),
    "a connect to a peer id that is none": hop_message((1, HopType.CONNECT), (2, peer(b"not a multihash"))),
    "a connect to a peer id cut short": hop_message((1, HopType.CONNECT), (2, peer(SOMEBODY[:-1]))),
}

UNKNOWN = {
    "the next type": hop_message((1, 3)),
    "a type far out": hop_message((1, 1 << 40)),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_message_is_called_so(meeting: Meeting, what: str) -> None:
    assert await meeting.to_relay.status_of(MALFORMED[what]) == Status.MALFORMED_MESSAGE
    assert await meeting.to_relay.reserve()


async def test_a_status_from_a_client_is_unexpected(meeting: Meeting) -> None:
    status = hop_message((1, HopType.STATUS), (5, Status.OK))
    assert await meeting.to_relay.status_of(status) == Status.UNEXPECTED_MESSAGE
    assert await meeting.to_relay.reserve()


@pytest.mark.parametrize("what", UNKNOWN)
async def test_a_type_that_nobody_knows_is_malformed_or_unexpected(meeting: Meeting, what: str) -> None:
    status = await meeting.to_relay.status_of(UNKNOWN[what])
    assert status in (Status.MALFORMED_MESSAGE, Status.UNEXPECTED_MESSAGE)


async def test_a_message_without_a_type_reserves_nothing(relay: RelayProcess) -> None:
    async with Peer() as alice, Peer() as bob:
        at_relay = await bob.dial(relay)
        await at_relay.status_of(prefixed(b""))
        with pytest.raises(Refused, match="NO_RESERVATION"):
            await (await alice.dial(relay)).connect(bob.peer_id)


async def test_a_message_of_exactly_the_largest_size_is_read(meeting: Meeting) -> None:
    bare = len(hop_message((1, HopType.RESERVE), (1000, b""))) - 1
    padded = hop_message((1, HopType.RESERVE), (1000, bytes(MESSAGE_MAX - bare - 1)))
    assert len(padded) == MESSAGE_MAX + 2
    assert await meeting.to_relay.status_of(padded) == Status.OK


@pytest.mark.parametrize("length", [MESSAGE_MAX + 1, 1 << 20, 1 << 31, 1 << 62])
async def test_an_oversized_message_resets_its_stream_and_no_other(meeting: Meeting, length: int) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    stream = await meeting.to_relay.open(HOP, oversized(length))
    assert await stream.end() == "reset"
    await here.write(b"still here")
    assert await there.read(10) == b"still here"


def oversized(length: int) -> bytes:
    """The length of a message, and its first bytes."""
    out = bytearray()
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*out, length]) + bytes(100)


async def test_a_length_without_an_end_resets_its_stream(meeting: Meeting) -> None:
    stream = await meeting.to_relay.open(HOP, b"\xff" * 50)
    assert await stream.end() == "reset"
    await meeting.to_relay.reserve()


async def test_a_hop_stream_that_ends_in_mid_message_costs_nothing(meeting: Meeting) -> None:
    stream = await meeting.to_relay.open(HOP, connect_message(meeting.bob.peer_id)[:7])
    await stream.finish()
    await stream.end()
    await meeting.to_relay.reserve()


async def test_nobody_is_connected_to_oneself(meeting: Meeting) -> None:
    with pytest.raises(Refused, match="PERMISSION_DENIED"):
        await meeting.at_relay.connect(meeting.bob.peer_id)


async def test_nobody_is_connected_to_the_relay(meeting: Meeting) -> None:
    with pytest.raises(Refused, match="PERMISSION_DENIED"):
        await meeting.to_relay.connect(meeting.relay.peer_id)


async def test_a_peer_that_was_never_here_has_no_reservation(meeting: Meeting) -> None:
    with pytest.raises(Refused, match="NO_RESERVATION"):
        await meeting.to_relay.connect(SOMEBODY)


async def test_a_peer_that_is_connected_but_did_not_reserve_has_no_reservation(meeting: Meeting) -> None:
    async with Peer() as carol:
        await carol.dial(meeting.relay)
        with pytest.raises(Refused, match="NO_RESERVATION"):
            await meeting.to_relay.connect(carol.peer_id)


@pytest.mark.parametrize("abruptly", [False, True])
async def test_a_target_that_has_vanished_has_no_reservation(meeting: Meeting, abruptly: bool) -> None:
    await meeting.at_relay.leave(abruptly=abruptly)
    await is_unreachable(meeting.to_relay, meeting.bob.peer_id)


async def is_unreachable(link: Link, target: bytes) -> None:
    """Returns once the relay has taken notice of a target's end and says so."""

    async def unreachable() -> bool:
        return await link.status_of(connect_message(target)) == Status.NO_RESERVATION

    await asked_until(unreachable, "NO_RESERVATION", patience=2)


async def refuse(stop: Stop) -> None:
    await stop.refuse()


async def refuse_for_permission(stop: Stop) -> None:
    await stop.refuse(Status.PERMISSION_DENIED)


async def blame_the_message(stop: Stop) -> None:
    await stop.refuse(Status.MALFORMED_MESSAGE)


async def call_it_unexpected(stop: Stop) -> None:
    await stop.refuse(Status.UNEXPECTED_MESSAGE)


async def claim_a_lack_of_resources(stop: Stop) -> None:
    await stop.refuse(Status.RESOURCE_LIMIT_EXCEEDED)


async def answer_with_an_unknown_status(stop: Stop) -> None:
    await stop.refuse(999)


async def answer_with_garbage(stop: Stop) -> None:
    await stop.stream.write(prefixed(os.urandom(40)))


async def answer_with_an_endless_length(stop: Stop) -> None:
    await stop.stream.write(b"\xff" * 50)


async def answer_too_long(stop: Stop) -> None:
    await stop.stream.write(b"\xff\xff\x7f" + bytes(100))


async def answer_without_a_type(stop: Stop) -> None:
    await stop.stream.write(hop_message((4, Status.OK)))


async def answer_without_a_status(stop: Stop) -> None:
    await stop.stream.write(hop_message((1, StopType.STATUS)))


async def answer_with_a_connect(stop: Stop) -> None:
    await stop.stream.write(hop_message((1, StopType.CONNECT), (2, peer(SOMEBODY))))


async def answer_with_half_a_message(stop: Stop) -> None:
    await stop.stream.write(stop_status(Status.OK)[:3], fin=True)


async def finish_without_a_word(stop: Stop) -> None:
    await stop.stream.finish()


async def reset(stop: Stop) -> None:
    await stop.stream.reset()


BEHAVIOURS: list[Callable[[Stop], Awaitable[None]]] = [
    refuse,
    refuse_for_permission,
    blame_the_message,
    call_it_unexpected,
    claim_a_lack_of_resources,
    answer_with_an_unknown_status,
    answer_with_garbage,
    answer_with_an_endless_length,
    answer_too_long,
    answer_without_a_type,
    answer_without_a_status,
    answer_with_a_connect,
    answer_with_half_a_message,
    finish_without_a_word,
    reset,
]


@pytest.mark.parametrize("behave", BEHAVIOURS, ids=lambda behave: behave.__name__)
async def test_whatever_the_target_does_wrong_the_dialer_hears_that_the_connection_failed(
    meeting: Meeting, behave: Callable[[Stop], Awaitable[None]]
) -> None:
    async with meanwhile(meeting.to_relay.ask_hop(connect_message(meeting.bob.peer_id))) as asking:
        await behave(await meeting.at_relay.next_stop())
        stream, answer = await asking
        assert answer.status == Status.CONNECTION_FAILED
        assert await stream.end() in ("fin", "reset")
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    await here.write(b"next time it works")
    assert await there.read(18) == b"next time it works"


async def test_a_target_that_does_not_speak_stop_makes_the_connection_fail(relay: RelayProcess) -> None:
    bob = Peer()
    del bob.handlers[STOP]
    async with meeting_at(relay, bob=bob) as met:
        assert await met.to_relay.status_of(connect_message(bob.peer_id)) == Status.CONNECTION_FAILED


@pytest.mark.parametrize("abruptly", [False, True])
async def test_a_target_that_vanishes_before_it_answers_has_no_reservation_any_more(
    meeting: Meeting, abruptly: bool
) -> None:
    async with meanwhile(meeting.to_relay.ask_hop(connect_message(meeting.bob.peer_id))) as asking:
        await meeting.at_relay.next_stop()
        await meeting.at_relay.leave(abruptly=abruptly)
        _, answer = await asking
        assert answer.status == Status.NO_RESERVATION


@pytest.mark.parametrize("end", ["stream", "connection", "abruptly"])
async def test_a_stop_whose_dialer_has_gone_is_freed_at_once(meeting: Meeting, end: str) -> None:
    async with meanwhile(meeting.to_relay.connect(meeting.bob.peer_id)):
        stop = await meeting.at_relay.next_stop()
        if end == "stream":
            (stream,) = (one for one in meeting.to_relay.streams.values() if one.protocol == HOP)
            await stream.reset()
        else:
            await meeting.to_relay.leave(abruptly=end == "abruptly")
        assert await stop.stream.end(patience=2) == "reset"
    await meeting.at_relay.ping()


async def test_a_target_that_overruns_its_window_costs_the_dialer_its_circuit_only(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        here.grants = False
        await there.session.send(yamux.data(there.id, bytes(60_000)) * 20)
        assert await met.at_relay.end() in ("closed", "reset")
        assert await here.end() == "reset"
        assert await met.to_relay.reserve()


async def test_a_target_that_grants_more_than_there_is_costs_the_dialer_nothing(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        for _ in range(5):
            there.granted += 0xFFFFFFFF
            met.at_relay.post(yamux.window_update(there.id, 0xFFFFFFFF))
        await here.write(b"hello")
        if await first_of(there.has_received(5), met.at_relay.end()):
            assert await met.to_relay.reserve()


async def first_of(*works: Awaitable[object]) -> bool:
    """Waits for any of them."""
    tasks = [asyncio.ensure_future(work) for work in works]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return bool(done)


async def test_circuits_per_peer_are_limited_and_given_back(start_relay: StartRelay) -> None:
    relay = start_relay({"relay.max_circuits_per_peer": "2"})
    async with meeting_at(relay) as met:
        first, _ = await circuit_between(met.to_relay, met.at_relay), await circuit_between(met.to_relay, met.at_relay)
        with pytest.raises(Refused, match="RESOURCE_LIMIT_EXCEEDED"):
            await met.to_relay.connect(met.bob.peer_id)
        await first[0].reset()
        assert await first[1].end() == "reset"
        await circuit_between(met.to_relay, met.at_relay)


async def test_circuits_in_all_are_limited_and_given_back(start_relay: StartRelay) -> None:
    relay = start_relay({"relay.max_circuits": "2"})
    async with meeting_at(relay) as met, meeting_at(relay) as other:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        await circuit_between(other.to_relay, other.at_relay)
        for full in (met, other):
            with pytest.raises(Refused, match="RESOURCE_LIMIT_EXCEEDED"):
                await full.to_relay.connect(full.bob.peer_id)
        await here.finish()
        await there.end()
        await there.finish()
        assert await here.end() == "fin"
        await circuit_between(other.to_relay, other.at_relay)


@pytest.mark.parametrize("ending", ["refused", "dialer gone", "target gone"])
async def test_a_circuit_that_never_came_about_takes_no_place(start_relay: StartRelay, ending: str) -> None:
    relay = start_relay({"relay.max_circuits": "1"})
    async with meeting_at(relay) as good, meeting_at(relay) as met:
        async with meanwhile(met.to_relay.connect(met.bob.peer_id)):
            stop = await met.at_relay.next_stop()
            if ending == "refused":
                await stop.refuse()
            elif ending == "dialer gone":
                await met.to_relay.leave()
                await stop.stream.end()
            else:
                await met.at_relay.leave(abruptly=True)
                await is_unreachable(met.to_relay, met.bob.peer_id)
        await circuit_between(good.to_relay, good.at_relay)


async def test_denied_peers_are_told_that_they_are_denied(start_relay: StartRelay) -> None:
    mallory = Peer()
    relay = start_relay({"relay.deny": f'["{mallory.identity.text}"]'})
    async with mallory, meeting_at(relay) as met:
        link = await mallory.dial(relay)
        with pytest.raises(Refused, match="PERMISSION_DENIED"):
            await link.reserve()
        with pytest.raises(Refused, match="PERMISSION_DENIED"):
            await link.connect(met.bob.peer_id)
        await circuit_between(met.to_relay, met.at_relay)


async def test_a_relay_with_a_list_of_the_allowed_denies_the_rest(start_relay: StartRelay) -> None:
    bob, alice = Peer(), Peer()
    relay = start_relay({"relay.allow": f'["{bob.identity.text}", "{alice.identity.text}"]'})
    async with meeting_at(relay, alice, bob) as met, Peer() as stranger:
        await circuit_between(met.to_relay, met.at_relay)
        with pytest.raises(Refused, match="PERMISSION_DENIED"):
            await (await stranger.dial(relay)).reserve()


async def test_the_relay_itself_takes_no_stop(meeting: Meeting) -> None:
    with pytest.raises(NotSupported):
        await meeting.to_relay.open(STOP)


async def test_a_second_message_on_a_hop_stream_is_not_answered(meeting: Meeting) -> None:
    stream = await meeting.to_relay.open(HOP, reserve_message() + reserve_message())
    assert hop_answer(await stream.read_message()).status == Status.OK
    assert await stream.end() in ("fin", "reset")
    assert not stream.inbox


async def test_targets_that_leave_stops_unanswered_hold_up_nobody_else(relay: RelayProcess) -> None:
    silent = Peer()
    silent.handlers[STOP] = say_nothing
    async with (
        meeting_at(relay, bob=silent) as stuck,
        meeting_at(relay) as met,
        meanwhile(stuck.to_relay.connect(silent.peer_id)),
    ):
        await circuit_between(met.to_relay, met.at_relay)
        stuck.bob.handlers[STOP] = answer_stop
        await circuit_between(stuck.to_relay, stuck.at_relay)
