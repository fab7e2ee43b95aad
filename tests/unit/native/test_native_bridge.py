"""A stream spliced to a Unix socket: bytes both ways, back pressure both ways, and each way that it may end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.unit.native.pair import Pair, pair
from tests.unit.nodes import ECHO, descriptors, until
from towpath._native.appstream import AppStream
from towpath._native.appstream import open_stream as open_native
from towpath._native.bridge import Bridge, splice
from towpath.client.relaying import open_stream
from towpath.errors import StreamReset
from towpath.stream import Stream

KAD = "/kad/1"
MIB = 1024 * 1024


@dataclass
class Splices:
    """Streams from `here` to `there`, where each is spliced to a socket whose other end the test holds."""

    both: Pair
    idle_ms: int = 60000
    bridges: list[Bridge] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def accept(self, stream: AppStream) -> None:
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        bridge = splice(stream, here.detach(), self.idle_ms)
        bridge.on_end = self.ended.set
        self.bridges.append(bridge)
        self.sockets.append(there)

    async def open(self) -> tuple[Stream, socket.socket]:
        session = await self.both.connect()
        stream = Stream(await open_stream(session, KAD))
        await until(lambda: self.sockets)
        return stream, self.sockets[-1]


@asynccontextmanager
async def spliced(idle_ms: int = 60000) -> AsyncIterator[Splices]:
    async with pair() as both:
        splices = Splices(both, idle_ms)
        both.there.set_handler(KAD, splices.accept)
        try:
            yield splices
        finally:
            for end in splices.sockets:
                end.close()


async def receive(end: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(end, size - len(data))
        if not part:
            break
        data += part
    return data


async def test_bytes_go_both_ways_in_order() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        there, back = os.urandom(3 * MIB), os.urandom(2 * MIB)
        loop = asyncio.get_running_loop()

        async def send() -> None:
            for at in range(0, len(there), 65536):
                stream.write(there[at : at + 65536])
                await stream.drain()

        _, got, _, returned = await asyncio.gather(
            send(), receive(end, len(there)), loop.sock_sendall(end, back), stream.readexactly(len(back))
        )
        assert got == there
        assert returned == back
        assert (s.bridges[0].bytes_in, s.bridges[0].bytes_out) == (len(there), len(back))


async def test_what_came_before_the_splice_comes_first() -> None:
    async with pair() as both:
        streams: list[AppStream] = []
        both.there.set_handler(KAD, streams.append)
        stream = Stream(await open_stream(await both.connect(), KAD))
        stream.write(b"early")
        await stream.close_write()
        await until(lambda: streams and streams[0].ended)
        here, end = socket.socketpair()
        here.setblocking(False)
        end.setblocking(False)
        with end:
            splice(streams[0], here.detach())
            assert await receive(end, 100) == b"early"
            await asyncio.get_running_loop().sock_sendall(end, b"late")
            end.shutdown(socket.SHUT_WR)
            assert await stream.read() == b"late"
            assert await stream.read() == b""


async def test_a_process_that_does_not_read_stops_its_sender_and_parks_one_window() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        stream.write(bytes(4 * MIB))
        reactor = s.both.there.reactor

        async def still() -> int:
            before = -1
            while before != s.bridges[0].bytes_in:
                before = s.bridges[0].bytes_in
                await asyncio.sleep(0.1)
            return before

        arrived = await still()
        assert arrived < MIB
        assert reactor.held < 8 * MIB
        assert len(await receive(end, 4 * MIB)) == 4 * MIB
        await until(lambda: reactor.held == 0)


async def test_a_peer_that_does_not_read_stops_the_process() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        sent = 0
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                while sent < 16 * MIB:
                    await loop.sock_sendall(end, bytes(65536))
                    sent += 65536
        # The stream's window, its reader's inbox, and what the socket's own buffers take.
        assert sent < 2 * MIB
        assert await stream.readexactly(sent) == bytes(sent)


async def test_each_direction_ends_on_its_own() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        stream.write(b"question")
        await stream.close_write()
        assert await receive(end, 100) == b"question"
        await asyncio.get_running_loop().sock_sendall(end, b"answer")
        end.close()
        assert await stream.read() == b"answer"
        assert await stream.read() == b""
        await s.ended.wait()
        assert s.bridges[0].ended


async def test_the_end_of_the_process_goes_first_and_the_peer_may_still_speak() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        end.shutdown(socket.SHUT_WR)
        assert await stream.read() == b""
        stream.write(b"still here")
        await stream.close_write()
        assert await receive(end, 100) == b"still here"
        await s.ended.wait()


async def test_a_reset_stream_closes_the_socket() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        stream.reset()
        assert await receive(end, 1) == b""
        await s.ended.wait()


async def test_a_lost_connection_closes_the_socket() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        stream._native.session.abort()
        assert await receive(end, 1) == b""
        await s.ended.wait()


@pytest.mark.slow
async def test_a_process_that_died_ends_its_streams() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        end.close()
        assert await stream.read() == b""
        # A peer that speaks on all the same is cut off.
        with pytest.raises(StreamReset):
            while True:
                stream.write(bytes(1000))
                await stream.drain()
                await asyncio.sleep(0.01)
        await s.ended.wait()


async def test_an_idle_stream_ends() -> None:
    async with spliced(idle_ms=300) as s:
        stream, end = await s.open()
        stream.write(b"x")
        assert await receive(end, 1) == b"x"
        with pytest.raises(StreamReset):
            await stream.read()
        assert await receive(end, 1) == b""


async def test_over_budget_the_one_whose_process_takes_nothing_goes() -> None:
    async with spliced() as s:
        stream, _ = await s.open()
        s.both.there.reactor.budget = 64 * 1024
        stream.write(bytes(4 * MIB))
        with pytest.raises(StreamReset):
            await stream.read()
        await s.ended.wait()
        assert s.both.there.reactor.stats()["budget_resets"] >= 1


async def test_a_bridge_closed_here_ends_both() -> None:
    async with spliced() as s:
        stream, end = await s.open()
        s.bridges[0].close()
        assert await receive(end, 1) == b""
        with pytest.raises(StreamReset):
            await stream.read()


async def test_a_stream_that_is_gone_already_costs_no_descriptor() -> None:
    async with pair() as both:
        streams: list[AppStream] = []
        both.there.set_handler(KAD, streams.append)
        stream = Stream(await open_stream(await both.connect(), KAD))
        await until(lambda: streams)
        stream.reset()
        await until(lambda: streams[0].was_reset)
        here, end = socket.socketpair()
        with end:
            before = descriptors()
            bridge = splice(streams[0], here.detach())
            assert bridge.ended
            assert descriptors() == before - 1
            assert end.recv(1) == b""


async def test_many_that_ended_in_every_way_leave_no_descriptor() -> None:
    async with spliced() as s:
        first, end = await s.open()
        end.close()
        first.reset()
        await s.ended.wait()
        session = s.both.here.session_of(s.both.there.peer_id)
        before = descriptors()
        for round_ in range(60):
            s.ended.clear()
            s.sockets.clear()
            stream = Stream(await open_stream(session, KAD))
            stream.write(bytes(1000))
            await until(lambda: s.sockets)
            end = s.sockets[0]
            match round_ % 4:
                case 0:
                    stream.reset()
                case 1:
                    await stream.close_write()
                    end.close()
                case 2:
                    end.close()
                    await stream.close_write()
                case 3:
                    s.bridges[-1].close()
            await s.ended.wait()
            end.close()
            s.bridges.clear()
        assert descriptors() == before
        await until(lambda: s.both.there.reactor.held == 0)


async def test_what_the_process_says_follows_the_proposal_at_once() -> None:
    async with pair() as both:
        session = await both.connect()
        opened = open_native(session, ECHO)
        assert opened is not None
        here, end = socket.socketpair()
        here.setblocking(False)
        end.setblocking(False)
        with end:
            bridge = splice(opened[0], here.detach())
            await asyncio.get_running_loop().sock_sendall(end, b"question")
            end.shutdown(socket.SHUT_WR)
            assert await receive(end, 100) == b"question"
            await until(lambda: bridge.ended)


async def test_a_protocol_that_is_not_spoken_ends_both() -> None:
    async with pair() as both:
        session = await both.connect()
        for speaks in (True, False):
            opened = open_native(session, "/nobody/speaks/this")
            assert opened is not None
            here, end = socket.socketpair()
            here.setblocking(False)
            end.setblocking(False)
            with end:
                bridge = splice(opened[0], here.detach())
                ended = asyncio.Event()
                bridge.on_end = ended.set
                if speaks:
                    await asyncio.get_running_loop().sock_sendall(end, bytes(1000))
                assert await receive(end, 1) == b""
                await ended.wait()


async def test_a_bridge_may_be_closed_or_lost_while_its_protocol_is_agreed_on() -> None:
    async with pair() as both:
        session = await both.connect()
        for lost in (False, True):
            opened = open_native(session, ECHO)
            assert opened is not None
            here, end = socket.socketpair()
            here.setblocking(False)
            end.setblocking(False)
            with end:
                bridge = splice(opened[0], here.detach())
                if lost:
                    session.abort()
                else:
                    bridge.close()
                assert bridge.ended
                assert await receive(end, 1) == b""
