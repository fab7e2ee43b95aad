"""Allowance: the quota of a running relay, kept in the store. Owned by the relay's service, on its loop.

The service charges what the sockets moved, a few times a second, and hands what is left to the native budget in the
same turn of the loop: at `left` circuits are reset, at `granted_left` sockets only wait for the next slice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from towpath.log import get_logger
from towpath.relay.clock import Clock, read_clock
from towpath.relay.quota import Quota
from towpath.store import Store

__all__ = ["Allowance"]

STATE_KEY: Final = "relay.quota"
_log = get_logger("quota")


class Allowance:
    """`limits` as Quota has them; `changed` is called when what may be used has changed by other than use."""

    def __init__(
        self,
        store: Store,
        limits: Mapping[str, int | None],
        changed: Callable[[], None],
        *,
        clock: Callable[[], Clock] = read_clock,
    ) -> None:
        self._store = store
        self._changed = changed
        self._clock = clock
        self._quota = Quota(limits, store.get(STATE_KEY), clock())
        self._saving: asyncio.Task[None] | None = None
        self._refused = False
        self._closed = False

    async def start(self) -> None:
        """Returns when the first slice may be used."""
        self._grant()
        if self._saving is not None:
            await self._saving

    async def close(self) -> None:
        """Returns the unused part of the slice; after the last `charge`."""
        if self._closed:
            return
        self._closed = True
        if self._saving is not None:
            await self._saving
        await self._store.save(STATE_KEY, self._quota.closing())

    # --- use -----------------------------------------------------------------------------------

    def charge(self, received: int, sent: int) -> None:
        """Counts bytes that the relay's sockets received and sent since the last call; often while bytes move."""
        self._quota.charge(received, sent, self._clock())
        self._grant()

    def expect(self, bytes_per_second: float) -> None:
        """Says how fast use goes on, so that slices are large enough."""
        self._quota.expect(bytes_per_second)

    def left(self) -> tuple[int | None, int | None]:
        """Bytes that the limits let be received and sent from now on (None is unlimited): for Budget.set_allowance."""
        return self._quota.left()

    def granted_left(self) -> tuple[int | None, int | None]:
        """Bytes of it that may be moved now, for Budget.set_granted: what comes after waits for `changed`."""
        return self._quota.granted_left()

    @property
    def low(self) -> bool:
        """Is less than a tenth left of any limit?"""
        return self._quota.low

    def exhausted_for(self) -> float | None:
        """Seconds until no limit is used up any more; None when none is now."""
        self._quota.advance(self._clock())
        return self._quota.exhausted_for()

    def rows(self) -> list[dict[str, Any]]:
        """Rows {period, limit (None: unlimited), used, resets_at} for hour, day and month."""
        return self._quota.rows(self._clock())

    def set_limits(self, limits: Mapping[str, int | None]) -> None:
        """Other limits from now on; `changed` is called at once, and again when a slice was granted."""
        self._quota.advance(self._clock())
        self._quota.set_limits(limits)
        self._grant()
        self._changed()

    # --- slices --------------------------------------------------------------------------------

    def _grant(self) -> None:
        if self._saving is None and not self._closed:
            state = self._quota.wanted()
            if state is not None:
                self._saving = asyncio.get_running_loop().create_task(self._save(state))

    async def _save(self, state: dict[str, Any]) -> None:
        try:
            while True:
                safe = await self._store.save(STATE_KEY, state, durable=self._quota.limited)
                self._tell(safe)
                # A disk that refuses to write does not stop the relay: it goes on by what is in memory.
                self._quota.granted(state)
                if self._closed:
                    return
                self._changed()
                again = self._quota.wanted()
                if again is None:
                    return
                state = again
        finally:
            self._saving = None

    def _tell(self, safe: bool) -> None:
        if self._refused == safe:
            self._refused = not safe
            if safe:
                _log.info("quota.kept", note="what is used of the quota is written to disk again")
            else:
                _log.warning(
                    "quota.not_kept",
                    note="the disk cannot be written: the quota holds, but its use is forgotten if this process dies",
                )
