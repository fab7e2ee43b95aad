"""What the control API answers, as JSON Schema: one table, of which its OpenAPI description and docs/api.md are made.

What commands print with --json besides is in cli.printed. Fields may be added to answers; what is listed here stays.
"""

from __future__ import annotations

from typing import Any, Final

from towpath.settings.schema import KEYS

__all__ = [
    "OVERRIDDEN",
    "SCHEMAS",
    "VALUE",
    "Schema",
    "count",
    "fields",
    "flag",
    "number",
    "one_of",
    "perhaps",
    "refer",
    "rows",
    "text",
    "values_by_key",
]

Schema = dict[str, Any]


def refer(name: str) -> Schema:
    """A reference to a schema of the table."""
    return {"$ref": f"#/components/schemas/{name}"}


def one_of(*words: str, means: str = "") -> Schema:
    """One of some words."""
    return _described({"type": "string", "enum": list(words)}, means)


def _described(schema: Schema, means: str) -> Schema:
    return {**schema, "description": means} if means else schema


def text(means: str = "") -> Schema:
    """A text."""
    return _described({"type": "string"}, means)


def count(means: str = "") -> Schema:
    """A whole number from 0."""
    return _described({"type": "integer", "minimum": 0}, means)


def number(means: str = "") -> Schema:
    """Any number."""
    return _described({"type": "number"}, means)


def flag(means: str = "") -> Schema:
    """True or false."""
    return _described({"type": "boolean"}, means)


def perhaps(schema: Schema, means: str = "") -> Schema:
    """What a schema says, or null."""
    found: Schema = {**schema, "type": [schema["type"], "null"]}
    if "enum" in found:
        found["enum"] = [*found["enum"], None]
    return _described(found, means)


def rows(items: Schema, means: str = "") -> Schema:
    """A list."""
    return _described({"type": "array", "items": items}, means)


def fields(means: str = "", /, optional: Schema | None = None, **properties: Schema) -> Schema:
    """An object with these fields, and perhaps with the optional ones."""
    found = {"type": "object", "properties": {**properties, **(optional or {})}, "required": list(properties)}
    return _described(found, means)


_STATE: Final = one_of("off", "waiting", "relaying", "draining", "paused")
_MODE: Final = one_of("client", "cooperative", "dedicated")
_UNTIL: Final = perhaps(number(), "Unix time at which the state ends by itself; null: when something changes")
_PEER_ID: Final = text("a peer id")
VALUE: Final[Schema] = {
    "description": "a value as it stands in config.toml",
    "anyOf": [
        {"type": "string"},
        {"type": "integer"},
        {"type": "boolean"},
        {"type": "array", "items": {"type": "string"}},
    ],
}

OVERRIDDEN: Final[Schema] = {
    "type": "object",
    "description": "keys for which something wins over config.toml at the next start, and what that is",
    "additionalProperties": {"type": "string"},
}
_LIMITS: Final = fields(
    "what limits relaying right now",
    budget=rows(refer("budget")),
    rate=fields(
        limit=perhaps(number(), "bytes per second; null: unlimited"),
        why=text("what sets it"),
        received=number("bytes per second received on relay sockets, just now"),
        sent=number("bytes per second sent on them"),
        own_received=number("bytes per second received for the owner's own streams and look-ups, just now"),
        own_sent=number("bytes per second sent for them"),
    ),
)


def values_by_key(means: str) -> Schema:
    """Settings by key."""
    return {"type": "object", "description": means, "additionalProperties": VALUE}


SCHEMAS: Final[dict[str, Schema]] = {
    "error": fields(
        "what went wrong",
        {
            "key": text("the setting that is wrong"),
            "allowed": text("what may stand there"),
            "nearest": perhaps(text(), "the right key that looks most like a wrong one"),
        },
        error=text("a sentence that says what to do"),
    ),
    "position": fields(
        "whether the node relays right now",
        mode=_MODE,
        state=_STATE,
        why=perhaps(text(), "the reason, as the end of a sentence"),
        until=_UNTIL,
    ),
    "status": fields(
        "what the node is doing",
        {
            "since": number("Unix time from which it has been in this state"),
            "until": _UNTIL,
            "circuit_addresses": rows(text(), "where the peer identity can be reached through relays"),
            "data_plane": {"type": "object", "description": "counters of the native core since the start"},
            "discovery": {
                "type": "object",
                "description": "a DHT server of its own (`dht`, `dht_servers` it knows), `relays_known`, is the relay "
                "`advertised`, and why that failed last (`advertising_failed`)",
            },
            "reachability_why": text("what is known of reachability, in a sentence"),
            "reputation_from": count("how many peers signed what the reputation is made of"),
            "reputation_parts": rows(text(), "what it is made of, in clauses"),
            "self_sustaining": refer("sustaining"),
        },
        peer_id=_PEER_ID,
        relay_id=_PEER_ID,
        mode=_MODE,
        state=_STATE,
        why=perhaps(text(), "the reason, as the end of a sentence"),
        addresses=rows(text(), "where the relay identity can be reached"),
        reachability=one_of("unknown", "reachable", "unreachable", means="do others reach the relay identity?"),
        circuits_now=count(),
        reservations_now=count("granted to others"),
        circuits_today=count("since midnight, local time"),
        bytes_relayed_today=count("the larger of bytes sent and received on relay sockets, since midnight"),
        bytes_relayed_total=count("the same, ever"),
        budget=rows(refer("budget")),
        reputation=perhaps(
            {"type": "number", "minimum": 0, "maximum": 100}, "by what others signed; null: nobody has yet"
        ),
        stars=perhaps({"type": "number", "minimum": 0, "maximum": 5}),
        credits=fields(
            "of this node's account; 1 credit is 1 MiB, and half of it fades in 30 days",
            {
                "account": text("as a peer id is written"),
                "priority": fields(
                    "at which of the relays in use this account comes first, as they say",
                    priority_at=count(),
                    told_by=count("relays that said how it stands"),
                    sentence=text(),
                ),
                "refused": count("circuits and reservations refused for want of credit since the start"),
            },
            earned=number("by relaying for others who signed for it"),
            spent=number("by sending through relays"),
            balance=number("the difference"),
        ),
        client=fields(
            "what it does under its peer identity",
            {"bootstrap_share": perhaps({"type": "number", "minimum": 0, "maximum": 1})},
            connected_via=rows(text(), "ids of the relays that hold a reservation of this node, the active one first"),
            ip_hidden=flag(),
            ip_hidden_missing=rows(text(), "what is missing for that"),
            credits_used=number("ever spent by sending through relays"),
        ),
        uptime_s=number(),
    ),
    "sustaining": fields(
        "could bootstrap relays be switched off?",
        self_sustaining=perhaps(flag(), "null: too little is seen to say"),
        share_by_source={
            "type": "object",
            "description": "shares of this node's circuits of the last seven days, by the source of their relay",
            "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
        },
        spare_capacity=perhaps(number(), "the part of the volunteers' capacity that is free; null: none is known"),
        relays=count("volunteers that could be used"),
        relays_in_top_half=count("the fewest of them that have half of the capacity between them"),
        sentence=text("the answer for people"),
        missing=rows(text(), "clauses: what stands against it"),
    ),
    "reputation": fields(
        "what others say of this node, and what it measured of relays",
        reputation=perhaps(count("0 to 100")),
        stars=perhaps(count("0 to 5")),
        reputation_from=count("how many peers signed what it is made of"),
        reputation_parts=rows(text(), "what it is made of, in clauses"),
        sharing=flag("does it tell others in digests which relays its account paid?"),
        digests_known=count("digests of others that are remembered"),
        frauds_known=count("accounts of which it is proven that they signed two receipts that contradict each other"),
        relays=rows(refer("peer_reputation"), "relays that something was measured of, the best first"),
    ),
    "peer_reputation": fields(
        "what was measured of a peer, and what passed between it and this node",
        peer=_PEER_ID,
        known=flag("false: it is no relay that this node knows"),
        score=count("0 to 100, by own measurements"),
        stars=count("0 to 5"),
        successful_circuits=number("things tried that it served; half of it fades in 30 days"),
        failed_circuits=number(),
        uptime_percentage=number(),
        avg_latency_ms=perhaps(number()),
        bandwidth_contributed_mb=number("what it relayed for this node"),
        bytes_relayed_for_me=count(),
        bytes_relayed_by_me=count("received from it, for its circuits, since it connected"),
        reputation=perhaps(count("its score; null: it never relayed for this node")),
        walk=perhaps(number(), "its standing by others' receipts, 0 to 100"),
        ranking=perhaps(number(), "what it is ranked by, 0 to 100"),
    ),
    "check": fields(
        "whether others reach this node",
        state=one_of("unknown", "reachable", "unreachable"),
        sentence=text("what is known, and what to do"),
        servers=count("nodes in different networks that could be asked"),
        port_mapping=perhaps(text(), "what the router said; null: it was not asked"),
        addresses=rows(
            fields(
                address=text("a multiaddr"),
                origin=one_of(
                    "announced",
                    "own",
                    "mapped",
                    "observed",
                    means="named by the owner, this machine's, forwarded by the router, or seen by others",
                ),
                reached=perhaps(flag(), "by the majority of those who say something; null: there is none"),
                answers=rows(
                    fields(
                        server=_PEER_ID,
                        reached=perhaps(flag(), "null: it says neither"),
                        answer=text("what it says, in words"),
                    )
                ),
            ),
            "that others may reach it at",
        ),
    ),
    "budget": fields(
        "one quota",
        period=one_of("hour", "day", "month"),
        limit=perhaps(count(), "bytes; null: unlimited"),
        used=count("the larger of bytes sent and received on relay sockets in the period"),
        resets_at=perhaps(number(), "Unix time at which the next period begins"),
    ),
    "limits": _LIMITS,
    "circuit": fields(
        "a circuit that is open",
        {
            "target": text("the peer that was dialed, shortened unless asked for in full"),
            "limit_data": perhaps(count(), "bytes it may carry in each direction"),
            "limit_s": perhaps(number(), "seconds it may last"),
        },
        id=count(),
        relay_id=_PEER_ID,
        direction=text("`relayed`: between two others"),
        peer=text("the peer that dialed, shortened unless asked for in full"),
        bytes_in=count("from the peer that dialed"),
        bytes_out=count("to it"),
        age_s=number(),
        express=flag(),
    ),
    "circuit_changes": fields(
        "what is new among the circuits that are open",
        run=count("when it is another than before, ids began anew: forget what is known"),
        opened=rows(refer("circuit"), "with an id above `after`; all when `run` is not the one that was asked for"),
        open=rows(
            {"type": "array", "minItems": 3, "maxItems": 3, "items": count()},
            "id, bytes_in and bytes_out of each that is open; others have ended",
        ),
    ),
    "reservation": fields(
        "a reservation, granted by this node or held by it",
        {"since_s": number("how long it has been granted"), "state": text("of one that is held")},
        direction=one_of("granted", "held"),
        peer=perhaps(text(), "who holds a granted one"),
        relay_id=_PEER_ID,
        expires_in_s=number(),
    ),
    "peer": fields(
        "a connection with a peer",
        peer=text("its id, shortened unless asked for in full"),
        identity=one_of("relay", "peer", means="which of this node's identities it is connected with"),
        agent=perhaps(text(), "what it says it is"),
        via=perhaps(text(), "the relay it comes through"),
        address=perhaps(text(), "shown with log.addresses only"),
        streams=count(),
        reserved=flag("does it hold a reservation here?"),
        circuits=count(),
        relayed_in=count("bytes relayed for it, received from it"),
        relayed_out=count("bytes relayed for it, sent to it"),
        age_s=number(),
        rtt_ms=perhaps(number()),
    ),
    "relay": fields(
        "a relay this node knows",
        {"agent": perhaps(text(), "what it says it is; null: this node is not connected to it now")},
        relay_id=_PEER_ID,
        source=one_of("mdns", "dht", "bootstrap", "cache"),
        score=perhaps(number()),
        stars=perhaps(number()),
        latency_ms=perhaps(number()),
        load=perhaps(number()),
        state=one_of("active", "standby", "candidate", "avoided"),
        reasons=rows(text(), "why it stands there"),
    ),
    "ledger": fields(
        "the balance of this node's account, and whom its relay carried for",
        account=text("as a peer id is written"),
        earned=number("credits; 1 is 1 MiB"),
        spent=number("credits"),
        balance=number("credits"),
        sentences=rows(text(), "how it came about, and why relays refused this node lately"),
        rows=rows(refer("ledger_row"), "who sent last first, a hundred at most"),
    ),
    "ledger_row": fields(
        "an account or a network with this relay; credits are in MiB, all else in bytes",
        peer=text("an account or peer, as a peer id is written, or a network"),
        kind=one_of("account", "network"),
        earned=number("credits that came to it here: what it used of them and what is left"),
        spent=number("credits that paid for what it sent"),
        balance=number("credits that are left, what is promised to open circuits taken off"),
        carried=count("for it, all together:"),
        on_credit=count("paid for with credit,"),
        on_free_tier=count("with its free tier,"),
        as_a_gift=count("and with neither, while nothing was asked in return"),
        signed=count("what it signed for"),
        unsigned=count("what it has not signed for yet"),
        free_left=perhaps(count(), "of its free tier; null: unlimited"),
        accepted=flag("would it get a circuit now?"),
        last_seen=perhaps(number(), "Unix time at which it sent last"),
        sentences=rows(text(), "why, with the numbers"),
    ),
    "traffic": fields(
        "what was relayed in one slice of time",
        at=number("Unix time at which the slice begins"),
        seconds=number("how long it is"),
        received=count("bytes received on relay sockets"),
        sent=count("bytes sent on relay sockets"),
        circuits=count("opened in it"),
        own_received=count("bytes received for the owner's own streams and look-ups"),
        own_sent=count("bytes sent for them"),
    ),
    "setting": fields(
        "one setting",
        value=VALUE,
        default=VALUE,
        source=text("where the value comes from"),
        allowed=text("what may stand there"),
        meaning=text(),
        in_effect=flag("does this version act on it?"),
        kind=one_of(
            *("switch", "choice", "count", "size", "rate", "time", "list", "schedule", "listen", "path"),
            means="what form the value has",
        ),
        words=rows(text(), "words that may stand there: all of a choice's; of another, those beside its form"),
        defaults={**fields(client=VALUE, cooperative=VALUE, dedicated=VALUE), "description": "its default by mode"},
        restart=flag("does a change wait for the next start?"),
    ),
    "closed": fields("whether a circuit was ended", closed=flag("false: there is none of that id")),
    "schedule": fields(
        "the relay's week",
        rules=rows(text(), "as in relay.schedule; empty: always open"),
        week=rows(
            rows(text("`open`, `off`, a mode or a rate")),
            "seven days of 24 hours, Monday and midnight first, local time",
        ),
    ),
    "diagnosis": fields(
        "what is wrong, and how to mend it",
        data=text("the node's directory"),
        counts=fields("how many findings of each level", ok=count(), warning=count(), problem=count()),
        findings=rows(
            fields(
                "",
                {
                    "settings": refer("changes"),
                    "check": flag("does `POST /v1/check` say more?"),
                },
                subject=text("what was looked at"),
                level=one_of("ok", "warning", "problem"),
                what=text("what was found"),
                advice=text("what to do about it; empty when all is well"),
            )
        ),
    ),
    "values": {
        **values_by_key("settings by key"),
        "propertyNames": {"enum": list(KEYS)},
    },
    "changes": {
        "type": "object",
        "description": "settings by key; null gives one back to its default",
        "additionalProperties": {**VALUE, "anyOf": [*VALUE["anyOf"], {"type": "null"}]},
        "propertyNames": {"enum": list(KEYS)},
    },
    "changed": fields(
        "what became of a change",
        applied=rows(text(), "keys in effect from now on"),
        at_next_start=rows(text(), "keys that are kept and take effect when the node is started again"),
        overridden=OVERRIDDEN,
    ),
    "event": fields(
        "something that happened; facts by name beside these",
        id=count("grows; what Last-Event-ID names"),
        at=number("Unix time"),
        kind=text("a stable word"),
        sentence=text("for people"),
    ),
}
