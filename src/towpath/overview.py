"""What a node says of itself: rows and figures behind `status`, `circuits`, `peers` and `reservations`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from towpath.addresses import peer_id_to_bytes, peer_id_to_text, to_text
from towpath.log import short_peer_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from towpath._native.circuit import Circuit
    from towpath._native.endpoint import Endpoint
    from towpath._native.reactor import Reactor
    from towpath.client.reservations import HeldReservation

__all__ = ["circuit_row", "circuit_rows", "data_plane", "peer_rows", "reservation_rows", "with_agents"]


def circuit_rows(relay: Endpoint, relay_id: str, *, full: bool) -> list[dict[str, Any]]:
    """Open circuits of our relay, one row for each; bytes are counted from the dialer (`in`) and to it (`out`)."""
    if relay.relay is None:
        return []
    return [circuit_row(circuit, relay_id, full=full) for circuit in list(relay.relay.circuits.values())]


def circuit_row(circuit: Circuit, relay_id: str, *, full: bool) -> dict[str, Any]:
    """The row of one; peer ids are shortened unless `full`."""

    def name(peer: bytes) -> str:
        text = peer_id_to_text(peer)
        return text if full else short_peer_id(text)

    return {
        "id": circuit.id,
        "relay_id": relay_id if full else short_peer_id(relay_id),
        "direction": "relayed",
        "peer": name(circuit.dialer_id),
        "target": name(circuit.target_id),
        "bytes_in": circuit.bytes_in,
        "bytes_out": circuit.bytes_out,
        "age_s": round(circuit.age_s, 1),
        "limit_data": circuit.limit_data or None,
        "limit_s": circuit.limit_s or None,
        "express": False,
    }


def reservation_rows(relay: Endpoint, held: Sequence[HeldReservation]) -> list[dict[str, Any]]:
    """Reservations that we granted (`held_by` a peer) and that we hold (`at` a relay)."""
    now = time.time()
    rows: list[dict[str, Any]] = []
    if relay.relay is not None:
        rows += [
            {
                "direction": "granted",
                "peer": peer_id_to_text(r.peer_id),
                "relay_id": peer_id_to_text(relay.peer_id),
                "expires_in_s": round(r.expires_at - now, 1),
                "since_s": round(now - r.since, 1),
            }
            for r in list(relay.relay.reservations.values())
        ]
    rows += [
        {
            "direction": "held",
            "peer": None,
            "relay_id": h.relay_id,
            "expires_in_s": round(h.expires_at - now, 1),
            "state": h.state,
        }
        for h in held
    ]
    return rows


def peer_rows(endpoints: Sequence[tuple[str, Endpoint]], *, addresses: bool) -> list[dict[str, Any]]:
    """Connected peers, a row for each session."""
    rows: list[dict[str, Any]] = []
    for identity, endpoint in endpoints:
        totals = endpoint.relay.peer_totals() if endpoint.relay is not None else {}
        for peer in list(endpoint.peers.values()):
            received, sent = totals.get(peer.id, (0, 0))
            for session in peer.sessions:
                rows.append(
                    {
                        "peer": peer_id_to_text(peer.id),
                        "identity": identity,
                        "agent": _shown(session.agent),
                        "via": peer_id_to_text(session.via) if session.via else None,
                        "address": to_text(session.remote) if addresses and session.remote else None,
                        "streams": session.stream_count,
                        "reserved": peer.reservation is not None,
                        "circuits": peer.circuits,
                        "relayed_in": received,
                        "relayed_out": sent,
                        "age_s": round(time.time() - session.opened_at, 1),
                        "rtt_ms": round(session.rtt_s * 1000, 3) or None,
                    }
                )
    return rows


def with_agents(rows: Iterable[dict[str, Any]], endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    """Rows of relays, each with what the relay says it is while one of our identities is connected to it."""

    def agent(relay_id: bytes) -> str | None:
        peers = [peer for endpoint in endpoints if (peer := endpoint.peers.get(relay_id)) is not None]
        said = (session.agent for peer in peers for session in peer.sessions)
        return next((_shown(text) for text in said if text), None)

    return [row | {"agent": agent(peer_id_to_bytes(row["relay_id"]))} for row in rows]


def _shown(agent: str | None) -> str | None:
    # A peer may call itself anything, terminal sequences and turned writing too; it is short already (identify).
    if agent is None or agent.isprintable():
        return agent
    return "".join(character if character.isprintable() else "\ufffd" for character in agent)


def data_plane(reactor: Reactor, relay: Endpoint, *peers: Endpoint) -> dict[str, Any]:
    """The native counters: sockets, queues, loop slices (ns), circuits and reservations since the start."""
    service = relay.relay
    bytes_in, bytes_out = service.totals() if service is not None else (0, 0)
    return {
        **reactor.stats(),
        "connections": relay.connections + sum(peer.connections for peer in peers),
        "accepted": relay.accepted,
        "handshakes_failed": relay.handshakes_failed,
        "relayed_in": bytes_in,
        "relayed_out": bytes_out,
        "circuits_opened": service.circuits_opened if service is not None else 0,
        "requests_refused": service.circuits_refused if service is not None else 0,
        "reservations_made": service.reservations_made if service is not None else 0,
    }
