"""The client's end of control streams: opened to relays that list the protocol, before the first request goes there.

It remembers what each relay said until its stream ends: why it refused, what it has left, whether it moves out.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from towpath._native import appstream
from towpath.relaystream import ACCOUNTS, PROTOCOL
from towpath.relaystream.answering import CAN
from towpath.relaystream.asking import Asking, LookUpFailed
from towpath.relaystream.framing import frame
from towpath.relaystream.messages import (
    Allowance,
    Challenge,
    Countersigned,
    Due,
    Found,
    Hello,
    Known,
    Message,
    Moving,
    Refused,
    Settled,
    Standing,
    Staying,
    Taken,
    encode,
)
from towpath.relaystream.reasons import Request, moving_sentence, refusal_sentence
from towpath.relaystream.stream import ControlStream

if TYPE_CHECKING:
    from towpath._native.appstream import AppStream
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.credits.paying import Paying, Stub

__all__ = ["ClientSide", "Leaving"]

_FROM_RELAY: Final = (256.0, 16.0)
"""Messages that a relay may send: at once, and each second from then on."""
_REFUSALS: Final = 16
"""Refusals that are remembered, until they are asked for."""
_FRESH_S: Final = 10.0
"""How long a refusal may lie before its status comes."""
_LOOK_S: Final = 30.0
_WAIT_S: Final = 0.2
_SHOWN_S: Final = 1.5
"""What a relay gets to know our account before we ask it for a circuit."""
_T = TypeVar("_T")
_GREETING_S: Final = 3.0
_ANSWER_S: Final = 10.0


class Leaving(NamedTuple):
    """A relay moves out. Times are monotonic; None: not known."""

    moving: Moving
    told_at: float

    @property
    def at(self) -> float | None:
        """When it ends what is open."""
        return None if self.moving.after is None else self.told_at + self.moving.after

    @property
    def again_at(self) -> float | None:
        """When it takes reservations again."""
        return None if self.moving.again is None else self.told_at + self.moving.again

    def sentence(self, now: float) -> str:
        """What it said, with the times that are left."""
        passed = int(now - self.told_at)
        after, again = (None if s is None else max(0, s - passed) for s in (self.moving.after, self.moving.again))
        return moving_sentence(Moving(code=self.moving.code, after=after, again=again))


class _Seat(ControlStream):
    """Our stream to one relay, and what was said on it."""

    __slots__ = ("allowance", "asking", "greeted", "leaving", "refusals", "settling", "standing", "stub")

    def __init__(self, native: AppStream, owner: ClientSide) -> None:
        self.allowance: Allowance | None = None
        self.asking = Asking(lambda message: self.send(frame(encode(message))))
        self.greeted = asyncio.Event()
        """It greeted, or the stream is over."""
        self.leaving: Leaving | None = None
        self.refusals: deque[tuple[float, Refused]] = deque(maxlen=_REFUSALS)
        self.settling = False
        self.standing: Standing | None = None
        self.stub: Stub | None = None
        super().__init__(native, owner, burst=_FROM_RELAY[0], per_s=_FROM_RELAY[1])


class ClientSide:
    """The control streams that one endpoint has at relays; with `paying` our account is shown and signs there."""

    def __init__(self, endpoint: Endpoint, paying: Paying | None = None) -> None:
        self.paying = paying
        self._endpoint = endpoint
        self._seats: dict[bytes, _Seat] = {}
        self._watchers: dict[bytes, list[Callable[[Leaving | None], None]]] = {}
        self._looking: asyncio.TimerHandle | None = None

    def attach(self, session: Session) -> None:
        """Opens the stream at a relay that lists it, unless there is one: what is asked there next is explained on it.

        What the relay lists is known once its identify has come, which a request that was answered comes behind.
        """
        seat = self._seats.get(session.peer_id)
        if session.via or session.closed or PROTOCOL not in (session.protocols or ()):
            return
        if seat is not None:
            if seat.session is session:
                return
            seat.end("another connection took its place")
        opened = appstream.open_stream(session, PROTOCOL)
        if opened is None:
            return
        native, selected = opened
        seat = _Seat(native, self)
        if self.paying is not None and not seat.over:
            seat.stub = self.paying.came(seat, self._endpoint)
        self._seats[session.peer_id] = seat
        selected.add_done_callback(functools.partial(_selected, seat))
        if self._looking is None:
            self._look_later()

    def leave(self, session: Session) -> None:
        """Closes the stream of a connection that nothing else needs: neither reservation nor any stream."""
        seat = self._seats.get(session.peer_id)
        if seat is not None and seat.session is session and session.pins == 0 and session.stream_count <= 1:
            if seat.asking.waiting:
                return
            if self.paying is not None and seat.stub is not None and not seat.settling and self.paying.owes(seat.stub):
                # The rest is signed first; whoever does not ask for it in time goes without.
                seat.settling = True
                self.paying.leave(seat.stub)
                return
            seat.end("not needed any more")

    def reason(self, session: Session, request: Request, target: bytes | None = None) -> str | None:
        """Why the relay just refused, in a sentence with advice; None when it did not say. To be asked once."""
        seat = self._seats.get(session.peer_id)
        if seat is None:
            return None
        now = time.monotonic()
        for at, refused in seat.refusals:
            if (refused.request, refused.target) == (request, target) and now - at < _FRESH_S:
                seat.refusals.remove((at, refused))
                return refusal_sentence(refused)
        return None if seat.leaving is None else _with_advice(seat.leaving)

    async def why_not(self, session: Session) -> str | None:
        """Why a relay offers nothing now, with advice; None when it does not say. Waits 200 ms at most."""
        self.attach(session)
        relay_id = session.peer_id
        if relay_id in self._seats and self.leaving(relay_id) is None:
            told = asyncio.Event()

            def hear(_: Leaving | None) -> None:
                told.set()

            self.watch(relay_id, hear)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_WAIT_S):
                        await told.wait()
            finally:
                self.unwatch(relay_id, hear)
        leaving = self.leaving(relay_id)
        return None if leaving is None else _with_advice(leaving)

    async def shown(self, session: Session) -> None:
        """Returns when the relay knows our account, as far as it is to know it; after 1.5 s at most."""
        seat = self._seats.get(session.peer_id)
        if seat is None or seat.session is not session or seat.stub is None or seat.stub.known.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SHOWN_S):
                await seat.greeted.wait()
                if seat.hello is not None and ACCOUNTS in seat.hello.can:
                    await seat.stub.known.wait()

    @property
    def relays(self) -> list[bytes]:
        """Relays at which there is a stream."""
        return list(self._seats)

    def standing(self, relay_id: bytes) -> Standing | None:
        """How our account stands at this relay, as far as it said."""
        seat = self._seats.get(relay_id)
        return None if seat is None else seat.standing

    async def look_up_peer(self, session: Session, peer_id: bytes) -> list[bytes]:
        """What this relay knows of where a peer is to be met: raw records, of which nothing is checked.

        LookUpFailed when it does not answer look-ups, or not now.
        """
        return await self._ask(session, lambda asking: asking.peer(peer_id))

    async def look_up_relays(self, session: Session, most: int) -> list[bytes]:
        """Advertisements of some relays that this relay knows of, raw and not checked. LookUpFailed as above."""
        return await self._ask(session, lambda asking: asking.relays(most))

    async def look_up_receipts(self, session: Session, payer: bytes, day: int) -> list[bytes]:
        """The receipts that this relay's node shows for an account's digest, raw and not checked. LookUpFailed."""
        return await self._ask(session, lambda asking: asking.receipts(payer, day))

    async def hand_over(self, session: Session, raw: bytes) -> None:
        """Gives our own record to a relay that holds our reservation; LookUpFailed when it does not take it."""
        await self._ask(session, lambda asking: asking.hand_over(raw))

    async def _ask(self, session: Session, question: Callable[[Asking], Awaitable[_T]]) -> _T:
        self.attach(session)
        seat = self._seats.get(session.peer_id)
        if seat is None or seat.session is not session:
            raise LookUpFailed(None, "it has no control stream")
        try:
            async with asyncio.timeout(_GREETING_S):
                await seat.greeted.wait()
            if seat.hello is None or CAN not in seat.hello.can:
                raise LookUpFailed(None, "it answers no look-ups")
            async with asyncio.timeout(_ANSWER_S):
                return await question(seat.asking)
        except TimeoutError as error:
            raise LookUpFailed(None, "it does not answer") from error

    def leaving(self, relay_id: bytes) -> Leaving | None:
        """Does this relay move out, as far as it said?"""
        seat = self._seats.get(relay_id)
        return None if seat is None else seat.leaving

    def allowance(self, relay_id: bytes) -> Allowance | None:
        """What this relay said that it has left."""
        seat = self._seats.get(relay_id)
        return None if seat is None else seat.allowance

    def watch(self, relay_id: bytes, told: Callable[[Leaving | None], None]) -> None:
        """Calls `told` whenever the relay says that it moves out, or (None) that it stays after all."""
        self._watchers.setdefault(relay_id, []).append(told)

    def unwatch(self, relay_id: bytes, told: Callable[[Leaving | None], None]) -> None:
        """Ends `watch`."""
        watchers = self._watchers.get(relay_id, [])
        if told in watchers:
            watchers.remove(told)
        if not watchers:
            self._watchers.pop(relay_id, None)

    def heard(self, stream: ControlStream, message: Message) -> None:
        """A relay said something; see stream.Owner."""
        seat = self._seats.get(stream.session.peer_id)
        if seat is not stream:
            return
        if isinstance(message, Hello):
            seat.greeted.set()
        elif isinstance(message, (Found, Taken)):
            seat.asking.heard(message)
        elif isinstance(message, Refused):
            seat.refusals.append((time.monotonic(), message))
            if self.paying is not None:
                self.paying.on_refused(stream.session.peer_id, message)
        elif isinstance(message, Allowance):
            seat.allowance = message
        elif isinstance(message, Standing):
            seat.standing = message
        elif isinstance(message, (Challenge, Known, Due, Countersigned)):
            if self.paying is not None and seat.stub is not None:
                self.paying.heard(seat.stub, message)
        elif isinstance(message, Settled):
            self._settled(seat)
        elif isinstance(message, (Moving, Staying)):
            seat.leaving = Leaving(message, time.monotonic()) if isinstance(message, Moving) else None
            self._tell(stream.session.peer_id, seat.leaving)

    def _settled(self, seat: _Seat) -> None:
        if self.paying is not None and seat.stub is not None:
            self.paying.settled(seat.stub)
            if seat.settling:
                self.leave(seat.session)

    def _tell(self, relay_id: bytes, leaving: Leaving | None) -> None:
        for told in list(self._watchers.get(relay_id, ())):
            told(leaving)

    def ended(self, stream: ControlStream, why: str) -> None:
        """A stream is over; see stream.Owner."""
        relay_id = stream.session.peer_id
        if isinstance(stream, _Seat):
            stream.greeted.set()
            stream.asking.ended(why)
            if self.paying is not None and stream.stub is not None:
                self.paying.ended(stream.stub)
        if isinstance(stream, _Seat) and self._seats.get(relay_id) is stream:
            del self._seats[relay_id]
            if stream.leaving is not None and not stream.session.closed:
                # A relay that ends the stream after it said that it moves out has done so.
                gone = Moving(code=stream.leaving.moving.code, after=0, again=stream.leaving.moving.again)
                self._tell(relay_id, Leaving(gone, stream.leaving.told_at))
        if not self._seats and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        # A stream keeps its connection open; without a purpose the connection shall end.
        self._looking = None
        for seat in list(self._seats.values()):
            self.leave(seat.session)
        if self._seats:
            self._look_later()


def _with_advice(leaving: Leaving) -> str:
    return f"{leaving.sentence(time.monotonic())}; use another relay"


def _selected(seat: _Seat, selected: asyncio.Future[bool | None]) -> None:
    if selected.cancelled() or not selected.result():
        seat.end("the relay does not take it")
    else:
        seat.listen()
