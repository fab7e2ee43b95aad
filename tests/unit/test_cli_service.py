"""`towpath service`, and a real node under what a service manager does to it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from tests import confined
from tests.tools import missing, require
from tests.unit.test_notify import Listener
from towpath.cli import main
from towpath.host import service_manager
from towpath.host.service_manager import can_mount
from towpath.host.unit import Unit, data_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

RUN = ("-P", "-m", "towpath", "run", "--mode", "dedicated", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-web")


@contextlib.asynccontextmanager
async def node(
    manager: Listener, data: Path, *before: str, watchdog: float = 60
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A node whose service manager listens at `manager`; `before` comes before its command."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")}
    environ |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(int(watchdog * 1e6))}
    words = [*before, sys.executable, *RUN, "--data", str(data)]
    process = await asyncio.create_subprocess_exec(*words, env=environ, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "notify"))
    yield listener
    listener.close()


async def until(manager: Listener, name: str) -> dict[str, str]:
    """The next message that holds `name`."""
    while name not in (told := await manager.next()):
        pass
    return told


async def test_a_node_tells_its_manager_of_its_life(manager: Listener, tmp_path: Path) -> None:
    async with node(manager, tmp_path / "data", watchdog=0.2) as process:
        assert (await manager.next())["READY"] == "1"
        status = (await until(manager, "STATUS"))["STATUS"]
        assert re.fullmatch(r"relaying; 0 circuits open, 0 B relayed today", status)
        for _ in range(3):
            await until(manager, "WATCHDOG")
        # A node that does not turn its loop does not beat.
        process.send_signal(signal.SIGSTOP)
        while manager.waiting() is not None:
            pass
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await manager.next()
        process.send_signal(signal.SIGCONT)
        await until(manager, "WATCHDOG")
        process.send_signal(signal.SIGHUP)
        await until(manager, "RELOADING")
        while (await manager.next()).get("RELOADING"):
            pass
        await until(manager, "READY")
        process.send_signal(signal.SIGTERM)
        await until(manager, "STOPPING")
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        assert manager.waiting() is None


async def test_a_node_lives_and_ends_well_as_confined_as_its_unit_says(manager: Listener, tmp_path: Path) -> None:
    require("systemd-analyze")
    if ctypes.util.find_library("seccomp") is None:
        missing("the library libseccomp")
    if not can_mount():
        missing("user namespaces")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    file = tmp_path / "unit"
    file.write_text(Unit(system=False, data=data, python=Path(sys.executable)).text())
    async with node(manager, data, sys.executable, confined.__file__, str(file)) as process:
        assert (await manager.next())["READY"] == "1"
        asked = [sys.executable, "-m", "towpath", "status", "--data", str(data), "--json"]
        asking = await asyncio.create_subprocess_exec(*asked, stdout=subprocess.PIPE)
        assert b'"state": "relaying"' in (await asking.communicate())[0]
        process.send_signal(signal.SIGTERM)
        await until(manager, "STOPPING")
        async with asyncio.timeout(20):
            assert await process.wait() == 0


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl on the PATH for which every service is fine; gives the file in which it notes what it was told."""
    told = tmp_path / "told"
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    answer = "ActiveState=inactive\\nMainPID=0\\nUnitFileState=enabled\\nResult=success\\n"
    program.write_text(f'#!/bin/sh\necho "$@" >>{told}\ncase "$*" in *show*) printf "{answer}" ;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return told


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory that lasts, unlike those below /tmp; nothing is there yet."""
    monkeypatch.setattr("towpath.cli.service._PASSING", ())
    yield Path()
    structlog.reset_defaults()


def test_a_service_is_installed_shown_and_removed(
    systemctl: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "towpath data"
    words = ("--user", "--data", str(data))
    assert main(["service", "install", *words, "--now", "--mode", "cooperative"]) == 0
    out = capsys.readouterr().out
    unit = tmp_path / "config" / "systemd" / "user" / "towpath.service"
    for told in (str(unit), "Started", f"--data '{data}'", "service remove", "journalctl --user"):
        assert told in out
    assert data_of(unit.read_text()) == data
    assert data.stat().st_mode & 0o777 == 0o700
    assert main(["config", "get", "relay.mode", "--data", str(data)]) == 0
    assert capsys.readouterr().out == "cooperative\n"
    assert "--user restart towpath.service" in systemctl.read_text()

    assert main(["service", "install", *words, "--json"]) == 0
    assert '"changed": false' in capsys.readouterr().out
    assert main(["service", "status", "--user", "--json"]) == 0
    assert '"installed": true' in capsys.readouterr().out
    assert main(["service", "status", "--user"]) == 0
    assert "towpath doctor" in capsys.readouterr().out

    assert main(["service", "remove", "--user"]) == 0
    assert f"still in {data}" in capsys.readouterr().out
    assert not unit.exists()
    assert (data / "config.toml").exists()
    assert main(["service", "remove", "--user"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert main(["service", "status", "--user"]) == 0
    assert "service install" in capsys.readouterr().out


def test_nothing_is_done_by_a_dry_run(systemctl: Path, data: Path, tmp_path: Path) -> None:
    assert main(["service", "install", "--user", "--dry-run", "--data", str(tmp_path / "data")]) == 0
    assert not systemctl.exists()
    assert not (tmp_path / "config").exists()
    assert not (tmp_path / "data").exists()


def test_what_cannot_be_is_refused_before_anything_is_done(
    systemctl: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["service", "install", "--user", "--mode", "server"]) == 2
    assert main(["service", "install", "--user", "--data", f"/srv/{'x' * 100}"]) == 1
    assert "shorter" in capsys.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["service", "install", "--system"]) == 2
    assert "sudo" in capsys.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "own").mkdir()
    owned = os.stat(tmp_path / "own").st_uid == 0
    for words, sentence in (
        (["--data", str(tmp_path / "none")], "make it first"),
        *([(["--data", str(tmp_path / "own")], "chown")] if owned else []),
    ):
        assert main(["service", "install", "--system", *words]) == 1
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "config").exists()


def test_what_does_not_last_is_no_place_for_a_service(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "install", "--user", "--data", "/tmp/towpath"]) == 1
    assert "does not last" in capsys.readouterr().err


def test_without_systemd_the_sentence_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(service_manager, "can_mount", lambda: True)
    assert main(["service", "status", "--user"]) == 1
    assert "towpath run" in capsys.readouterr().err


async def test_a_node_that_runs_already_is_not_joined_by_a_service(
    systemctl: Path, data: Path, manager: Listener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with node(manager, tmp_path / "data") as process:
        await until(manager, "READY")
        words = ["service", "install", "--user", "--now", "--data", str(tmp_path / "data")]
        assert await asyncio.to_thread(main, words) == 1
        assert f"process {process.pid}" in capsys.readouterr().err
    assert not (tmp_path / "config").exists()
