"""The tunnel's two ends over streams in memory and real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.unit.stream_pair import WINDOW, MemoryStream, stream_pair
from towpath.client.ticket import Ticket, new_secret
from towpath.client.tunnel import Opener, Share, wire
from towpath.client.tunnel.ways import NotThere
from towpath.errors import DialError
from towpath.identity import Identity
from towpath.settings.values import HostPort

SHARER, *RELAY_IDS = (Identity.generate().text for _ in range(5))
RELAYS = tuple(f"/ip4/127.0.0.1/tcp/{n}/p2p/{relay}" for n, relay in enumerate(RELAY_IDS, 1))
LOCAL = HostPort("127.0.0.1", 0)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class DoubleNode:
    """Dials `share` through streams in memory, as if through relays; those in `down` do not answer."""

    def __init__(self, share: Share | None) -> None:
        self.share = share
        self.down: set[str] = set()
        self.moving: set[str] = set()
        self.doubted: list[str] = []
        self.asked: list[str | None] = []
        self.streams: list[MemoryStream] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.open = asyncio.Event()
        self.open.set()

    def leaving(self, relay: str) -> bool:
        return relay in self.moving

    def doubt(self, relay: str) -> None:
        self.doubted.append(relay)

    async def connect_to_peer_via_relay(
        self,
        target: str,
        protocol: str,
        via: str | None = None,
        timeout: float = 1,  # noqa: ASYNC109
    ) -> Any:
        assert (target, protocol) == (SHARER, wire.PROTOCOL)
        self.asked.append(via)
        if via is None or via in self.down:
            raise DialError("it does not answer")
        ours, theirs = stream_pair("opener", SHARER)
        ours.via = theirs.via = via.rpartition("/p2p/")[2]
        self.streams.append(ours)
        if self.share is not None:
            task = asyncio.create_task(self.share.serve(theirs))  # type: ignore[arg-type]
            self.tasks.add(task)
        return ours

    def kill(self, relay: str) -> None:
        """Resets what goes through a relay, which answers no more."""
        self.down.add(relay)
        for stream in self.streams:
            if stream.via == relay.rpartition("/p2p/")[2]:
                stream.reset()


class Tunnel:
    """A service behind a Share, an Opener before it, and what both reported."""

    def __init__(self, handler: Handler, **share: Any) -> None:
        self.handler = handler
        self.how = share
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.reported = asyncio.Event()

    async def __aenter__(self) -> Tunnel:
        self.server = await asyncio.start_server(self.handler, "127.0.0.1", 0)
        down = self.how.pop("down", ())
        port = self.how.pop("port", self.server.sockets[0].getsockname()[1])
        secret = new_secret()
        self.share = Share(HostPort("127.0.0.1", port), secret, report=self.report, **self.how)
        self.node = DoubleNode(self.share)
        self.node.down = set(down)
        ticket = Ticket(SHARER, RELAYS, secret)
        self.opener = Opener(self.node, ticket, report=self.report)
        self.at = self.opener.listen(LOCAL)
        await self.opener.__aenter__()
        self.serving = asyncio.create_task(self.opener.serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.serving.cancel()
        await asyncio.gather(self.serving, return_exceptions=True)
        await self.opener.__aexit__(None, None, None)
        await self.share.__aexit__(None, None, None)
        await asyncio.gather(*self.node.tasks)
        self.server.close()

    def report(self, event: str, **facts: Any) -> None:
        self.reports.append((event, facts))
        self.reported.set()

    async def until(self, event: str, **with_: Any) -> dict[str, Any]:
        """The facts of the first report of an event with these facts in it, awaited."""
        while True:
            for name, facts in self.reports:
                if name == event and with_.items() <= facts.items():
                    return facts
            self.reported.clear()
            await self.reported.wait()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.at)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


@contextlib.asynccontextmanager
async def connected(tunnel: Tunnel) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await tunnel.connect()
    try:
        yield reader, writer
    finally:
        writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_bytes_pass_both_ways_and_so_do_both_half_closes() -> None:
    data = os.urandom(3_000_000)
    async with Tunnel(echo) as tunnel, connected(tunnel) as (reader, writer):

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert await reader.read(-1) == data
        await sending
        closed = await tunnel.until("connection_closed")
        assert closed["sent"] == closed["received"] == len(data)


async def test_the_service_may_send_on_after_its_client_said_it_is_done() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(-1) == b"question"
        writer.write(b"a late answer")
        writer.close()

    async with Tunnel(late) as tunnel, connected(tunnel) as (reader, writer):
        writer.write(b"question")
        writer.write_eof()
        assert await reader.read(-1) == b"a late answer"


async def test_the_client_may_send_on_after_the_service_said_it_is_done() -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        received.set_result(await reader.read(-1))
        writer.close()

    async with Tunnel(early) as tunnel, connected(tunnel) as (reader, writer):
        assert await reader.read(-1) == b""
        writer.write(b"still here")
        writer.write_eof()
        assert await received == b"still here"


async def test_a_client_that_stops_reading_stops_the_service() -> None:
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            while sent < 200_000_000:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536
        writer.close()

    async with Tunnel(flood) as tunnel, connected(tunnel) as (reader, writer):
        await reader.readexactly(1)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 40_000_000
        assert max(stream.most_buffered for stream in tunnel.node.streams) < 2 * WINDOW
        reset(writer)


async def test_a_service_that_stops_reading_stops_the_client() -> None:
    hold = asyncio.Event()

    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.transport.abort()

    async with Tunnel(deaf) as tunnel, connected(tunnel) as (_reader, writer):
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200_000_000:
                writer.write(bytes(65536))
                async with asyncio.timeout(1):
                    await writer.drain()
                sent += 65536
        assert sent < 40_000_000
        assert max(stream.most_buffered for stream in tunnel.node.streams) < 3 * WINDOW
        hold.set()


async def test_a_reset_by_the_service_is_a_reset_for_the_client() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        reset(writer)

    async with Tunnel(rude) as tunnel, connected(tunnel) as (reader, writer):
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)


async def test_a_reset_by_the_client_is_a_reset_for_the_service() -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listener(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(-1)
            ended.set_result("complete")
        except ConnectionResetError:
            ended.set_result("reset")

    async with Tunnel(listener) as tunnel, connected(tunnel) as (_reader, writer):
        writer.write(b"half of it")
        await tunnel.until("connection_opened")
        reset(writer)
        assert await ended == "reset"


async def test_a_client_that_dies_after_its_half_close_frees_the_service() -> None:
    ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        except ConnectionError:
            ended.set()

    async with Tunnel(endless) as tunnel, connected(tunnel) as (reader, writer):
        writer.write_eof()
        await reader.readexactly(100_000)
        reset(writer)
        await ended.wait()


@pytest.mark.slow
async def test_many_connections_at_once_keep_to_themselves() -> None:
    async with Tunnel(echo) as tunnel:

        async def one(i: int) -> None:
            reader, writer = await tunnel.connect()
            data = bytes([i]) * 100_000
            writer.write(data)
            writer.write_eof()
            assert await reader.read(-1) == data
            writer.close()

        await asyncio.gather(*(one(i) for i in range(100)))


async def test_without_a_working_relay_the_client_is_reset_and_each_relay_is_named() -> None:
    async with Tunnel(echo, down=RELAYS) as tunnel:
        with pytest.raises(NotThere):
            await tunnel.opener.reach()
        async with connected(tunnel) as (reader, _writer):
            with pytest.raises(ConnectionResetError):
                await reader.read(-1)
        reason = (await tunnel.until("connection_failed"))["reason"]
        assert all(relay in reason for relay in RELAYS)


async def refused(tunnel: Tunnel) -> str:
    """Connects, expects a reset, and gives the reason that the opener reported."""
    reader, writer = await tunnel.connect()
    # A reset may come while this is being sent; what counts is that nothing arrives and no end is seen.
    writer.write(bytes(300_000))
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    writer.close()
    reason: str = (await tunnel.until("connection_failed"))["reason"]
    return reason


async def test_a_wrong_secret_reaches_nothing() -> None:
    calls = 0

    async def service(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.close()

    async with Tunnel(service) as tunnel:
        tunnel.share._secret = new_secret()
        assert "does not know this ticket" in await refused(tunnel)
        assert calls == 0


async def test_a_peer_that_is_not_allowed_learns_no_more_than_one_without_the_secret() -> None:
    async with Tunnel(echo, allow=["somebody else"]) as tunnel:
        assert "does not know this ticket, or does not allow this peer" in await refused(tunnel)


async def test_an_allowed_peer_gets_through() -> None:
    async with Tunnel(echo, allow=["opener"]) as tunnel, connected(tunnel) as (reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"


async def test_the_sharer_itself_refuses_what_has_expired() -> None:
    async with Tunnel(echo, expires_at=100, clock=lambda: 100.0) as tunnel:
        assert "expired" in await refused(tunnel)


async def test_once_means_one_connection() -> None:
    async with Tunnel(echo, once=True) as tunnel:
        async with connected(tunnel) as (reader, writer):
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert "has been used" in await refused(tunnel)
            assert not tunnel.share.finished.is_set()
        await tunnel.share.finished.wait()


async def test_a_service_that_is_not_running_is_told_from_a_bad_ticket_and_uses_nothing_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with Tunnel(echo, once=True, port=port) as tunnel:
        assert "is not running" in await refused(tunnel)
        assert not tunnel.share.finished.is_set()


SECRET = bytes(16)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        SECRET[:-1],
        SECRET,
        SECRET + b"\0\0",
        SECRET + b"\xff\xff",
        SECRET + wire.frame_message(b"\xa0"),
        SECRET + wire.frame_message(bytes(100)),
        SECRET + wire.Carry(bytes(16)).encode()[:-1],
    ],
)
async def test_a_stream_that_does_not_open_properly_is_reset(first: bytes) -> None:
    share = Share(HostPort("127.0.0.1", 1), SECRET)
    ours, theirs = stream_pair()
    if first:
        ours.write(first)
    await ours.close_write()
    await share.serve(theirs)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="reset"):
        await ours.read()


async def test_nothing_behind_a_wrong_secret_is_read() -> None:
    share = Share(HostPort("127.0.0.1", 1), SECRET)
    ours, theirs = stream_pair()
    read = 0
    before = theirs.readexactly

    async def readexactly(n: int) -> bytes:
        nonlocal read
        read += n
        return await before(n)

    theirs.readexactly = readexactly  # type: ignore[method-assign]
    ours.write(bytes(15) + b"x" + b"\xff\xff")
    await ours.close_write()
    await share.serve(theirs)  # type: ignore[arg-type]
    assert wire.Answer.decode(await wire.read_message(ours)).code == wire.Code.DENIED
    assert read == 16


async def test_stopping_the_opener_resets_what_is_open() -> None:
    async with Tunnel(echo) as tunnel:
        reader, writer = await tunnel.connect()
        writer.write(b"hello")
        await reader.readexactly(5)
        tunnel.serving.cancel()
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        writer.close()
