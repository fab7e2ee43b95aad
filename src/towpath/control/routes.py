"""What the control API answers, and its OpenAPI description, from one table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from towpath import __version__
from towpath.settings import Settings
from towpath.settings.schema import KEYS

__all__ = ["ROUTES", "Controlled", "Route", "describe"]

Json = dict[str, Any] | list[Any]


class Controlled(Protocol):
    """What the control API needs of a Node."""

    @property
    def settings(self) -> Settings:
        """See Node."""

    def status(self) -> dict[str, Any]:
        """See Node."""

    def circuits(self, *, full: bool = False) -> list[dict[str, Any]]:
        """See Node."""

    def reservations(self) -> list[dict[str, Any]]:
        """See Node."""

    def peers(self) -> list[dict[str, Any]]:
        """See Node."""

    def relays(self) -> list[dict[str, Any]]:
        """See Node."""


class Route(NamedTuple):
    """A path that GET answers, with JSON."""

    answer: Callable[[Controlled], Json]
    summary: str
    schema: dict[str, Any]


def _settings(node: Controlled) -> Json:
    settings = node.settings
    return {
        name: {
            "value": settings.written(name),
            "default": key.kind.write(key.default(settings.relay.mode)),
            "source": settings.source(name),
            "allowed": key.kind.allowed,
            "meaning": key.meaning,
            "in_effect": not key.later,
        }
        for name, key in KEYS.items()
    }


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _rows(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _object(**properties)}


_TEXT: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_COUNT: Final = {"type": "integer", "minimum": 0}
_SECONDS: Final = {"type": "number", "minimum": 0}
_BOOL: Final = {"type": "boolean"}
_LIST: Final = {"type": "array"}
_OBJECT: Final = {"type": "object"}
_ANY: Final[dict[str, Any]] = {}

ROUTES: Final = {
    "/v1/status": Route(
        lambda node: node.status(),
        "What the node is doing",
        _object(
            peer_id=_TEXT,
            relay_id=_TEXT,
            mode={"type": "string", "enum": ["client", "cooperative", "dedicated"]},
            state={"type": "string", "enum": ["off", "waiting", "relaying", "draining", "paused"]},
            why=_TEXT_OR_NULL,
            addresses=_LIST,
            reachability=_ANY,
            circuits_now=_COUNT,
            reservations_now=_COUNT,
            circuits_today=_COUNT,
            bytes_relayed_today=_COUNT,
            bytes_relayed_total=_COUNT,
            budget=_LIST,
            reputation=_ANY,
            stars=_ANY,
            credits=_OBJECT,
            client=_OBJECT,
            uptime_s=_SECONDS,
        ),
    ),
    "/v1/circuits": Route(
        lambda node: node.circuits(full=True),
        "Circuits that are open, relayed for others or used by this node",
        _rows(
            id=_ANY,
            relay_id=_TEXT,
            direction=_TEXT,
            peer=_TEXT,
            bytes_in=_COUNT,
            bytes_out=_COUNT,
            age_s=_SECONDS,
            express=_BOOL,
        ),
    ),
    "/v1/reservations": Route(
        lambda node: node.reservations(),
        "Reservations that peers hold here, and that this node holds elsewhere",
        _rows(),
    ),
    "/v1/peers": Route(lambda node: node.peers(), "Peers this node is connected to", _rows()),
    "/v1/relays": Route(
        lambda node: node.relays(),
        "Relays this node knows, and why it uses them or not",
        _rows(),
    ),
    "/v1/settings": Route(
        _settings,
        "Every setting: its value, where it comes from, and what is allowed",
        _OBJECT,
    ),
}


def describe() -> dict[str, Any]:
    """The OpenAPI 3.1 description of the routes."""
    problem = {
        "description": "What went wrong, in a sentence",
        "content": {"application/json": {"schema": _object(error=_TEXT)}},
    }
    paths: dict[str, Any] = {}
    for path, route in ROUTES.items():
        found = {"description": route.summary, "content": {"application/json": {"schema": route.schema}}}
        paths[path] = {
            "get": {
                "summary": route.summary,
                "operationId": path.rsplit("/", 1)[1],
                "responses": {"200": found, "default": problem},
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "towpath control API", "version": __version__},
        "servers": [{"url": "http://localhost", "description": "over the Unix socket that ready.json names"}],
        "paths": paths,
    }
