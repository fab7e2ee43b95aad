"""Rows of what a node says of itself: what comes from peers is shown and cannot act."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from towpath.addresses import peer_id_to_bytes
from towpath.overview import peer_rows, with_agents

RELAY = "12D3KooWJWEKvSFbben74C7H4YtKjhPMTDxd7gP7zxWHUo6FkGQ5"
OTHER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


def connected(*agents: str | None) -> Any:
    """An endpoint with a session for each of these with RELAY."""
    facts = {"via": None, "remote": None, "stream_count": 0, "opened_at": 0.0, "rtt_s": 0.0}
    sessions = [SimpleNamespace(agent=agent, **facts) for agent in agents]
    peer = SimpleNamespace(id=peer_id_to_bytes(RELAY), sessions=sessions, reservation=None, circuits=0)
    return SimpleNamespace(peers={peer.id: peer}, relay=None)


def test_a_relay_says_what_it_is_while_one_is_connected_to_it() -> None:
    rows = [{"relay_id": RELAY, "state": "active"}, {"relay_id": OTHER, "state": "candidate"}]
    none = SimpleNamespace(peers={})
    first, second = with_agents(rows, (none, connected(None, "kubo/0.30"), connected("other/1")))
    assert first == {"relay_id": RELAY, "state": "active", "agent": "kubo/0.30"}
    assert second["agent"] is None


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("towpath/1 <b>é 日本</b>", "towpath/1 <b>é 日本</b>"),
        ("a\x1b[2Jb", "a\ufffd[2Jb"),
        ("a\u202eb\u200f\n\x00", "a\ufffdb\ufffd\ufffd\ufffd"),
        ("", None),
    ],
)
def test_what_a_terminal_or_a_page_would_obey_is_not_said(said: str, shown: str | None) -> None:
    endpoint = connected(said)
    assert with_agents([{"relay_id": RELAY}], [endpoint])[0]["agent"] == shown
    assert peer_rows([("peer", endpoint)], addresses=False)[0]["agent"] == (shown or "")
