"""The unit's text, read by systemd's own tools."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import require
from towpath.errors import TowpathError
from towpath.host.unit import NAME, STATE, TEMPLATE, Unit, data_of, render

ODD = "a b%c$d'e\"f\\g;é"
PYTHON = Path(sys.executable)
UNITS = {
    "dynamic": Unit(system=True, data=STATE, python=PYTHON),
    "account": Unit(system=True, data=Path("/srv/towpath"), python=PYTHON, account="daemon"),
    "user": Unit(system=False, data=Path("/srv/towpath"), python=PYTHON),
    "user without mounts": Unit(system=False, data=Path("/srv/towpath"), python=PYTHON, mounts=False),
    "odd": Unit(system=False, data=Path(f"/srv/{ODD}"), python=PYTHON),
}


def analyze(tmp_path: Path, unit: Unit, *words: str) -> str:
    """What systemd-analyze says of a unit; fails when it finds fault."""
    file = tmp_path / NAME
    file.write_text(unit.text())
    run = subprocess.run(
        [require("systemd-analyze"), *words, file],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(tmp_path: Path, name: str) -> None:
    unit = UNITS[name]
    analyze(tmp_path, unit, "verify", "--system" if unit.system else "--user")


def test_systemd_starts_the_python_it_is_told_to_whatever_its_name(tmp_path: Path) -> None:
    python = tmp_path / "a b%c$d;é" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    analyze(tmp_path, Unit(system=False, data=Path("/srv/x"), python=python), "verify", "--user")
    python.unlink()
    with pytest.raises(AssertionError, match="not executable"):
        analyze(tmp_path, Unit(system=False, data=Path("/srv/x"), python=python), "verify", "--user")


@pytest.mark.parametrize(("name", "most"), [("dynamic", 1.5), ("account", 1.8)])
def test_systemd_finds_little_that_a_system_service_could_do_to_the_machine(
    tmp_path: Path, name: str, most: float
) -> None:
    last = analyze(tmp_path, UNITS[name], "security", "--offline=true", "--no-pager").splitlines()[-1]
    assert float(last.partition(": ")[2].split()[0]) <= most


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_has_what_the_node_relies_on(name: str) -> None:
    lines = UNITS[name].text().splitlines()
    for wanted in (
        "Type=notify",
        "WatchdogSec=60s",
        "Restart=on-failure",
        "NoNewPrivileges=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "LimitNOFILE=524288",
        "StandardOutput=null",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ):
        assert wanted in lines
    assert ("ProtectSystem=strict" in lines) == (name != "user without mounts")
    assert ("PrivateTmp=yes" in lines) == (name != "user without mounts")
    assert not any("@if" in line or "@end" in line for line in lines)


def test_a_unit_says_where_its_data_is() -> None:
    for unit in UNITS.values():
        assert data_of(unit.text()) == unit.data
    assert data_of("[Service]\nExecStart=/usr/bin/towpath run --data /srv\n") is None


def test_a_path_that_would_write_lines_of_its_own_is_refused() -> None:
    with pytest.raises(TowpathError, match="--data"):
        Unit(system=False, data=Path("/srv/x\nExecStartPre=/bin/evil"), python=PYTHON).text()


@pytest.mark.parametrize("character", ['"', "'", "\\"])
def test_a_python_that_systemd_would_not_start_is_refused(character: str) -> None:
    with pytest.raises(TowpathError, match="install towpath elsewhere"):
        Unit(system=False, data=STATE, python=Path(f"/opt/{character}/python")).text()


def test_lines_stand_under_all_their_conditions() -> None:
    template = "a\n@if x\nb\n@end\n@if x y\nc @NAME@\n@end\nd\n"
    assert render(template, {}, []) == "a\nd\n"
    assert render(template, {}, ["x"]) == "a\nb\nd\n"
    assert render(template, {"NAME": "n"}, ["y", "x"]) == "a\nb\nc n\nd\n"


def test_there_is_one_copy_of_the_template() -> None:
    assert TEMPLATE.resolve() == Path(__file__).parents[2] / "packaging" / "systemd" / "towpath.service.in"


def test_what_a_passing_account_cannot_read_is_named(tmp_path: Path) -> None:
    python = tmp_path / "private" / "python"
    python.parent.mkdir(mode=0o700)
    python.write_text("")
    python.chmod(0o755)
    assert Unit(system=True, data=STATE, python=python).unreadable() == python.parent
    assert Unit(system=True, data=STATE, python=python, account="daemon").unreadable() is None
    assert Unit(system=False, data=STATE, python=python).unreadable() is None
    assert Unit(system=True, data=STATE, python=Path("/root")).unreadable() == Path("/root")
