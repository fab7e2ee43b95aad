"""What the owner does and looks up by hand, beyond settings: end a circuit, keep a peer out, read the log, find what is
wrong. Belongs to a started Node, on its loop.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from towpath.addresses import peer_id_to_bytes, peer_id_to_text
from towpath.circuit_changes import CircuitChanges
from towpath.errors import TowpathError

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath.node import Node

__all__ = ["LOG_MAX", "ByHand"]

LOG_MAX: Final = 1_000
"""Events that are given out at once."""
_DENY: Final = "relay.deny"


class ByHand:
    """The owner's hand on `node`, whose relay is at `relay` and whose files are in `data`."""

    def __init__(self, node: Node, relay: Endpoint, data: Path | None) -> None:
        self._node = node
        self._relay = relay
        self._data = data
        self._diagnosing = asyncio.Lock()
        self._changes = CircuitChanges(relay)

    def circuit_changes(self, run: int, after: int) -> dict[str, Any]:
        """What is new and what changed among open circuits: see CircuitChanges."""
        return self._changes.since(run, after, self._node.relay_id)

    def end_circuit(self, number: int) -> bool:
        """Ends the circuit of this id, for both of its peers; False when there is none."""
        found = None if self._relay.relay is None else self._relay.relay.circuits.get(number)
        if found is None:
            return False
        found.close()
        return True

    async def block(self, peer: str, *, source: str) -> dict[str, Any]:
        """Keeps a peer out from now on: it goes into `relay.deny`, and what it has here ends.

        Answer as of Node.change_settings. AddressError for what is no peer id, SettingsError when it cannot be kept.
        """
        peer_id = peer_id_to_bytes(peer)
        name, denied = peer_id_to_text(peer_id), list(self._node.settings.relay.deny)
        changes = {_DENY: denied if name in denied else [*denied, name]}
        became = await self._node.change_settings(changes, source=source, persist=True)
        relay = self._relay.relay
        if relay is not None:
            for circuit in [c for c in list(relay.circuits.values()) if peer_id in (c.dialer_id, c.target_id)]:
                circuit.close()
            relay.withdraw(peer_id)
        return became

    async def log(self, limit: int) -> list[dict[str, Any]]:
        """The last events, at most `limit` and LOG_MAX, oldest first; those of earlier runs too."""
        return await self._node.store.events(min(limit, LOG_MAX))

    async def diagnose(self) -> dict[str, Any]:
        """What `towpath doctor` finds: `data`, `counts` by level, and `findings`. TowpathError without a directory.

        Looks for a second or so in a thread; one at a time.
        """
        data = self._data
        if data is None:
            raise TowpathError("this node keeps nothing in a directory, so there is nothing to look at")
        from towpath.host.diagnosis import Running, diagnose
        from towpath.host.diagnosis.finding import LEVELS
        from towpath.host.diagnosis.service import check_service

        running = Running(os.getpid(), tuple(self._node.listen_addresses), self._node.settings)
        async with self._diagnosing:
            found = await asyncio.to_thread(lambda: [*check_service(), *diagnose(data, running)])
        counts = Counter(finding.level for finding in found)
        return {
            "data": str(data),
            "counts": {level: counts[level] for level in LEVELS},
            "findings": [asdict(finding) for finding in found],
        }
