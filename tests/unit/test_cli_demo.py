"""The demo, with a small file."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.tools import require
from towpath import demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def tell(*options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "towpath.demo", "--size", "64", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_on_loopback_it_says_so() -> None:
    story = tell("--loopback")
    assert "loopback" in story
    assert "Both hashes are equal." in story
    assert "s per GB" in story
    assert "It went on through" in story


def test_in_namespaces_the_peers_meet_through_the_relay_alone() -> None:
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("missing: root, to make network namespaces")
    story = tell()
    assert "there is no way but the relay" in story
    assert "Both hashes are equal." in story
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "towpath-" not in left


def test_peers_that_could_meet_directly_are_told_from_those_that_cannot() -> None:
    def reached(address: str) -> bool:
        return subprocess.run([sys.executable, "-c", demo._REACH, address], check=False).returncode == 0

    assert reached("127.0.0.1")
    assert not reached("255.255.255.255")


def test_a_file_that_changed_on_its_way_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = demo.make_file
    monkeypatch.setattr(demo, "make_file", lambda path, size: made(path, size)[::-1])
    assert demo.main(["--loopback", "--size", "64"]) == 1
    assert "another one" in capsys.readouterr().out
