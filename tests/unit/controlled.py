"""A node as the control API sees it: made-up answers in the right shape, and a record of what was asked of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from towpath.addresses import peer_id_to_bytes
from towpath.control.paths import listen, socket_path
from towpath.control.server import ControlServer
from towpath.errors import TowpathError
from towpath.events import EventHub
from towpath.settings import RelayMode, Settings

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
RELAY = "12D3KooWJWEKvSFbben74C7H4YtKjhPMTDxd7gP7zxWHUo6FkGQ5"


LEDGER_ROW: dict[str, Any] = {
    "peer": "192.0.2.0/24",
    "kind": "network",
    "earned": 0.0,
    "spent": 0.0,
    "balance": 0.0,
    "carried": 5_000_000,
    "on_credit": 0,
    "on_free_tier": 5_000_000,
    "as_a_gift": 0,
    "signed": 0,
    "unsigned": 0,
    "free_left": 0,
    "accepted": False,
    "last_seen": 1_000_000_000,
    "sentences": ["Refused: the relay is crowded.", "Carried for it: 5 MB on its free tier."],
}


class DoubleCredits:
    """A ledger with one row."""

    def rows(self) -> dict[str, Any]:
        sentences = ["150 credits earned: 157 MB relayed for 3 accounts that signed for it."]
        sums = {"account": PEER, "earned": 150.0, "spent": 20.5, "balance": 129.5}
        return {**sums, "sentences": sentences, "rows": [LEDGER_ROW]}

    def of_peer(self, name: str) -> dict[str, Any]:
        if name not in (PEER, LEDGER_ROW["peer"]):
            raise TowpathError(f"{name!r} is no peer id, account or network that this node knows")
        return LEDGER_ROW


class DoubleHand:
    """Does by hand what is asked, to the rows of its node alone."""

    def __init__(self, node: DoubleNode) -> None:
        self._node = node

    def circuit_changes(self, run: int, after: int) -> dict[str, Any]:
        rows = self._node.rows
        opened = [found for found in rows if found["id"] > (after if run == 7 else 0)]
        return {"run": 7, "opened": opened, "open": [(r["id"], r["bytes_in"], r["bytes_out"]) for r in rows]}

    def end_circuit(self, number: int) -> bool:
        before = len(self._node.rows)
        self._node.rows = [found for found in self._node.rows if found["id"] != number]
        return len(self._node.rows) < before

    async def block(self, peer: str, *, source: str) -> dict[str, Any]:
        peer_id_to_bytes(peer)
        return await self._node.change_settings({"relay.deny": [peer]}, source=source)

    async def log(self, limit: int) -> list[dict[str, Any]]:
        return [{"id": n, "at": 1e9 + n, "kind": "relay_state", "sentence": f"Relaying: {n}"} for n in range(limit)]

    async def diagnose(self) -> dict[str, Any]:
        finding = {"subject": "clock", "level": "warning", "what": "nothing keeps it right", "advice": "chrony"}
        return {"data": "/data", "counts": {"ok": 0, "warning": 1, "problem": 0}, "findings": [finding]}


class DoubleReputation:
    """Has one relay measured, and is known to three peers."""

    def facts(self) -> dict[str, Any]:
        own = {"reputation": 87, "stars": 4, "reputation_from": 3, "reputation_parts": ["87% of 300 circuits worked"]}
        gossip = {"sharing": False, "digests_known": 2, "frauds_known": 1}
        return {**own, **gossip, "relays": [self.of_peer(RELAY)]}

    def of_peer(self, peer: str) -> dict[str, Any]:
        peer_id_to_bytes(peer)
        measured = {"successful_circuits": 12.0, "failed_circuits": 1.0, "uptime_percentage": 99.5}
        more = {"avg_latency_ms": 31.0, "bandwidth_contributed_mb": 40.0, "walk": None, "ranking": 82.0}
        between = {"bytes_relayed_for_me": 40_000_000, "bytes_relayed_by_me": 0, "reputation": 82}
        return {"peer": peer, "known": True, "score": 82, "stars": 4, **measured, **more, **between}

    def independence(self) -> dict[str, Any]:
        seen = {"share_by_source": {"dht": 0.9, "bootstrap": 0.1}, "spare_capacity": 0.5, "relays": 9}
        why = "10% of the circuits needed a bootstrap relay (at most 5% should)"
        told = {"relays_in_top_half": 4, "sentence": f"no: {why}", "missing": [why]}
        return {"self_sustaining": False, **seen, **told}


class DoubleNode:
    """Answers what a node would, and does what it is told to itself alone."""

    def __init__(self) -> None:
        self.settings = Settings.load({"relay.mode": "dedicated", "log.level": "debug"}, environ={})
        self.events = EventHub()
        self.by_hand = DoubleHand(self)
        self.credits = DoubleCredits()
        self.reputation = DoubleReputation()
        self.state = "relaying"
        self.why = "relay mode is on"
        self.until: float | None = None
        self.fails: Exception | None = None
        """What the next question is answered with."""
        self.asked: list[tuple[Any, ...]] = []
        self.used = {"hour": 100_000_000, "day": 4_900_000_000, "month": 5_000_000_000}
        self.rows = [row(1, 5_000_000), row(2, 1_000)]

    def status(self) -> dict[str, Any]:
        if self.fails is not None:
            raise self.fails
        return {
            "peer_id": PEER,
            "relay_id": RELAY,
            "mode": str(self.settings.relay.mode),
            "state": self.state,
            "why": self.why,
            "until": self.until,
            "addresses": [f"/ip4/127.0.0.1/tcp/4001/p2p/{RELAY}"],
            "circuit_addresses": [],
            "reachability": "unknown",
            "reachability_why": "Not known.",
            "circuits_now": len(self.rows),
            "reservations_now": 3,
            "circuits_today": 17,
            "bytes_relayed_today": self.used["day"],
            "bytes_relayed_total": self.used["month"],
            "budget": self.budget(),
            "reputation": None,
            "stars": None,
            "credits": {
                "earned": 150.0,
                "spent": 20.5,
                "balance": 129.5,
                "account": PEER,
                "priority": {"priority_at": 2, "told_by": 3, "sentence": "priority at 2 relays"},
                "refused": 4,
            },
            "client": {"connected_via": [], "ip_hidden": False, "ip_hidden_missing": [], "credits_used": 0},
            "uptime_s": 3725.5,
            "data_plane": self.data_plane(),
        }

    def budget(self) -> list[dict[str, Any]]:
        return [
            {
                "period": period,
                "limit": getattr(self.settings.relay, f"max_bandwidth_per_{period}"),
                "used": used,
                "resets_at": 2_000_000_000.0,
            }
            for period, used in self.used.items()
        ]

    def limits(self) -> dict[str, Any]:
        limit = self.settings.relay.max_rate
        rate = {"limit": limit, "why": "relay.max_rate", "received": 1_500_000.0, "sent": 1_400_000.0}
        rate |= {"own_received": 1_000.0, "own_sent": 2_000.0}
        return {"budget": self.budget(), "rate": rate}

    def data_plane(self) -> dict[str, Any]:
        return {
            "bytes_read": 7_000,
            "bytes_sent": 6_000,
            "held": 10,
            "budget": 1 << 28,
            "budget_resets": 0,
            "slice_ns": {"count": 5, "mean": 1000, "p50": 900, "p99": 3000, "p999": 4000, "max": 5000},
            "connections": 9,
            "accepted": 11,
            "handshakes_failed": 1,
            "relayed_in": 4_000,
            "relayed_out": 3_000,
            "circuits_opened": 17,
            "requests_refused": 2,
            "reservations_made": 8,
        }

    def circuits(self, *, full: bool = False) -> list[dict[str, Any]]:
        assert full
        return self.rows

    def reservations(self) -> list[dict[str, Any]]:
        return [{"direction": "granted", "peer": PEER, "relay_id": RELAY, "expires_in_s": 1800.0, "since_s": 60.0}]

    def peers(self) -> list[dict[str, Any]]:
        return [
            {
                "peer": PEER,
                "identity": "relay",
                "agent": "towpath/1",
                "via": None,
                "address": None,
                "streams": 1,
                "reserved": True,
                "circuits": 2,
                "relayed_in": 1,
                "relayed_out": 2,
                "age_s": 5.0,
                "rtt_ms": 1.5,
            }
        ]

    def relays(self) -> list[dict[str, Any]]:
        return [
            {
                "relay_id": RELAY,
                "source": "bootstrap",
                "score": None,
                "stars": None,
                "latency_ms": 12.5,
                "load": None,
                "state": "active",
                "reasons": ["reserved until 12:00:00"],
                "agent": "towpath/1",
            }
        ]

    async def traffic(self, window: str) -> list[dict[str, Any]]:
        self.asked.append(("traffic", window))
        return [
            {"at": 1e9 + 60 * n, "seconds": 60, "received": 6e6 * n, "sent": 6e6 * n, "circuits": n}
            | {"own_received": 1_000, "own_sent": 2_000}
            for n in range(5)
        ]

    async def pause(self, seconds: float | None = None) -> None:
        self.asked.append(("pause", seconds))
        self.state, self.why = "paused", "its owner paused it"
        self.until = None if seconds is None else 2e9 + seconds

    async def resume(self) -> None:
        self.asked.append(("resume",))
        self.state, self.why, self.until = "relaying", "relay mode is on", None

    async def check(self) -> dict[str, Any]:
        self.asked.append(("check",))
        answers = [
            {"server": PEER, "reached": True, "answer": "connected"},
            {"server": RELAY, "reached": None, "answer": "does not dial such addresses"},
        ]
        row = {"address": "/ip4/1.2.3.4/tcp/4001", "origin": "mapped", "reached": True, "answers": answers}
        return {
            "state": "reachable",
            "sentence": "Reachable at /ip4/1.2.3.4/tcp/4001: the one server that was asked connected.",
            "servers": 2,
            "port_mapping": "the router forwards to this machine (PCP)",
            "addresses": [row],
        }

    async def set_relay_mode(self, mode: RelayMode) -> None:
        if self.fails is not None:
            fails, self.fails = self.fails, None
            raise fails
        self.asked.append(("mode", str(mode)))
        self.settings = self.settings.changed({"relay.mode": str(mode)})
        self.state = "relaying" if mode.relays else "off"

    async def change_settings(
        self, changes: Mapping[str, object], *, source: str = "", persist: bool = True
    ) -> dict[str, Any]:
        self.settings = self.settings.changed(changes, source=source)
        self.asked.append(("change", dict(changes), source, persist))
        later = [key for key in changes if key.startswith("native.")]
        return {"applied": [key for key in changes if key not in later], "at_next_start": later, "overridden": {}}


def row(number: int, size: int) -> dict[str, Any]:
    """A circuit."""
    return {
        "id": number,
        "relay_id": RELAY,
        "direction": "relayed",
        "peer": PEER,
        "target": RELAY,
        "bytes_in": size,
        "bytes_out": size // 2,
        "age_s": 12.5,
        "limit_data": None,
        "limit_s": None,
        "express": False,
    }


@contextlib.asynccontextmanager
async def serving(node: DoubleNode, data: Path) -> AsyncIterator[ControlServer]:
    """The control API of a node, on the socket of a data directory."""
    server = ControlServer(node, listen(socket_path(data)))
    await server.start()
    try:
        yield server
    finally:
        async with asyncio.timeout(10):
            await server.stop()
