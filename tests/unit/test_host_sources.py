"""What the machine is doing: services on a private D-Bus, and what is looked at where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import PropertyAccess
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, dbus_property
from structlog.testing import capture_logs

from tests.tools import require
from tests.unit.nodes import loaded, until
from towpath.host import bus, idle, watching
from towpath.host.battery import BatterySource, on_battery
from towpath.host.idle import IDLE_S, IdleSource, last_use
from towpath.host.metered import MeteredSource
from towpath.host.sources import Source, Verdict, needed, of_this_machine
from towpath.host.watching import WatchedSource

CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy>
</busconfig>
"""


@contextlib.asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The address and the process of a bus of our own, which ends with the block."""
    program = require("dbus-daemon")
    config, path = folder / "bus.conf", folder / "bus"
    config.write_text(CONFIGURATION.format(path=path))
    process = await asyncio.create_subprocess_exec(
        program, f"--config-file={config}", "--nofork", "--nosyslog", "--print-address=1", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        address = (await process.stdout.readline()).decode().strip()
        yield address, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with daemon(tmp_path) as (address, _):
        yield address


class Machine(ServiceInterface):
    """A service with one property that the test sets."""

    def __init__(self, interface: str, value: Any) -> None:
        super().__init__(interface)
        self.value = value

    def become(self, value: Any, name: str) -> None:
        self.value = value
        self.emit_properties_changed({name: value})


class Login(Machine):
    @dbus_property(access=PropertyAccess.READ)
    def IdleHint(self) -> "b":  # type: ignore[name-defined] # noqa: F821, N802, UP037
        return self.value


class Power(Machine):
    @dbus_property(access=PropertyAccess.READ)
    def OnBattery(self) -> "b":  # type: ignore[name-defined] # noqa: F821, N802, UP037
        return self.value


class Network(Machine):
    @dbus_property(access=PropertyAccess.READ)
    def Metered(self) -> "u":  # type: ignore[name-defined] # noqa: F821, N802, UP037
        return self.value


KINDS: dict[str, tuple[type[WatchedSource], type[Machine], Any, Any]] = {
    "idle": (IdleSource, Login, True, False),
    "battery": (BatterySource, Power, False, True),
    "metered": (MeteredSource, Network, 4, 1),
}
"""Each source with its service, a value that permits relaying and one that forbids it."""


@contextlib.asynccontextmanager
async def served(address: str, source: type[WatchedSource], service: Machine) -> AsyncIterator[None]:
    """The service is on the bus while the block lasts."""
    connection = await MessageBus(bus_address=address).connect()
    try:
        connection.export(source.property.path, service)
        await connection.request_name(source.property.service)
        yield
    finally:
        connection.disconnect()
        with contextlib.suppress(EOFError):
            await connection.wait_for_disconnect()  # type: ignore[no-untyped-call]


class Watched:
    """A source that is started, and how often it told of a change."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.told = 0
        self.news = asyncio.Event()

    def changed(self) -> None:
        self.told += 1
        self.news.set()

    async def says(self, holds: Callable[[Verdict], bool]) -> Verdict:
        async with asyncio.timeout(10):
            while not holds(self.source.verdict()):
                self.news.clear()
                await self.news.wait()
        return self.source.verdict()


@contextlib.asynccontextmanager
async def started(source: Source) -> AsyncIterator[Watched]:
    watched = Watched(source)
    await source.start(watched.changed)
    try:
        yield watched
    finally:
        await source.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_service_says_is_followed(kind: str, address: str) -> None:
    made, service, fine, not_fine = KINDS[kind]
    machine = service(made.property.interface, not_fine)
    async with served(address, made, machine), started(made(address)) as watched:
        said = await watched.says(lambda verdict: verdict.blocks and verdict != made.unknown)
        assert said.why
        machine.become(fine, made.property.name)
        await watched.says(lambda verdict: not verdict.blocks)
        machine.become(not_fine, made.property.name)
        assert await watched.says(lambda verdict: verdict.blocks) == said
        told = watched.told
        machine.become(not_fine, made.property.name)
        machine.become(fine, made.property.name)
        await watched.says(lambda verdict: not verdict.blocks)
        assert watched.told == told + 1, "told of changes only"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_that_goes_away_leaves_what_is_not_known_and_may_come_back(kind: str, address: str) -> None:
    made, service, fine, not_fine = KINDS[kind]
    allows = not made.unknown.blocks
    async with started(made(address)) as watched:
        watched.source._retry_s = 0.05  # type: ignore[attr-defined]
        async with served(address, made, service(made.property.interface, not_fine if allows else fine)):
            await watched.says(lambda verdict: verdict.blocks == allows)
        await watched.says(lambda verdict: verdict == made.unknown)
        async with served(address, made, service(made.property.interface, not_fine if allows else fine)):
            await watched.says(lambda verdict: verdict.blocks == allows)


@pytest.mark.parametrize("guess", [(0, False), (1, True), (2, False), (3, True), (4, False)])
def test_a_guess_of_the_network_manager_counts(guess: tuple[int, bool]) -> None:
    value, metered = guess
    assert MeteredSource().judge(value).blocks == metered


async def test_a_bus_that_dies_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatterySource, "look", lambda _: None)
    power = Power(BatterySource.property.interface, True)
    async with daemon(tmp_path) as (address, process), served(address, BatterySource, power):
        source = BatterySource(address, retry_s=0.05)
        async with started(source) as watched:
            await watched.says(lambda verdict: verdict.blocks)
            process.kill()
            await watched.says(lambda verdict: verdict == BatterySource.unknown)


# --- without a bus -----------------------------------------------------------------------------------------------


@pytest.fixture
def no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "system_bus", lambda: None)


@pytest.mark.usefixtures("no_bus")
async def test_without_a_bus_it_is_looked_at_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [Verdict(True, "on battery"), Verdict(False, "on mains")]
    looked = 0

    def look(_: BatterySource) -> Verdict:
        nonlocal looked
        looked += 1
        return seen[looked % 2]

    monkeypatch.setattr(BatterySource, "look", look)
    with capture_logs() as logged:
        async with started(BatterySource(look_s=0.005)):
            await until(lambda: looked > 6)
    assert [entry["event"] for entry in logged] == ["source_missing"]


@pytest.mark.usefixtures("no_bus")
async def test_where_nothing_can_be_seen_the_machine_is_in_use_and_the_network_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(IdleSource, "look", lambda _: None)
    with capture_logs() as logged:
        async with started(IdleSource()) as used, started(MeteredSource()) as metered:
            await asyncio.sleep(0)
            assert used.source.verdict().blocks
            assert not metered.source.verdict().blocks
            await until(lambda: [entry["event"] for entry in logged] == ["source_missing"] * 2)
    heard = " ".join(entry["note"] for entry in logged)
    assert "counts as in use" in heard
    assert "counts as not metered" in heard


def test_the_last_use_of_terminals_is_that_of_the_newest(tmp_path: Path) -> None:
    assert last_use([]) is None
    assert last_use([tmp_path / "gone"]) is None
    for name, used in (("0", 1000.0), ("1", 3000.0), ("2", 2000.0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (used, 9000.0))
    assert last_use([*tmp_path.iterdir(), tmp_path / "gone"]) == 3000.0


def test_a_terminal_is_idle_after_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    for age, blocks in ((0.0, True), (IDLE_S - 1, True), (IDLE_S, False)):
        monkeypatch.setattr(idle, "last_use", lambda _: 10_000.0)
        monkeypatch.setattr(time, "time", lambda age=age: 10_000.0 + age)
        verdict = IdleSource().look()
        assert verdict is not None
        assert verdict.blocks == blocks
    monkeypatch.setattr(idle, "last_use", lambda _: None)
    assert IdleSource().look() is None


def supply(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir()
    for file, text in files.items():
        (folder / name / file).write_text(text + "\n")


def test_power_supplies_tell_what_the_machine_runs_on(tmp_path: Path) -> None:
    assert on_battery(tmp_path / "none") is None
    assert on_battery(tmp_path) is False
    supply(tmp_path, "hidpp_battery_0", type="Battery", scope="Device", status="Discharging")
    assert on_battery(tmp_path) is False
    supply(tmp_path, "BAT0", type="Battery", status="Charging")
    assert on_battery(tmp_path) is False
    (tmp_path / "BAT0" / "status").write_text("Discharging\n")
    assert on_battery(tmp_path) is True
    supply(tmp_path, "AC", type="Mains", online="0")
    assert on_battery(tmp_path) is True
    (tmp_path / "AC" / "online").write_text("1\n")
    assert on_battery(tmp_path) is False


# --- which ones ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({}, set()),
        ({"relay.mode": "dedicated"}, set()),
        ({"relay.mode": "cooperative"}, {"battery", "metered"}),
        ({"relay.mode": "cooperative", "relay.on_battery": True, "relay.on_metered": True}, set()),
        ({"relay.mode": "dedicated", "relay.only_when_idle": True}, {"idle"}),
        ({"relay.mode": "client", "relay.only_when_idle": True}, set()),
    ],
)
def test_only_what_a_setting_needs_is_watched(settings: dict[str, Any], kinds: set[str]) -> None:
    assert needed(loaded(settings, {}).relay) == kinds
    assert kinds <= of_this_machine().keys()
    assert {made().name for kind, made in of_this_machine().items()} == {"idle", "battery", "metered"}  # type: ignore[attr-defined]


def test_the_system_bus_is_where_the_environment_or_the_system_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS", raising=False)
    monkeypatch.setattr(bus, "_SOCKETS", (tmp_path / "none", tmp_path / "socket"))
    assert bus.system_bus() is None
    (tmp_path / "socket").touch()
    assert bus.system_bus() == f"unix:path={tmp_path / 'socket'}"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/elsewhere")
    assert bus.system_bus() == "unix:path=/elsewhere"


def test_the_bus_library_is_loaded_only_where_there_is_a_bus() -> None:
    code = (
        "import sys, towpath.host.idle, towpath.host.battery, towpath.host.metered; print('dbus_fast' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
