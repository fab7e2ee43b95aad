"""Commands that ask the running node and print what it says: status, circuits, reservations, peers, relays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from towpath.cli.changing import position_in_words
from towpath.cli.options import Data, Full, Json
from towpath.cli.output import columns, duration, print_facts, print_json, print_table, quantity, several, truth
from towpath.cli.places import data_directory
from towpath.cli.reputation import in_words, independence
from towpath.cli.view import COUNTED, budget_lines, signs
from towpath.control.client import ask
from towpath.log import short_peer_id

__all__ = ["circuits", "peers", "relays", "reservations", "status"]

_COLUMNS: Final = {
    "circuits": ("id", "relay_id", "direction", "peer", "bytes_in", "bytes_out", "age_s"),
    "relays": ("relay_id", "source", "state", "score", "stars", "latency_ms", "load", "reasons"),
}
_NONE: Final = {
    "circuits": "No circuits are open.",
    "reservations": "Nobody holds a reservation here, and this node holds none.",
    "peers": "This node is connected to nobody.",
    "relays": "This node knows no relays.",
}
_IDS: Final = ("peer", "peer_id", "relay_id", "initiator", "target")
_NOT_SHOWN: Final = ("express",)


def circuits(*, data: Data = None, as_json: Json = False, full: Full = False) -> None:
    """List the circuits that are open."""
    _rows("circuits", data, as_json=as_json, full=full)


def reservations(*, data: Data = None, as_json: Json = False, full: Full = False) -> None:
    """List the reservations that peers hold here, and those this node holds."""
    _rows("reservations", data, as_json=as_json, full=full)


def peers(*, data: Data = None, as_json: Json = False, full: Full = False) -> None:
    """List the peers this node is connected to."""
    _rows("peers", data, as_json=as_json, full=full)


def relays(*, data: Data = None, as_json: Json = False, full: Full = False) -> None:
    """List the relays this node knows, and why it uses them or not."""
    _rows("relays", data, as_json=as_json, full=full)


def _rows(name: str, data: Path | None, *, as_json: bool, full: bool) -> None:
    # In JSON the ids of relays are never shortened: they are public, and other commands take them.
    found: list[dict[str, Any]] = ask(data_directory(data), f"/v1/{name}")
    if not full:
        kept = ("relay_id",) if as_json else ()
        found = [{k: _short(v) if k in _IDS and k not in kept else v for k, v in row.items()} for row in found]
    if as_json:
        print_json(found)
        return
    shown = _COLUMNS.get(name) or [k for k in (found[0] if found else {}) if k not in _NOT_SHOWN]
    # Reasons are clauses, with commas in them.
    told = [row | {"reasons": "; ".join(row["reasons"])} if "reasons" in row else row for row in found]
    print_table(told, shown, _NONE[name])


def status(*, data: Data = None, as_json: Json = False) -> None:
    """Show what the node is doing: whether it relays and why, today's numbers, and what is used of its limits.

    `towpath top` shows it live; `towpath mode`, `pause` and `limit` change it.
    """
    directory = data_directory(data)
    found: dict[str, Any] = ask(directory, "/v1/status")
    if as_json:
        print_json(found)
        return
    now = [several(found["circuits_now"], "circuit"), several(found["reservations_now"], "reservation")]
    today = [f"{quantity(found['bytes_relayed_today'])} relayed", several(found["circuits_today"], "circuit")]
    print_facts(
        [
            ("mode", found["mode"]),
            ("relay", position_in_words(found)),
            ("now", ", ".join(now)),
            ("today", ", ".join(today)),
            ("in all", f"{quantity(found['bytes_relayed_total'])} relayed"),
            ("up for", duration(found["uptime_s"])),
            *(("listens at", address) for address in found["addresses"]),
            *([("from outside", found["reachability_why"])] if found["addresses"] else []),
            ("reputation", in_words(found)),
            ("stands alone", independence(found)),
            *_client(found["client"]),
            ("credits", _credits(found["credits"])),
            ("peer id", found["peer_id"]),
            ("relay id", found["relay_id"]),
        ]
    )
    if found["budget"] and (found["mode"] != "client" or any(line["used"] for line in found["budget"])):
        print(f"\nUsed of the limits ({COUNTED}):")
        for line in budget_lines(found["budget"], columns(), signs(sys.stdout.encoding)):
            print(f"  {line}")


def _client(client: dict[str, Any]) -> list[tuple[str, str]]:
    via = client.get("connected_via")
    if not via:
        return []
    hidden = truth(bool(client.get("ip_hidden")))
    return [("relays used", ", ".join(via) if isinstance(via, list) else str(via)), ("address hidden", hidden)]


def _credits(credits: dict[str, Any]) -> str:
    told = f"{credits['earned']:g} earned, {credits['spent']:g} used, {credits['balance']:g} left"
    priority = credits.get("priority", {}).get("sentence")
    return f"{told}; {priority}" if priority else told


def _short(value: Any) -> Any:
    return short_peer_id(value) if isinstance(value, str) else value
