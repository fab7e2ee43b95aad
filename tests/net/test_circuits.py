"""Circuits: what goes in on one side comes out on the other, whole, in order, and with its end."""

import asyncio
import os

import pytest

from tests.net.conftest import Meeting
from tests.peerlab import StreamReset, circuit_between, meanwhile, yamux
from tests.peerlab.circuit import HOP, connect_message
from tests.peerlab.upgrade import proposal


async def test_a_circuit_carries_bytes_both_ways_at_once(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    up, down = os.urandom(5_000_000), os.urandom(4_000_000)
    got_down, got_up, *_ = await asyncio.gather(
        here.read_rest(), there.read_rest(), here.write(up, fin=True), there.write(down, fin=True)
    )
    assert (got_up, got_down) == (up, down)


async def test_a_stop_names_the_dialer_and_no_limit(meeting: Meeting) -> None:
    async with meanwhile(meeting.to_relay.connect(meeting.bob.peer_id)) as asking:
        stop = await meeting.at_relay.next_stop()
        assert stop.source == meeting.alice.peer_id
        assert stop.request.limit is None
        await stop.accept()
        await asking


async def test_bytes_sent_together_with_a_connect_reach_the_target(meeting: Meeting) -> None:
    async with meanwhile(meeting.to_relay.connect(meeting.bob.peer_id, early=b"hello, bob")) as asking:
        there = await meeting.at_relay.accept()
        await asking
        assert await there.read(10) == b"hello, bob"


async def test_bytes_sent_together_with_the_answer_to_a_stop_reach_the_dialer(meeting: Meeting) -> None:
    async with meanwhile(meeting.to_relay.connect(meeting.bob.peer_id)) as asking:
        await meeting.at_relay.accept(early=b"hello, alice")
        assert await (await asking).read(12) == b"hello, alice"


async def test_early_bytes_a_whole_window_of_them_and_the_fin_behind_are_delivered(meeting: Meeting) -> None:
    stream = await meeting.to_relay.open_stream()
    stream.protocol = HOP
    early = os.urandom(100_000)
    await stream.write(proposal(HOP) + connect_message(meeting.bob.peer_id) + early, fin=True)
    there = await meeting.at_relay.accept(early=early)
    assert await there.read_rest() == early
    await there.finish()
    assert (await stream.read_rest()).endswith(early)


async def test_the_target_may_close_its_half_first(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    await there.write(b"that is all from me", fin=True)
    assert await here.read_rest() == b"that is all from me"
    _, got = await asyncio.gather(here.write(b"x" * 1_000_000, fin=True), there.read_rest())
    assert got == b"x" * 1_000_000


async def test_the_dialer_may_close_its_half_first(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    await here.write(b"a question", fin=True)
    assert await there.read_rest() == b"a question"
    _, got = await asyncio.gather(there.write(b"y" * 1_000_000, fin=True), here.read_rest())
    assert got == b"y" * 1_000_000


@pytest.mark.parametrize("by", ["dialer", "target"])
async def test_a_reset_on_one_side_is_a_reset_on_the_other(meeting: Meeting, by: str) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    one, other = (here, there) if by == "dialer" else (there, here)
    await one.write(b"not yet all")
    await other.has_received(11)
    await one.reset()
    assert await other.end() == "reset"
    with pytest.raises(StreamReset):
        await other.read(12)


@pytest.mark.parametrize("by", ["dialer", "target"])
async def test_a_reset_behind_a_half_close_is_still_a_reset(meeting: Meeting, by: str) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    one, other = (here, there) if by == "dialer" else (there, here)
    await one.finish()
    assert await other.end() == "fin"
    await one.session.send(yamux.data(one.id, flags=yamux.RST))
    await other.reset_by_them()


@pytest.mark.parametrize("by", ["dialer", "target"])
async def test_a_connection_that_dies_resets_its_circuits_at_the_other_side(meeting: Meeting, by: str) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    one, other = (here, there) if by == "dialer" else (there, here)
    await one.write(b"the last words")
    await other.has_received(14)
    await one.session.leave(abruptly=True)
    assert await other.end() == "reset"


@pytest.mark.parametrize("by", ["dialer", "target"])
async def test_a_connection_closed_in_good_order_still_resets_its_open_circuits(meeting: Meeting, by: str) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    one, other = (here, there) if by == "dialer" else (there, here)
    await one.write(b"half a file")
    await other.has_received(11)
    await one.session.leave()
    assert await other.end() == "reset"


async def test_a_death_reaches_the_other_side_even_while_its_window_is_full(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    there.grants = False
    async with meanwhile(here.write(bytes(2_000_000))):
        await there.is_full()
        await meeting.to_relay.leave(abruptly=True)
        assert await there.end(patience=2) == "reset"


async def test_a_reset_reaches_the_other_side_even_while_its_window_is_full(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    there.grants = False
    async with meanwhile(here.write(bytes(2_000_000))):
        await there.is_full()
        await here.reset()
        assert await there.end(patience=2) == "reset"


async def test_two_hundred_circuits_on_one_pair_mind_their_own_business(meeting: Meeting) -> None:
    pairs = [await circuit_between(meeting.to_relay, meeting.at_relay) for _ in range(200)]
    await pairs[17][0].reset()
    assert await pairs[17][1].end() == "reset"
    await pairs[23][1].reset()
    assert await pairs[23][0].end() == "reset"
    await pairs[31][0].write(b"bye", fin=True)
    assert await pairs[31][1].read_rest() == b"bye"
    await pairs[31][1].finish()
    assert await pairs[31][0].end() == "fin"
    for number, (here, there) in enumerate(pairs):
        if number in (17, 23, 31):
            continue
        text = b"circuit %d" % number
        await here.write(text)
        assert await there.read(len(text)) == text
        await there.write(text)
        assert await here.read(len(text)) == text
    assert meeting.to_relay.ended is meeting.at_relay.ended is None


async def test_a_peer_may_have_circuits_in_both_roles_on_one_connection(meeting: Meeting) -> None:
    await meeting.to_relay.reserve()
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    back, forth = await circuit_between(meeting.at_relay, meeting.to_relay)
    await here.write(b"one way", fin=True)
    await back.write(b"the other way", fin=True)
    assert await there.read_rest() == b"one way"
    assert await forth.read_rest() == b"the other way"
