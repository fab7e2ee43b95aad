"""What the line watch tells of real sockets on loopback, how a socket is paced, and how packets are marked."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.unit.nodes import echo
from towpath._native.appstream import AppStream
from towpath._native.endpoint import Endpoint
from towpath._native.linequality import LineWatch, pace
from towpath._native.reactor import Reactor
from towpath._native.session import Session
from towpath.client.relaying import open_stream
from towpath.stream import Stream

ECHO = "/echo/1"
KIB = 1 << 10
MIB = 1 << 20
LOW_EFFORT = 4


@dataclass
class Pair:
    """Two endpoints on one loop: `here` dials `there`, which says everything again."""

    here: Endpoint
    there: Endpoint
    host: str
    port: int
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, stream: AppStream) -> None:
        task = asyncio.create_task(echo(Stream(stream)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self) -> Session:
        return await self.here.dial(self.host, self.port)

    async def through(self, session: Session, size: int) -> float:
        """Sends so many bytes to and fro and returns the seconds that took."""
        stream = Stream(await open_stream(session, ECHO))
        began = time.monotonic()
        stream.write(os.urandom(size))
        await stream.readexactly(size)
        took = time.monotonic() - began
        await stream.close()
        return took


@asynccontextmanager
async def pair(host: str = "127.0.0.1") -> AsyncIterator[Pair]:
    reactor = Reactor(asyncio.get_running_loop(), "libsodium")
    here, there = Endpoint(reactor, os.urandom(32)), Endpoint(reactor, os.urandom(32))
    both = Pair(here, there, host, there.listen(host, 0))
    there.set_handler(ECHO, both.accept)
    try:
        yield both
    finally:
        for endpoint in (here, there):
            endpoint.close()
            endpoint.abort()
        if both.tasks:
            await asyncio.wait(both.tasks)
        reactor.close()


async def test_a_socket_is_sampled_once_for_what_it_moved_and_a_quiet_one_never() -> None:
    async with pair() as both:
        watch = LineWatch(both.here)
        watch.start()
        busy, _ = await both.connect(), await both.connect()
        await both.through(busy, 256 * KIB)
        rows = watch.sample()
        assert [row[0] for row in rows] == [busy]
        _, prefix, rtt, least, _, _, _, elapsed = rows[0]
        assert prefix == bytes([127, 0, 0])
        assert 0 < least <= rtt
        assert elapsed == 0.0
        assert watch.sample() == []
        await both.through(busy, 256 * KIB)
        ((_, _, _, _, _, sent, received, elapsed),) = watch.sample()
        assert 256 * KIB < received < 300 * KIB
        assert sent >= 200 * KIB  # the last bytes may not be acknowledged yet
        assert elapsed > 0


async def test_the_watch_tells_when_bytes_begin_to_move_and_only_then() -> None:
    async with pair() as both:
        watch = LineWatch(both.there)
        told: list[int] = []
        watch.on_moving = lambda: told.append(1)
        watch.start()
        sessions = [await both.connect() for _ in range(3)]
        assert not told
        for session in sessions:
            await both.through(session, 64 * KIB)
        assert len(told) == 1
        assert len(watch.sample(2)) == 2
        assert len(watch.sample(2)) == 1
        await both.through(sessions[0], 64 * KIB)
        assert len(told) == 2


async def test_a_watch_takes_up_connections_there_are_and_lets_go_of_them() -> None:
    async with pair() as both:
        session = await both.connect()
        watch = LineWatch(both.here)
        watch.start()
        await both.through(session, 64 * KIB)
        assert len(watch.sample()) == 1
        watch.stop()
        await both.through(session, 64 * KIB)
        assert watch.sample() == []
        watch.start()
        await both.through(session, 64 * KIB)
        session.abort()
        assert watch.sample() == []


async def test_a_paced_socket_sends_no_faster_until_it_is_free_again() -> None:
    async with pair() as both:
        session = await both.connect()
        await both.through(session, MIB)
        assert pace(session, 2 * MIB)
        slowly = await both.through(session, MIB)
        assert 0.35 < slowly < 2.0
        assert pace(session, None)
        assert await both.through(session, MIB) < slowly / 3


async def test_a_closed_session_has_no_pace() -> None:
    async with pair() as both:
        session = await both.connect()
        session.abort()
        assert not pace(session, MIB)


def marks(family: int) -> Iterator[int]:
    """The traffic class of every connected TCP socket of this process."""
    for name in os.listdir("/proc/self/fd"):
        try:
            s = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with s:
            if (
                s.family == family
                and s.type == socket.SOCK_STREAM
                and not s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            ):
                if family == socket.AF_INET6:
                    yield s.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
                else:
                    yield s.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_marks_are_on_an_endpoints_own_sockets_while_they_are_wanted(host: str, family: int) -> None:
    async with pair(host) as both:
        await both.connect()
        both.there.set_traffic_class(LOW_EFFORT)
        await both.connect()
        await both.through(await both.connect(), KIB)
        assert sorted(marks(family)) == [0, 0, 0, LOW_EFFORT, LOW_EFFORT, LOW_EFFORT]
        both.there.set_traffic_class(0)
        await both.through(await both.connect(), KIB)
        assert set(marks(family)) == {0}
