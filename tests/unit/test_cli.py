"""Commands that need no node: what they print, what they change, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from towpath.cli import main, tunnels
from towpath.cli.app import COMMANDS, app, dispatch
from towpath.cli.output import duration, quantity
from towpath.cli.places import data_directory, locked, open_files, replace_file
from towpath.cli.tunnels import _Kept
from towpath.client.ticket import Ticket
from towpath.errors import TowpathError
from towpath.settings.schema import KEYS
from towpath.settings.values import HostPort

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
RELAY = f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}"
EXPIRED = Ticket(PEER, (RELAY,), bytes(16), 1).encode()


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory that the commands under test take by themselves."""
    monkeypatch.setenv("TOWPATH_DATA", str(tmp_path / "data"))
    yield tmp_path / "data"
    # Commands send the log to a stderr that ends with the test.
    structlog.reset_defaults()


Run = tuple[int, str, str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> object:
    def call(*words: str) -> Run:
        try:
            code = main(words)
        except SystemExit as e:
            code = int(e.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.slow
def test_help_names_what_works_and_nothing_else(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"│ {command.name} " in out
        assert run(command.name, "--help")[0] == 0
    for later in ("bench",):
        assert f"│ {later} " not in out
    code, out, _ = run("run", "--help")
    assert code == 0
    options = {name for argument in app["run"].assemble_argument_collection() for name in argument.names}
    assert options == {"--data", "--mode", "--listen", "--bootstrap", "--set", "--no-web", "--json"}
    assert all(option in out for option in options)


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("share",),
        ("share", "8080"),
        ("share", "127.0.0.1:99999"),
        ("share", "127.0.0.1:1", "--expires", "soon"),
        ("share", "127.0.0.1:1", "--allow", "somebody", "--bootstrap", RELAY),
        ("share", "127.0.0.1:1", "--bootstrap", "/ip4/127.0.0.1/tcp/1"),
        ("open",),
        ("open", "tp1damaged"),
        ("open", EXPIRED, "--listen", "here"),
        ("ping",),
        ("ping", "somebody"),
        ("ping", PEER, "--count", "0"),
        ("ping", "/ip4/127.0.0.1/tcp/1"),
        ("status", "--loud"),
        ("mode", "server"),
        ("pause", "soon"),
        ("limit", "weeks", "5GB"),
        ("limit", "day", "lots"),
        ("limit", "circuits", "5GB"),
        ("schedule", "set", "mon", "09-17"),
        ("schedule", "set", "mon", "17", "off"),
        ("completion",),
        ("completion", "tcsh"),
        ("config", "get", "relay.mod"),
        ("config", "set", "relay.mode", "server"),
        ("config", "set", "relay.mode"),
        ("run", "--mode", "server"),
        ("run", "--set", "relay.mode"),
        ("run", "--set", "relay.mod=client"),
        ("run", "--set", "relay.max_circuits=many"),
        ("run", "--loud"),
        ("run", "--listen", "4001"),
    ],
)
def test_wrong_usage_is_2_and_a_sentence(run, words: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert len(err) > 20


def test_an_unknown_command_is_named_with_the_one_that_was_meant(run) -> None:  # type: ignore[no-untyped-def]
    assert run("statu")[2] == 'towpath: Unknown command "statu". Did you mean "status"? `towpath --help` lists them\n'
    assert run("config", "shw")[2].endswith('Did you mean "show"? `towpath config --help` lists them\n')


def test_a_directory_that_is_not_the_usual_one_is_named(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("status", "--data", f"{tmp_path}/other")[2].endswith(f"`towpath run --data {tmp_path}/other`\n")


@pytest.mark.parametrize("command", ["status", "top", "circuits", "peers", "relays", "reservations", "pause", "resume"])
def test_without_a_node_it_is_3_and_says_how_to_start_one(run, command: str) -> None:  # type: ignore[no-untyped-def]
    for more in ((), ("--json",)):
        code, out, err = run(command, *more)
        assert (code, out) == (3, "")
        assert "start one with `towpath run`" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("share", "127.0.0.1:1"), "Enable relay mode to help the network?"),
        (("ping", PEER), "--bootstrap"),
        (("open", EXPIRED), "ask for a new one"),
    ],
)
def test_what_fails_is_1_and_says_what_to_do(  # type: ignore[no-untyped-def]
    run, words: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels, "RESERVE_TIMEOUT", 0.5)
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert sentence in err


def test_ids_stay_the_same(run, data: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("id", "--json")
    assert code == 0
    ids = json.loads(out)
    assert set(ids) == {"peer_id", "relay_id"}
    assert ids["peer_id"] != ids["relay_id"]
    assert json.loads(run("id", "--json")[1]) == ids
    assert ids["peer_id"] in run("id")[1]
    assert json.loads(run("id", "--json", "--data", str(data / "other"))[1]) != ids


def test_ids_move_with_export_and_import(run, tmp_path: Path, data: Path) -> None:  # type: ignore[no-untyped-def]
    ids = json.loads(run("id", "--json")[1])
    file = tmp_path / "keys"
    assert run("id", "export", str(file))[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    code, _, err = run("id", "export", str(file))
    assert code == 1
    assert "there already" in err
    elsewhere = str(tmp_path / "elsewhere")
    assert run("id", "import", str(file), "--data", elsewhere)[0] == 0
    assert json.loads(run("id", "--json", "--data", elsewhere)[1]) == ids
    assert run("id", "import", str(file), "--data", elsewhere)[0] == 0
    third = str(tmp_path / "third")
    run("id", "--data", third)
    code, _, err = run("id", "import", str(file), "--data", third)
    assert code == 1
    assert "another identity" in err
    file.write_text('{"peer_id": "x"}')
    assert run("id", "import", str(file), "--data", elsewhere)[0] == 1


def test_settings_are_shown_and_changed(run, data: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("config", "get", "relay.max_circuits") == (0, "256\n", "")
    code, out, _ = run("config", "set", "relay.mode", "dedicated")
    assert code == 0
    assert "No node is running: config.toml was changed" in out
    assert run("config", "get", "relay.max_circuits", "--json") == (0, '{"relay.max_circuits": 16384}\n', "")
    code, out, _ = run("config", "show", "--json")
    assert list(json.loads(out)) == list(KEYS)
    code, out, _ = run("config", "show")
    assert all(key in out for key in KEYS)
    assert str(data / "config.toml") not in out
    code, out, _ = run("config", "show", "--origin")
    assert re.search(rf"relay\.mode +dedicated +{data / 'config.toml'}", out)
    assert re.search(r"relay\.max_circuits +16384 +default", out)
    assert "default, config.toml, environment, --set" in out
    origins = json.loads(run("config", "show", "--origin", "--json")[1])
    assert origins["relay.mode"] == {"value": "dedicated", "source": str(data / "config.toml")}
    assert "does not act on it yet" in run("config", "set", "network.workers", "2")[1]


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (("mode", "cooperative"), "relay.mode", "cooperative"),
        (("limit", "rate", "24Mbit/s"), "relay.max_rate", "3MB/s"),
        (("limit", "day", "unlimited"), "relay.max_bandwidth_per_day", "unlimited"),
        (("limit", "circuits-per-peer", "3"), "relay.max_circuits_per_peer", 3),
        (("limit", "circuit-duration", "90s"), "relay.circuit_duration", "90s"),
        (("schedule", "set", "sat", "10-12", "off"), "relay.schedule", ["sat 10-12 off"]),
    ],
)
def test_without_a_node_the_file_is_changed_and_its_comments_stay(run, data: Path, words, key, value) -> None:  # type: ignore[no-untyped-def]
    data.mkdir()
    (data / "config.toml").write_text("# mine\n[relay]\nmax_reservations = 7  # seven\n")
    code, out, _ = run(*words)
    assert code == 0
    assert "No node is running: config.toml was changed" in out
    text = (data / "config.toml").read_text()
    assert text.startswith("# mine\n[relay]\nmax_reservations = 7  # seven\n")
    assert json.loads(run("config", "get", key, "--json")[1]) == {key: value}
    written = json.loads(run(*words, "--json")[1])
    assert (written["values"], written["running"], written["now"]) == ({key: value}, False, None)


def test_the_week_is_painted_over_and_cleared(run) -> None:  # type: ignore[no-untyped-def]
    run("schedule", "set", "mon-fri", "09-17", "off")
    run("schedule", "set", "wed", "12-13", "20Mbit/s")
    week = json.loads(run("schedule", "--json")[1])
    assert week["week"][2][11:14] == ["off", "2500kB/s", "off"]
    assert week["week"][6] == ["open"] * 24
    assert "wed 12-13 2500kB/s" in week["rules"]
    assert run("schedule", "clear")[0] == 0
    assert json.loads(run("schedule", "--json")[1])["rules"] == []


def test_options_of_run_reach_it_from_the_table_of_commands_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr("towpath.cli.run.run", lambda words: told.append(words) or 0)
    words = ["--data", "d", "--mode", "client", "--listen", "/ip4/127.0.0.1/tcp/1", "--listen", "/ip6/::1/tcp/1"]
    words += ["--bootstrap", RELAY, "--set", "log.level=error", "--no-web", "--json"]
    assert dispatch(["run", *words]) == 0
    assert told == [words]


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(run, shell: str) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("completion", shell)
    assert code == 0
    assert all(command.name in out for command in COMMANDS)
    for option in ("origin", "bootstrap", "install"):
        assert re.search(rf"(--|-l ){option}", out)


def test_completion_is_put_where_the_shell_looks(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    code, out, _ = run("completion", "bash", "--install")
    assert code == 0
    written = Path(out.split(" was written")[0])
    assert written.is_relative_to(tmp_path)
    script = written.read_text()
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_file_is_1_not_2(run, data: Path) -> None:  # type: ignore[no-untyped-def]
    data.mkdir()
    (data / "config.toml").write_text("[relay]\nmode = 'server'\n")
    for words in (("config", "show"), ("run",)):
        code, _, err = run(*words)
        assert code == 1
        assert "config.toml" in err


@pytest.mark.slow
def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m towpath config show | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("key")


def test_where_data_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TOWPATH_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert data_directory(None) == tmp_path / ".local/share/towpath"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert data_directory(None) == tmp_path / "xdg/towpath"
    monkeypatch.setenv("TOWPATH_DATA", str(tmp_path / "chosen"))
    assert data_directory(None) == tmp_path / "chosen"
    assert data_directory("~/x") == tmp_path / "x"


def test_a_directory_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "new", "taken"):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
        sentence = f"taken by {os.getpid()}"
        with pytest.raises(TowpathError, match=sentence), locked(tmp_path / "new", "taken by {pid}"):
            pass
    with locked(tmp_path / "new", "taken"):
        pass


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text("old")
    replace_file(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TypeError):
        replace_file(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["ready.json"]


def test_the_limit_of_open_files_is_raised() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        assert open_files() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


SERVICE = HostPort("127.0.0.1", 80)


def test_a_shares_secret_outlives_it_until_it_expires_or_was_used(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    first = _Kept.load(path, SERVICE, None, now=100)
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.expires_at is None
    assert first.left(1e9) is None
    again = _Kept.load(path, SERVICE, 50, now=200)
    assert (again.secret, again.expires_at) == (first.secret, 250)
    assert again.left(240) == 10
    kept = _Kept.load(path, SERVICE, None, now=249)
    assert (kept.secret, kept.expires_at) == (first.secret, 250)
    late = _Kept.load(path, SERVICE, None, now=250)
    assert late.secret != first.secret
    assert late.expires_at is None
    late.forget()
    assert _Kept.load(path, SERVICE, None, now=251).secret != late.secret


def test_a_damaged_share_is_named(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text("{}")
    with pytest.raises(TowpathError, match=r"share\.json"):
        _Kept.load(path, SERVICE, None, now=0)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (12_345, "12.3 kB"),
        (999_999, "1000 kB"),
        (5e12, "5 TB"),
        (2e15, "2000 TB"),
    ],
)
def test_sizes_are_short(size: float, text: str) -> None:
    assert quantity(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.5, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h")])
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
