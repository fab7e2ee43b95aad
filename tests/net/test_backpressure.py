"""A reader that stops reading slows its own sender and nobody else, and parks next to nothing in the relay."""

import asyncio
import os

import pytest

from tests.net.conftest import Meeting, meeting_at
from tests.peerlab import Link, Peer, RelayProcess, Stream, circuit_between, eventually, meanwhile

KIB = 1 << 10
MIB = 1 << 20
BUDGET = 256 * MIB


async def carries_bulk(here: Stream, there: Stream, size: int = 3 * MIB) -> None:
    """Both directions of a circuit carry so much, whatever happens beside it."""
    data = os.urandom(size)
    up, down, *_ = await asyncio.gather(there.read(size), here.read(size), here.write(data), there.write(data))
    assert up == data
    assert down == data


async def stalls(sender: Stream, receiver: Stream) -> int:
    """Writes until the window is shut for good; returns how much went in."""
    receiver.grants = False
    sent = 0
    while True:
        size = sender.credit
        await sender.write(bytes(size))
        sent += size
        await receiver.has_received(min(sent, receiver.received + receiver.granted))
        await sender.session.ping()
        if not sender.credit and not receiver.granted:
            return sent


async def test_a_stalled_reader_stops_its_sender_after_two_windows_at_most(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    assert await stalls(here, there) <= 2 * there.window + 4 * KIB


async def test_a_stalled_dialer_stops_the_target_as_well(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    assert await stalls(there, here) <= 2 * here.window + 4 * KIB


@pytest.mark.parametrize("stalled", ["target", "dialer"])
async def test_a_stalled_circuit_slows_no_other_circuit_of_the_same_connections(meeting: Meeting, stalled: str) -> None:
    stuck = await circuit_between(meeting.to_relay, meeting.at_relay)
    free = await circuit_between(meeting.to_relay, meeting.at_relay)
    await stalls(*(stuck if stalled == "target" else reversed(stuck)))
    await carries_bulk(*free)


async def test_a_stalled_circuit_goes_on_where_it_stopped_once_it_is_read(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    there.grants = False
    data = os.urandom(2 * MIB)
    async with meanwhile(here.write(data, fin=True)) as writing:
        await there.is_full()
        there.grants = True
        assert await there.read_rest() == data
        await writing


async def test_credit_given_in_sips_moves_just_that_much(meeting: Meeting) -> None:
    here, there = await circuit_between(meeting.to_relay, meeting.at_relay)
    there.grants = False
    async with meanwhile(here.write(bytes(MIB))):
        await there.is_full()
        for sip in (1, 2, 1000, 65_536):
            before = there.received
            there.grant(sip)
            await there.has_received(before + sip)
            await meeting.at_relay.ping()
            assert there.received == before + sip


async def test_a_peer_that_reads_nothing_at_all_slows_nobody_else(relay: RelayProcess) -> None:
    async with Peer() as carol, meeting_at(relay, bob=Peer(receive_buffer=16 * KIB)) as met:
        to_carol = await carol.dial(relay)
        await to_carol.reserve()
        stuck = [await circuit_between(met.to_relay, met.at_relay) for _ in range(8)]
        met.at_relay.stop_reading()
        async with asyncio.TaskGroup() as writers:
            writing = [writers.create_task(here.write(bytes(here.credit))) for here, _ in stuck]
            await carries_bulk(*await circuit_between(met.to_relay, to_carol))
            await asyncio.gather(*writing)
        met.at_relay.read_again()
        for _, there in stuck:
            await there.has_received(there.window // 2)


async def stalled_circuits(relay: RelayProcess, pairs: int, each: int) -> None:
    """Stalls pairs x each circuits whose targets read nothing, and checks what they cost."""
    async with Peer() as ann, Peer() as ben:
        at_relay = await ben.dial(relay)
        await at_relay.reserve()
        good = await circuit_between(await ann.dial(relay), at_relay)
        await carries_bulk(*good)
        before = relay.rss()
        async with Peer() as alice:
            bobs = [Peer(receive_buffer=16 * KIB) for _ in range(pairs)]
            writers: list[asyncio.Task[None]] = []
            try:
                for bob in bobs:
                    link, to_relay = await bob.dial(relay), await alice.dial(relay)
                    await link.reserve()
                    circuits = [await circuit_between(to_relay, link) for _ in range(each)]
                    link.stop_reading()
                    writers += [asyncio.create_task(fill(to_relay, here)) for here, _ in circuits]
                await asyncio.wait(writers, timeout=60)
                await carries_bulk(*good)
                assert relay.rss() - before < BUDGET + 64 * MIB
            finally:
                for writer in writers:
                    writer.cancel()
                await asyncio.gather(*writers, return_exceptions=True)
                for bob in bobs:
                    for link in bob.links:
                        await link.leave()
        await carries_bulk(*good)
        await eventually(lambda: relay.rss() < before + 32 * MIB, "memory's return")


async def fill(link: Link, stream: Stream) -> None:
    """Writes what the window allows at first; the circuit may be reset over it."""
    await asyncio.gather(stream.write(bytes(stream.credit)), return_exceptions=True)


async def test_two_hundred_stalled_circuits_stay_within_the_budget(relay: RelayProcess) -> None:
    await stalled_circuits(relay, pairs=4, each=50)


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_five_thousand_stalled_circuits_stay_within_the_budget(relay: RelayProcess) -> None:
    await stalled_circuits(relay, pairs=20, each=250)
