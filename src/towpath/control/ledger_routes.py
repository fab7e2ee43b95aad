"""Routes for credits: the own balance, and why somebody is accepted or refused."""

from __future__ import annotations

from typing import Final

from towpath.control.route import Asked, Controlled, Json, Route
from towpath.control.schemas import refer

__all__ = ["LEDGER_ROUTES"]


async def _ledger(node: Controlled, _asked: Asked) -> Json:
    return node.credits.rows()


async def _of_peer(node: Controlled, asked: Asked) -> Json:
    return node.credits.of_peer(asked.path["peer"])


LEDGER_ROUTES: Final = (
    Route(
        "GET",
        "/v1/ledger",
        "Credits earned and spent, how they came about, and whom this relay carried for",
        _ledger,
        refer("ledger"),
    ),
    Route(
        "GET",
        "/v1/ledger/{peer}",
        "Why a peer, account, network or relay is accepted or refused: a peer id, an IP address or a prefix",
        _of_peer,
        refer("ledger_row"),
    ),
)
