"""Nodes in one event loop, on loopback: relays, clients that meet there, and what stands between them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from towpath import Node, Settings, Stream

ECHO = "/echo/1"
_SO_ATTACH_FILTER = 26
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)


def relay(**settings: Any) -> Node:
    """A relay without limits that ends at once when told to; settings by name with __ for the dot."""
    roomy = dict.fromkeys(("max_reservations_per_ip", "max_circuits_per_peer"), "unlimited")
    given = {f"relay.{name}": value for name, value in roomy.items()} | {"network.listen": list(LOOPBACK)}
    given["relay.drain_grace"] = "0s"
    return Node(loaded(given | {"relay.mode": "dedicated"}, settings))


def client(**settings: Any) -> Node:
    """A node that relays for nobody, and does by itself nothing to be reachable."""
    return Node(loaded({}, settings), reachable=False)


def loaded(given: dict[str, Any], settings: dict[str, Any]) -> Settings:
    """Settings of a node that looks for nobody on the network of this machine."""
    given = {"discovery.mdns": False, "discovery.dht": False} | given
    return Settings.load(given | {name.replace("__", "."): value for name, value in settings.items()}, environ={})


def address(node: Node) -> str:
    """The first address of a relay."""
    return node.listen_addresses[0]


async def echo(stream: Stream) -> None:
    """Says everything again, and ends when the other side ends."""
    async with stream:
        while part := await stream.read():
            stream.write(part)
            await stream.drain()
        await stream.close_write()


@dataclass
class Meeting:
    """alice, who dials, and bob, who holds a reservation at the relay and serves ECHO."""

    relay: Node
    alice: Node
    bob: Node
    accepted: asyncio.Queue[Stream] = field(default_factory=asyncio.Queue)
    """Streams of the protocols that `let_in` was called with."""

    def let_in(self, protocol: str) -> None:
        """Queues bob's ends of the streams of a protocol; they live until the test ends them."""

        async def accept(stream: Stream) -> None:
            self.accepted.put_nowait(stream)

        self.bob.set_stream_handler(protocol, accept)

    async def pair(self, protocol: str = "/pair/1") -> tuple[Stream, Stream]:
        """A stream from alice to bob: her end and his."""
        self.let_in(protocol)
        here = await self.alice.connect_to_peer_via_relay(self.bob.peer_id, protocol, via=address(self.relay))
        return here, await self.accepted.get()

    async def settle(self) -> None:
        """Everything that was sent on their connection, both ways, has arrived: a ping overtakes nothing."""
        await self.alice.ping(self.bob.peer_id, via=address(self.relay))


@contextlib.asynccontextmanager
async def meeting(**settings: Any) -> AsyncIterator[Meeting]:
    """A relay with these settings, and two peers at it; alice dials under her own id."""
    async with relay(**settings) as middle, client(client__hide_ip=False) as alice, client() as bob:
        bob.set_stream_handler(ECHO, echo)
        await bob.reserve(address(middle))
        yield Meeting(middle, alice, bob)


async def until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    """Returns as soon as `holds()`; for what tells nobody when it happens."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""A socket filter of one instruction: keep 0 bytes."""


class Proxy:
    """A TCP proxy to one port that can fall silent: its connections stay open and carry nothing more.

    Or dead: its side of them acknowledges nothing more, as a machine without power does.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self._near: list[socket.socket] = []

    async def __aenter__(self) -> Proxy:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._spawn(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        for connection in [self._listening, *self._near]:
            connection.close()

    def fall_silent(self) -> None:
        """Carries nothing from now on; new connections are accepted and hear nothing."""
        self._flowing.clear()

    def die(self) -> None:
        """Drops whatever arrives on the connections there are."""
        program = struct.pack("HL", 1, ctypes.addressof(_DROP_ALL))
        for connection in self._near:
            connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            here, _ = await loop.sock_accept(self._listening)
            self.connections += 1
            self._near.append(here)
            self._spawn(self._carry(here))

    async def _carry(self, here: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with here, socket.socket() as there, contextlib.suppress(OSError):
            here.setblocking(False)
            there.setblocking(False)
            await loop.sock_connect(there, ("127.0.0.1", self._to))
            copies = [asyncio.create_task(self._copy(*ends)) for ends in ((here, there), (there, here))]
            try:
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for copy in copies:
                    copy.cancel()
                await asyncio.gather(*copies, return_exceptions=True)

    async def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, 65536):
            await self._flowing.wait()
            await loop.sock_sendall(sink, data)
