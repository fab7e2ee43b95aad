"""A reservation that is kept: refreshed before it expires, asked for anew when the relay or the way to it is lost.

A relay may say that it moves out (`/towpath/relay/1`): then nobody new is sent there, and what is held ends with it.
"""

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
from towpath.relaystream.reasons import allowance_sentences
from towpath.waiting import doubled, spread

if TYPE_CHECKING:
    from towpath._native.messages import Message
    from towpath._native.session import Session
    from towpath.relaystream.client import ClientSide, Leaving

__all__ = ["HeldReservation", "back_off", "lives_until", "refresh_after", "rest"]

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0
_ASK_S: Final = 30.0
_CLOCKS_DIFFER_S: Final = 60.0
_LONGEST_TTL_S: Final = 86400.0
_LONGEST_REST_S: Final = 3600.0
_log = get_logger("client")


def refresh_after(ttl_s: float) -> float:
    """Seconds after which to refresh a reservation that lives `ttl_s` longer.

    At three quarters of it; of a long one, at the latest 2 min before its end. One that ended before it was granted
    comes from a relay whose clock is not ours: after a minute.
    """
    if ttl_s <= 0:
        return _CLOCKS_DIFFER_S
    return max(0.5, min(ttl_s * 0.75, ttl_s - 120.0) if ttl_s > 480.0 else ttl_s * 0.75)


def lives_until(told: float, now: float) -> float:
    """When a reservation ends that the relay says to end at `told` (both Unix time): a day is believed, not more."""
    return min(told, now + _LONGEST_TTL_S)


def rest(away_s: float | None, jitter: float) -> float:
    """Seconds to wait for a relay that moved out before it is asked again.

    `away_s` is what it said (None: nothing); an hour of it is believed. `jitter` in 0…1 keeps clients from coming all
    at once.
    """
    if away_s is None:
        return jitter * _FIRST_WAIT_S
    wait = min(max(0.0, away_s), _LONGEST_REST_S)
    return wait + jitter * max(_FIRST_WAIT_S, 0.05 * wait)


def back_off(failures: int, jitter: float) -> float:
    """Seconds to wait after this many failures in a row (≥ 1); `jitter` in 0…1 spreads clients over half of it."""
    return spread(doubled(_FIRST_WAIT_S, _LONGEST_WAIT_S, failures - 1), jitter)


class HeldReservation:
    """One relay that we are reachable through.

    `state` is `connecting`, `active`, `leaving` (the relay moves out: what is open goes on, nobody new is sent there),
    `lost` or `released`. With `control` it hears what the relay says of itself; `changed` is called behind each change
    of its state.
    """

    def __init__(
        self,
        relay_id: bytes,
        relay_address: str,
        connect: Callable[[], Awaitable[Session]],
        keep: bool,
        control: ClientSide | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.relay_id: Final = peer_id_to_text(relay_id)
        self.relay_address = relay_address
        self.since = time.monotonic()
        """When it came to its state."""
        self._state = "connecting"
        self._state_changed = changed
        self.expires_at = 0.0
        """Unix time."""
        self.voucher: bytes | None = None
        self.addresses: list[str] = []
        """Where the relay says it is reachable."""
        self.limit: tuple[int | None, int | None] | None = None
        """Seconds and bytes each way that a circuit may last here; None: unlimited."""
        self.failures = 0
        self.failure = ""
        """Why it failed last, in a sentence."""
        self.session: Session | None = None
        self._id = relay_id
        self._connect = connect
        self._keep = keep
        self._control = control
        self._leaving: Leaving | None = None
        self._changed = asyncio.Event()
        self._back = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """See the class."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if state != self._state:
            self._state, self.since = state, time.monotonic()
            self._state_changed()

    async def start(self) -> None:
        """Reserves once, and from then on keeps it. Raises when the first time fails."""
        if self._control is not None:
            self._control.watch(self._id, self._told)
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
        if self._control is not None:
            self._control.unwatch(self._id, self._told)
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
        finally:
            self._task = None
            self._let_go()
            if session is not None:
                if self._control is not None:
                    self._control.leave(session)
                if session.pins == 0 and session.stream_count == 0:
                    session.close()

    def session_ended(self, session: Session) -> None:
        """Tells it that a connection closed."""
        if session is self.session:
            self._changed.set()

    def reasons(self) -> list[str]:
        """Clauses that say how it stands, the most important first; times are the reader's local ones."""
        if self.state in ("active", "leaving"):
            told = [f"reserved until {time.strftime('%H:%M:%S', time.localtime(self.expires_at))}"]
            if self._leaving is not None and self.state == "leaving":
                told.insert(0, self._leaving.sentence(time.monotonic()))
        else:
            told = [f"{self.state}; {self.failures} failures in a row"]
            if self.failure:
                told.append(self.failure)
        allowance = None if self._control is None else self._control.allowance(self._id)
        return told if allowance is None else [*told, *allowance_sentences(allowance)]

    def _told(self, leaving: Leaving | None) -> None:
        # By the relay, on the control stream.
        self._leaving = leaving
        if leaving is not None and self.state == "active":
            self.state = "leaving"
            _log.info("relay_moves_out", relay=self.relay_id, why=leaving.sentence(time.monotonic()))
        elif leaving is None:
            if self.state == "leaving":
                self.state = "active"
            self._back.set()
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
        answer = await request_reservation(session, self._control)
        if self.state != "released":
            self._take(answer)
        return session

    def _take(self, answer: Message) -> None:
        now = time.time()
        self.expires_at = lives_until(float(answer.expires_at or now + 60), now)
        self.voucher = answer.voucher
        self.addresses = []
        for address in answer.addresses:
            with contextlib.suppress(AddressError):
                self.addresses.append(to_text(address))
        told = (answer.limit_s, answer.limit_data)
        self.limit = told if any(told) else None
        self.failures = 0
        self.failure = ""
        leaving = None if self._control is None else self._control.leaving(self._id)
        if leaving is not None and leaving.at is not None and leaving.at <= time.monotonic():
            leaving = None  # it had gone, and takes us again
        self._leaving = leaving
        self.state = "active" if leaving is None else "leaving"

    async def _hold(self, session: Session) -> None:
        # Without keeping: until it expires.
        await self._wait(session, time.monotonic() + self.expires_at - time.time())
        self.state = "lost"
        self._let_go()

    async def _keep_up(self, session: Session) -> None:
        while True:
            refresh_at = time.monotonic() + refresh_after(self.expires_at - time.time())
            if not await self._wait(session, refresh_at):
                _log.info("reservation_lost", relay=self.relay_id)
                self.state = "lost"
                self._let_go()
                await self._rest()
            session = await self._reserve_again()

    async def _rest(self) -> None:
        # As long as the relay said that it is away, or until it says that it is back.
        now = time.monotonic()
        again_at = None if self._leaving is None else self._leaving.again_at
        self._back.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest(None if again_at is None else again_at - now, random.random())):
                await self._back.wait()

    async def _reserve_again(self) -> Session:
        while True:
            try:
                async with deadline(_ASK_S, "reserving"):
                    return await self._reserve()
            except (TowpathError, OSError) as error:
                self.failures += 1
                self.failure = str(error)
                self.state = "lost"
                self._let_go()
                wait = back_off(self.failures, random.random())
                _log.info("reservation_failed", relay=self.relay_id, error=str(error), next_try_s=round(wait, 1))
                await asyncio.sleep(wait)

    async def _wait(self, session: Session, until: float) -> bool:
        # Until then (monotonic), or (False) until it is gone: the connection closed, or the relay moved out.
        while not session.closed:
            departs_at = None if self._leaving is None else self._leaving.at
            now = time.monotonic()
            if departs_at is not None and departs_at <= now:
                return False
            left = min(until, departs_at or until) - now
            if left <= 0:
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
            self._changed.clear()
        return False
