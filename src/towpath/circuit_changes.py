"""Open circuits for who looks at them all the time: a row when one is new, then no more than what changes.

With thousands open, rows in full are half a megabyte at each look; this is some tens of kilobytes, and a tenth of the
work.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from towpath.overview import circuit_row

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint

__all__ = ["RUN_MAX", "CircuitChanges"]

RUN_MAX: Final = 2**53 - 1
"""What JavaScript still tells from its neighbours."""


class CircuitChanges:
    """Of our relay at `relay`. Remembers nothing of those who ask."""

    def __init__(self, relay: Endpoint) -> None:
        self._endpoint = relay
        self._numbered: object = None
        self._run = 0

    def since(self, run: int, after: int, relay_id: str) -> dict[str, Any]:
        """`opened`: rows of circuits with a number above `after`; `open`: [number, bytes in, bytes out] of every one.

        `run` is as in the last answer, 0 at first: numbers begin anew when relaying does, and rows are then of all.
        """
        relay = self._endpoint.relay
        if self._run == 0 or relay is not self._numbered:
            self._numbered = relay
            self._run = 1 + secrets.randbelow(RUN_MAX)
        circuits = [] if relay is None else list(relay.circuits.values())
        known = after if run == self._run else 0
        return {
            "run": self._run,
            "opened": [circuit_row(c, relay_id, full=True) for c in circuits if c.id > known],
            "open": [(c.id, c.bytes_in, c.bytes_out) for c in circuits],
        }
