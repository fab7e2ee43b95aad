"""Limits on a circuit: told, kept to the byte and to the second, and never mistaken for the end of the stream."""

import asyncio
import os
import time

import pytest

from tests.net.conftest import StartRelay, meeting_at
from tests.peerlab import Peer, RelayProcess, StreamReset, circuit_between, meanwhile
from tests.peerlab.circuit import connect_message

DATA = 64 * 1024


@pytest.fixture
def frugal(start_relay: StartRelay) -> RelayProcess:
    """A relay that lets 64 KiB through a circuit, each way."""
    return start_relay({"relay.circuit_data": "64KiB"})


@pytest.fixture
def hasty(start_relay: StartRelay) -> RelayProcess:
    """A relay that lets a circuit live for two seconds."""
    return start_relay({"relay.circuit_duration": "2s"})


async def test_a_data_limit_is_told_to_both_ends_and_with_the_reservation(frugal: RelayProcess) -> None:
    async with Peer() as alice, Peer() as bob:
        at_relay, to_relay = await bob.dial(frugal), await alice.dial(frugal)
        reservation = await at_relay.reserve()
        async with meanwhile(to_relay.ask_hop(connect_message(bob.peer_id))) as asking:
            stop = await at_relay.next_stop()
            await stop.accept()
            _, answer = await asking
        for limit in (reservation.limit, stop.request.limit, answer.limit):
            assert limit is not None
            assert limit.data == DATA
            assert not limit.duration


async def test_a_duration_limit_is_told_in_seconds(hasty: RelayProcess) -> None:
    async with Peer() as bob:
        reservation = await (await bob.dial(hasty)).reserve()
        assert reservation.limit is not None
        assert reservation.limit.duration == 2
        assert not reservation.limit.data


@pytest.mark.parametrize("sender", ["dialer", "target"])
async def test_exactly_the_limit_passes_and_ends_well(frugal: RelayProcess, sender: str) -> None:
    async with meeting_at(frugal) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        one, other = (here, there) if sender == "dialer" else (there, here)
        data = os.urandom(DATA)
        await one.write(data, fin=True)
        assert await other.read_rest() == data


@pytest.mark.parametrize("frame", [1000, DATA, 1 << 20])
@pytest.mark.parametrize("sender", ["dialer", "target"])
async def test_one_byte_more_cuts_the_circuit_at_the_limit_with_a_reset(
    frugal: RelayProcess, sender: str, frame: int
) -> None:
    async with meeting_at(frugal) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        one, other = (here, there) if sender == "dialer" else (there, here)
        data = os.urandom(DATA + 1)
        await one.write(data, fin=True, frame=frame)
        assert await other.end() == "reset"
        assert bytes(other.inbox) == data[:DATA]
        await one.reset_by_them()


async def test_each_direction_has_a_limit_of_its_own(frugal: RelayProcess) -> None:
    async with meeting_at(frugal) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        up, down = os.urandom(DATA), os.urandom(DATA)
        await asyncio.gather(here.write(up), there.write(down))
        assert await there.read(DATA) == up
        assert await here.read(DATA) == down
        assert not here.was_reset
        await here.write(b"!")
        assert await there.end() == "reset"
        assert there.received == DATA


async def test_bytes_that_come_with_the_messages_count(frugal: RelayProcess) -> None:
    async with meeting_at(frugal) as met, meanwhile(met.to_relay.connect(met.bob.peer_id, early=bytes(1000))) as asking:
        there = await met.at_relay.accept(early=bytes(1000))
        here = await asking
        await here.write(bytes(DATA - 999))
        assert await there.end() == "reset"
        assert there.received == DATA


async def test_a_new_circuit_gets_a_new_limit(frugal: RelayProcess) -> None:
    async with meeting_at(frugal) as met:
        for _ in range(3):
            here, there = await circuit_between(met.to_relay, met.at_relay)
            await here.write(bytes(DATA + 1))
            assert await there.end() == "reset"
            assert there.received == DATA


async def test_time_is_up_for_idle_busy_and_stalled_circuits_alike(hasty: RelayProcess) -> None:
    async with meeting_at(hasty) as met:
        began = time.monotonic()
        idle = await circuit_between(met.to_relay, met.at_relay)
        half = await circuit_between(met.to_relay, met.at_relay)
        stalled = await circuit_between(met.to_relay, met.at_relay)
        await half[0].finish()
        assert await half[1].end() == "fin"
        stalled[1].grants = False
        async with meanwhile(stalled[0].write(bytes(2_000_000))) as writing:
            for stream in (*idle, half[0], *stalled):
                await stream.reset_by_them(patience=4)
            with pytest.raises(StreamReset):
                await writing
        assert 1.9 <= time.monotonic() - began <= 3.5
        assert met.to_relay.ended is met.at_relay.ended is None


async def test_without_limits_nothing_is_told(start_relay: StartRelay) -> None:
    relay = start_relay()
    async with Peer() as alice, Peer() as bob:
        at_relay, to_relay = await bob.dial(relay), await alice.dial(relay)
        assert (await at_relay.reserve()).limit is None
        async with meanwhile(to_relay.ask_hop(connect_message(bob.peer_id))) as asking:
            stop = await at_relay.next_stop()
            assert stop.request.limit is None
            await stop.accept()
            _, answer = await asking
            assert answer.limit is None
