"""How many circuits of ours, of the last seven days, went through relays of which source. Kept in the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from towpath.discovery.candidates import SOURCES

if TYPE_CHECKING:
    from towpath.store import Store

__all__ = ["DAYS", "Sources"]

DAYS: Final = 7
_KEY: Final = "reputation.circuits_by_source"
_DAY_S: Final = 86400


class Sources:
    """See the module."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._days: dict[int, dict[str, int]] = {}
        kept = store.get(_KEY)
        for row in kept if isinstance(kept, list) else []:
            match row:
                case [int(day), dict(counts)] if all(isinstance(n, int) and n >= 0 for n in counts.values()):
                    self._days[day] = {source: n for source, n in counts.items() if source in SOURCES}

    def count(self, source: str) -> None:
        """A circuit was made through a relay of this source."""
        today = int(self._clock()) // _DAY_S
        counts = self._days.setdefault(today, {})
        counts[source] = counts.get(source, 0) + 1
        self._days = {day: counts for day, counts in self._days.items() if today - DAYS < day <= today}
        self._store.put(_KEY, [[day, counts] for day, counts in sorted(self._days.items())])

    def made(self) -> dict[str, int]:
        """Circuits by source."""
        today = int(self._clock()) // _DAY_S
        sums: dict[str, int] = {}
        for day, counts in self._days.items():
            if today - DAYS < day <= today:
                for source, number in counts.items():
                    sums[source] = sums.get(source, 0) + number
        return sums
