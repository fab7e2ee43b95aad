"""Open files: as many as the connections that the settings allow."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path

from towpath.host.diagnosis.finding import Finding, Running, ok, warning
from towpath.settings import Settings

__all__ = ["check_limits", "judge_open_files"]


def check_limits(settings: Settings, running: Running | None) -> Iterator[Finding]:
    """The limit of the running node, else of one that would be started here: `run` takes as much as it may."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if running is not None:
        found = re.search(r"^Max open files\s+(\S+)", _read(Path(f"/proc/{running.pid}/limits")), re.MULTILINE)
        if found is not None:
            limit = int(found[1]) if found[1].isdecimal() else resource.RLIM_INFINITY
    yield judge_open_files(settings, None if limit == resource.RLIM_INFINITY else limit)


def judge_open_files(settings: Settings, limit: int | None) -> Finding:
    """May a node that can have `limit` (None: any number of) files open keep what its settings promise?"""
    room = settings.network.connection_limit(limit)
    relay = settings.relay
    # A reservation is a connection; a circuit brings at most one more.
    wanted = None
    if relay.max_reservations is not None and relay.max_circuits is not None:
        wanted = relay.max_reservations + relay.max_circuits
    shown = "any number of" if limit is None else f"{limit:,}"
    what = (
        f"{shown} files may be open, which is room for {'any number of' if room is None else f'{room:,}'} connections"
    )
    if relay.mode.relays and room is not None and (wanted is None or room < wanted):
        asked = "any number" if wanted is None else f"up to {wanted:,}"
        return warning(
            "limits",
            f"{what}; the settings promise {asked}",
            "raise LimitNOFILE in the service (`systemctl edit towpath`), or `nofile` in /etc/security/limits.conf; "
            "or lower relay.max_reservations and relay.max_circuits",
            settings=_fitting(relay.max_reservations, relay.max_circuits, room),
        )
    return ok("limits", what)


def _fitting(reservations: int | None, circuits: int | None, room: int) -> dict[str, object]:
    """Limits that `room` connections are enough for, in the proportion of these."""
    given = (1, 1) if reservations is None or circuits is None else (reservations, circuits)
    fewer = room * given[0] // sum(given)
    return {"relay.max_reservations": fewer, "relay.max_circuits": room - fewer}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
