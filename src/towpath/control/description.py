"""The OpenAPI description of the control API, made from its routes and schemas."""

from __future__ import annotations

import re
from typing import Any, Final

from towpath import __version__
from towpath.control.route import Parameter, Route
from towpath.control.routes import EVENTS, ROUTES
from towpath.control.schemas import SCHEMAS, Schema, refer

__all__ = ["DESCRIPTION", "METRICS", "describe"]

DESCRIPTION: Final = "/v1/openapi.json"
METRICS: Final = "/metrics"

_PROBLEMS: Final = {
    "400": "The request is not understood: its JSON, a field or a parameter",
    "422": "A value is not allowed; nothing was changed",
    "default": "It could not be done",
}


def describe() -> dict[str, Any]:
    """The description, OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    paths[EVENTS] = {"get": _events()}
    paths[METRICS] = {"get": _plain("metrics", "Counters and gauges for Prometheus", "text/plain")}
    paths[DESCRIPTION] = {"get": _plain("openapi", "This description", "application/json", {"type": "object"})}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "towpath control API",
            "version": __version__,
            "description": "What a running node tells its owner, and lets its owner change.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost", "description": "over the Unix socket that ready.json names"}],
        "paths": paths,
        "components": {"schemas": SCHEMAS, "responses": {name: _problem(name) for name in _PROBLEMS}},
    }


def _operation(route: Route) -> dict[str, Any]:
    verb = {"GET": "", "POST": "", "PATCH": "change_"}[route.method]
    found: dict[str, Any] = {
        "operationId": verb + _name(route.path),
        "summary": route.summary,
        "responses": {"200": _answer(route.summary, "application/json", route.schema), **_refused()},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": {**field.schema, "default": _default(field)}}
        for name, field in route.query.items()
    ]
    if parameters:
        found["parameters"] = parameters
    if route.body is not None:
        required = bool(route.body.schema.get("required")) or "$ref" in route.body.schema
        found["requestBody"] = {"required": required, "content": {"application/json": {"schema": route.body.schema}}}
    return found


def _name(path: str) -> str:
    """`/v1/ledger/{peer}` as `ledger_of_peer`."""
    *_, before, last = path.split("/")
    return f"{before}_of_{last.strip('{}')}" if last.startswith("{") else last


def _default(field: Parameter) -> str | int:
    return field.default if "enum" in field.schema else int(field.default)


def _events() -> dict[str, Any]:
    number: Schema = {"type": "integer", "minimum": 0}
    return {
        "operationId": "events",
        "summary": "What happens, as server-sent events: `event` is the kind, `data` an event as JSON",
        "description": "After a pause of 15 s comes a comment line. The events of an id above Last-Event-ID, or above "
        "`after`, come first, as far as the node remembers them.",
        "parameters": [
            {"name": "Last-Event-ID", "in": "header", "required": False, "schema": number},
            {"name": "after", "in": "query", "required": False, "schema": number},
        ],
        "responses": {"200": _answer("An endless stream", "text/event-stream", refer("event")), **_refused()},
    }


def _plain(name: str, summary: str, kind: str, schema: Schema | None = None) -> dict[str, Any]:
    answer = _answer(summary, kind, schema or {"type": "string"})
    return {"operationId": name, "summary": summary, "responses": {"200": answer, **_refused()}}


def _answer(means: str, kind: str, schema: Schema) -> dict[str, Any]:
    return {"description": means, "content": {kind: {"schema": schema}}}


def _problem(name: str) -> dict[str, Any]:
    return _answer(_PROBLEMS[name], "application/json", refer("error"))


def _refused() -> dict[str, Any]:
    return {name: {"$ref": f"#/components/responses/{name}"} for name in _PROBLEMS}
