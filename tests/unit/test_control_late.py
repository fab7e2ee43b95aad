"""The control API is loaded when somebody first asks, and only then."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.nodes import meeting
from towpath.control import client
from towpath.control.late import LateServer
from towpath.control.paths import listen, socket_path


def on_loopback() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


async def scraped(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


@pytest.fixture
async def late(tmp_path: Path) -> AsyncIterator[LateServer]:
    failures: list[BaseException] = []
    async with meeting() as met:
        server = LateServer(met.relay, listen(socket_path(tmp_path)), on_loopback(), failures.append)
        server.start()
        yield server
        await server.stop()
    assert not failures


async def test_whoever_asks_first_is_answered(late: LateServer, tmp_path: Path) -> None:
    assert not late.loaded
    statuses = await asyncio.gather(*(asyncio.to_thread(client.ask, tmp_path, "/v1/status") for _ in range(3)))
    assert late.loaded
    assert {status["state"] for status in statuses} == {"relaying"}


async def test_metrics_move_before_and_after_it_is_loaded(late: LateServer) -> None:
    for _ in range(3):
        sock = on_loopback()
        late.move_metrics(sock)
        port = sock.getsockname()[1]
        assert b"towpath_uptime_seconds" in await scraped(port)
    late.move_metrics(None)


async def test_one_that_nobody_asked_closes_its_sockets(tmp_path: Path) -> None:
    async with meeting() as met:
        sock, metrics = listen(socket_path(tmp_path)), on_loopback()
        server = LateServer(met.relay, sock, metrics, pytest.fail)
        server.start()
        await server.stop()
        assert sock.fileno() == metrics.fileno() == -1
        assert not server.loaded
