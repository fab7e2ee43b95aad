"""What the sources of this machine share: a property on D-Bus where there is one, else a look now and then.

What is missing is said once, by one log line; after a failure D-Bus is tried again every RETRY_S.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from towpath.host.bus import Property, follow, system_bus
from towpath.host.sources import Verdict
from towpath.log import get_logger

__all__ = ["LOOK_S", "RETRY_S", "WatchedSource"]

LOOK_S: Final = 20.0
RETRY_S: Final = 300.0
_log = get_logger("host")


class WatchedSource:
    """A source that reads `property` on D-Bus at `address`, and looks for itself while that is not to be had.

    Subclasses say what a value means (`judge`), what they see without D-Bus (`look`, in a thread; None: nothing can be
    seen) and what holds while nothing is known (`unknown`).
    """

    name = ""
    property: Property
    unknown: Verdict
    instead = ""
    """What is done without D-Bus, as a clause."""

    def __init__(self, address: str | None = None, *, look_s: float = LOOK_S, retry_s: float = RETRY_S) -> None:
        self._address = address
        self._look_s = look_s
        self._retry_s = retry_s
        self._verdict = self.unknown
        self._changed: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._said = False

    def judge(self, value: Any) -> Verdict:
        """What a value of the property means."""
        raise NotImplementedError

    def look(self) -> Verdict | None:
        """What can be seen without D-Bus."""
        return None

    def verdict(self) -> Verdict:
        """See Source."""
        return self._verdict

    async def start(self, changed: Callable[[], None]) -> None:
        """See Source."""
        self._changed = changed
        self._task = asyncio.create_task(self._watch(), name=f"watching {self.name}")

    async def stop(self) -> None:
        """See Source."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            address = self._address or system_bus()
            why = "this machine has no D-Bus"
            if address is not None:
                why = await follow(address, self.property, self._heard)
            until = loop.time() + self._retry_s
            while loop.time() < until:
                seen = await asyncio.to_thread(self.look)
                self._say(why, seen)
                self._set(self.unknown if seen is None else seen)
                await asyncio.sleep(self._look_s if seen is not None else until - loop.time())

    def _heard(self, value: Any) -> None:
        self._set(self.unknown if value is None else self.judge(value))

    def _set(self, verdict: Verdict) -> None:
        if verdict != self._verdict:
            self._verdict = verdict
            self._changed()

    def _say(self, why: str, seen: Verdict | None) -> None:
        if not self._said:
            self._said = True
            note = self.unknown.why if seen is None else self.instead
            _log.info("source_missing", source=self.name, why=why, note=note)
