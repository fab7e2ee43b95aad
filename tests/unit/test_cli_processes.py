"""Commands as processes on loopback: a relay, what asks it, and services shared and opened through it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from towpath.control.paths import SOCKET_PATH_MAX

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

WAIT = 20.0


class Command:
    """A running `towpath` command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def event(self, name: str) -> dict[str, Any]:
        """The next JSON line of that event; fails when the output ends before it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT):
            while line := await self.process.stdout.readline():
                found: dict[str, Any] = json.loads(line)
                if found.get("event") == name:
                    return found
        pytest.fail(f"no {name} event: {await self.errors()}")

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def end(self, number: int | None = None) -> int:
        """The exit code, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(WAIT):
            return await self.process.wait()


Start = Callable[..., Any]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    running: list[Command] = []
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TOWPATH_")}
    environ |= {"TOWPATH_DISCOVERY__DHT": "false", "TOWPATH_DISCOVERY__MDNS": "false"}

    async def call(*words: str | Path, json_lines: bool = True) -> Command:
        words = (*words, "--json") if json_lines else words
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "towpath",
            *map(str, words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environ,
        )
        running.append(Command(process))
        return running[-1]

    yield call
    for command in running:
        if command.process.returncode is None:
            command.process.kill()
        await command.process.communicate()


@pytest_asyncio.fixture
async def relay(start: Start, tmp_path: Path) -> tuple[Command, dict[str, Any]]:
    command = await start("run", "--data", tmp_path / "relay", *RELAYING)
    return command, await command.event("ready")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def readable_by_its_owner_only(path: Path) -> bool:
    return path.stat().st_mode & 0o777 == 0o600


def resident_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


RELAYING = ("--mode", "dedicated", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-web")


async def ask(start: Start, *words: str | Path) -> Any:
    command = await start(*words)
    out, err = await command.process.communicate()
    assert command.process.returncode == 0, err.decode()
    return json.loads(out)


@contextlib.asynccontextmanager
async def service() -> AsyncIterator[str]:
    """A service that sends back what it gets, in capitals; gives its HOST:PORT."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data.upper())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def connect(at: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = at.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def shouted(at: str, text: bytes) -> bytes:
    """What the service at `at` answers, to its end."""
    reader, writer = await connect(at)
    writer.write(text)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_ready_tells_everything_and_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = await start("run", "--data", data, *RELAYING)
    ready = await command.event("ready")
    assert read_json(data / "ready.json") == ready
    assert readable_by_its_owner_only(data / "ready.json")
    assert ready["pid"] == command.process.pid
    assert ready["api"] == str(data / "api.sock")
    assert ready["web"] is None
    assert all(address.endswith(f"/p2p/{ready['relay_id']}") for address in ready["listen"])
    ids = await ask(start, "id", "--data", data)
    assert ids == {"peer_id": ready["peer_id"], "relay_id": ready["relay_id"]}
    assert await command.end(signal.SIGTERM) == 0
    assert sorted(os.listdir(data)) == ["account.key", "lock", "peer.key", "relay.key", "towpath.db"]


async def test_people_are_told_what_it_does_and_how_to_ask_it(start: Start, tmp_path: Path) -> None:
    command = await start("run", "--data", tmp_path, *RELAYING, json_lines=False)
    text = b""
    async with asyncio.timeout(WAIT):
        while b"Ctrl-C" not in text:
            text += await command.process.stdout.readline()
    for part in (b"relays for others", b"/ip4/127.0.0.1/tcp/", f"towpath status --data {tmp_path}".encode()):
        assert part in text
    assert await command.end(signal.SIGINT) == 0


async def test_a_client_listens_nowhere_and_says_that_it_knows_no_relay(start: Start, tmp_path: Path) -> None:
    command = await start("run", "--data", tmp_path / "a")
    assert (await command.event("ready"))["listen"] == []
    assert (await ask(start, "status", "--data", tmp_path / "a"))["state"] == "off"
    command = await start("run", "--data", tmp_path / "b", json_lines=False)
    text = b""
    async with asyncio.timeout(WAIT):
        while b"Ctrl-C" not in text:
            text += await command.process.stdout.readline()
    assert b"--bootstrap" in text


async def test_one_node_to_a_directory(start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path) -> None:
    second = await start("run", "--data", tmp_path / "relay", *RELAYING)
    assert await second.end() == 1
    assert "runs on" in await second.errors()
    assert (await ask(start, "status", "--data", tmp_path / "relay"))["mode"] == "dedicated"


async def test_a_node_that_was_killed_is_followed_by_another(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    await relay[0].end(signal.SIGKILL)
    asked = await start("status", "--data", tmp_path / "relay")
    assert await asked.end() == 3
    again = await start("run", "--data", tmp_path / "relay", *RELAYING)
    assert (await again.event("ready"))["relay_id"] == relay[1]["relay_id"]
    assert (await ask(start, "status", "--data", tmp_path / "relay"))["circuits_now"] == 0


async def test_a_taken_port_stops_a_dedicated_node_and_moves_the_others(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        where = ("--listen", f"/ip4/127.0.0.1/tcp/{port}")
        dedicated = await start("run", "--data", tmp_path / "a", "--mode", "dedicated", *where)
        assert await dedicated.end() == 1
        assert str(port) in await dedicated.errors()
        assert "ready.json" not in os.listdir(tmp_path / "a")
        cooperative = await start("run", "--data", tmp_path / "b", "--mode", "cooperative", *where)
        listen = (await cooperative.event("ready"))["listen"]
        assert int(listen[0].split("/")[4]) > port


async def test_a_long_path_puts_the_socket_elsewhere_and_ready_says_where(start: Start, tmp_path: Path) -> None:
    data = tmp_path / ("x" * SOCKET_PATH_MAX)
    command = await start("run", "--data", data)
    api = Path((await command.event("ready"))["api"])
    assert api.parent != data
    assert readable_by_its_owner_only(api)
    assert (await ask(start, "status", "--data", data))["mode"] == "client"
    assert await command.end(signal.SIGTERM) == 0
    assert api.name not in os.listdir(api.parent)


async def test_settings_from_all_places_reach_the_node(start: Start, tmp_path: Path) -> None:
    for key, value in (("relay.max_circuits", "7"), ("network.workers", "2")):
        await ask(start, "config", "set", key, value, "--data", tmp_path)
    command = await start("run", "--data", tmp_path, *RELAYING, "--set", "relay.max_reservations=unlimited")
    await command.event("ready")
    assert (await ask(start, "status", "--data", tmp_path))["state"] == "relaying"
    assert await command.end(signal.SIGTERM) == 0
    logged = [json.loads(line) for line in (await command.errors()).splitlines()]
    told = [line["key"] for line in logged if line["event"] == "setting.without_effect_yet"]
    assert told == ["network.workers"]


async def test_a_relay_at_rest_is_small(relay: tuple[Command, dict[str, Any]]) -> None:
    assert resident_kib(relay[1]["pid"]) <= 65 * 1024


async def test_a_relay_loads_nothing_that_only_other_commands_need() -> None:
    heavy = (
        "{'aiohttp', 'cyclopts', 'rich', 'tomlkit', 'cbor2', 'http.client', 'prometheus_client', 'zeroconf', 'libp2p'}"
    )
    code = f"import sys, towpath.cli.run; print(*sorted({heavy} & set(sys.modules)))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode().strip() == ""


async def share(start: Start, relay: dict[str, Any], *words: str | Path) -> tuple[Command, str]:
    command = await start("share", *words, "--bootstrap", relay["listen"][0])
    return command, (await command.event("shared"))["ticket"]


async def open_(start: Start, *words: str | Path) -> tuple[Command, str]:
    command = await start("open", *words)
    return command, (await command.event("open"))["listen"]


async def test_a_service_is_reached_through_the_relay_alone(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    big = os.urandom(8 << 20).lower()
    async with service() as at:
        sharer, ticket = await share(start, relay[1], at, "--data", tmp_path / "a")
        opener, near = await open_(start, ticket, "--data", tmp_path / "b")
        assert await shouted(near, b"hello") == b"HELLO"
        assert await shouted(near, big) == big.upper()
        reader, writer = await connect(near)
        writer.write(b"x")
        await reader.readexactly(1)
        rows = await ask(start, "circuits", "--data", tmp_path / "relay")
        assert {"id", "relay_id", "direction", "peer", "bytes_in", "bytes_out", "age_s", "express"} <= set(rows[0])
        assert rows[0]["bytes_in"] > len(big)
        full = await ask(start, "circuits", "--full", "--data", tmp_path / "relay")
        ids = await ask(start, "id", "--data", tmp_path / "b")
        assert (await sharer.event("peer_connected"))["peer"] == ids["peer_id"]
        assert full[0]["peer"] != ids["peer_id"], "the relay knows address and id of who dials"
        assert rows[0]["peer"] != full[0]["peer"]
        assert rows[0]["peer"].endswith(full[0]["peer"][-4:])
        status = await ask(start, "status", "--data", tmp_path / "relay")
        assert (status["circuits_now"], status["reservations_now"]) == (1, 1)
        assert await opener.end(signal.SIGINT) == 0
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        assert await sharer.end(signal.SIGTERM) == 0


async def test_a_ticket_survives_restarts_of_the_sharer(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    async with service() as at:
        sharer, ticket = await share(start, relay[1], at, "--data", tmp_path / "a")
        _, near = await open_(start, ticket, "--data", tmp_path / "b")
        assert await shouted(near, b"one") == b"ONE"
        await sharer.end(signal.SIGINT)
        late = await start("open", ticket, "--data", tmp_path / "c")
        assert await late.end() == 1
        assert "the sharer is not there; check that `share` still runs" in await late.errors()
        sharer, again = await share(start, relay[1], at, "--data", tmp_path / "a")
        assert again == ticket
        assert await shouted(near, b"two") == b"TWO"
        twice = await start("share", at, "--bootstrap", relay[1]["listen"][0], "--data", tmp_path / "a")
        assert await twice.end() == 1
        assert "shared already" in await twice.errors()


async def test_a_ticket_for_one_connection_is_used_up(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    async with service() as at:
        sharer, ticket = await share(start, relay[1], at, "--once", "--data", tmp_path / "a")
        opener, near = await open_(start, ticket, "--data", tmp_path / "b")
        assert await shouted(near, b"hello") == b"HELLO"
        assert await sharer.end() == 0
        with pytest.raises(ConnectionResetError):
            await shouted(near, b"hello")
        assert (await opener.event("connection_failed"))["reason"]
        _, other = await share(start, relay[1], at, "--once", "--data", tmp_path / "a")
        assert other != ticket


async def test_only_allowed_peers_get_through(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    friend = (await ask(start, "id", "--data", tmp_path / "friend"))["peer_id"]
    async with service() as at:
        _, ticket = await share(start, relay[1], at, "--allow", friend, "--data", tmp_path / "a")
        _, near = await open_(start, ticket, "--data", tmp_path / "friend")
        assert await shouted(near, b"hello") == b"HELLO"
        stranger = await start("open", ticket, "--data", tmp_path / "stranger")
        assert await stranger.end() == 1
        assert "does not allow this peer" in await stranger.errors()


async def test_a_share_ends_when_its_ticket_expires(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    async with service() as at:
        sharer, _ = await share(start, relay[1], at, "--expires", "2s", "--data", tmp_path / "a")
        await sharer.event("expired")
        assert await sharer.end() == 0


async def test_a_share_uses_the_relay_that_runs_on_the_same_directory(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    async with service() as at:
        sharer = await start("share", at, "--data", tmp_path / "relay")
        assert (await sharer.event("shared"))["relays"] == relay[1]["listen"]


async def test_without_any_relay_that_answers_sharing_fails_and_names_them(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    peer = (await ask(start, "id", "--data", tmp_path))["relay_id"]
    address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"
    sharer = await start("share", "127.0.0.1:1", "--bootstrap", address, "--data", tmp_path)
    assert await sharer.end() == 1
    errors = await sharer.errors()
    assert "Enable relay mode to help the network?" in errors
    assert address in errors


async def test_ping_measures_end_to_end_and_names_the_relay(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    async with service() as at:
        command = await start("share", at, "--bootstrap", relay[1]["listen"][0], "--data", tmp_path / "a")
        peer = (await command.event("shared"))["peer_id"]
        for target in (peer, f"{relay[1]['listen'][0]}/p2p-circuit/p2p/{peer}"):
            via = ("--bootstrap", relay[1]["listen"][0]) if target == peer else ()
            ping = await start("ping", target, "--count", "2", *via, "--data", tmp_path / "b")
            out, _ = await ping.process.communicate()
            lines = [json.loads(line) for line in out.splitlines()]
            assert [line["via"] for line in lines] == [relay[1]["relay_id"]] * 2
            assert all(0 < line["rtt_ms"] < 5000 for line in lines)
        direct = await start("ping", relay[1]["listen"][0], "--count", "1", "--data", tmp_path / "b")
        out, _ = await direct.process.communicate()
        assert json.loads(out)["via"] is None
        nobody = relay[1]["peer_id"]
        failed = await start(
            "ping", nobody, "--count", "1", "--bootstrap", relay[1]["listen"][0], "--data", tmp_path / "b"
        )
        assert await failed.end() == 1


async def test_a_client_with_a_bootstrap_relay_can_be_reached_there(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    via = ("--bootstrap", relay[1]["listen"][0])
    command = await start("run", "--data", tmp_path / "a", *via)
    peer = (await command.event("ready"))["peer_id"]
    assert (await command.event("reserved"))["relay"] == relay[1]["listen"][0]
    status = await ask(start, "status", "--data", tmp_path / "a")
    assert status["client"]["connected_via"] == [relay[1]["relay_id"]]
    answer = await ask(start, "ping", peer, "--count", "1", *via, "--data", tmp_path / "b")
    assert answer["via"] == relay[1]["relay_id"]
    assert await command.end(signal.SIGTERM) == 0


async def test_the_first_signal_drains_and_the_second_ends_at_once(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    async with service() as at:
        _, ticket = await share(start, relay[1], at, "--data", tmp_path / "a")
        _, near = await open_(start, ticket, "--data", tmp_path / "b")
        reader, writer = await connect(near)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"A"
        relay[0].process.send_signal(signal.SIGTERM)
        await relay[0].event("stopping")
        writer.write(b"b")
        assert await reader.readexactly(1) == b"B"
        before = asyncio.get_running_loop().time()
        assert await relay[0].end(signal.SIGTERM) == 1
        assert asyncio.get_running_loop().time() - before < 2
        assert "ready.json" not in os.listdir(tmp_path / "relay")
        writer.close()


async def test_draining_ends_after_five_seconds(
    start: Start, relay: tuple[Command, dict[str, Any]], tmp_path: Path
) -> None:
    async with service() as at:
        _, ticket = await share(start, relay[1], at, "--data", tmp_path / "a")
        _, near = await open_(start, ticket, "--data", tmp_path / "b")
        reader, writer = await connect(near)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"A"
        before = asyncio.get_running_loop().time()
        assert await relay[0].end(signal.SIGINT) == 0
        assert 4 < asyncio.get_running_loop().time() - before < 10
        writer.close()
