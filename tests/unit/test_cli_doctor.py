"""`towpath doctor` beside no node, a running one, and one that died."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from towpath.cli import doctor as command
from towpath.cli import main
from towpath.cli.places import replace_file
from towpath.errors import TowpathError
from towpath.host.service_manager import Service, Systemd

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def _no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Systemd, "installed", lambda self: None)


def examine(data: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, str]]]:
    """The exit code, and what --json prints, whose form is checked."""
    code = main(["doctor", "--data", str(data), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(found) == {"data", "counts", "findings"}
    assert found["data"] == str(data)
    for finding in found["findings"]:
        assert set(finding) == {"subject", "level", "what", "advice", "settings", "check"}
        assert all(isinstance(finding[name], str) for name in ("subject", "level", "what", "advice"))
    assert found["counts"] == {
        level: sum(finding["level"] == level for finding in found["findings"]) for level in ("ok", "warning", "problem")
    }
    return code, found["findings"]


def of(findings: list[dict[str, str]], subject: str) -> list[dict[str, str]]:
    return [finding for finding in findings if finding["subject"] == subject]


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A dedicated relay by its command line alone, with its data in `tmp_path`/data."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")}
    words = ("run", "--mode", "dedicated", "--listen", "/ip4/127.0.0.1/tcp/0", "--json", "--data", tmp_path / "data")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "towpath", *map(str, words), env=environ, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert b"ready" in await process.stdout.readline()
    yield process
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_a_running_node_is_judged_by_its_own_settings_until_it_dies(
    node: asyncio.subprocess.Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = await asyncio.to_thread(examine, tmp_path / "data", capsys)
    assert code == 0
    (said,) = of(found, "node")
    assert f"process {node.pid} answers: relaying" in said["what"]
    assert of(found, "database")[0]["what"] == "the running node has it open"
    assert any("not left to defaults" in finding["what"] and "relay.mode" in finding["what"] for finding in found)
    assert any("did not jump" in finding["what"] for finding in of(found, "clock"))
    node.send_signal(signal.SIGKILL)
    await node.wait()
    code, found = await asyncio.to_thread(examine, tmp_path / "data", capsys)
    assert code == 0
    assert "without its goodbye" in of(found, "node")[0]["what"]
    assert "is sound" in of(found, "database")[0]["what"]


def test_a_problem_is_exit_code_1_and_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text("[relay]\nmode = 'server'\n")
    code, found = examine(tmp_path, capsys)
    assert code == 1
    assert of(found, "settings")[0]["level"] == "problem"
    assert main(["doctor", "--data", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "→ correct that" in out
    assert "1 problem" in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_a_node_that_hangs_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(data: Path, path: str) -> Any:
        raise TowpathError("the node gave no answer")

    monkeypatch.setattr(command, "ask", hangs)
    replace_file(tmp_path / "ready.json", {"pid": 12345})
    code, found = examine(tmp_path, capsys)
    assert code == 1
    assert "kill 12345" in of(found, "node")[0]["advice"]


@pytest.mark.parametrize(
    ("active", "enabled", "level"),
    [("active", True, "ok"), ("inactive", False, "warning"), ("failed", True, "problem")],
)
def test_an_installed_service_is_looked_at(
    active: str,
    enabled: bool,
    level: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(Path("/u"), tmp_path, enabled, active, None, "", "", 0, "exit-code")
    monkeypatch.setattr(Systemd, "installed", lambda self: "unit")
    monkeypatch.setattr(Systemd, "status", lambda self: service)
    code, found = examine(tmp_path, capsys)
    assert of(found, "service")[0]["level"] == level
    assert code == (level == "problem")


def test_a_service_that_cannot_be_asked_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(self: Systemd) -> Service:
        raise TowpathError("the service manager does not answer")

    monkeypatch.setattr(Systemd, "installed", lambda self: "unit")
    monkeypatch.setattr(Systemd, "status", silent)
    assert of(examine(tmp_path, capsys)[1], "service")[0]["level"] == "warning"
