"""Frames of every size, cut and joined everywhere: the stream they carry is the same."""

import asyncio
import os
import random

import pytest

from tests.net.conftest import Meeting, meeting_at
from tests.peerlab import Link, Peer, RelayProcess, Status, circuit_between, meanwhile, yamux
from tests.peerlab.circuit import HOP, STOP, connect_message, hop_answer, stop_request, stop_status
from tests.peerlab.peer import Stop
from tests.peerlab.upgrade import expect_line, line, proposal
from tests.peerlab.yamux import FIN, SYN

MIB = 1 << 20


async def test_a_frame_as_large_as_the_window_is_forwarded_while_it_arrives(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    there.window = 16 * MIB
    there.grant(16 * MIB)
    await here.write(bytes(MIB))
    await there.read(MIB)
    await here.has_credit(4 * MIB)
    size = here.credit
    body = os.urandom(size)
    half = size // 2
    here.credit = 0
    async with here.session.undisturbed() as say:
        await say(yamux.frame(yamux.DATA, 0, here.id, size) + body[:half])
        await there.has_received(half)
        await say(body[half:])
    await here.finish()
    assert await there.read_rest() == body


async def test_a_frame_as_large_as_the_first_window_crosses_in_the_other_direction(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    body = os.urandom(there.credit)
    half = len(body) // 2
    async with there.session.undisturbed() as say:
        await say(yamux.frame(yamux.DATA, FIN, there.id, len(body)) + body[:half])
        await here.has_received(half)
        await say(body[half:])
    assert await here.read_rest() == body


async def test_frames_of_one_byte_and_of_none_make_the_same_stream(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    sent = os.urandom(20_000)
    chance = random.Random(1)
    batch = b""
    for byte in sent:
        batch += yamux.data(here.id, bytes([byte]))
        if chance.random() < 0.3:
            batch += yamux.data(here.id)
        if chance.random() < 0.01:
            await here.session.send(batch)
            batch = b""
    await here.session.send(batch + yamux.data(here.id, flags=FIN))
    assert await there.read_rest() == sent


async def test_a_fin_may_come_with_data(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    await here.session.send(yamux.data(here.id, b"the end", FIN))
    assert await there.read_rest() == b"the end"
    await there.session.send(yamux.data(there.id, b"indeed", FIN))
    assert await here.read_rest() == b"indeed"


async def test_a_fin_goes_out_on_a_frame_of_its_own(meeting: Meeting) -> None:
    """go-yamux may lose the bytes of a frame that ends its stream."""
    for size in (1, 100, 100_000):
        here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
        await here.session.send(yamux.data(here.id, bytes(size), FIN))
        await there.session.send(yamux.data(there.id, bytes(size), FIN))
        for stream in (here, there):
            assert await stream.read_rest() == bytes(size)
            assert not stream.fin_with_data


@pytest.mark.parametrize("kind", [yamux.DATA, yamux.WINDOW_UPDATE])
async def test_a_fin_may_ride_on_either_kind_of_frame(meeting: Meeting, kind: int) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    await here.write(b"all")
    await here.session.send(yamux.frame(kind, FIN, here.id))
    assert await there.read_rest() == b"all"


async def test_a_request_cut_anywhere_is_the_same_request(meeting: Meeting) -> None:
    def request(stream_id: int) -> bytes:
        return (
            yamux.window_update(stream_id, flags=SYN)
            + yamux.data(stream_id, proposal(HOP) + connect_message(meeting.bob.peer_id) + b"early")
            + yamux.data(stream_id)
            + yamux.data(stream_id, b"!", FIN)
        )

    link = meeting.to_relay
    for cut in range(1, len(request(1))):
        stream = link.expect_stream()
        message = request(stream.id)
        async with link.undisturbed() as say:
            await say(message[:cut])
            await link.wire.taken()
            await say(message[cut:])
        there = await meeting.at_relay.accept()
        assert await there.read_rest() == b"early!", f"cut at {cut}"
        await there.finish()
        await stream.end()


async def test_an_answer_cut_anywhere_is_the_same_answer(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met:
        probe = yamux.data(1, stop_status(Status.OK) + b"early") + yamux.data(1) + yamux.data(1, b"!", FIN)
        for cut in range(1, len(probe)):
            async with meanwhile(met.to_relay.connect(met.bob.peer_id)) as asking:
                stop = await met.at_relay.next_stop()
                number = stop.stream.id
                answer = yamux.data(number, stop_status(Status.OK) + b"early") + yamux.data(number)
                answer += yamux.data(number, b"!", FIN)
                async with met.at_relay.undisturbed() as say:
                    await say(answer[:cut])
                    await met.at_relay.wire.taken()
                    await say(answer[cut:])
                here = await asking
                assert await here.read_rest() == b"early!", f"cut at {cut}"
                await here.finish()
                assert await stop.stream.end() == "fin"


async def test_a_peer_that_sends_single_bytes_gets_as_far_as_anyone(relay: RelayProcess) -> None:
    async with meeting_at(relay, Peer(piece=1), Peer(piece=1)) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        await here.write(b"byte by byte", fin=True)
        assert await there.read_rest() == b"byte by byte"


async def test_many_requests_in_one_message_are_all_answered(meeting: Meeting) -> None:
    streams = [meeting.to_relay.expect_stream() for _ in range(10)]
    await meeting.to_relay.send(
        b"".join(
            yamux.data(stream.id, proposal(HOP) + connect_message(meeting.bob.peer_id), SYN)
            + yamux.data(stream.id, b"number %d" % stream.id, FIN)
            for stream in streams
        )
    )
    accepted = [await meeting.at_relay.accept() for _ in streams]
    heard = await asyncio.gather(*(stream.read_rest() for stream in accepted))
    assert sorted(heard) == sorted(b"number %d" % stream.id for stream in streams)
    for stream in streams:
        await expect_line(stream, "/multistream/1.0.0")
        await expect_line(stream, HOP)
        assert hop_answer(await stream.read_message()).status == Status.OK


async def test_multistream_line_by_line_works_on_streams_of_both_kinds(relay: RelayProcess) -> None:
    async with meeting_at(relay, bob=Peer(serves=False)) as met:
        stream = await met.to_relay.open_stream()
        await stream.write(line("/multistream/1.0.0"))
        await expect_line(stream, "/multistream/1.0.0")
        await stream.write(line(HOP))
        await expect_line(stream, HOP)
        await stream.write(connect_message(met.bob.peer_id))
        stop = await raw_stop(met.at_relay)
        await stop.accept(b"first")
        assert hop_answer(await stream.read_message()).status == Status.OK
        assert await stream.read(5) == b"first"


async def raw_stop(link: Link) -> Stop:
    """The next STOP, its protocol agreed on line by line and byte by byte, on a link that serves nothing by itself."""
    while True:
        stream = await link.next_stream()
        await expect_line(stream, "/multistream/1.0.0")
        for byte in line("/multistream/1.0.0"):
            await stream.write(bytes([byte]))
        text = await stream.read_message()
        if text != STOP.encode() + b"\n":
            await stream.write(line("na"))
            continue
        for byte in line(STOP):
            await stream.write(bytes([byte]))
        return Stop(stream, stop_request(await stream.read_message()))
