"""Peers that break yamux's rules or wear the relay out: they lose their connection, and nobody else loses anything."""

import asyncio
import contextlib
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.net.conftest import Meeting, meeting_at
from tests.peerlab import Link, Peer, RelayProcess, Status, Stream, StreamLost, circuit_between, eventually, yamux
from tests.peerlab.circuit import HOP, STOP, hop_answer, reserve_message
from tests.peerlab.identify import IDENTIFY
from tests.peerlab.peer import PING, say_nothing
from tests.peerlab.upgrade import MULTISTREAM, line, proposal
from tests.peerlab.yamux import ACK, DATA, FIN, GO_AWAY, RST, SYN, WINDOW, WINDOW_UPDATE

pytestmark = pytest.mark.usefixtures("bystanders")

MIB = 1 << 20
STREAMS, UNNEGOTIATED = 1024, 64

Offence = Callable[[Link], Awaitable[None]]


async def send_another_version(link: Link) -> None:
    await link.send(yamux.frame(yamux.PING, SYN, 0, 7, version=1))


async def send_an_unknown_type(link: Link) -> None:
    await link.send(yamux.frame(9, 0, 0, 0))


async def send_random_frames(link: Link) -> None:
    await link.send(b"\x07" + os.urandom(5000))


async def open_a_stream_of_the_wrong_parity(link: Link) -> None:
    await link.send(yamux.window_update(2, flags=SYN))


async def open_stream_zero(link: Link) -> None:
    await link.send(yamux.data(0, b"hello", SYN))


async def send_data_on_the_session(link: Link) -> None:
    await link.send(yamux.data(0, b"hello"))


async def open_a_stream_twice(link: Link) -> None:
    stream = await link.open(PING)
    await link.send(yamux.window_update(stream.id, flags=SYN))


async def open_a_stream_again_that_has_ended(link: Link) -> None:
    first, later = await link.open(PING), await link.open(PING)
    await first.reset()
    await later.reset()
    await link.ping()
    await link.send(yamux.data(first.id, proposal(PING), SYN))


async def overrun_the_window_of_a_hop_stream(link: Link) -> None:
    stream = await link.open(HOP)
    await link.send(yamux.data(stream.id, bytes(WINDOW + 1000)))


async def announce_more_than_the_window(link: Link) -> None:
    stream = await link.open(PING)
    await link.send(yamux.frame(DATA, 0, stream.id, 1 << 31) + bytes(100))


async def announce_the_largest_frame_on_a_stream_that_never_was(link: Link) -> None:
    await link.send(yamux.frame(DATA, 0, 99, 0xFFFFFFFF) + bytes(100))


async def send_what_cannot_be_decrypted(link: Link) -> None:
    sealed = bytearray(link.secure.seal(yamux.ping(1)))
    sealed[-1] ^= 1
    await link.wire.send(bytes(sealed))


async def send_a_message_too_short_to_be_sealed(link: Link) -> None:
    await link.wire.send(b"\0\x05hello")


async def send_an_empty_noise_message(link: Link) -> None:
    await link.wire.send(b"\0\0")


async def send_a_noise_message_twice(link: Link) -> None:
    sealed = link.secure.seal(yamux.ping(1))
    await link.wire.send(sealed + sealed)


async def flood_with_pings(link: Link) -> None:
    for batch in range(20):
        await link.send(b"".join(yamux.ping(batch * 100 + number) for number in range(100)))


OFFENCES: list[Offence] = [
    send_another_version,
    send_an_unknown_type,
    send_random_frames,
    open_a_stream_of_the_wrong_parity,
    open_stream_zero,
    send_data_on_the_session,
    open_a_stream_twice,
    open_a_stream_again_that_has_ended,
    overrun_the_window_of_a_hop_stream,
    announce_more_than_the_window,
    announce_the_largest_frame_on_a_stream_that_never_was,
    send_what_cannot_be_decrypted,
    send_a_message_too_short_to_be_sealed,
    send_an_empty_noise_message,
    send_a_noise_message_twice,
    flood_with_pings,
]


async def commit(offence: Offence, link: Link) -> None:
    """Commits it and waits for the end of the connection; that may come before the offence is complete."""
    with contextlib.suppress(StreamLost, ConnectionError):
        await offence(link)
    assert await link.end() in ("closed", "reset")


@pytest.mark.parametrize("offence", OFFENCES, ids=lambda offence: offence.__name__)
async def test_an_offence_costs_the_offender_the_connection(relay: RelayProcess, offence: Offence) -> None:
    async with Peer() as mallory:
        await commit(offence, await mallory.dial(relay))


@pytest.mark.parametrize("offence", OFFENCES, ids=lambda offence: offence.__name__)
async def test_an_offence_resets_the_offenders_circuits_at_the_other_side(
    relay: RelayProcess, offence: Offence
) -> None:
    async with meeting_at(relay) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        await here.write(b"so far so good")
        assert await there.read(14) == b"so far so good"
        await commit(offence, met.to_relay)
        assert await there.end() == "reset"
        assert met.at_relay.ended is None


async def test_a_circuits_window_may_not_be_overrun(relay: RelayProcess) -> None:
    async with meeting_at(relay) as met:
        here, there = await circuit_between(met.to_relay, met.at_relay)
        there.grants = False
        overrun = yamux.data(here.id, bytes(here.credit)) + yamux.data(here.id, b"!") * 3 * 65_536
        await here.session.send(overrun)
        assert await met.to_relay.end() in ("closed", "reset")
        assert await there.end() == "reset"
        assert there.granted >= 0
        await met.at_relay.reserve()


HARMLESS = {
    "data on a stream that never was": yamux.data(77, b"hello"),
    "a FIN on a stream that never was": yamux.data(77, flags=FIN),
    "a reset of a stream that never was": yamux.data(77, flags=RST),
    "credit for a stream that never was": yamux.window_update(77, 1000),
    "an ACK of nothing": yamux.window_update(77, 0, ACK),
    "an answer to a ping that was not sent": yamux.ping(12345, ACK),
    "all flags at once on a stream of ours": yamux.data(1, b"", SYN | ACK | FIN | RST),
    "a goodbye with a strange code": yamux.frame(GO_AWAY, 0, 0, 77),
    "too much credit": yamux.window_update(1, 0xFFFFFFFF, SYN) + yamux.window_update(1, 0xFFFFFFFF) * 10,
    "more than a window on a stream that negotiates nothing": yamux.data(1, b"", SYN)
    + yamux.data(1, bytes(60_000)) * 20,
    "a window update with a SYN and a FIN": yamux.frame(WINDOW_UPDATE, SYN | FIN, 1, 0),
    "a stream opened with a FIN": yamux.data(1, proposal(PING), SYN | FIN),
    "a stream opened and reset at once": yamux.data(1, b"", SYN) + yamux.data(1, b"", RST),
    "an id near the end of all ids": yamux.window_update(0x7FFFFFFF, flags=SYN),
    "unknown flags": yamux.frame(DATA, 0xFFF0 | SYN, 1, 0),
}


@pytest.mark.parametrize("what", HARMLESS)
async def test_an_oddity_harms_nobody_but_perhaps_its_sender(relay: RelayProcess, what: str) -> None:
    async with Peer() as oddball:
        link = await oddball.dial(relay)
        try:
            await link.send(HARMLESS[what])
            await link.ping()
        except StreamLost:
            assert await link.end() in ("closed", "reset")
        link.violations.clear()


def random_frame(chance: random.Random) -> bytes:
    """A frame in which everything may be wrong, but often is not."""
    kind, flags = chance.choice((0, 0, 1, 1, 2, 3, 4)), chance.choice((0, 1, 1, 2, 4, 8, 9, 0xFFFF))
    body = chance.randbytes(chance.choice((0, 1, 20, 400))) if kind == DATA else b""
    honest = kind == DATA and chance.random() < 0.9
    length = len(body) if honest else chance.choice((0, 1, 1 << 20, 0xFFFFFFFF))
    return yamux.frame(kind, flags, chance.choice((0, 1, 2, 3, 5, 99)), length) + body


async def test_random_sessions_end_and_harm_nobody(relay: RelayProcess) -> None:
    chance = random.Random(11)
    async with Peer() as mallory:
        for _ in range(100):
            link = await mallory.dial(relay)
            with contextlib.suppress(StreamLost, ConnectionError):
                for _ in range(20):
                    await link.send(random_frame(chance))
            link.violations.clear()
            await link.leave(abruptly=chance.random() < 0.5)


@pytest.mark.parametrize(
    "text",
    [
        b"\xff" * 100,
        b"\0" * 10,
        b"\xff\xff\x03" + b"a" * 5000,
        b"no multistream at all\n" * 10,
        line("/multistream/9.9.9"),
    ],
    ids=["endless length", "empty lines", "too long", "none", "another version"],
)
async def test_bad_multistream_on_a_stream_ends_it(relay: RelayProcess, text: bytes) -> None:
    async with Peer() as mallory:
        link = await mallory.dial(relay)
        stream = await link.open_stream()
        await stream.write(text)
        assert await stream.end() in ("reset", "lost")


async def opened_at_once(link: Link, count: int, text: bytes = b"") -> list[Stream]:
    """So many new streams in one go, each beginning with this text."""
    streams = [link.expect_stream() for _ in range(count)]
    frames = [yamux.data(stream.id, text, SYN) for stream in streams]
    for at in range(0, count, 500):
        await link.send(b"".join(frames[at : at + 500]))
    return streams


async def test_ten_thousand_streams_opened_at_once_stay_within_the_bounds(relay: RelayProcess) -> None:
    before = relay.rss()
    async with Peer() as mallory:
        link = await mallory.dial(relay)
        try:
            streams = await opened_at_once(link, 10_000)
            await link.ping()
        except StreamLost:
            assert await link.end() in ("closed", "reset")
        else:
            assert sum(not stream.was_reset for stream in streams) <= UNNEGOTIATED
        assert relay.rss() - before < 8 * MIB


async def test_a_connection_has_at_most_so_many_streams(relay: RelayProcess) -> None:
    async with Peer() as mallory:
        link = await mallory.dial(relay)
        opened: list[Stream] = []
        try:
            for _ in range(40):
                streams = await opened_at_once(link, 50, proposal(HOP))
                opened += streams
                await link.ping()
        except StreamLost:
            assert await link.end() in ("closed", "reset")
        else:
            assert sum(not stream.was_reset for stream in opened) <= STREAMS


async def test_sixty_four_streams_may_wait_for_their_protocol(relay: RelayProcess) -> None:
    async with Peer() as slow:
        link = await slow.dial(relay)
        streams = await opened_at_once(link, UNNEGOTIATED)
        await link.ping()
        for stream in streams:
            await stream.write(proposal(HOP) + reserve_message())
        for stream in streams:
            await stream.read(len(proposal(HOP)))
            assert hop_answer(await stream.read_message()).status == Status.OK


UNREAD = {
    "identify": proposal(IDENTIFY),
    "reserve": proposal(HOP) + reserve_message(),
    "declined protocols": line(MULTISTREAM) + line("/no/such/protocol") * 20,
    "ping": proposal(PING) + b"p" * 32 * 100,
}


@pytest.mark.parametrize("what", UNREAD)
async def test_answers_that_nobody_reads_do_not_pile_up(relay: RelayProcess, what: str) -> None:
    before = relay.rss()
    async with Peer(receive_buffer=4096) as mallory:
        link = await mallory.dial(relay)
        link.stop_reading()

        async def ask_on() -> None:
            for _ in range(400):
                await opened_at_once(link, 50, UNREAD[what])

        asking = asyncio.create_task(ask_on())
        await asyncio.wait((asking,), timeout=3)
        assert relay.rss() - before < 16 * MIB
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        link.violations.clear()


async def test_connections_reset_in_mid_transfer_leave_nothing_behind(relay: RelayProcess) -> None:
    for who in ("alice", "bob") * 5:
        async with meeting_at(relay) as met:
            pairs = [await circuit_between(met.to_relay, met.at_relay) for _ in range(5)]
            work: list[asyncio.Task[object]] = [asyncio.create_task(here.write(bytes(50 * MIB))) for here, _ in pairs]
            work += [asyncio.create_task(there.read(50 * MIB)) for _, there in pairs]
            await pairs[0][1].has_received(MIB)
            victim, other = (met.to_relay, pairs[0][1]) if who == "alice" else (met.at_relay, pairs[0][0])
            await victim.leave(abruptly=True)
            await other.reset_by_them()
            await asyncio.gather(*work, return_exceptions=True)


async def test_targets_that_never_agree_on_stop_take_nothing_from_others(relay: RelayProcess) -> None:
    bob = Peer(serves=False)
    async with meeting_at(relay, bob=bob) as met:
        asking = [asyncio.create_task(met.to_relay.connect(bob.peer_id)) for _ in range(50)]
        for _ in asking:
            await met.at_relay.next_stream()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_memory_returns_to_where_it_was(relay: RelayProcess) -> None:
    async def misbehave() -> None:
        for offence in OFFENCES:
            async with meeting_at(relay) as met:
                await circuit_between(met.to_relay, met.at_relay)
                await commit(offence, met.to_relay)

    for _ in range(3):
        await misbehave()
    descriptors, before = relay.descriptors(), relay.rss()
    for _ in range(15):
        await misbehave()
    await relay.has_descriptors(descriptors)
    await eventually(lambda: relay.rss() - before < MIB, "memory's return")


async def test_a_silent_target_is_no_burden(bystanders: Meeting) -> None:
    bob = Peer()
    bob.handlers[STOP] = say_nothing
    async with meeting_at(bystanders.relay, bob=bob) as met:
        asking = asyncio.create_task(met.to_relay.connect(bob.peer_id))
        await circuit_between(bystanders.to_relay, bystanders.at_relay)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
