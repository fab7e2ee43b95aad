"""How long the relay waits for those who say nothing: 15 s for a handshake, 30 s for a message, 60 s for a purpose.

The waits have no knob, so each test starts all the silences it can at once and waits once.
"""

import asyncio
import time

import pytest

from tests.net.conftest import meeting_at
from tests.peerlab import Peer, RelayProcess, Status, circuit_between
from tests.peerlab.circuit import HOP, STOP, connect_message, hop_answer
from tests.peerlab.noise import Handshake, payload
from tests.peerlab.peer import PING, say_nothing
from tests.peerlab.upgrade import MULTISTREAM, NOISE, expect_line, line, proposal
from tests.peerlab.wire import Wire

pytestmark = [pytest.mark.full, pytest.mark.timeout(180)]


async def silence_before_noise(relay: RelayProcess, *said: bytes) -> float:
    """Says this much and nothing more; returns after how long the relay has enough."""
    async with await Wire.dial(relay.address) as wire:
        began = time.monotonic()
        for part in said:
            await wire.send(part)
        await wire.ended(patience=30)
        return time.monotonic() - began


async def silence_behind_noise(relay: RelayProcess) -> float:
    """Noise done, and the muxer never proposed."""
    async with Peer() as peer, await Wire.dial(relay.address) as wire:
        began = time.monotonic()
        await wire.send(proposal(NOISE))
        await expect_line(wire, MULTISTREAM)
        await expect_line(wire, NOISE)
        noise = Handshake(initiator=True)
        first = noise.write()
        await wire.send(len(first).to_bytes(2) + first)
        noise.read(await wire.read(int.from_bytes(await wire.read(2))))
        third = noise.write(payload(peer.identity, noise.static_public))
        await wire.send(len(third).to_bytes(2) + third)
        await wire.ended(patience=30)
        return time.monotonic() - began


async def drip(relay: RelayProcess) -> float:
    """A byte a second of a proposal without an end: progress is not enough."""
    async with await Wire.dial(relay.address) as wire:
        began = time.monotonic()
        ending = asyncio.create_task(wire.ended(patience=30))
        await wire.send(line(MULTISTREAM))
        while not ending.done():
            try:
                await wire.send(b"\x7f")
            except ConnectionError:
                break
            await asyncio.wait((ending,), timeout=1)
        await ending
        return time.monotonic() - began


async def test_half_open_handshakes_end_within_fifteen_seconds(relay: RelayProcess) -> None:
    noise = Handshake(initiator=True).write()
    waits = await asyncio.gather(
        *(silence_before_noise(relay) for _ in range(200)),
        *(silence_before_noise(relay, line(MULTISTREAM)) for _ in range(50)),
        *(silence_before_noise(relay, proposal(NOISE)) for _ in range(50)),
        silence_before_noise(relay, proposal(NOISE), len(noise).to_bytes(2) + noise),
        silence_before_noise(relay, proposal(NOISE), len(noise).to_bytes(2) + noise[:10]),
        silence_behind_noise(relay),
        drip(relay),
    )
    assert max(waits) < 16.5
    assert min(waits) > 5


async def test_control_streams_and_targets_are_given_thirty_seconds(relay: RelayProcess) -> None:
    async def silent_stream(*, said: bytes) -> float:
        async with Peer() as peer:
            link = await peer.dial(relay)
            await link.reserve()
            began = time.monotonic()
            stream = await link.open(HOP, said)
            assert await stream.end(patience=40) == "reset"
            assert link.ended is None
            return time.monotonic() - began

    async def silent_target(*, agrees: bool) -> float:
        bob = Peer(serves=agrees)
        bob.handlers[STOP] = say_nothing
        async with meeting_at(relay, bob=bob) as met:
            began = time.monotonic()
            stream = await met.to_relay.open(HOP, connect_message(bob.peer_id))
            await stream.has_received(stream.received + 1, patience=40)
            assert hop_answer(await stream.read_message()).status == Status.CONNECTION_FAILED
            wait = time.monotonic() - began
            assert met.at_relay.ended is None
            return wait

    waits = await asyncio.gather(
        silent_stream(said=b""),
        silent_stream(said=connect_message(relay.peer_id)[:5]),
        silent_target(agrees=True),
        silent_target(agrees=False),
    )
    assert max(waits) < 33
    assert min(waits) > 27


async def test_a_connection_without_a_purpose_ends_after_a_minute_and_others_stay(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met, Peer() as idler, Peer() as pinger:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        idle = await idler.dial(relay)
        busy = await pinger.dial(relay)
        stream = await busy.open(PING)
        began = time.monotonic()
        assert await idle.end(patience=75) in ("closed", "reset")
        assert 55 < time.monotonic() - began < 68
        await here.write(b"a circuit is a purpose")
        assert await there.read(22) == b"a circuit is a purpose"
        await stream.write(b"p" * 32)
        assert await stream.read(32) == b"p" * 32
        await here.reset()
        await stream.reset()
        began = time.monotonic()
        assert await met.to_relay.end(patience=75) in ("closed", "reset")
        assert time.monotonic() - began > 50
        await met.at_relay.ping()
        async with Peer() as late:
            await circuit_between(await late.dial(relay), met.at_relay)
