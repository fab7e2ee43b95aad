"""What the doctor finds, subject by subject."""

from __future__ import annotations

import errno
import importlib.metadata
import ipaddress
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.exported import KEYS
from towpath.host.diagnosis import (
    Finding,
    Running,
    check_settings,
    clock,
    diagnose,
    disk,
    limits,
    network,
    ports,
    software,
)
from towpath.host.diagnosis.finding import LEVELS
from towpath.host.diagnosis.keys import check_keys
from towpath.identity import load_or_create
from towpath.settings import Settings
from towpath.settings.schema import KEYS as KEYS_OF_SETTINGS


def settings(**values: object) -> Settings:
    return Settings.load({name.replace("__", "."): value for name, value in values.items()}, environ={})


CLIENT = settings()
VOLUNTEER = settings(relay__mode="cooperative")
DEDICATED = settings(relay__mode="dedicated")


def levels(findings: list[Finding]) -> list[str]:
    assert all(bool(finding.advice) == (finding.level != "ok") for finding in findings)
    return [finding.level for finding in findings]


# --- keys ---


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with identities."""
    for file in KEYS.values():
        load_or_create(tmp_path / "data" / file)
    return tmp_path / "data"


def test_good_keys_are_named(data: Path) -> None:
    found = list(check_keys(data))
    assert levels(found) == ["ok", "ok"]
    for finding, file in zip(found, KEYS.values(), strict=True):
        assert load_or_create(data / file).text in finding.what


def test_no_keys_yet_is_no_problem_but_a_lost_one_is_told(data: Path) -> None:
    assert levels(list(check_keys(data / "new"))) == ["ok"]
    (data / "relay.key").unlink()
    found = list(check_keys(data))
    assert levels(found) == ["ok", "warning"]
    assert "id import" in found[1].advice


def test_keys_that_are_open_damaged_or_replaceable_are_problems(data: Path) -> None:
    (data / "peer.key").chmod(0o644)
    (data / "relay.key").write_bytes(b"damaged")
    data.chmod(0o777)
    found = list(check_keys(data))
    assert levels(found) == ["problem"] * 3
    for finding, told in zip(found, ("chmod 600", "damaged", "others may write"), strict=True):
        assert told in finding.what


def test_keys_that_the_nodes_account_cannot_read_are_a_problem(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    plain = Path.stat

    def stat(path: Path, **more: bool) -> os.stat_result:
        found = list(plain(path, **more))
        found[4] = 1234 if path == data else 0
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", stat)
    found = list(check_keys(data))
    assert levels(found) == ["problem", "problem"]
    assert "chown" in found[0].advice


# --- disk ---


@given(free=st.integers(0, 10**13), files=st.none() | st.integers(0, 10**9))
def test_room_is_judged_by_what_is_left_and_more_never_judged_worse(free: int, files: int | None) -> None:
    now = disk.judge_room(Path("/d"), free, files)
    more = disk.judge_room(Path("/d"), free * 2 + 1, files)
    assert LEVELS.index(more.level) <= LEVELS.index(now.level)
    assert (now.level == "ok") == (free >= 256_000_000 and (files is None or files >= 16))


def test_a_place_is_looked_at_before_it_is_there(tmp_path: Path) -> None:
    assert levels(list(disk.check_disk(tmp_path / "not" / "yet"))) in (["ok"], ["warning"])
    (tmp_path / "file").write_text("")
    assert levels(list(disk.check_disk(tmp_path / "file" / "data"))) == ["problem"]


def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert levels(list(disk.check_disk(tmp_path))) == ["problem"]


def test_a_database_is_opened_and_left_as_it_was(tmp_path: Path) -> None:
    assert levels(list(disk.check_database(tmp_path, in_use=False))) == ["ok"]
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / disk.DATABASE
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.executemany("INSERT INTO t VALUES (?)", [(f"{n:0500}",) for n in range(200)])
    connection.commit()
    connection.close()
    before = path.read_bytes()
    assert levels(list(disk.check_database(tmp_path, in_use=False))) == ["ok"]
    assert path.read_bytes() == before
    path.write_bytes(before[:8192] + b"\xff" * 8192 + before[16384:])
    (tmp_path / f"{disk.DATABASE}.damaged-1").write_bytes(b"")
    found = list(disk.check_database(tmp_path, in_use=False))
    assert levels(found) == ["warning", "problem"]
    assert levels(list(disk.check_database(tmp_path, in_use=True))) == ["warning", "ok"]
    path.write_bytes(b"no database at all, but long enough to look like something" * 100)
    assert levels(list(disk.check_database(tmp_path, in_use=False))) == ["warning", "problem"]


@pytest.mark.slow
def test_a_database_that_another_program_holds_is_told_of(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / disk.DATABASE, isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN EXCLUSIVE")
    found = list(disk.check_database(tmp_path, in_use=False))
    connection.close()
    assert levels(found) == ["warning"]
    assert "another program holds" in found[0].what


# --- ports ---


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    sock = socket.create_server(("127.0.0.1", 0))
    yield sock
    sock.close()


def test_a_taken_port_names_who_has_it(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    assert f"(process {os.getpid()})" in (ports.holder(port) or "")
    at = f"/ip4/127.0.0.1/tcp/{port}"
    (volunteer,) = ports.check_ports(settings(relay__mode="cooperative", network__listen=[at]), None)
    (dedicated,) = ports.check_ports(settings(relay__mode="dedicated", network__listen=[at]), None)
    assert levels([volunteer, dedicated]) == ["warning", "problem"]
    assert f"process {os.getpid()}" in volunteer.what
    taken.close()
    assert levels(list(ports.check_ports(settings(relay__mode="dedicated", network__listen=[at]), None))) == ["ok"]
    assert ports.holder(port) is None


def test_a_client_listens_nowhere() -> None:
    assert levels(list(ports.check_ports(CLIENT, None))) == ["ok"]


def test_the_metrics_port_is_looked_at_too(taken: socket.socket) -> None:
    at = f"127.0.0.1:{taken.getsockname()[1]}"
    found = list(ports.check_ports(settings(metrics__listen=at), None))
    assert levels(found) == ["ok", "warning"]
    assert "metrics.listen" in found[1].advice


@pytest.mark.parametrize(
    ("host", "error", "level"),
    [
        ("0.0.0.0", errno.EACCES, "problem"),
        ("::", errno.EAFNOSUPPORT, "ok"),
        ("192.0.2.1", errno.EADDRNOTAVAIL, "problem"),
        ("::", None, "ok"),
    ],
)
def test_why_a_port_cannot_be_had_decides(host: str, error: int | None, level: str) -> None:
    assert levels([ports.judge_port(DEDICATED, host, 443, error)]) == [level]


def test_a_node_that_had_to_move_is_told_of(taken: socket.socket) -> None:
    wanted = taken.getsockname()[1]
    before = settings(relay__mode="cooperative", network__listen=[f"/ip4/127.0.0.1/tcp/{wanted}"])
    for got, expected in ((wanted, ["ok"]), (wanted - 1, ["ok", "warning"])):
        running = Running(1, (f"/ip4/127.0.0.1/tcp/{got}",), before)
        assert levels(list(ports.check_ports(before, running))) == expected
    any_port = settings(network__listen=["/ip4/127.0.0.1/tcp/0"])
    assert levels(list(ports.check_ports(any_port, Running(1, (f"/ip4/127.0.0.1/tcp/{wanted}",), any_port)))) == ["ok"]
    assert levels(list(ports.check_ports(CLIENT, Running(1, (), CLIENT)))) == ["ok"]


# --- clock ---


def test_a_clock_before_the_nodes_last_word_is_wrong() -> None:
    now = 1_800_000_000.0
    assert clock.judge_clock(now, 0, None).level == "ok"
    assert clock.judge_clock(now, now + 3600, True).level == "ok"
    assert clock.judge_clock(now, now, False).level == "warning"
    assert clock.judge_clock(now, now + 2 * 86400, True).level == "problem"


@given(st.floats(0, 1e9), st.floats(-1e6, 1e6))
def test_a_jump_is_what_the_clock_gained_or_lost(boot: float, jump: float) -> None:
    found = clock.judge_jump(boot + jump, boot)
    assert (found.level == "warning") == (abs(boot + jump - boot) >= 60)
    if found.level == "warning":
        assert ("forward" if jump > 0 else "back") in found.what


def test_the_clock_of_this_machine_is_looked_at(tmp_path: Path) -> None:
    assert clock.synchronised() in (True, False, None)
    ready = tmp_path / "ready.json"
    ready.write_text("")
    running = Running(os.getpid(), (), CLIENT)
    os.utime(ready, (0, time.time() + 10 * 86400))
    assert [finding.level for finding in clock.check_clock(tmp_path, running)] == ["problem", "warning"]
    # As if this process had started when it wrote.
    _, boot = clock._since_start(tmp_path, os.getpid())
    assert 0 < boot < 86400
    os.utime(ready, (0, time.time() - boot))
    assert list(clock.check_clock(tmp_path, running))[1].level == "ok"
    assert len(list(clock.check_clock(tmp_path, Running(2**22 + 1, (), CLIENT)))) == 1


# --- limits ---


@pytest.mark.parametrize(
    ("chosen", "limit", "level"),
    [
        (CLIENT, 256, "ok"),
        (VOLUNTEER, 256, "warning"),
        (VOLUNTEER, 1024, "ok"),
        (DEDICATED, 1024, "warning"),
        (DEDICATED, 524_288, "ok"),
        (DEDICATED, None, "ok"),
        (settings(relay__mode="cooperative", relay__max_circuits="unlimited"), 524_288, "warning"),
        (settings(relay__mode="cooperative", relay__max_circuits="unlimited"), None, "ok"),
    ],
)
def test_open_files_must_suffice_for_what_is_promised(chosen: Settings, limit: int | None, level: str) -> None:
    assert levels([limits.judge_open_files(chosen, limit)]) == [level]


def test_the_limit_of_the_running_node_counts_and_not_ours() -> None:
    (mine,) = limits.check_limits(CLIENT, None)
    (running,) = limits.check_limits(CLIENT, Running(os.getpid(), (), CLIENT))
    (gone,) = limits.check_limits(CLIENT, Running(2**22 + 1, (), CLIENT))
    assert mine.what == gone.what
    assert "files may be open" in running.what


# --- network ---


@pytest.mark.parametrize(
    ("chosen", "addresses", "expected"),
    [
        (CLIENT, [], ["problem"]),
        (CLIENT, ["127.0.0.1", "::1", "fe80::1"], ["problem"]),
        (CLIENT, ["192.168.1.2"], ["ok", "warning"]),
        (VOLUNTEER, ["192.168.1.2"], ["ok", "warning"]),
        (VOLUNTEER, ["100.64.1.2"], ["ok", "warning"]),
        (VOLUNTEER, ["1.1.1.1"], ["ok"]),
        (VOLUNTEER, ["192.168.1.2", "2606:4700::1"], ["ok", "ok"]),
        (settings(relay__mode="cooperative", network__announce=["/ip4/1.1.1.1/tcp/1"]), ["192.168.1.2"], ["ok", "ok"]),
        (settings(relay__mode="cooperative", network__public_ranges=["192.168.0.0/16"]), ["192.168.1.2"], ["ok"]),
    ],
)
def test_whether_a_relay_can_be_reached_is_guessed_from_its_addresses(
    chosen: Settings, addresses: list[str], expected: list[str]
) -> None:
    found = list(network.judge_network(chosen, {ipaddress.ip_address(text) for text in addresses}))
    assert levels(found) == expected


def test_a_shared_provider_address_is_told_apart_from_a_router() -> None:
    for address, told in (("100.64.1.2", "provider"), ("10.0.0.2", "router")):
        assert told in list(network.judge_network(VOLUNTEER, {ipaddress.ip_address(address)}))[1].advice


def test_this_machine_has_addresses_or_none() -> None:
    assert next(network.check_network(CLIENT)).subject == "network"


# --- software ---


def test_a_missing_package_is_named() -> None:
    def version(name: str) -> str:
        if name == "gone":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2"

    assert software.judge_packages(["here~=1.0", 'dht==1; extra == "dht"'], version).what == "here 1.2"
    found = software.judge_packages(["gone>=1", "here"], version)
    assert (found.level, found.what) == ("problem", "missing: gone")


def test_the_slower_cipher_is_only_a_choice_if_somebody_chose_it() -> None:
    assert software.judge_aead("auto", "openssl", "libsodium", ["avx2"]).level == "ok"
    assert software.judge_aead("openssl", "openssl", "libsodium", []).level == "ok"
    assert software.judge_aead("libsodium", "openssl", "libsodium", []).level == "warning"


def test_a_processor_is_known_by_its_flags(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name : x\nflags\t\t: fpu aes avx2 avx512 sse\n")
    assert software.processor(file) == ["aes", "avx2"]
    file.write_text("Features\t: fp asimd aes\n")
    assert software.processor(file) == ["aes", "asimd"]
    assert software.processor(tmp_path / "none") == []


def test_the_libraries_in_this_process_are_named() -> None:
    found = list(software.check_software(CLIENT))
    assert [finding.subject for finding in found] == ["versions", "packages", "libraries", "aead"]
    assert levels(found) == ["ok"] * 4
    assert "libsodium 1." in found[2].what
    assert "OpenSSL 3." in found[2].what


# --- all of it ---


def test_a_new_node_has_no_problems_and_nothing_is_made_by_looking(tmp_path: Path) -> None:
    found = list(diagnose(tmp_path / "data", None))
    assert "problem" not in levels(found)
    assert {finding.subject for finding in found} >= {"settings", "keys", "disk", "ports", "network", "clock", "limits"}
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_are_one_problem_and_hide_no_other(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[relay]\nmode = 'server'\n")
    (tmp_path / "peer.key").write_bytes(b"damaged")
    (tmp_path / "peer.key").chmod(0o600)
    found = [finding for finding in diagnose(tmp_path, None) if finding.level == "problem"]
    assert [finding.subject for finding in found] == ["settings", "keys"]
    assert "relay.mode" in found[0].what
    # The running node goes by others.
    found = list(diagnose(tmp_path, Running(os.getpid(), (), DEDICATED)))
    assert any("relay.mode is dedicated" in finding.what for finding in found)


def test_a_setting_without_effect_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "without_effect_yet", lambda self: [KEYS_OF_SETTINGS["credits.enforce"]])
    (tmp_path / "config.toml").write_text("[credits]\nenforce = 'never'\n")
    assert any("credits.enforce" in finding.what for finding in diagnose(tmp_path, None) if finding.level == "warning")


# --- what the node can mend itself ---


def test_what_a_setting_would_mend_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    aead = software.judge_aead("libsodium", "openssl", "libsodium", [])
    assert aead.settings == {"native.aead": "auto"}
    monkeypatch.setattr(Settings, "without_effect_yet", lambda self: [KEYS_OF_SETTINGS["network.workers"]])
    assert next(check_settings(CLIENT)).settings == {"network.workers": None}
    private = {ipaddress.ip_address("10.0.0.2")}
    unmapped = Settings.load({"relay.mode": "cooperative", "network.port_mapping": False}, environ={})
    for chosen, settings in ((VOLUNTEER, {}), (unmapped, {"network.port_mapping": True})):
        found = list(network.judge_network(chosen, private))[1]
        assert (found.settings, found.check) == (settings, True)
    moved = Settings.load({"network.listen": ["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"]}, environ={})
    running = Running(1, ("/ip4/0.0.0.0/tcp/4002", "/ip6/::/tcp/4002"), moved)
    assert list(ports.judge_running(moved, running))[1].settings == {
        "network.listen": ["/ip4/0.0.0.0/tcp/4002", "/ip6/::/tcp/4002"]
    }


@given(
    st.none() | st.integers(0, 100_000),
    st.none() | st.integers(0, 100_000),
    st.integers(16, 200_000),
)
def test_limits_that_would_fit_do_fit(reservations: int | None, circuits: int | None, files: int) -> None:
    before = settings(
        relay__mode="cooperative",
        relay__max_reservations="unlimited" if reservations is None else reservations,
        relay__max_circuits="unlimited" if circuits is None else circuits,
    )
    found = limits.judge_open_files(before, files)
    if found.level == "ok":
        assert found.settings == {}
        return
    after = Settings.load({"relay.mode": "cooperative", **found.settings}, environ={})
    assert limits.judge_open_files(after, files).level == "ok"
