"""Routes for reputation: what others say of this node, what it measured of relays, and of one peer."""

from __future__ import annotations

from typing import Final

from towpath.control.route import Asked, Controlled, Json, Route, WrongRequest
from towpath.control.schemas import refer
from towpath.errors import AddressError

__all__ = ["REPUTATION_ROUTES"]


async def _own(node: Controlled, _asked: Asked) -> Json:
    return node.reputation.facts()


async def _of_peer(node: Controlled, asked: Asked) -> Json:
    try:
        return node.reputation.of_peer(asked.path["peer"])
    except AddressError as e:
        raise WrongRequest(str(e)) from e


async def _independence(node: Controlled, _asked: Asked) -> Json:
    return node.reputation.independence()


REPUTATION_ROUTES: Final = (
    Route(
        "GET",
        "/v1/reputation",
        "What others say of this node, and what it measured of relays",
        _own,
        refer("reputation"),
    ),
    Route(
        "GET",
        "/v1/reputation/{peer}",
        "What this node measured of a peer, and what passed between them",
        _of_peer,
        refer("peer_reputation"),
    ),
    Route(
        "GET",
        "/v1/sustaining",
        "Could bootstrap relays be switched off, by what this node sees?",
        _independence,
        refer("sustaining"),
    ),
)
