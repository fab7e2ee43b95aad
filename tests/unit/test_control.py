"""The control API: what it answers, what it refuses, and the client the command line uses."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from towpath.control import client
from towpath.control.paths import SOCKET_PATH_MAX, listen, socket_path
from towpath.control.routes import ROUTES, describe
from towpath.control.server import MAX_CONNECTIONS, MAX_HEADERS, ControlServer
from towpath.errors import NotRunning, TowpathError
from towpath.settings import Settings
from towpath.settings.schema import KEYS


class DoubleNode:
    """Answers what a node would."""

    settings = Settings.load({"relay.mode": "dedicated", "log.level": "debug"}, environ={})
    broken = False

    def status(self) -> dict[str, Any]:
        if self.broken:
            raise ZeroDivisionError
        return {"peer_id": "p", "uptime_s": 1.5}

    def circuits(self, *, full: bool = False) -> list[dict[str, Any]]:
        return [{"id": 1, "full": full}]

    def reservations(self) -> list[dict[str, Any]]:
        return []

    def peers(self) -> list[dict[str, Any]]:
        raise TowpathError("a sentence")

    def relays(self) -> list[dict[str, Any]]:
        return [{"relay_id": "r"}]


@pytest_asyncio.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    server = ControlServer(DoubleNode(), listen(socket_path(tmp_path)))
    await server.start()
    yield tmp_path
    await server.stop()


async def ask(data: Path, path: str) -> Any:
    return await asyncio.to_thread(client.ask, data, path)


async def talk(data: Path, request: bytes) -> bytes:
    """Everything that is answered to raw bytes until the server closes."""
    reader, writer = await asyncio.open_unix_connection(str(socket_path(data)))
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_every_route_answers_with_what_the_node_says(data: Path) -> None:
    assert await ask(data, "/v1/status") == {"peer_id": "p", "uptime_s": 1.5}
    assert await ask(data, "/v1/circuits?x=1") == [{"id": 1, "full": True}]
    assert await ask(data, "/v1/reservations") == []
    assert await ask(data, "/v1/relays") == [{"relay_id": "r"}]


async def test_settings_say_what_they_are_and_what_is_allowed(data: Path) -> None:
    settings = await ask(data, "/v1/settings")
    assert list(settings) == list(KEYS)
    assert settings["relay.max_circuits"]["value"] == 16384
    assert settings["log.level"] == {
        "value": "debug",
        "default": "info",
        "source": "an override",
        "allowed": "debug, info, warning or error",
        "meaning": KEYS["log.level"].meaning,
        "in_effect": True,
    }
    assert settings["credits.enforce"]["in_effect"] is False


async def test_the_description_names_every_route(data: Path) -> None:
    described = await ask(data, "/v1/openapi.json")
    assert described == json.loads(json.dumps(describe()))
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == set(ROUTES)


async def test_an_error_is_a_sentence(data: Path) -> None:
    with pytest.raises(TowpathError, match="a sentence"):
        await ask(data, "/v1/peers")
    with pytest.raises(TowpathError, match="there is no /v1/nothing; there are /v1/status"):
        await ask(data, "/v1/nothing")


async def test_a_failing_row_does_not_end_the_api(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DoubleNode, "broken", True)
    with pytest.raises(TowpathError, match="log says why"):
        await ask(data, "/v1/status")
    assert await ask(data, "/v1/reservations") == []


async def test_only_get_is_answered(data: Path) -> None:
    answer = await talk(
        data, b"POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    )
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"allow: get, head\r\n" in answer.lower()


async def test_several_requests_on_one_connection(data: Path) -> None:
    one = b"GET /v1/relays HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await talk(data, one * 3 + b"HEAD /v1/relays HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.count(b'[{"relay_id":"r"}]') == 3


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /v1/status HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * (2 * MAX_HEADERS), b"431"),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000), b"413"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_request_is_answered_with_why(data: Path, request_: bytes, status: bytes) -> None:
    answer = await talk(data, request_)
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    assert b'{"error":' in answer
    assert await ask(data, "/v1/reservations") == []


async def test_half_a_request_is_nothing(data: Path) -> None:
    assert await talk(data, b"") == b""
    await talk(data, b"GET /v1/status HT")
    assert await ask(data, "/v1/reservations") == []


async def test_too_many_connections_cost_the_new_one_only(data: Path) -> None:
    path = str(socket_path(data))
    open_ones = [await asyncio.open_unix_connection(path) for _ in range(MAX_CONNECTIONS)]
    for reader, writer in open_ones:
        writer.write(b"GET /v1/reservations HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.read() == b""
    writer.close()
    for _, writer in open_ones:
        writer.close()


async def test_stopping_ends_open_connections(tmp_path: Path) -> None:
    server = ControlServer(DoubleNode(), listen(socket_path(tmp_path)))
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(socket_path(tmp_path)))
    writer.write(b"GET /v1/reservations HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readline()
    await server.stop()
    await reader.read()
    writer.close()
    with pytest.raises(NotRunning, match="towpath run --data"):
        await ask(tmp_path, "/v1/status")


def test_nobody_else_may_ask(tmp_path: Path) -> None:
    with listen(socket_path(tmp_path)):
        assert socket_path(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    listen(socket_path(tmp_path)).close()
    assert socket_path(tmp_path).exists()
    with pytest.raises(NotRunning):
        client.ask(tmp_path, "/v1/status")
    listen(socket_path(tmp_path)).close()


def test_without_a_node_the_client_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=f"towpath run --data {tmp_path}"):
        client.ask(tmp_path, "/v1/status")


def test_a_long_path_goes_to_the_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/r")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    monkeypatch.setattr(Path, "lstat", lambda _: os.stat_result((0o40700, 0, 0, 1, os.getuid(), 0, 0, 0, 0, 0)))
    short = tmp_path / "x"
    long = tmp_path / ("x" * SOCKET_PATH_MAX)
    assert socket_path(short) == short / "api.sock"
    assert str(socket_path(long)).startswith("/tmp/r/towpath/")
    assert socket_path(long) != socket_path(tmp_path / ("y" * SOCKET_PATH_MAX))


def test_the_longest_path_that_fits_is_used(tmp_path: Path) -> None:
    room = SOCKET_PATH_MAX - len(os.fsencode(tmp_path)) - len("//api.sock")
    place = tmp_path / ("x" * room)
    place.mkdir()
    assert len(os.fsencode(socket_path(place))) == SOCKET_PATH_MAX
    with listen(socket_path(place)) as listening, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(socket_path(place)))
        listening.accept()[0].close()


def test_a_runtime_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "towpath").mkdir()
    (tmp_path / "towpath").chmod(0o777)
    with pytest.raises(TowpathError, match="shorter --data"):
        socket_path(tmp_path / ("x" * SOCKET_PATH_MAX))
