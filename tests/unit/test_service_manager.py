"""Installing, removing and asking, with a systemctl that keeps in mind what it was told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from towpath.errors import TowpathError
from towpath.host.service_manager import Answer, Systemd, can_mount, run_program
from towpath.host.unit import NAME, Unit

NO_BUS = "Failed to connect to bus: No medium found"


class Systemctl:
    """A service manager that knows one unit."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.enabled = False
        self.active = "inactive"
        self.fails: dict[str, str] = {}

    def __call__(self, words: Sequence[str]) -> Answer:
        program, *rest = words
        assert program == "systemctl"
        verb, *named = [word for word in rest if word != "--user"]
        self.told.append(" ".join(rest))
        if verb in self.fails:
            return 1, "", self.fails[verb]
        if verb == "show" and named[0] == "--property=Version":
            return 0, "Version=252\n", ""
        if verb == "show":
            state = "enabled" if self.enabled else ""
            pid = 42 if self.active == "active" else 0
            return (
                0,
                f"ActiveState={self.active}\nUnitFileState={state}\nMainPID={pid}\nNRestarts=2\nResult=success\n",
                "",
            )
        if verb == "enable":
            self.enabled = True
        elif verb == "disable":
            self.enabled, self.active = False, "inactive"
        elif verb in ("start", "restart"):
            self.active = "active"
        return 0, "", ""


@pytest.fixture
def systemctl() -> Systemctl:
    return Systemctl()


@pytest.fixture
def manager(tmp_path: Path, systemctl: Systemctl) -> Systemd:
    return Systemd(system=False, units=tmp_path / "units", run=systemctl)


UNIT = Unit(system=False, data=Path("/srv/towpath"), python=Path(sys.executable))
OTHER = Unit(system=False, data=Path("/srv/other"), python=Path(sys.executable))


def changes(systemctl: Systemctl) -> list[str]:
    """What it was told since last asked, but for questions."""
    told = [words.removeprefix("--user ") for words in systemctl.told if " show" not in words]
    systemctl.told.clear()
    return told


def test_an_installed_unit_starts_at_boot_and_with_now_at_once(manager: Systemd, systemctl: Systemctl) -> None:
    assert manager.install(UNIT, now=False) is True
    assert manager.file.read_text() == UNIT.text()
    assert manager.file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in manager.file.parent.iterdir()] == [NAME]
    assert changes(systemctl) == ["daemon-reload", f"enable {NAME}"]
    assert manager.install(UNIT, now=True) is False
    assert changes(systemctl) == [f"enable {NAME}", f"reset-failed {NAME}", f"start {NAME}"]


def test_a_changed_unit_starts_the_node_again(manager: Systemd, systemctl: Systemctl) -> None:
    manager.install(UNIT, now=True)
    changes(systemctl)
    assert manager.install(OTHER, now=True) is True
    assert changes(systemctl) == ["daemon-reload", f"enable {NAME}", f"reset-failed {NAME}", f"restart {NAME}"]


def test_what_was_removed_is_gone_and_can_be_removed_again(manager: Systemd, systemctl: Systemctl) -> None:
    manager.install(UNIT, now=True)
    changes(systemctl)
    assert manager.remove() == UNIT.data
    assert not manager.file.exists()
    assert changes(systemctl) == [f"disable --now {NAME}", "daemon-reload", f"reset-failed {NAME}"]
    assert manager.remove() is None
    assert changes(systemctl) == []


def test_the_status_follows_the_service(manager: Systemd, systemctl: Systemctl) -> None:
    before = manager.status()
    assert (before.unit, before.enabled, before.active, before.pid) == (None, False, "inactive", None)
    manager.install(UNIT, now=True)
    found = manager.status()
    assert (found.unit, found.data, found.enabled) == (manager.file, UNIT.data, True)
    assert (found.active, found.pid, found.restarts, found.result) == ("active", 42, 2, "success")
    systemctl.active = "failed"
    assert manager.status().pid is None


def test_a_unit_of_somebody_else_is_left_alone(manager: Systemd, systemctl: Systemctl) -> None:
    manager.file.parent.mkdir()
    manager.file.write_text("[Service]\nExecStart=/usr/bin/towpath run\n")
    for act in (lambda: manager.install(UNIT, now=True), manager.remove):
        with pytest.raises(TowpathError, match="not written by towpath"):
            act()
    assert "towpath run" in manager.file.read_text()
    assert changes(systemctl) == []


def test_without_a_manager_nothing_is_written(manager: Systemd, systemctl: Systemctl) -> None:
    systemctl.fails["show"] = NO_BUS
    with pytest.raises(TowpathError, match="enable-linger"):
        manager.install(UNIT, now=True)
    assert not manager.file.exists()


def test_a_machine_without_systemd_is_told_what_to_do_instead(tmp_path: Path, systemctl: Systemctl) -> None:
    systemctl.fails["show"] = "System has not been booted with systemd as init system (PID 1). Can't operate."
    with pytest.raises(TowpathError, match="towpath run"):
        Systemd(system=True, units=tmp_path, run=systemctl).check()
    with pytest.raises(TowpathError, match="towpath run"):
        run_program(["towpath-no-such-program"])


def test_a_start_that_fails_names_the_log(manager: Systemd, systemctl: Systemctl) -> None:
    systemctl.fails["restart"] = "Job for towpath.service failed"
    with pytest.raises(TowpathError, match=r"Job for towpath.service failed; see `journalctl --user -u towpath"):
        manager.install(UNIT, now=True)


def test_the_machines_manager_is_asked_without_user(tmp_path: Path, systemctl: Systemctl) -> None:
    Systemd(system=True, units=tmp_path, run=systemctl).check()
    assert systemctl.told == ["show --property=Version"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, systemctl: Systemctl) -> None:
    (tmp_path / "units").write_text("a file")
    with pytest.raises(TowpathError, match="cannot"):
        Systemd(system=False, units=tmp_path / "units", run=systemctl).install(UNIT, now=False)


@pytest.mark.parametrize("allowed", [True, False])
def test_whether_users_may_mount_is_tried(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert can_mount(lambda words: (0 if allowed else 1, "", "")) is allowed
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert can_mount(lambda words: pytest.fail("asked")) is False
