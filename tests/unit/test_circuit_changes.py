"""Looks at the circuits that are open: each is told of in full once, and numbers that began anew are noticed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from towpath.addresses import peer_id_to_bytes
from towpath.circuit_changes import CircuitChanges

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
RELAY = "12D3KooWJWEKvSFbben74C7H4YtKjhPMTDxd7gP7zxWHUo6FkGQ5"


def relaying(*numbers: int) -> Any:
    """A relay with these circuits open."""
    peer = peer_id_to_bytes(PEER)
    facts = {"dialer_id": peer, "target_id": peer, "age_s": 1.0, "limit_data": 0, "limit_s": 0}
    return SimpleNamespace(circuits={n: SimpleNamespace(id=n, bytes_in=10 * n, bytes_out=n, **facts) for n in numbers})


def ids(answer: dict[str, Any]) -> tuple[list[int], list[tuple[int, int, int]]]:
    return [row["id"] for row in answer["opened"]], answer["open"]


def test_a_circuit_is_told_of_in_full_once() -> None:
    endpoint: Any = SimpleNamespace(relay=relaying(1, 2))
    changes = CircuitChanges(endpoint)
    first = changes.since(0, 0, RELAY)
    assert ids(first) == ([1, 2], [(1, 10, 1), (2, 20, 2)])
    assert first["opened"][0]["peer"] == PEER
    del endpoint.relay.circuits[1]
    endpoint.relay.circuits |= relaying(3).circuits
    second = changes.since(first["run"], 2, RELAY)
    assert ids(second) == ([3], [(2, 20, 2), (3, 30, 3)])
    assert ids(changes.since(first["run"], 3, RELAY)) == ([], [(2, 20, 2), (3, 30, 3)])
    assert second["run"] == first["run"] > 0


def test_numbers_that_begin_anew_are_another_run() -> None:
    endpoint: Any = SimpleNamespace(relay=relaying(1, 2))
    changes = CircuitChanges(endpoint)
    before = changes.since(0, 0, RELAY)["run"]
    endpoint.relay = None
    none = changes.since(before, 2, RELAY)
    assert ids(none) == ([], [])
    endpoint.relay = relaying(1)
    after = changes.since(before, 2, RELAY)
    assert len({before, none["run"], after["run"]}) == 3
    assert ids(after) == ([1], [(1, 10, 1)])
    # Nobody else's run is taken for this one, and what is known of none is everything.
    assert ids(changes.since(0, 9, RELAY))[0] == [1]
