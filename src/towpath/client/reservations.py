"""A reservation that is kept: refreshed before it expires, asked for anew when the relay or the way to it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from towpath._native.endpoint import pin_session
from towpath.addresses import peer_id_to_text, to_text
from towpath.client.dialing import deadline
from towpath.client.relaying import request_reservation
from towpath.errors import AddressError, TowpathError
from towpath.log import get_logger

if TYPE_CHECKING:
    from towpath._native.messages import Message
    from towpath._native.session import Session

__all__ = ["HeldReservation", "back_off", "refresh_after"]

PROBE_S: Final = 15.0
"""How often a relay is asked whether it is still there; silent from one time to the next, it is lost."""
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0
_ASK_S: Final = 30.0
_CLOCKS_DIFFER_S: Final = 60.0
_log = get_logger("client")


def refresh_after(ttl_s: float) -> float:
    """Seconds after which to refresh a reservation that lives `ttl_s` longer.

    At three quarters of it; of a long one, at the latest 2 min before its end. One that ended before it was granted
    comes from a relay whose clock is not ours: after a minute.
    """
    if ttl_s <= 0:
        return _CLOCKS_DIFFER_S
    return max(0.5, min(ttl_s * 0.75, ttl_s - 120.0) if ttl_s > 480.0 else ttl_s * 0.75)


def back_off(failures: int, jitter: float) -> float:
    """Seconds to wait after this many failures in a row (≥ 1); `jitter` in 0…1 spreads clients over half of it."""
    wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(failures - 1, 16))
    return wait * (0.5 + 0.5 * jitter)


class HeldReservation:
    """One relay that we are reachable through. `state` is `connecting`, `active`, `lost` or `released`."""

    def __init__(
        self, relay_id: bytes, relay_address: str, connect: Callable[[], Awaitable[Session]], keep: bool
    ) -> None:
        self.relay_id: Final = peer_id_to_text(relay_id)
        self.relay_address: Final = relay_address
        self.state = "connecting"
        self.expires_at = 0.0
        """Unix time."""
        self.voucher: bytes | None = None
        self.addresses: list[str] = []
        """Where the relay says it is reachable."""
        self.limit: tuple[int | None, int | None] | None = None
        """Seconds and bytes each way that a circuit may last here; None: unlimited."""
        self.failures = 0
        self.session: Session | None = None
        self._connect = connect
        self._keep = keep
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reserves once, and from then on keeps it. Raises when the first time fails."""
        session = await self._reserve()
        if self.state == "released":
            self._let_go()
            return
        work = self._keep_up(session) if self._keep else self._hold(session)
        self._task = asyncio.create_task(work, name=f"reservation {self.relay_id}")

    async def stop(self) -> None:
        """Gives it up. The relay notices when the connection closes, at once unless something else needs it."""
        self.state = "released"
        session = self.session
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
        finally:
            self._task = None
            self._let_go()
            if session is not None and session.pins == 0 and session.stream_count == 0:
                session.close()

    def session_ended(self, session: Session) -> None:
        """Tells it that a connection closed."""
        if session is self.session:
            self._changed.set()

    def _let_go(self) -> None:
        if self.session is not None:
            pin_session(self.session, -1)
            self.session = None

    async def _reserve(self) -> Session:
        session = await self._connect()
        if session is not self.session:
            self._let_go()
            pin_session(session, 1)
            self.session = session
        answer = await request_reservation(session)
        if self.state != "released":
            self._take(answer)
        return session

    def _take(self, answer: Message) -> None:
        self.expires_at = float(answer.expires_at or time.time() + 60)
        self.voucher = answer.voucher
        self.addresses = []
        for address in answer.addresses:
            with contextlib.suppress(AddressError):
                self.addresses.append(to_text(address))
        told = (answer.limit_s, answer.limit_data)
        self.limit = told if any(told) else None
        self.failures = 0
        self.state = "active"

    async def _hold(self, session: Session) -> None:
        # Without keeping: until it expires.
        await self._wait(session, self.expires_at - time.time())
        self.state = "lost"
        self._let_go()

    async def _keep_up(self, session: Session) -> None:
        while True:
            if not await self._wait(session, refresh_after(self.expires_at - time.time())):
                _log.info("reservation_lost", relay=self.relay_id)
                self.state = "lost"
                self._let_go()
                await asyncio.sleep(random.random() * _FIRST_WAIT_S)
            session = await self._reserve_again()

    async def _reserve_again(self) -> Session:
        while True:
            try:
                async with deadline(_ASK_S, "reserving"):
                    return await self._reserve()
            except (TowpathError, OSError) as error:
                self.failures += 1
                self.state = "lost"
                self._let_go()
                wait = back_off(self.failures, random.random())
                _log.info("reservation_failed", relay=self.relay_id, error=str(error), next_try_s=round(wait, 1))
                await asyncio.sleep(wait)

    async def _wait(self, session: Session, seconds: float) -> bool:
        # Until then, or (False) until the connection is gone: closed, or silent for a whole probe.
        until = time.monotonic() + seconds
        while not session.closed:
            left = until - time.monotonic()
            if left <= 0:
                return True
            session.ping()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, PROBE_S)):
                    await self._changed.wait()
            self._changed.clear()
            if left > PROBE_S and session.ping_pending:
                session.abort()
        return False
