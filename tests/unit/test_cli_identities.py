"""Taking a node's identities elsewhere, by command."""

from __future__ import annotations

import getpass
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from towpath import exported
from towpath.cli import main
from towpath.cli.places import locked
from towpath.identity import load_or_create

Run = Callable[..., tuple[int, str, str]]


class Input(io.StringIO):
    """What comes in: piped, unless somebody types."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "_OPERATIONS", 1)
    monkeypatch.setattr(exported, "_MEMORY", 8192)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOWPATH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command, with `piped` coming in."""

    def call(*words: str | Path, piped: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", Input(piped))
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What somebody types when asked for a passphrase, in order; all of it must be asked for."""
    answers: list[str] = []
    monkeypatch.setattr(getpass, "getpass", lambda prompt: answers.pop(0))
    monkeypatch.setattr(Input, "terminal", True)
    yield answers
    assert answers == []


def ids(run: Run, data: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(run("id", "--json", "--data", data)[1])
    return found


def test_an_export_is_private_and_says_so(run: Run, data: Path, tmp_path: Path) -> None:
    own = ids(run, data)
    file = tmp_path / "keys"
    code, out, _ = run("id", "export", file)
    assert code == 0
    assert "SECRET" in out
    assert file.stat().st_mode & 0o777 == 0o600
    code, out, _ = run("id", "export", tmp_path / "sealed", "--passphrase", "--json", piped="secret\n")
    assert json.loads(out) == {"file": str(tmp_path / "sealed"), "sealed": True, **own}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "keys", "sealed"]
    before = file.read_bytes()
    code, _, err = run("id", "export", file)
    assert (code, file.read_bytes()) == (1, before)
    assert "there already" in err


def test_there_is_nothing_to_export_where_no_node_was(run: Run, data: Path, tmp_path: Path) -> None:
    code, _, err = run("id", "export", tmp_path / "keys")
    assert code == 1
    assert "--data" in err
    assert not data.exists()


def test_a_disk_that_keeps_no_permissions_is_told_of(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids(run, data)
    monkeypatch.setattr("towpath.private_file.create", lambda path, data: path.write_bytes(data) and True)
    assert "keeps no permissions" in run("id", "export", tmp_path / "keys")[1]


@pytest.mark.parametrize("passphrase", [None, "secret"])
def test_a_lost_disk_is_no_lost_name(run: Run, data: Path, tmp_path: Path, passphrase: str | None) -> None:
    own = ids(run, data)
    option = [] if passphrase is None else ["--passphrase"]
    piped = f"{passphrase}\n"
    run("id", "export", tmp_path / "keys", *option, piped=piped)
    new = tmp_path / "new"
    code, out, _ = run("id", "import", tmp_path / "keys", "--data", new, *option, "--json", piped=piped)
    assert (code, json.loads(out)) == (0, {**own, "kept": []})
    assert ids(run, new) == own
    for key in ("peer.key", "relay.key"):
        assert (new / key).stat().st_mode & 0o777 == 0o600
    assert run("id", "import", tmp_path / "keys", "--data", new, *option, piped=piped)[0] == 0
    assert sorted(path.name for path in new.iterdir()) == ["lock", "peer.key", "relay.key"]


def test_other_keys_are_not_overwritten_unless_told_to_and_then_kept(run: Run, data: Path, tmp_path: Path) -> None:
    own = ids(run, data)
    run("id", "export", tmp_path / "keys")
    other = tmp_path / "other"
    theirs = ids(run, other)
    code, _, err = run("id", "import", tmp_path / "keys", "--data", other)
    assert code == 1
    assert "--replace" in err
    assert ids(run, other) == theirs
    code, out, _ = run("id", "import", tmp_path / "keys", "--data", other, "--replace")
    assert code == 0
    assert ids(run, other) == own
    for key, name in (("peer.key", "peer_id"), ("relay.key", "relay_id")):
        kept = other / f"{key}.replaced-1"
        assert str(kept) in out
        assert load_or_create(kept).text == theirs[name]
    # Nothing is lost when it is done again, and a damaged key is no obstacle.
    (other / "peer.key").write_bytes(b"damaged")
    assert run("id", "import", tmp_path / "keys", "--data", other)[0] == 1
    assert run("id", "import", tmp_path / "keys", "--data", other, "--replace")[0] == 0
    assert (other / "peer.key.replaced-2").read_bytes() == b"damaged"
    assert not (other / "relay.key.replaced-2").exists()
    assert ids(run, other) == own


def test_keys_are_not_changed_under_a_running_node(run: Run, data: Path, tmp_path: Path) -> None:
    ids(run, data)
    run("id", "export", tmp_path / "keys")
    other = tmp_path / "other"
    with locked(other, "taken"):
        code, _, err = run("id", "import", tmp_path / "keys", "--data", other)
    assert code == 1
    assert f"process {os.getpid()}" in err
    assert not (other / "peer.key").exists()


def test_a_passphrase_is_asked_for_twice_when_it_is_new_and_once_when_not(
    run: Run, data: Path, tmp_path: Path, typed: list[str]
) -> None:
    own = ids(run, data)
    typed += ["secret", "secrte"]
    code, _, err = run("id", "export", tmp_path / "keys", "--passphrase")
    assert code == 2
    assert "two different" in err
    assert not (tmp_path / "keys").exists()
    typed += ["secret", "secret"]
    assert run("id", "export", tmp_path / "keys", "--passphrase")[0] == 0
    typed += ["wrong"]
    code, _, err = run("id", "import", tmp_path / "keys", "--data", tmp_path / "new")
    assert code == 1
    assert "passphrase is wrong" in err
    # Without the option it is asked for as well: the file says that it is needed.
    typed += ["secret"]
    assert run("id", "import", tmp_path / "keys", "--data", tmp_path / "new")[0] == 0
    assert ids(run, tmp_path / "new") == own


def test_a_passphrase_that_is_missing_or_empty_is_named(run: Run, data: Path, tmp_path: Path) -> None:
    ids(run, data)
    assert run("id", "export", tmp_path / "keys", "--passphrase", piped="\n")[0] == 2
    run("id", "export", tmp_path / "keys", "--passphrase", piped="secret")
    code, _, err = run("id", "import", tmp_path / "keys", "--data", tmp_path / "new", piped="secret\n")
    assert code == 1
    assert "--passphrase" in err


@pytest.mark.parametrize("content", [None, b"", b"{}", bytes(100_000)])
def test_what_is_no_export_is_refused_by_name(run: Run, data: Path, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    code, _, err = run("id", "import", file)
    assert code == 1
    assert str(file) in err
    assert not data.exists()
