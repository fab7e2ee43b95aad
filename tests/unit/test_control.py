"""The control API: what it answers, what it changes, what it refuses, and the client the command line uses."""

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
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.unit.controlled import PEER, DoubleNode, serving
from tests.unit.nodes import until
from towpath.control import client
from towpath.control.described_settings import KINDS
from towpath.control.description import describe
from towpath.control.paths import SOCKET_PATH_MAX, listen, socket_path
from towpath.control.route import SOURCE
from towpath.control.routes import ROUTES
from towpath.control.schemas import SCHEMAS
from towpath.control.server import BEAT, MAX_BODY, MAX_CONNECTIONS
from towpath.errors import NotRunning, TowpathError
from towpath.settings.schema import KEYS


@pytest.fixture
def node() -> DoubleNode:
    return DoubleNode()


@pytest_asyncio.fixture
async def data(node: DoubleNode, tmp_path: Path) -> AsyncIterator[Path]:
    async with serving(node, tmp_path):
        yield tmp_path


async def ask(data: Path, path: str) -> Any:
    return await asyncio.to_thread(client.ask, data, path)


async def change(data: Path, method: str, path: str, content: Any = None) -> Any:
    return await asyncio.to_thread(client.change, data, method, path, content)


async def talk(data: Path, request: bytes) -> bytes:
    """Everything that is answered to raw bytes until the server closes."""
    reader, writer = await asyncio.open_unix_connection(str(socket_path(data)))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A request, after which the server closes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def fits(value: Any, schema: dict[str, Any]) -> None:
    """Fails when a value is not what a schema says."""
    Draft202012Validator({**schema, "components": {"schemas": SCHEMAS}}).validate(json.loads(json.dumps(value)))


# --- what it answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method == "GET"], ids=lambda r: r.path)
async def test_every_answer_is_as_described(data: Path, route: Any) -> None:
    answer = await ask(data, route.path.replace("{peer}", PEER))
    assert answer
    fits(answer, route.schema)


async def test_the_description_is_openapi_and_names_every_route(data: Path) -> None:
    described = await ask(data, "/v1/openapi.json")
    assert described == json.loads(json.dumps(describe()))
    validate(described)
    named = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    beside = {("GET", "/v1/events"), ("GET", "/metrics"), ("GET", "/v1/openapi.json")}
    assert named == {(route.method, route.path) for route in ROUTES} | beside


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
        "kind": "choice",
        "words": ["debug", "info", "warning", "error"],
        "defaults": {"client": "info", "cooperative": "info", "dedicated": "info"},
        "restart": False,
    }
    assert settings["relay.max_rate"]["words"] == ["auto", "unlimited"]
    assert settings["relay.max_rate"]["defaults"]["dedicated"] == "unlimited"
    assert settings["web.listen"]["restart"]
    assert {row["kind"] for row in settings.values()} == set(KINDS.values())
    assert settings["network.workers"]["in_effect"] is False


async def test_the_log_is_as_long_as_is_asked_for(data: Path) -> None:
    assert len(await ask(data, "/v1/log?limit=3")) == 3
    for limit in ("0", "1001", "-1", "x", "1.5", "9" * 30):
        with pytest.raises(client.Refused, match="a whole number from 1 to 1000"):
            await ask(data, f"/v1/log?limit={limit}")


async def test_who_looks_often_is_told_what_changed(data: Path) -> None:
    first = await ask(data, "/v1/circuits/changes")
    fits(first, SCHEMAS["circuit_changes"])
    assert [row["id"] for row in first["opened"]] == [1, 2]
    again = await ask(data, f"/v1/circuits/changes?run={first['run']}&after=1")
    fits(again, SCHEMAS["circuit_changes"])
    assert ([row["id"] for row in again["opened"]], again["open"]) == ([2], first["open"])
    for query in ("run=-1", "after=x", f"run={2**53}"):
        with pytest.raises(client.Refused, match="a whole number from 0 to"):
            await ask(data, f"/v1/circuits/changes?{query}")


async def test_a_check_is_answered_as_described(data: Path, node: DoubleNode) -> None:
    answer = await change(data, "POST", "/v1/check", {})
    fits(answer, next(route for route in ROUTES if route.path == "/v1/check").schema)
    assert node.asked == [("check",)]


async def test_traffic_is_asked_for_by_window(data: Path, node: DoubleNode) -> None:
    for window in ("5m", "1h", "24h", "30d"):
        await ask(data, f"/v1/traffic?window={window}")
    await ask(data, "/v1/traffic")
    assert [window for _, window in node.asked] == ["5m", "1h", "24h", "30d", "1h"]


# --- what it changes ------------------------------------------------------------------------------


async def test_a_pause_lasts_a_time_or_until_it_is_ended(data: Path, node: DoubleNode) -> None:
    for body, seconds in (({"time": "2h"}, 7200), ({"time": 90}, 90), ({}, None), (None, None), ({"time": None}, None)):
        answer = await change(data, "POST", "/v1/pause", body)
        fits(answer, SCHEMAS["position"])
        assert (answer["state"], answer["until"]) == ("paused", None if seconds is None else 2e9 + seconds)
    assert [entry[1] for entry in node.asked] == [7200, 90, None, None, None]
    assert (await change(data, "POST", "/v1/resume"))["state"] == "relaying"


async def test_a_circuit_is_closed_once(data: Path, node: DoubleNode) -> None:
    assert await change(data, "POST", "/v1/circuits/close", {"id": 1}) == {"closed": True}
    assert await change(data, "POST", "/v1/circuits/close", {"id": 1}) == {"closed": False}
    with pytest.raises(client.Refused, match="body is not what"):
        await change(data, "POST", "/v1/circuits/close", {"id": "1"})


async def test_a_peer_is_blocked_by_its_id(data: Path, node: DoubleNode) -> None:
    fits(await change(data, "POST", "/v1/peers/block", {"peer": PEER}), SCHEMAS["changed"])
    assert node.settings.relay.deny == (PEER,)
    with pytest.raises(client.Refused, match="peer cannot be 'nobody'"):
        await change(data, "POST", "/v1/peers/block", {"peer": "nobody"})


async def test_the_week_is_set_as_it_is_shown(data: Path, node: DoubleNode) -> None:
    week = (await ask(data, "/v1/schedule"))["week"]
    week[0][9:17] = ["off"] * 8
    week[6][0] = "2MB/s"
    fits(await change(data, "PATCH", "/v1/schedule", {"week": week}), SCHEMAS["changed"])
    found = await ask(data, "/v1/schedule")
    assert found == {"rules": ["mon 09-17 off", "sun 00-01 2MB/s"], "week": week}
    for wrong in (week[:6], [*week[:6], week[6][:23]]):
        with pytest.raises(client.Refused, match="seven days of 24 hours"):
            await change(data, "PATCH", "/v1/schedule", {"week": wrong})
    week[3][3] = "sometimes"
    with pytest.raises(client.Refused, match="'sometimes' is neither"):
        await change(data, "PATCH", "/v1/schedule", {"week": week})
    assert await ask(data, "/v1/schedule") == found


async def test_the_mode_is_switched(data: Path, node: DoubleNode) -> None:
    answer = await change(data, "POST", "/v1/mode", {"mode": "client"})
    assert (answer["mode"], answer["state"]) == ("client", "off")
    assert node.asked == [("mode", "client")]


async def test_settings_are_changed_all_or_none(data: Path, node: DoubleNode) -> None:
    changes = {"relay.max_rate": "3MB/s", "native.aead": "openssl"}
    answer = await change(data, "PATCH", "/v1/settings", changes)
    assert answer == {"applied": ["relay.max_rate"], "at_next_start": ["native.aead"], "overridden": {}}
    assert node.asked == [("change", changes, SOURCE, True)]
    with pytest.raises(client.Refused, match=r"relay\.max_circuits"):
        await change(data, "PATCH", "/v1/settings", {"relay.max_rate": "4MB/s", "relay.max_circuits": "many"})
    assert (await ask(data, "/v1/settings"))["relay.max_rate"]["value"] == "3MB/s"


async def test_what_cannot_be_done_now_is_a_conflict(data: Path, node: DoubleNode) -> None:
    for error in (TowpathError("a sentence"), OSError(98, "the port is taken")):
        node.fails = error
        answer = await talk(data, request("POST", "/v1/mode", b'{"mode": "dedicated"}'))
        assert answer.startswith(b"HTTP/1.1 409 ")
        assert (error.strerror if isinstance(error, OSError) else str(error)).encode() in answer


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        (request("GET", "/v1/nothing"), 404, b"there are /metrics, /v1/check, /v1/circuits"),
        (request("GET", "/v1/ledgers"), 404, b"there is no /v1/ledgers"),
        (request("POST", "/v1/status", b"{}"), 405, b"/v1/status answers GET, HEAD only"),
        (request("GET", "/v1/pause"), 405, b"/v1/pause answers POST only"),
        (request("GET", "/v1/circuits?full=1"), 400, b"no parameter 'full'; it takes none"),
        (request("GET", "/v1/traffic?windows=1h"), 400, b"it takes window"),
        (request("GET", "/v1/traffic?window=2h"), 422, b"allowed is 5m, 1h, 24h, 30d"),
        (request("GET", "/v1/events?from=1"), 400, b"it takes after"),
        (request("GET", "/v1/events?after=x"), 400, b"whole number"),
        (request("GET", "/v1/events", b"", "Last-Event-ID: -1"), 400, b"whole number"),
        (request("POST", "/v1/pause", b"{"), 400, b"not JSON"),
        (request("POST", "/v1/pause", b'{"for": 1}'), 400, b"unknown field `for`"),
        (request("POST", "/v1/pause", b'{"time": "soon"}'), 422, b"time cannot be 'soon'"),
        (request("POST", "/v1/pause", b'{"time": -1}'), 422, b"allowed is"),
        (request("POST", "/v1/pause", b'{"time": [1]}'), 400, b"the body is not what /v1/pause takes"),
        (request("POST", "/v1/resume", b'{"time": 1}'), 400, b"unknown field"),
        (request("POST", "/v1/mode", b"{}"), 400, b"missing required field `mode`"),
        (request("POST", "/v1/mode", b'{"mode": "server"}'), 400, b"'server'"),
        (request("PATCH", "/v1/settings", b"{}"), 422, b"nothing is to be changed"),
        (request("PATCH", "/v1/settings", b"[]"), 400, b"Expected `object`"),
        (request("PATCH", "/v1/settings", b'{"relay.mod": "client"}'), 422, b'"nearest":"relay.mode"'),
        (request("PATCH", "/v1/settings", b'{"relay.mode": 1}'), 422, b'"key":"relay.mode"'),
        (request("PATCH", "/v1/settings", b"\xff"), 400, b"not JSON"),
        (request("PATCH", "/v1/settings", b" " * (MAX_BODY + 1)), 413, b"65536 bytes are allowed"),
    ],
)
async def test_a_wrong_request_is_answered_with_a_sentence(
    data: Path, node: DoubleNode, asked: bytes, status: int, sentence: bytes
) -> None:
    answer = await talk(data, asked)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    fits(json.loads(body), SCHEMAS["error"])
    assert sentence in body
    assert node.asked == []


async def test_a_method_that_is_not_allowed_is_told_which_are(data: Path) -> None:
    answer = await talk(data, request("DELETE", "/v1/settings"))
    assert b"allow: get, head, patch\r\n" in answer.lower()


@pytest.mark.parametrize("bytes_", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000 + b"\r\n\r\n"])
async def test_what_is_no_http_is_refused_and_ends_nothing(data: Path, bytes_: bytes) -> None:
    assert (await talk(data, bytes_)).startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert await ask(data, "/v1/reservations")


async def test_half_a_request_is_nothing(data: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket_path(data)))
    writer.write(b"GET /v1/status HT")
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    assert await ask(data, "/v1/reservations")


async def test_an_error_is_a_sentence_and_a_failure_ends_nothing(
    data: Path, node: DoubleNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.fails = TowpathError("a sentence")
    with pytest.raises(TowpathError, match="a sentence"):
        await ask(data, "/v1/status")
    node.fails = ZeroDivisionError()
    with pytest.raises(TowpathError, match="log says why"):
        await ask(data, "/v1/status")
    assert "ZeroDivisionError" in "".join(capsys.readouterr())
    node.fails = None
    assert (await ask(data, "/v1/status"))["peer_id"] == PEER


# --- connections ----------------------------------------------------------------------------------


async def test_several_requests_on_one_connection(data: Path) -> None:
    one = b"GET /v1/relays HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await talk(data, one * 3 + request("HEAD", "/v1/relays"))
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.count(b'[{"relay_id"') == 3


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


async def test_who_says_nothing_or_not_all_is_not_waited_for(
    node: DoubleNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.control.server.IDLE", 0.05)
    async with serving(node, tmp_path), asyncio.timeout(10):
        assert await talk(tmp_path, b"") == b""
        assert await talk(tmp_path, b"GET /v1/sta") == b""
        answer = await talk(tmp_path, b"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert b"the rest of the body did not come" in answer
        stream = await Stream.open(tmp_path)
        await asyncio.to_thread(client.ask, tmp_path, "/v1/reservations")
        node.events.publish("one", "Streams may be silent for longer.")
        assert (await stream.next())["kind"] == "one"
        stream.writer.close()


async def test_stopping_ends_open_connections(node: DoubleNode, tmp_path: Path) -> None:
    async with serving(node, tmp_path):
        reader, writer = await asyncio.open_unix_connection(str(socket_path(tmp_path)))
        writer.write(b"GET /v1/reservations HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readline()
        events = await asyncio.open_unix_connection(str(socket_path(tmp_path)))
        events[1].write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await events[0].readuntil(b"retry: 2000")
    await reader.read()
    await events[0].read()
    writer.close()
    events[1].close()
    with pytest.raises(NotRunning, match="towpath run --data"):
        await ask(tmp_path, "/v1/status")


# --- events ---------------------------------------------------------------------------------------


class Stream:
    """An open stream of server-sent events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, data: Path, *headers: str, query: str = "") -> Stream:
        reader, writer = await asyncio.open_unix_connection(str(socket_path(data)))
        writer.write(request("GET", f"/v1/events{query}", b"", *headers))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"text/event-stream" in head
        await reader.readuntil(b"retry: 2000\n\n")
        return cls(reader, writer)

    async def next(self) -> dict[str, Any]:
        """The next event; its id and kind stand on lines of their own."""
        async with asyncio.timeout(5):
            text = await self.reader.readuntil(b"}\n\n")
        lines = dict(line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
        event: dict[str, Any] = json.loads(lines["data"])
        assert (lines["id"], lines["event"]) == (str(event["id"]), event["kind"])
        fits(event, SCHEMAS["event"])
        return event


async def followed(node: DoubleNode, streams: int) -> None:
    """So many streams follow the node's events."""
    await until(lambda: len(node.events._followers) == streams)


async def test_events_are_streamed_to_everybody_as_they_happen(data: Path, node: DoubleNode) -> None:
    node.events.publish("before", "Nobody listened.")
    streams = [await Stream.open(data) for _ in range(2)]
    await followed(node, 2)
    node.events.publish("relay_state", "Relaying: relay mode is on", state="relaying")
    for stream in streams:
        event = await stream.next()
        assert (event["kind"], event["sentence"], event["state"]) == (
            "relay_state",
            "Relaying: relay mode is on",
            "relaying",
        )
        stream.writer.close()


async def test_one_who_comes_back_is_told_what_was_missed(data: Path, node: DoubleNode) -> None:
    for number in range(5):
        node.events.publish("step", f"Step {number}.", number=number)
    ids = [event["id"] for event in node.events.recent()]
    for stream in (
        await Stream.open(data, f"Last-Event-ID: {ids[2]}"),
        await Stream.open(data, query=f"?after={ids[2]}"),
    ):
        assert [(await stream.next())["number"] for _ in range(2)] == [3, 4]
        stream.writer.close()
    stream = await Stream.open(data, query="?after=0")
    assert [(await stream.next())["number"] for _ in range(5)] == [0, 1, 2, 3, 4]
    node.events.publish("step", "Step 5.", number=5)
    assert (await stream.next())["number"] == 5
    stream.writer.close()


async def test_a_silent_stream_says_that_it_is_there_and_ends_when_nobody_listens(
    data: Path, node: DoubleNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.control.server.BEAT", BEAT / 1000)
    stream = await Stream.open(data)
    for _ in range(3):
        await stream.reader.readuntil(b":\n\n")
    stream.writer.close()
    await stream.writer.wait_closed()
    await followed(node, 0)


async def test_the_client_follows_until_it_closes_or_the_node_ends(node: DoubleNode, tmp_path: Path) -> None:
    async with serving(node, tmp_path):
        node.events.publish("one", "One.")
        following = await asyncio.to_thread(client.follow, tmp_path)
        events = iter(following)
        assert (await asyncio.to_thread(next, events))["kind"] == "one"
        waiting = asyncio.create_task(asyncio.to_thread(next, events, None))
        await followed(node, 1)
        node.events.publish("two", "Two.")
        event = await waiting
        assert event is not None
        assert event["kind"] == "two"
        waiting = asyncio.create_task(asyncio.to_thread(next, events, None))
        following.close()
        assert await waiting is None
        other = iter(await asyncio.to_thread(client.follow, tmp_path, event["id"]))
        waiting = asyncio.create_task(asyncio.to_thread(next, other, None))
        await followed(node, 1)
    assert await waiting is None
    with pytest.raises(NotRunning):
        await asyncio.to_thread(client.follow, tmp_path)


# --- where it listens -----------------------------------------------------------------------------


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
