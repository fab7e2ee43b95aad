"""What every command prints with --json, as JSON Schema: docs/api.md is made of it, commands are tested by it."""

from __future__ import annotations

from typing import Final

from towpath.control import schemas
from towpath.control.schemas import (
    OVERRIDDEN,
    VALUE,
    Schema,
    count,
    fields,
    flag,
    number,
    one_of,
    perhaps,
    refer,
    rows,
    text,
    values_by_key,
)

__all__ = ["LINES", "ONCE", "SCHEMAS"]

_AT_START: Final = rows(text(), "keys that take effect when the node is started again")
_EVENT: Final = text("what happened")
_VIA: Final = perhaps(text(), "the id of the relay in between")

SCHEMAS: Final[dict[str, Schema]] = {
    **schemas.SCHEMAS,
    "origins": {
        "description": "settings by key, each with where it comes from",
        "type": "object",
        "additionalProperties": fields(value=VALUE, source=text()),
    },
    "written": fields(
        "what became of a change",
        values=values_by_key("the settings that were changed, by key"),
        running=flag("was a running node changed? Otherwise config.toml was"),
        applied=rows(text(), "keys in effect from now on"),
        at_next_start=_AT_START,
        overridden=OVERRIDDEN,
        now={"anyOf": [refer("position"), {"type": "null"}], "description": "where the running node stands now"},
    ),
    "limited": fields(
        "every limit of relaying",
        values=values_by_key("the limits, by key"),
        now={
            "anyOf": [refer("limits"), {"type": "null"}],
            "description": "what the running node says of them; null when none runs",
        },
    ),
    "snapshot": fields(
        "what `top` shows",
        status=refer("status"),
        limits=refer("limits"),
        traffic=rows(refer("traffic"), "of the last hour"),
        circuits=rows(refer("circuit")),
        events=rows(refer("event"), "the last ones"),
    ),
    "ids": fields("who a node is", peer_id=text(), relay_id=text()),
    "page": fields("where the page is", url=text("with the token: whoever has it can do everything with the node")),
    "exported": fields(
        "keys that were saved",
        {"peer_id": text(), "relay_id": text()},
        file=text(),
        sealed=flag("are they under a passphrase?"),
    ),
    "imported": fields(
        "keys that were brought in",
        {"peer_id": text(), "relay_id": text()},
        kept=rows(text(), "where the keys that were there before are now"),
    ),
    "installed": fields(
        "the service",
        unit=text("its file"),
        data=text("the node's directory"),
        changed=flag("was the unit written anew?"),
        started=flag(),
    ),
    "removed": fields(
        "the service", unit=text("its file"), data=perhaps(text(), "the directory, which stays"), removed=flag()
    ),
    "service": fields(
        "how the service does",
        installed=flag(),
        unit=perhaps(text(), "its file"),
        data=perhaps(text(), "the node's directory"),
        enabled=flag("does it start with the machine?"),
        active=text("what the service manager says"),
        pid=perhaps(count()),
        since=perhaps(text(), "when it came to that"),
        says=perhaps(text(), "what the node last said of itself"),
        restarts=count(),
        result=perhaps(text(), "how it ended, if it did"),
    ),
    "ready": fields(
        "the first line of `run`",
        event=one_of("ready"),
        peer_id=text(),
        relay_id=text(),
        listen=rows(text(), "multiaddrs with /p2p/ and the relay id"),
        api=text("the path of the control API's socket"),
        web=perhaps(text(), "the URL of the web page"),
        metrics=perhaps(text(), "the URL for Prometheus"),
        pid=count(),
    ),
    "shared": fields(
        "the first line of `share`",
        event=one_of("shared"),
        ticket=text("what `open` takes"),
        peer_id=text(),
        service=text("HOST:PORT"),
        relays=rows(text(), "multiaddrs of the relays it can be reached through"),
        expires_at=perhaps(number(), "Unix time"),
    ),
    "opened": fields("the first line of `open`", event=one_of("open"), listen=text("HOST:PORT")),
    "happened": fields("what happens later; facts by name beside", event=_EVENT),
    "simulated": fields(
        "what a scenario came to",
        scenario=text(),
        nodes=count("users that took part"),
        seed=count(),
        events=count("that were simulated"),
        seconds=number("that it took"),
        complete=flag("did it come to its end?"),
        parts=rows({"type": "object"}, "the worlds that it ran: `label`, `days`, `events`, and what was noted of each"),
        sentences=rows(text(), "what users felt"),
        figures=rows({"type": "object"}, "what was measured: `name`, `value`, `unit`, and its bounds, if it has any"),
        refusals={"type": "object", "description": "by part: how often relays refused, by reason"},
        files=rows(text(), "that were written"),
    ),
    "scenario": fields("what may be simulated", name=text("as it is written behind `simulate`"), about=text()),
    "attacked": fields(
        "what an attack came to",
        attack=text(),
        size=text("how large it was"),
        events=count("that were simulated"),
        holds=flag("was every bound kept?"),
        figures=rows({"type": "object"}, "what was measured, with its bounds"),
        naive=rows({"type": "object"}, "the same by a rule that one might take instead"),
        files=rows(text(), "that were written"),
    ),
    "pong": {
        "description": "one round trip, or why there was none",
        "anyOf": [fields(rtt_ms=number(), via=_VIA), fields(error=text("a sentence"), via=_VIA)],
    },
}

ONCE: Final[dict[str, str | tuple[str]]] = {
    "id": "ids",
    "id export": "exported",
    "id import": "imported",
    "config show": "values",
    "config show --origin": "origins",
    "config get": "values",
    "config set": "written",
    "config unset": "written",
    "service install": "installed",
    "service remove": "removed",
    "service status": "service",
    "web": "page",
    "doctor": "diagnosis",
    "status": "status",
    "check": "check",
    "top": "snapshot",
    "circuits": ("circuit",),
    "reservations": ("reservation",),
    "peers": ("peer",),
    "relays": ("relay",),
    "reputation": "reputation",
    "reputation PEER": "peer_reputation",
    "ledger": "ledger",
    "ledger PEER": "ledger_row",
    "mode": "position",
    "mode MODE": "written",
    "pause": "position",
    "resume": "position",
    "limit": "limited",
    "limit WHAT VALUE": "written",
    "schedule": "schedule",
    "schedule set": "written",
    "schedule clear": "written",
    "simulate": "simulated",
    "simulate --list": ("scenario",),
}
"""The schema of what a command prints; in parentheses: of each entry of the list that it prints."""

LINES: Final = {
    "run": ("ready", "happened"),
    "share": ("shared", "happened"),
    "open": ("opened", "happened"),
    "ping": ("pong", "pong"),
    "simulate attack NAME": ("attacked", "attacked"),
}
"""The schemas of the first line, and of the others, of commands that print one line after the other."""
