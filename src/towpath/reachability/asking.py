"""Whom this node can ask whether others reach it, and what they answer. Works on the sessions of one endpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from towpath._native.autonat import DIAL_REQUEST, AskFailed
from towpath._native.endpoint import HandshakeFailed
from towpath.addresses import parse
from towpath.errors import AddressError
from towpath.reachability.networks import Place, place_of
from towpath.reachability.policy import Server, Sighting, Vote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from towpath._native.autonat import Autonat
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session

__all__ = ["ask", "meet", "servers_of", "sighting_of"]

_OK: Final = 200
_REJECTED: Final = 100
_REFUSED: Final = 101
_DIAL_ERROR: Final = 100
_DIALED: Final = (101, 200)
"""Dial statuses after which the nonce may have come."""
_DIAL_MS: Final = 5000
_IDENTIFY_S: Final = 5.0


def _session_with(endpoint: Endpoint, peer_id: bytes) -> Session | None:
    """The newest usable one that no relay carries."""
    peer = endpoint.peers.get(peer_id)
    for session in reversed(peer.sessions if peer is not None else []):
        if not session.closed and not session.going_away and session.remote:
            return session
    return None


def servers_of(endpoint: Endpoint) -> list[Server]:
    """The connected peers that said they speak AutoNAT v2."""
    found: list[Server] = []
    for peer_id in list(endpoint.peers):
        session = _session_with(endpoint, peer_id)
        if session is not None and session.protocols is not None and DIAL_REQUEST in session.protocols:
            place = place_of(session.remote)
            if place is not None:
                found.append(Server(peer_id, place.ip))
    return found


def sighting_of(session: Session) -> Sighting | None:
    """What the other end of a session said of our address."""
    if not session.observed or not session.remote:
        return None
    witness, place = place_of(session.remote), place_of(session.observed)
    if witness is None or place is None:
        return None
    return Sighting(witness.ip, place, not session.channel.initiator)


async def meet(endpoint: Endpoint, known: Iterable[str], most: int) -> None:
    """Connects to nodes that are known by multiaddr, so that there is somebody to ask; returns when they said who they
    are, or after a few seconds. Names are not looked up, circuits not used.
    """
    sessions: list[Session] = []
    for text in known:
        if len(sessions) >= most:
            break
        try:
            address = parse(text)
        except AddressError:
            continue
        if address.circuit or address.peer_id is None or address.family not in ("ip4", "ip6"):
            continue
        if address.peer_id == endpoint.peer_id or _session_with(endpoint, address.peer_id) is not None:
            continue
        try:
            sessions.append(await endpoint.dial(address.host, address.port, address.peer_id, _DIAL_MS))
        except (OSError, HandshakeFailed):
            continue
    deadline = asyncio.get_running_loop().time() + _IDENTIFY_S
    while any(s.protocols is None and not s.closed for s in sessions):
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.05)


async def ask(autonat: Autonat, endpoint: Endpoint, server: Server, place: Place) -> Vote:
    """One server's word about one address. A server that claims a dial whose nonce never came says nothing."""
    session = _session_with(endpoint, server.peer_id)
    if session is None:
        return Vote(server, None, "the connection to it ended")
    try:
        status, dialed, proved = await autonat.ask(session, place.address)
    except AskFailed as failed:
        return Vote(server, None, str(failed))
    if status == _OK and dialed in _DIALED and proved:
        return Vote(server, True, "connected")
    if status == _OK and dialed == _DIAL_ERROR:
        return Vote(server, False, "could not connect")
    if status == _OK:
        return Vote(server, None, "claims to have connected, and did not")
    if status == _REJECTED:
        return Vote(server, None, "answers no more questions for now")
    if status == _REFUSED:
        return Vote(server, None, "does not dial such addresses")
    return Vote(server, None, f"failed (status {status})")
