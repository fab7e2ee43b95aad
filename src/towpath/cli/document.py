"""docs/api.md, made from the tables of routes, schemas and metrics: `python -m towpath.cli.document > docs/api.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from towpath.cli.printed import LINES, ONCE, SCHEMAS
from towpath.control.description import describe
from towpath.control.schemas import VALUE
from towpath.metrics import METRICS

__all__ = ["document"]

_HEAD: Final = """\
# What programs can ask

This page is made from the tables in `src/towpath/control`, `src/towpath/cli/printed.py` and `src/towpath/metrics.py`; a
test fails when they differ. Fields may be added to answers; those listed here stay.

## Control API

HTTP over the Unix socket that `DIR/ready.json` names (`DIR/api.sock`, for the node's owner only):

```sh
cd ~/.local/share/towpath
curl --unix-socket api.sock http://localhost/v1/status
curl --unix-socket api.sock http://localhost/v1/pause -d '{"time": "2h"}'
curl --unix-socket api.sock http://localhost/v1/settings -X PATCH -d '{"relay.max_rate": "3MB/s"}'
curl --unix-socket api.sock -N http://localhost/v1/events
```

A request that is not understood is answered with 400, a value that is not allowed with 422, what cannot be done
now with 409; the body is an `error`. `/v1/events` follows what happens as server-sent events, each an `event`; it takes
`Last-Event-ID`, or `after`, and begins with what the node remembers from there on.

| | | answers |
|---|---|---|
"""
_PRINTED: Final = """
## Commands with --json

| command | prints |
|---|---|
"""
_SCHEMAS: Final = """
## Fields
"""
_METRICS: Final = """
## Metrics

`/metrics` on the socket, and on TCP where `metrics.listen` says so; `packaging/grafana/towpath.json` is a dashboard of
them. Besides these there are `towpath_process_*`.

| name | labels | meaning |
|---|---|---|
"""


def document() -> str:
    """The page."""
    return "".join([_HEAD, *_routes(), _PRINTED, *_printed(), _SCHEMAS, *_fields(), _METRICS, *_metrics()])


def _routes() -> Iterator[str]:
    for path, methods in describe()["paths"].items():
        for method, operation in methods.items():
            query = [field["name"] for field in operation.get("parameters", ()) if field["in"] == "query"]
            takes = "; query: " + ", ".join(f"`{name}`" for name in query) if query else ""
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if body is not None and (body.get("properties") or "$ref" in body):
                takes += f"; body: {_kind(body) if '$ref' in body else _inline(body)}"
            (answer,) = operation["responses"]["200"]["content"].values()
            yield f"| `{method.upper()} {path}` | {operation['summary']}{takes} | {_kind(answer['schema'])} |\n"


def _inline(body: dict[str, Any]) -> str:
    return ", ".join(f"`{name}` {_cell(schema)}" for name, schema in body["properties"].items())


def _printed() -> Iterator[str]:
    for command, schema in ONCE.items():
        kind = f"a list of {_link(schema[0])}" if isinstance(schema, tuple) else _link(schema)
        yield f"| `{command}` | {kind} |\n"
    for command, (first, later) in LINES.items():
        lines = f"a line {_link(first)}" + ("" if first == later else f", then lines {_link(later)}")
        yield f"| `{command}` | {lines} |\n"


def _fields() -> Iterator[str]:
    for name, schema in SCHEMAS.items():
        yield f"\n### {name}\n\n{_sentence(schema['description'])}\n"
        properties = schema.get("properties")
        if properties is None:
            yield f"\n{_sentence(_kind(schema))}\n"
            continue
        yield "\n| field | |\n|---|---|\n"
        for field, what in properties.items():
            optional = "" if field in schema["required"] else " (optional)"
            yield f"| `{field}`{optional} | {_cell(what)} |\n"


def _cell(schema: dict[str, Any]) -> str:
    means = schema.get("description")
    return _kind(schema) + (f": {means}" if means and schema != VALUE else "")


def _kind(schema: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if schema == VALUE:
        return "a value as in config.toml"
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    kinds = schema.get("type", "anything")
    if isinstance(kinds, list):
        return " or ".join(_kind({**schema, "type": kind}) for kind in kinds)
    if kinds == "null":
        return "null"
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"] if word is not None)
    if kinds == "array":
        return f"a list of {_kind(schema['items'])}"
    if kinds == "object" and schema.get("properties"):
        (first, *others) = schema["properties"].values()
        if len(others) > 8 and all(other == first for other in others):
            return f"by name: {_kind(first)}"
        return "{" + ", ".join(f"`{name}`: {_kind(what)}" for name, what in schema["properties"].items()) + "}"
    if kinds == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"by name: {_kind(schema['additionalProperties'])}"
    return _WORDS[kinds]


_WORDS: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "an object",
    "anything": "anything",
}


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _link(name: str) -> str:
    return f"[{name}](#{name})"


def _metrics() -> Iterator[str]:
    for name, metric in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{name}` | {labels} | {metric.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(document())
