"""A node as a process, changed while it runs: by commands, by its file, by signals; and what a restart keeps."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_cli_processes import RELAYING, WAIT, Command, Start, ask, relay, resident_kib, start
from towpath.control import client

__all__ = ["relay", "start"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Relay = tuple[Command, dict[str, Any]]


async def change(data: Path, method: str, path: str, content: Any) -> Any:
    return await asyncio.to_thread(client.change, data, method, path, content)


class Told:
    """The events of a node, one after the other."""

    def __init__(self, data: Path) -> None:
        self._following = client.follow(data)
        self._events = iter(self._following)

    async def until(self, kind: str, **facts: Any) -> dict[str, Any]:
        """The next event of a kind with these facts."""
        async with asyncio.timeout(WAIT):
            while True:
                event = await asyncio.to_thread(next, self._events)
                if event["kind"] == kind and facts.items() <= event.items():
                    return event

    def close(self) -> None:
        self._following.close()


async def fetched(url: str) -> bytes:
    host, _, rest = url.removeprefix("http://").partition(":")
    port, _, path = rest.partition("/")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_changes_survive_a_restart(start: Start, tmp_path: Path) -> None:
    where = ("run", "--data", tmp_path, "--listen", "/ip4/127.0.0.1/tcp/0", "--no-web")
    command = await start(*where)
    await command.event("ready")
    to = ("--data", tmp_path)
    assert (await ask(start, "mode", "cooperative", *to))["now"]["state"] == "relaying"
    await ask(start, "limit", "day", "7GB", *to)
    await ask(start, "schedule", "set", "daily", "00-24", "2MB/s", *to)
    assert (await ask(start, "pause", "1h", *to))["state"] == "paused"
    assert await command.end(signal.SIGTERM) == 0
    command = await start(*where)
    await command.event("ready")
    status = await ask(start, "status", *to)
    assert (status["mode"], status["state"]) == ("cooperative", "paused")
    assert (await ask(start, "limit", "day", *to))["values"] == {"relay.max_bandwidth_per_day": "7GB"}
    assert (await ask(start, "schedule", *to))["week"] == [["2MB/s"] * 24] * 7
    assert (await ask(start, "resume", *to))["state"] == "relaying"


async def test_the_file_is_read_again_on_sighup(start: Start, relay: Relay, tmp_path: Path) -> None:
    data = tmp_path / "relay"
    await ask(start, "status", "--data", data)
    told = Told(data)
    (data / "config.toml").write_text("[relay]\nmax_circuits = 5\n[log]\nlevel = 'debug'\n")
    relay[0].process.send_signal(signal.SIGHUP)
    await told.until("setting_changed", key="log.level")
    assert await ask(start, "config", "get", "relay.max_circuits", "--data", data) == {"relay.max_circuits": 5}
    (data / "config.toml").write_text("[relay]\nmax_circuits = 'some'\n")
    relay[0].process.send_signal(signal.SIGHUP)
    event = await told.until("settings_not_reloaded")
    assert "'some'" in event["sentence"]
    assert await ask(start, "config", "get", "relay.max_circuits", "--data", data) == {"relay.max_circuits": 5}
    told.close()


async def test_metrics_are_served_where_settings_say_and_move_while_it_runs(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = await start("run", "--data", tmp_path, *RELAYING, "--set", f"metrics.listen={at}")
        assert await refused.end() == 1
        assert f"cannot listen on {at}" in await refused.errors()
    command = await start("run", "--data", tmp_path, *RELAYING, "--set", "metrics.listen=127.0.0.1:0")
    ready = await command.event("ready")
    assert b'towpath_state{state="relaying"} 1.0' in await fetched(ready["metrics"])
    became = await change(tmp_path, "PATCH", "/v1/settings", {"metrics.listen": at})
    assert became["applied"] == ["metrics.listen"]
    assert b" 200 OK" in await fetched(f"http://{at}/metrics")
    with pytest.raises(ConnectionRefusedError):
        while True:
            await fetched(ready["metrics"])
    await change(tmp_path, "PATCH", "/v1/settings", {"metrics.listen": "none"})
    with pytest.raises(ConnectionRefusedError):
        while True:
            await fetched(f"http://{at}/metrics")


async def test_the_page_is_where_ready_says_for_who_is_given_its_token(start: Start, tmp_path: Path) -> None:
    where = ("--data", tmp_path)
    command = await start("run", *where, "--mode", "cooperative", *RELAYING[2:4], "--set", "web.listen=127.0.0.1:0")
    ready = await command.event("ready")
    url, _, token = (await ask(start, "web", *where))["url"].partition("/#token=")
    assert url == ready["web"]
    html = await fetched(f"{url}/")
    # Under no name that somebody else could make lead here.
    assert b" 421 " in html
    html = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{url}/").read())
    assert b"<!doctype html>" in html
    asked = urllib.request.Request(f"{url}/v1/status", headers={"Authorization": f"Bearer {token}"})
    status = await asyncio.to_thread(lambda: urllib.request.urlopen(asked).read())
    assert json.loads(status)["relay_id"] == ready["relay_id"]
    assert await command.end(signal.SIGTERM) == 0
    assert token.encode() not in await command.process.stderr.read()
    late = await start("web", *where)
    assert await late.end() == 3


async def test_a_page_for_other_machines_without_tls_stops_the_node_with_a_sentence(
    start: Start, tmp_path: Path
) -> None:
    command = await start("run", "--data", tmp_path, *RELAYING[:4], "--set", "web.listen=0.0.0.0:0")
    assert await command.end() == 1
    assert "web.without_tls" in await command.errors()
    assert "ready.json" not in os.listdir(tmp_path)


async def test_a_second_node_names_the_first(start: Start, relay: Relay, tmp_path: Path) -> None:
    second = await start("run", "--data", tmp_path / "relay", *RELAYING)
    assert await second.end() == 1
    assert f"as process {relay[1]['pid']}" in await second.errors()


async def test_a_relay_with_everything_loaded_is_small(start: Start, relay: Relay, tmp_path: Path) -> None:
    data = tmp_path / "relay"
    await ask(start, "status", "--data", data)
    reader, writer = await asyncio.open_unix_connection(relay[1]["api"])
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"towpath_circuits" in await reader.read()
    writer.close()
    await change(data, "PATCH", "/v1/settings", {"relay.max_rate": "3MB/s"})
    assert resident_kib(relay[1]["pid"]) <= 65 * 1024


async def test_a_closed_terminal_ends_a_node_that_ran_on_it(tmp_path: Path) -> None:
    own, its = pty.openpty()
    command = [sys.executable, "-m", "towpath", "run", "--data", str(tmp_path), "--json", *RELAYING]
    process = await asyncio.create_subprocess_exec(
        "setsid", "--ctty", *command, stdin=its, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    os.close(its)
    try:
        assert (await Command(process).event("ready"))["web"] is None
        os.close(own)
        assert await Command(process).end() == 0
        assert not (tmp_path / "ready.json").exists()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
