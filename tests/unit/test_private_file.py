"""Files that are private and whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from towpath import private_file


def test_a_file_is_made_once_and_replaced_at_will(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert private_file.create(path, b"first") is True
    assert private_file.create(path, b"second") is False
    assert path.read_bytes() == b"first"
    private_file.replace(path, b"third")
    assert path.read_bytes() == b"third"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "file"
    assert private_file.create(path, b"first") is True
    assert private_file.create(path, b"second") is False
    assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    private_file.replace(path, b"first")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda: private_file.replace(path, b"second"), lambda: private_file.create(tmp_path / "new", b"")):
        with pytest.raises(OSError, match="no space"):
            write()
    assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("root", [True, False])
def test_what_root_writes_belongs_to_the_directorys_owner(
    root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    private_file.create(tmp_path / "file", b"")
    owner = tmp_path.stat()
    assert given == ([(owner.st_uid, owner.st_gid)] if root else [])
