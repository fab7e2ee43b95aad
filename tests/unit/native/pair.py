"""Two endpoints on one loop, over loopback sockets: one dials, the other says everything again."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.unit.nodes import ECHO, echo
from towpath._native.appstream import AppStream
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath._native.session import Session
from towpath.client.relaying import open_stream
from towpath.stream import Stream


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

    def marks(self, family: int) -> Iterator[int]:
        """The traffic class of each end of every connection between the two."""
        for number in map(int, os.listdir("/proc/self/fd")):
            try:
                is_socket = stat.S_ISSOCK(os.fstat(number).st_mode)
            except OSError:  # it was the list's own
                continue
            if not is_socket:
                continue
            with socket.socket(fileno=os.dup(number)) as s:
                if s.family != family or s.type != socket.SOCK_STREAM or not self._is_ours(s):
                    continue
                if family == socket.AF_INET6:
                    yield s.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
                else:
                    yield s.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)

    def _is_ours(self, s: socket.socket) -> bool:
        try:
            return self.port in (s.getsockname()[1], s.getpeername()[1])
        except OSError:  # it listens
            return False


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
