"""What the control API answers: its routes, in one table. Knows nothing of HTTP.

No answer blocks: what a node gives at once is a plain call, the rest is awaited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec

from towpath.control.described_settings import settings_rows
from towpath.control.ledger_routes import LEDGER_ROUTES
from towpath.control.owner_routes import OWNER_ROUTES
from towpath.control.reputation_routes import REPUTATION_ROUTES
from towpath.control.route import SOURCE, Asked, Body, Controlled, Json, Parameter, Route, WrongRequest
from towpath.control.schemas import Schema, one_of, refer
from towpath.settings import RelayMode
from towpath.settings.schema import KEYS
from towpath.settings.values import Time

__all__ = ["EVENTS", "ROUTES"]


class Pause(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/pause."""

    time: str | float | None = None


class Mode(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/mode."""

    mode: Literal["client", "cooperative", "dedicated"]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A body without fields."""


_WINDOWS: Final = ("5m", "1h", "24h", "30d")
_TIME: Final = Time(1)


def _now(told: Callable[[Controlled], Json]) -> Callable[[Controlled, Asked], Awaitable[Json]]:
    async def answer(node: Controlled, _asked: Asked) -> Json:
        return told(node)

    return answer


def _position(node: Controlled) -> Json:
    status = node.status()
    return {name: status.get(name) for name in ("mode", "state", "why", "until")}


async def _traffic(node: Controlled, asked: Asked) -> Json:
    return await node.traffic(asked.query["window"])


async def _change(node: Controlled, asked: Asked) -> Json:
    if not asked.body:
        raise WrongRequest('nothing is to be changed; send settings by key, such as {"relay.max_rate": "3MB/s"}')
    return await node.change_settings(asked.body, source=SOURCE, persist=True)


async def _pause(node: Controlled, asked: Asked) -> Json:
    body: Pause = asked.body
    try:
        seconds = None if body.time is None else _TIME.read(body.time)
    except ValueError as e:
        raise WrongRequest(f"time cannot be {body.time!r}: {e}") from e
    await node.pause(seconds)
    return _position(node)


async def _resume(node: Controlled, _asked: Asked) -> Json:
    await node.resume()
    return _position(node)


async def _check(node: Controlled, _asked: Asked) -> Json:
    return await node.check()


async def _mode(node: Controlled, asked: Asked) -> Json:
    body: Mode = asked.body
    await node.set_relay_mode(RelayMode(body.mode))
    return _position(node)


def _rows(name: str) -> Schema:
    return {"type": "array", "items": refer(name)}


_MODE_BODY: Final[Schema] = {
    "type": "object",
    "properties": {"mode": one_of("client", "cooperative", "dedicated")},
    "required": ["mode"],
    "additionalProperties": False,
}
_PAUSE_BODY: Final[Schema] = {
    "type": "object",
    "properties": {
        "time": {
            "description": f"how long: {_TIME.allowed}, or seconds; left out: until resumed",
            "type": ["string", "number", "null"],
        }
    },
    "additionalProperties": False,
}
_NO_BODY: Final[Schema] = {"type": "object", "additionalProperties": False}

ROUTES: Final = (
    Route("GET", "/v1/status", "What the node is doing", _now(lambda node: node.status()), refer("status")),
    Route(
        "GET",
        "/v1/circuits",
        "Circuits that are open, with peer ids in full",
        _now(lambda node: node.circuits(full=True)),
        _rows("circuit"),
    ),
    Route(
        "GET",
        "/v1/reservations",
        "Reservations that peers hold here, and that this node holds elsewhere",
        _now(lambda node: node.reservations()),
        _rows("reservation"),
    ),
    Route("GET", "/v1/peers", "Peers this node is connected to", _now(lambda node: node.peers()), _rows("peer")),
    Route(
        "GET",
        "/v1/relays",
        "Relays this node knows, and why it uses them or not",
        _now(lambda node: node.relays()),
        _rows("relay"),
    ),
    Route(
        "GET",
        "/v1/limits",
        "What limits relaying, and how much of it is used",
        _now(lambda node: node.limits()),
        refer("limits"),
    ),
    Route(
        "GET",
        "/v1/traffic",
        "What was relayed, in slices of time, the oldest first",
        _traffic,
        _rows("traffic"),
        query={"window": Parameter(one_of(*_WINDOWS, means="how far back"), "1h")},
    ),
    Route(
        "GET",
        "/v1/settings",
        "Every setting: its value, where it comes from, and what is allowed",
        _now(lambda node: settings_rows(node.settings)),
        {
            "type": "object",
            "properties": {name: refer("setting") for name in KEYS},
            "required": list(KEYS),
        },
    ),
    Route(
        "PATCH",
        "/v1/settings",
        "Changes settings, all or none, and keeps them in config.toml",
        _change,
        refer("changed"),
        body=Body(dict[str, Any], refer("changes")),
    ),
    Route(
        "POST",
        "/v1/pause",
        "Relays nothing for a time, or until resumed; a restart does not end it",
        _pause,
        refer("position"),
        body=Body(Pause, _PAUSE_BODY),
    ),
    Route(
        "POST",
        "/v1/resume",
        "Ends a pause",
        _resume,
        refer("position"),
        body=Body(Nothing, _NO_BODY),
    ),
    Route(
        "POST",
        "/v1/check",
        "Asks other nodes now whether they reach this one",
        _check,
        refer("check"),
        body=Body(Nothing, _NO_BODY),
    ),
    Route(
        "POST",
        "/v1/mode",
        "Switches what the node does for others, and keeps it in config.toml",
        _mode,
        refer("position"),
        body=Body(Mode, _MODE_BODY),
    ),
    *LEDGER_ROUTES,
    *OWNER_ROUTES,
    *REPUTATION_ROUTES,
)

EVENTS: Final = "/v1/events"
"""Beside the table: an endless answer, of server-sent events."""
