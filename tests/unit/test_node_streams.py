"""Streams between two nodes over a relay: reading, writing, and every way to end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from tests.unit.nodes import ECHO, Meeting, address, meeting, until
from towpath import Stream
from towpath.errors import ProtocolNotSupported, StreamReset

MORE_THAN_A_WINDOW = 3_000_000


@pytest.fixture
async def met() -> AsyncIterator[Meeting]:
    async with meeting() as met:
        yield met


async def read_all(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def write_all(stream: Stream, data: bytes, piece: int = 100_000) -> None:
    for at in range(0, len(data), piece):
        stream.write(data[at : at + piece])
        await stream.drain()
    await stream.close_write()


async def test_a_stream_knows_who_is_at_its_other_end_and_which_relay_carries_it(met: Meeting) -> None:
    here, there = await met.pair("/app/1")
    assert (here.peer_id, here.protocol, here.via) == (met.bob.peer_id, "/app/1", met.relay.relay_id)
    assert (there.peer_id, there.protocol, there.via) == (met.alice.peer_id, "/app/1", met.relay.relay_id)


@pytest.mark.parametrize("piece", [1_000, 100_000, MORE_THAN_A_WINDOW])
async def test_megabytes_come_back_as_they_were(met: Meeting, piece: int) -> None:
    data = os.urandom(MORE_THAN_A_WINDOW)
    stream = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(met.relay))
    async with asyncio.TaskGroup() as group:
        group.create_task(write_all(stream, data, piece))
        back = group.create_task(read_all(stream))
    assert back.result() == data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_any_bytes_can_be_written_and_used_again_at_once(met: Meeting, kind: type) -> None:
    here, there = await met.pair()
    mine = bytearray(b"before")
    here.write(kind(mine))
    mine[:] = b"behind"
    assert await there.readexactly(6) == b"before"


async def test_read_gives_what_is_there_and_never_more_than_asked(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(b"abcdef")
    assert await there.read(1) == b"a"
    assert await there.read(0) == b""
    assert await there.read(3) == b"bcd"
    assert await there.read() == b"ef"
    waiting = asyncio.ensure_future(there.read())
    await asyncio.sleep(0)
    assert not waiting.done()
    here.write(b"g")
    assert await waiting == b"g"


async def test_nothing_written_is_nothing_sent(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(b"")
    here.write(b"x")
    assert await there.read() == b"x"


async def test_the_end_is_read_behind_everything_and_again_and_again(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(b"last words")
    await here.close_write()
    assert await there.read(4) == b"last"
    assert await read_all(there) == b" words"
    assert await there.read() == b""
    assert await there.read() == b""


async def test_each_direction_ends_on_its_own(met: Meeting) -> None:
    here, there = await met.pair()
    await here.close_write()
    assert await there.read() == b""
    there.write(b"still here")
    assert await here.readexactly(10) == b"still here"
    await there.close_write()
    assert await here.read() == b""


async def test_readexactly_waits_for_all_of_it(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(b"12")
    reading = asyncio.ensure_future(there.readexactly(5))
    await met.settle()
    assert not reading.done()
    here.write(b"345678")
    assert await reading == b"12345"
    assert await there.readexactly(0) == b""
    assert await there.readexactly(3) == b"678"


async def test_readexactly_tells_what_came_when_the_end_comes_before(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(b"12")
    await here.close_write()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await there.readexactly(5)
    assert (caught.value.partial, caught.value.expected) == (b"12", 5)


async def test_readexactly_is_no_incomplete_read_when_the_stream_is_cut_off(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(b"12")
    await met.settle()
    here.reset()
    with pytest.raises(StreamReset):
        await there.readexactly(5)


async def test_a_reset_is_no_end_for_the_other_side(met: Meeting) -> None:
    here, there = await met.pair()
    reading = asyncio.ensure_future(there.read())
    await asyncio.sleep(0)
    here.reset()
    with pytest.raises(StreamReset):
        await reading
    with pytest.raises(StreamReset):
        there.write(b"x")
    with pytest.raises(StreamReset):
        await there.drain()


async def test_after_ones_own_reset_nothing_works_any_more(met: Meeting) -> None:
    here, _ = await met.pair()
    here.reset()
    here.reset()
    for use in (here.read, here.drain):
        with pytest.raises(StreamReset):
            await use()
    with pytest.raises(StreamReset):
        here.write(b"x")


async def test_a_reset_wakes_who_reads_and_who_drains_here(met: Meeting) -> None:
    here, _ = await met.pair()
    here.write(bytes(MORE_THAN_A_WINDOW))
    reading, draining = asyncio.ensure_future(here.read()), asyncio.ensure_future(here.drain())
    await asyncio.sleep(0)
    here.reset()
    for waiting in (reading, draining):
        with pytest.raises(StreamReset):
            await waiting


async def test_what_came_before_a_reset_can_still_be_read(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(b"so far")
    await met.settle()
    here.reset()
    await met.settle()
    assert await there.read() == b"so far"
    with pytest.raises(StreamReset):
        await there.read()


async def test_a_reset_behind_the_end_leaves_the_end(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(b"all of it")
    await here.close_write()
    await met.settle()
    here.reset()
    await met.settle()
    assert await read_all(there) == b"all of it"
    with pytest.raises(StreamReset):
        there.write(b"x")


async def test_drain_waits_for_a_reader_that_does_not_read(met: Meeting) -> None:
    here, there = await met.pair()
    data = bytes(MORE_THAN_A_WINDOW)
    here.write(data)
    draining = asyncio.ensure_future(here.drain())
    await met.settle()
    assert not draining.done()
    assert await there.readexactly(len(data)) == data
    await draining


async def test_of_two_who_drain_one_may_be_cancelled(met: Meeting) -> None:
    here, there = await met.pair()
    here.write(bytes(MORE_THAN_A_WINDOW))
    first, second = asyncio.ensure_future(here.drain()), asyncio.ensure_future(here.drain())
    await asyncio.sleep(0)
    first.cancel()
    await there.readexactly(MORE_THAN_A_WINDOW)
    await second
    assert first.cancelled()


async def test_a_cancelled_read_loses_nothing(met: Meeting) -> None:
    here, there = await met.pair()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await there.read()
    here.write(b"x")
    assert await there.read() == b"x"


async def test_two_cannot_read_at_once(met: Meeting) -> None:
    here, there = await met.pair()
    first = asyncio.ensure_future(there.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task"):
        await there.read()
    here.write(b"x")
    assert await first == b"x"


async def test_close_lets_what_was_written_arrive(met: Meeting) -> None:
    here, there = await met.pair()
    data = os.urandom(MORE_THAN_A_WINDOW)
    here.write(data)
    await here.close()
    assert await read_all(there) == data


async def test_close_wakes_who_reads_and_is_no_end_to_read(met: Meeting) -> None:
    here, there = await met.pair()
    reading = asyncio.ensure_future(here.read())
    await asyncio.sleep(0)
    there.write(b"not wanted")
    await here.close()
    with pytest.raises(StreamReset, match="closed here"):
        await reading
    await there.close_write()
    await met.settle()
    with pytest.raises(StreamReset, match="closed here"):
        await here.read()


async def test_a_stream_closed_behind_the_others_end_keeps_what_came(met: Meeting) -> None:
    here, there = await met.pair()
    there.write(b"words")
    await there.close_write()
    await met.settle()
    await here.close()
    assert await read_all(here) == b"words"


async def test_writing_behind_ones_own_end_is_a_mistake_of_the_program(met: Meeting) -> None:
    here, _ = await met.pair()
    await here.close_write()
    await here.close_write()
    with pytest.raises(RuntimeError, match="close_write"):
        here.write(b"x")
    await here.close()
    await here.close()
    with pytest.raises(RuntimeError, match="close"):
        here.write(b"x")


async def test_leaving_a_stream_in_order_closes_it(met: Meeting) -> None:
    here, there = await met.pair()
    async with here as same:
        assert same is here
        here.write(b"x")
    assert await read_all(there) == b"x"


async def test_leaving_a_stream_by_an_exception_resets_it(met: Meeting) -> None:
    here, there = await met.pair()
    with pytest.raises(ZeroDivisionError):
        async with here:
            raise ZeroDivisionError
    with pytest.raises(StreamReset):
        await there.read()


async def test_a_handler_that_fails_resets_its_stream_and_no_other(met: Meeting) -> None:
    steady, _ = await met.pair("/steady/1")

    async def fail(stream: Stream) -> None:
        await stream.read()
        raise ZeroDivisionError

    met.bob.set_stream_handler("/fails/1", fail)
    stream = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, "/fails/1")
    stream.write(b"x")
    with pytest.raises(StreamReset):
        await stream.read()
    echoed = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO)
    echoed.write(b"x")
    assert await echoed.read() == b"x"
    steady.write(b"x")
    await steady.drain()


async def test_a_handler_that_runs_into_a_reset_resets_its_own_end_quietly(met: Meeting) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read_on(stream: Stream) -> None:
        try:
            await stream.read()
        finally:
            done.set_result(None)

    met.bob.set_stream_handler("/reads/1", read_on)
    stream = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, "/reads/1", via=address(met.relay))
    stream.reset()
    await done


async def test_a_handler_can_hand_its_stream_to_others(met: Meeting) -> None:
    here, there = await met.pair()
    there.write(b"after my handler is gone")
    assert await here.readexactly(24) == b"after my handler is gone"


async def test_an_unknown_protocol_and_one_taken_back_are_refused(met: Meeting) -> None:
    here, _ = await met.pair("/app/1")
    with pytest.raises(ProtocolNotSupported, match="/other/1"):
        await met.alice.connect_to_peer_via_relay(met.bob.peer_id, "/other/1")
    met.bob.set_stream_handler("/app/1", None)
    met.bob.set_stream_handler("/never/served", None)
    with pytest.raises(ProtocolNotSupported):
        await met.alice.connect_to_peer_via_relay(met.bob.peer_id, "/app/1")
    here.write(b"x")


async def test_hundreds_of_streams_of_one_connection_keep_their_bytes_apart(met: Meeting) -> None:
    count = 300

    async def talk(n: int) -> None:
        stream = await met.alice.connect_to_peer_via_relay(met.bob.peer_id, ECHO, via=address(met.relay))
        async with stream:
            said = str(n).encode() * (1 + n % 50)
            stream.write(said)
            await stream.close_write()
            assert await read_all(stream) == said

    for first in range(0, count, 60):
        async with asyncio.TaskGroup() as group:
            for n in range(first, first + 60):
                group.create_task(talk(n))
    assert len([row for row in met.alice.peers() if row["via"]]) == 1


async def test_a_ping_takes_a_moment_and_leaves_no_stream(met: Meeting) -> None:
    for _ in range(3):
        assert 0 < await met.alice.ping(met.bob.peer_id, via=address(met.relay)) < 5
    assert 0 < await met.alice.ping(address(met.relay)) < 5
    await until(lambda: [row["streams"] for row in met.alice.peers() if row["via"]] == [0])
