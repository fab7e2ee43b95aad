"""`towpath reputation` and its lines in the status, as people read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog

from tests.unit.controlled import PEER, RELAY, DoubleNode, serving
from towpath.cli import main
from towpath.cli.reputation import in_words, independence


@pytest_asyncio.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DoubleNode]:
    """One that answers, in the directory that commands take by themselves."""
    monkeypatch.setenv("TOWPATH_DATA", str(tmp_path))
    found = DoubleNode()
    async with serving(found, tmp_path):
        yield found
    structlog.reset_defaults()


async def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = await asyncio.to_thread(main, words)
    out, err = capsys.readouterr()
    return code, out, err


async def test_one_sees_what_others_say_and_the_relays_that_were_measured(
    node: DoubleNode, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = await said(capsys, "reputation")
    assert (code, err) == (0, "")
    assert "★★★★☆ 87 of 100, from 3 peers" in out
    assert "87% of 300 circuits worked" in out
    assert "nothing (credits.share_digest is off)" in out
    assert "82 ★★★★☆" in out
    assert RELAY not in out
    _, out, _ = await said(capsys, "reputation", "--full")
    assert RELAY in out


async def test_of_a_peer_one_sees_what_its_score_is_made_of(
    node: DoubleNode, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = await said(capsys, "reputation", PEER)
    assert code == 0
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    found = {name.strip(): value.strip() for name, value in lines.items()}
    assert found["peer"] == PEER
    assert found["score"].startswith("82 of 100 ★★★★☆")
    assert found["tries"].startswith("12 worked, 1 failed")
    assert found["for this node"] == "40 MB relayed"


async def test_what_is_no_peer_is_said_so(node: DoubleNode, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = await said(capsys, "reputation", "nobody")
    assert (code, out) == (1, "")
    assert "is not a peer id" in err
    assert err.count("\n") == 1


STATUS: dict[str, Any] = {"reputation": 87, "stars": 4, "reputation_from": 1}


def test_a_node_that_nobody_signed_for_says_that() -> None:
    assert in_words(STATUS) == "★★★★☆ 87 of 100, from 1 peer"
    assert in_words({"reputation": None}) == "nobody has signed anything yet"
    assert independence({}) == "not known"
    assert independence({"self_sustaining": {"sentence": "yes: so it is"}}) == "yes: so it is"
