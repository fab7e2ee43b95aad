"""A node whose page is looked at, in a process of its own, and real traffic through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.peerlab import Link, Peer, RelayProcess, Stream, StreamLost, circuit_between
from tests.peerlab.identify import IDENTIFY, Identify
from tests.peerlab.protobuf import prefixed
from towpath.control import client
from towpath.web.place import TOKEN_FILE, address_to_keep, address_to_open

ROOMY = {
    f"relay.{name}": "unlimited"
    for name in ("max_circuits", "max_circuits_per_peer", "max_reservations", "max_reservations_per_ip")
} | {"credits.free_tier": "unlimited"}
"""Limits off: all of loopback is one neighbourhood."""


class PageNode:
    """`towpath run` with its page. Started again after `kill` or `stop`, it is at the same place."""

    def __init__(self, directory: Path, settings: dict[str, str] | None = None, mode: str | None = None) -> None:
        self._directory = directory
        # Without a mode it is as somebody finds it who starts it for the first time.
        self._settings = ROOMY | {"network.listen": "/ip4/127.0.0.1/tcp/0"} | (settings or {})
        self._mode = () if mode is None else ("--mode", mode)
        self._process: RelayProcess | None = None
        self.url = ""
        self._at = "127.0.0.1:0"

    @property
    def process(self) -> RelayProcess:
        assert self._process is not None, "it was not started"
        return self._process

    def start(self, at: str | None = None) -> None:
        """Returns when it is ready: where it was before or, if HOST:PORT is said, there."""
        self._at = at or self._at
        settings = {**self._settings, "web.listen": self._at}
        self._process = RelayProcess(self._directory, settings, listen=(), options=self._mode)
        self.url = self.process.ready["web"]
        self._at = self.url.removeprefix("http://")

    def stop(self) -> None:
        """Ends it as its owner would, if it runs."""
        if self._process is not None and self._process.alive:
            self._process.stop()

    def kill(self) -> None:
        """Ends it at once, if it runs."""
        if self._process is not None and self._process.alive:
            self._process.kill()

    @property
    def data(self) -> Path:
        return self.process.data

    @property
    def token(self) -> str:
        return (self.data / TOKEN_FILE).read_text().strip()

    @property
    def address(self) -> str:
        """What `towpath web --print` says."""
        return address_to_keep(self.data, self.url)

    @property
    def address_once(self) -> str:
        """What `towpath web` opens."""
        return address_to_open(self.data, self.url)

    async def ask(self, path: str, method: str = "GET", content: Any = None) -> Any:
        """What the control socket answers."""
        return await asyncio.to_thread(client.change, self.data, method, path, content)


class Traffic:
    """Peers that meet through a node, in this process. `open` more circuits, `flow` through them."""

    def __init__(self, node: PageNode) -> None:
        self._node = node
        self._stack = contextlib.AsyncExitStack()
        self._flows: set[asyncio.Task[None]] = set()
        self._pair: tuple[Link, Link] | None = None
        self.circuits: list[tuple[Stream, Stream]] = []
        self.sent = 0
        """Bytes that flowed and have arrived."""
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Traffic:
        return self

    async def __aexit__(self, *_: object) -> None:
        for flow in self._flows:
            flow.cancel()
        await asyncio.gather(*self._flows, return_exceptions=True)
        await self._stack.aclose()

    async def peer(self, agent: str = "peerlab/1.0") -> tuple[Peer, Link]:
        """Another peer with this agent version, and its connection with the node."""
        peer = await self._stack.enter_async_context(Peer())

        async def identify(link: Link, stream: Stream) -> None:
            own = Identify(peer.identity.public_pb, [], sorted(peer.handlers), link.wire.observed, agent=agent)
            await stream.write(prefixed(own.encode()), fin=True)

        peer.handlers[IDENTIFY] = identify
        link = await peer.dial(self._node.process)
        return peer, link

    async def pair(self, agent: str = "peerlab/1.0") -> tuple[Link, Link]:
        """Two new peers, the second one with a reservation."""
        _, dialer = await self.peer(agent)
        _, target = await self.peer(agent)
        await target.reserve()
        return dialer, target

    async def open(self, count: int, per_pair: int = 100) -> None:
        """So many circuits more, with a few kilobytes through each."""
        while count > 0:
            dialer, target = await self.pair()
            for _ in range(min(per_pair, count)):
                here, _ = await self.circuit(dialer, target)
                await here.write(bytes(1000 + 37 * (len(self.circuits) % 50)))
            count -= per_pair

    async def circuit(self, dialer: Link, target: Link) -> tuple[Stream, Stream]:
        """One more, between these."""
        self.circuits.append(await circuit_between(dialer, target))
        return self.circuits[-1]

    def flow(self, rate: float, *, circuits: int | None = None, piece: int = 16384) -> None:
        """So many bytes a second through the circuits there are (or the first so many), one after the other, for ever.

        Only as fast as the node lets them through.
        """
        self._spawn(self._flow(rate, self.circuits[:circuits], piece))

    async def _flow(self, rate: float, circuits: list[tuple[Stream, Stream]], piece: int) -> None:
        loop = asyncio.get_running_loop()
        begun, sent = loop.time(), 0
        with contextlib.suppress(StreamLost, ConnectionError):
            while True:
                for here, there in circuits:
                    await here.write(bytes(piece))
                    await there.read(piece)
                    sent += piece
                    self.sent += piece
                    self._arrived.set()
                    await asyncio.sleep(max(0.0, begun + sent / rate - loop.time()))

    async def carried(self, total: int) -> None:
        """Returns when so many bytes have flowed and arrived."""
        async with asyncio.timeout(60):
            while self.sent < total:
                self._arrived.clear()
                await self._arrived.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._flows.add(task)
        task.add_done_callback(self._flows.discard)


@contextlib.asynccontextmanager
async def told(node: PageNode) -> AsyncIterator[Callable[[str], Coroutine[Any, Any, dict[str, Any]]]]:
    """Gives what waits for the next event of a kind."""
    following = await asyncio.to_thread(client.follow, node.data)
    events = iter(following)

    async def until(kind: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while True:
                event = await asyncio.to_thread(next, events)
                if event["kind"] == kind:
                    return event

    try:
        yield until
    finally:
        following.close()
