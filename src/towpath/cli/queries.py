"""Commands that ask the running node and print what it says: status, circuits, reservations, peers, relays."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from towpath.cli.options import Data, Full, Json
from towpath.cli.output import duration, print_json, print_table, quantity, truth
from towpath.cli.places import data_directory
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
    columns = _COLUMNS.get(name) or [k for k in (found[0] if found else {}) if k not in _NOT_SHOWN]
    print_table(found, columns, _NONE[name])


def status(*, data: Data = None, as_json: Json = False) -> None:
    """Show what the node is doing."""
    found: dict[str, Any] = ask(data_directory(data), "/v1/status")
    if as_json:
        print_json(found)
        return
    why = f" ({found['why']})" if found.get("why") else ""
    facts = [
        ("mode", found["mode"]),
        ("relaying", f"{found['state']}{why}"),
        ("up for", duration(found["uptime_s"])),
        ("peer id", found["peer_id"]),
        ("relay id", found["relay_id"]),
        *(("listens at", address) for address in found["addresses"]),
        ("circuits", f"{found['circuits_now']} now, {found['circuits_today']} today"),
        ("reservations", found["reservations_now"]),
        ("relayed", f"{quantity(found['bytes_relayed_today'])} today, {quantity(found['bytes_relayed_total'])} in all"),
        *((f"budget a {b['period']}", _budget(b)) for b in found["budget"]),
        *_client(found["client"]),
    ]
    for name, value in facts:
        print(f"{name:14}{value}")


def _client(client: dict[str, Any]) -> list[tuple[str, str]]:
    via = client.get("connected_via")
    if not via:
        return []
    hidden = truth(bool(client.get("ip_hidden")))
    return [("relays used", ", ".join(via) if isinstance(via, list) else str(via)), ("address hidden", hidden)]


def _budget(budget: dict[str, Any]) -> str:
    limit = budget["limit"]
    return f"{quantity(budget['used'])} of {'unlimited' if limit is None else quantity(limit)}"


def _short(value: Any) -> Any:
    return short_peer_id(value) if isinstance(value, str) else value
