"""The JSON that the control API and every `--json` give, as JSON Schema: one table, which the OpenAPI description and
docs/api.md are made of and the tests check answers against.

Fields may be added to answers at any time; what is listed here stays.
"""

from __future__ import annotations

from typing import Any, Final

from towpath.settings.schema import KEYS

__all__ = ["PRINTED", "SCHEMAS", "Schema", "one_of", "refer"]

Schema = dict[str, Any]


def refer(name: str) -> Schema:
    """A reference to a schema of the table."""
    return {"$ref": f"#/components/schemas/{name}"}


def one_of(*words: str, means: str = "") -> Schema:
    """One of some words."""
    return _described({"type": "string", "enum": list(words)}, means)


def _described(schema: Schema, means: str) -> Schema:
    return {**schema, "description": means} if means else schema


def _text(means: str = "") -> Schema:
    return _described({"type": "string"}, means)


def _count(means: str = "") -> Schema:
    return _described({"type": "integer", "minimum": 0}, means)


def _number(means: str = "") -> Schema:
    return _described({"type": "number"}, means)


def _flag(means: str = "") -> Schema:
    return _described({"type": "boolean"}, means)


def _perhaps(schema: Schema, means: str = "") -> Schema:
    found: Schema = {**schema, "type": [schema["type"], "null"]}
    if "enum" in found:
        found["enum"] = [*found["enum"], None]
    return _described(found, means)


def _list(items: Schema, means: str = "") -> Schema:
    return _described({"type": "array", "items": items}, means)


def _object(means: str = "", /, optional: Schema | None = None, **properties: Schema) -> Schema:
    found = {"type": "object", "properties": {**properties, **(optional or {})}, "required": list(properties)}
    return _described(found, means)


_STATE: Final = one_of("off", "waiting", "relaying", "draining", "paused")
_MODE: Final = one_of("client", "cooperative", "dedicated")
_UNTIL: Final = _perhaps(_number(), "Unix time at which the state ends by itself; null: when something changes")
_PEER_ID: Final = _text("a peer id")
_VALUE: Final[Schema] = {
    "description": "a value as it stands in config.toml",
    "anyOf": [
        {"type": "string"},
        {"type": "integer"},
        {"type": "boolean"},
        {"type": "array", "items": {"type": "string"}},
    ],
}

_OVERRIDDEN: Final[Schema] = {
    "type": "object",
    "description": "keys for which something wins over config.toml at the next start, and what that is",
    "additionalProperties": {"type": "string"},
}
_LIMITS: Final = _object(
    "what limits relaying right now",
    budget=_list(refer("budget")),
    rate=_object(
        limit=_perhaps(_number(), "bytes per second; null: unlimited"),
        why=_text("what sets it"),
        received=_number("bytes per second received on relay sockets, just now"),
        sent=_number("bytes per second sent on them"),
    ),
)


def _values(means: str) -> Schema:
    return {"type": "object", "description": means, "additionalProperties": _VALUE}


SCHEMAS: Final[dict[str, Schema]] = {
    "error": _object(
        "what went wrong",
        {
            "key": _text("the setting that is wrong"),
            "allowed": _text("what may stand there"),
            "nearest": _perhaps(_text(), "the right key that looks most like a wrong one"),
        },
        error=_text("a sentence that says what to do"),
    ),
    "position": _object(
        "whether the node relays right now",
        mode=_MODE,
        state=_STATE,
        why=_perhaps(_text(), "the reason, as the end of a sentence"),
        until=_UNTIL,
    ),
    "status": _object(
        "what the node is doing",
        {
            "until": _UNTIL,
            "circuit_addresses": _list(_text(), "where the peer identity can be reached through relays"),
            "data_plane": {"type": "object", "description": "counters of the native core since the start"},
        },
        peer_id=_PEER_ID,
        relay_id=_PEER_ID,
        mode=_MODE,
        state=_STATE,
        why=_perhaps(_text(), "the reason, as the end of a sentence"),
        addresses=_list(_text(), "where the relay identity can be reached"),
        reachability=_text("what is known of that"),
        circuits_now=_count(),
        reservations_now=_count("granted to others"),
        circuits_today=_count("since midnight, local time"),
        bytes_relayed_today=_count("the larger of bytes sent and received on relay sockets, since midnight"),
        bytes_relayed_total=_count("the same, ever"),
        budget=_list(refer("budget")),
        reputation=_perhaps({"type": "number", "minimum": 0, "maximum": 100}),
        stars=_perhaps({"type": "number", "minimum": 0, "maximum": 5}),
        credits=_object(earned=_number(), spent=_number(), balance=_number()),
        client=_object(
            connected_via=_list(_text(), "ids of the relays that hold a reservation of this node"),
            ip_hidden=_flag(),
            ip_hidden_missing=_list(_text(), "what is missing for that"),
            credits_used=_number(),
        ),
        uptime_s=_number(),
    ),
    "budget": _object(
        "one quota",
        period=one_of("hour", "day", "month"),
        limit=_perhaps(_count(), "bytes; null: unlimited"),
        used=_count("the larger of bytes sent and received on relay sockets in the period"),
        resets_at=_perhaps(_number(), "Unix time at which the next period begins"),
    ),
    "limits": _LIMITS,
    "circuit": _object(
        "a circuit that is open",
        {
            "target": _text("the peer that was dialed, shortened unless asked for in full"),
            "limit_data": _perhaps(_count(), "bytes it may carry in each direction"),
            "limit_s": _perhaps(_number(), "seconds it may last"),
        },
        id=_count(),
        relay_id=_PEER_ID,
        direction=_text("`relayed`: between two others"),
        peer=_text("the peer that dialed, shortened unless asked for in full"),
        bytes_in=_count("from the peer that dialed"),
        bytes_out=_count("to it"),
        age_s=_number(),
        express=_flag(),
    ),
    "reservation": _object(
        "a reservation, granted by this node or held by it",
        {"since_s": _number("how long it has been granted"), "state": _text("of one that is held")},
        direction=one_of("granted", "held"),
        peer=_perhaps(_text(), "who holds a granted one"),
        relay_id=_PEER_ID,
        expires_in_s=_number(),
    ),
    "peer": _object(
        "a connection with a peer",
        peer=_text("its id, shortened unless asked for in full"),
        identity=one_of("relay", "peer", means="which of this node's identities it is connected with"),
        agent=_perhaps(_text(), "what it says it is"),
        via=_perhaps(_text(), "the relay it comes through"),
        address=_perhaps(_text(), "shown with log.addresses only"),
        streams=_count(),
        reserved=_flag("does it hold a reservation here?"),
        circuits=_count(),
        relayed_in=_count("bytes relayed for it, received from it"),
        relayed_out=_count("bytes relayed for it, sent to it"),
        age_s=_number(),
        rtt_ms=_perhaps(_number()),
    ),
    "relay": _object(
        "a relay this node knows",
        relay_id=_PEER_ID,
        source=one_of("mdns", "dht", "bootstrap", "cache"),
        score=_perhaps(_number()),
        stars=_perhaps(_number()),
        latency_ms=_perhaps(_number()),
        load=_perhaps(_number()),
        state=one_of("active", "standby", "candidate", "avoided"),
        reasons=_list(_text(), "why it stands there"),
    ),
    "traffic": _object(
        "what was relayed in one slice of time",
        at=_number("Unix time at which the slice begins"),
        seconds=_number("how long it is"),
        received=_count("bytes received on relay sockets"),
        sent=_count("bytes sent on relay sockets"),
        circuits=_count("opened in it"),
    ),
    "setting": _object(
        "one setting",
        value=_VALUE,
        default=_VALUE,
        source=_text("where the value comes from"),
        allowed=_text("what may stand there"),
        meaning=_text(),
        in_effect=_flag("does this version act on it?"),
    ),
    "changed": _object(
        "what became of a change",
        applied=_list(_text(), "keys in effect from now on"),
        at_next_start=_list(_text(), "keys that are kept and take effect when the node is started again"),
        overridden=_OVERRIDDEN,
    ),
    "event": _object(
        "something that happened; facts by name beside these",
        id=_count("grows; what Last-Event-ID names"),
        at=_number("Unix time"),
        kind=_text("a stable word"),
        sentence=_text("for people"),
    ),
    # What commands print besides what the control API gives.
    "values": {
        "description": "settings by key",
        "type": "object",
        "propertyNames": {"enum": list(KEYS)},
        "additionalProperties": _VALUE,
    },
    "origins": {
        "description": "settings by key, each with where it comes from",
        "type": "object",
        "propertyNames": {"enum": list(KEYS)},
        "additionalProperties": _object(value=_VALUE, source=_text()),
    },
    "written": _object(
        "what became of a change that a command made",
        {"now": _perhaps({"type": "object"}, "where the relay stands now")},
        values={
            "type": "object",
            "description": "the settings that were changed, by key",
            "additionalProperties": _VALUE,
        },
        running=_flag("was a running node changed? Otherwise config.toml was"),
        applied=_list(_text(), "keys in effect from now on"),
        at_next_start=_list(_text(), "keys that take effect when the node is started again"),
        overridden=_OVERRIDDEN,
    ),
    "limited": _object(
        "every limit of relaying, as `limit` shows it",
        values=_values("the limits, by key"),
        now=_perhaps(_LIMITS, "what the running node says of them; null when none runs"),
    ),
    "schedule": _object(
        "the relay's week",
        rules=_list(_text(), "as in relay.schedule; empty: always open"),
        week=_list(
            _list(_text("`open`, `off`, a mode or a rate")),
            "seven days of 24 hours, Monday and midnight first, local time",
        ),
    ),
    "ids": _object("who a node is", peer_id=_PEER_ID, relay_id=_PEER_ID),
    "snapshot": _object(
        "what `top` shows, once",
        status=refer("status"),
        limits=refer("limits"),
        traffic=_list(refer("traffic"), "of the last hour"),
        circuits=_list(refer("circuit")),
        events=_list(refer("event"), "the last ones"),
    ),
}

PRINTED: Final[dict[str, str | tuple[str]]] = {
    "status": "status",
    "top": "snapshot",
    "circuits": ("circuit",),
    "reservations": ("reservation",),
    "peers": ("peer",),
    "relays": ("relay",),
    "mode MODE": "written",
    "pause": "position",
    "resume": "position",
    "limit": "limited",
    "limit WHAT VALUE": "written",
    "schedule": "schedule",
    "schedule set": "written",
    "schedule clear": "written",
    "config show": "values",
    "config show --origin": "origins",
    "config get": "values",
    "config set": "written",
    "id": "ids",
}
"""The schema of what a command prints with --json; in parentheses: of each entry of the list that it prints."""
