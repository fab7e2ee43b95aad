"""The relay's end of control streams: tells clients why they were refused, what is left, when the relay moves out.

One stream a peer, the newest; everything here is bounded by the number of connections. Nothing is done for peers
without one, so `refused` may be called for every refusal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from towpath.relaystream import ACCOUNTS, PROTOCOL
from towpath.relaystream.answering import CAN, Answering, Answers, Client
from towpath.relaystream.framing import Pace, frame
from towpath.relaystream.messages import (
    FROM_PAYER,
    Allowance,
    ControlProtocolError,
    HandOver,
    Hello,
    LookUpPeer,
    LookUpRelays,
    Message,
    Moving,
    Period,
    PeriodName,
    Refused,
    ShowReceipts,
    Standing,
    Staying,
    encode,
)
from towpath.relaystream.stream import ControlStream

if TYPE_CHECKING:
    from towpath._native.appstream import AppStream
    from towpath._native.endpoint import Endpoint
    from towpath.credits.billing import Billing, Tab
    from towpath.relaystream.reasons import Reason, Request

__all__ = ["Facts", "Quota", "RelaySide"]

_FROM_CLIENT: Final = (32.0, 4.0)
"""Messages that a client may send: at once, and each second from then on."""
_REFUSALS: Final = (32.0, 4.0)
"""Refusals that are explained to a client: at once, and each second from then on."""
_BATCH: Final = 16
"""Streams that are told something in one turn of the loop."""
_LOOK_S: Final = 15.0
_LOOK_AT: Final = 256
"""Streams that are looked at each time."""
_LONGEST_S: Final = 366 * 86400


class Quota(NamedTuple):
    """What one period allows, in bytes; `resets_at` in Unix time."""

    period: PeriodName
    limit: int
    left: int
    resets_at: float


class Facts(NamedTuple):
    """What a relay may still carry; `rate` in bytes per second, None without a limit."""

    quotas: tuple[Quota, ...] = ()
    rate: int | None = None


class _Seat(ControlStream):
    """A client's stream, and how far it is known."""

    __slots__ = ("client", "looked", "refusals", "tab")

    def __init__(self, native: AppStream, owner: RelaySide, can: tuple[str, ...]) -> None:
        super().__init__(native, owner, burst=_FROM_CLIENT[0], per_s=_FROM_CLIENT[1], can=can)
        self.client: Client | None = None
        self.tab: Tab | None = None
        self.refusals: Pace | None = None
        self.looked = False


class RelaySide:
    """Serves the control stream on an endpoint that relays, until `close`.

    `facts()` is asked what is left when a client comes and when `allowance` is called; it must answer at once.
    With `answers` it answers look-ups, and takes its clients' records, as `answers(IP address of who asks)` does; with
    `billing` clients may show their accounts.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        facts: Callable[[], Facts] = Facts,
        *,
        answers: Callable[[str], Answers] | None = None,
        billing: Billing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = endpoint
        self._facts = facts
        self._clock = clock
        self._answering = None if answers is None else Answering(answers)
        self._billing = billing
        words = {CAN: self._answering, ACCOUNTS: billing}
        self._can = tuple(word for word, served in words.items() if served is not None)
        self._seats: dict[bytes, _Seat] = {}
        self._told = Allowance()
        self._moving: tuple[int, float | None, float | None] | None = None
        self._telling: dict[str, asyncio.Handle] = {}
        self._to_look_at: list[bytes] = []
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False
        endpoint.set_handler(PROTOCOL, self._accept)

    def __len__(self) -> int:
        """How many clients have a stream."""
        return len(self._seats)

    # --- what the relay says -------------------------------------------------------------------

    def refused(
        self,
        peer_id: bytes,
        request: Request,
        code: Reason,
        have: int | None = None,
        limit: int | None = None,
        *,
        period: PeriodName | None = None,
        again_at: float | None = None,
        target: bytes | None = None,
    ) -> None:
        """Explains a refusal to a peer, if it listens. To be called before the status goes out.

        `again_at` is the Unix time at which asking again makes sense, `target` the peer that a circuit was wanted to;
        `have`, `limit` and `period` are what `code` says they are.
        """
        seat = self._seats.get(peer_id)
        if seat is None:
            return
        if seat.refusals is None:
            seat.refusals = Pace(*_REFUSALS)
        if seat.refusals.take(time.monotonic()):
            again = self._from_now(again_at)
            told = Refused(
                request=int(request), code=int(code), have=have, limit=limit, period=period, again=again, target=target
            )
            seat.send(_framed(told))

    def moving_out(self, at: float | None, code: Reason, again_at: float | None = None) -> None:
        """Tells everybody, and who comes from now on, that the relay takes nothing new.

        `at` is the Unix time at which it ends what is open (None: not for now), `again_at` that at which it takes
        reservations and circuits again (None: not known).
        """
        moving = (int(code), at, again_at)
        if moving == self._moving:
            return
        self._moving = moving
        self._tell_all("moving", self._moving_message)

    def staying(self) -> None:
        """Takes `moving_out` back."""
        if self._moving is not None:
            self._moving = None
            self._tell_all("moving", self._moving_message)

    def allowance(self) -> None:
        """Tells everybody what is left, if that is something else than what was told last."""
        now = self._allowance()
        if _differ(now, self._told):
            self._told = now
            self._tell_all("allowance", lambda: now)

    def standing(self, peer_id: bytes, priority: bool, credit: int, free_left: int | None) -> None:
        """Tells a client, if it listens, how its account stands; sizes in bytes."""
        seat = self._seats.get(peer_id)
        if seat is not None:
            seat.send(_framed(Standing(priority, max(0, credit), None if free_left is None else max(0, free_left))))

    def close(self) -> None:
        """Ends all streams, behind what was said, and serves no more."""
        if self._closed:
            return
        self._closed = True
        self._endpoint.set_handler(PROTOCOL, None)
        unsaid = [_framed(self._moving_message())] if "moving" in self._telling else []
        for handle in self._telling.values():
            handle.cancel()
        self._telling.clear()
        for seat in list(self._seats.values()):
            for framed in unsaid:
                seat.send(framed)
            seat.finish("the relay closes")

    # --- streams -------------------------------------------------------------------------------

    def _accept(self, native: AppStream) -> None:
        session = native.session
        if session.via or self._closed:
            native.reset()
            return
        before = self._seats.pop(session.peer_id, None)
        if before is not None:
            before.end("a newer one took its place")
        seat = _Seat(native, self, self._can)
        if seat.over:
            return
        self._seats[session.peer_id] = seat
        if self._billing is not None:
            seat.tab = self._billing.came(seat)
        now = self._allowance()
        if now != Allowance():
            seat.send(_framed(now))
        if self._moving is not None:
            seat.send(_framed(self._moving_message()))
        seat.listen()
        if self._looking is None:
            self._look_later()

    def heard(self, stream: ControlStream, message: Message) -> None:
        """A client said something; see stream.Owner."""
        if isinstance(message, (LookUpPeer, LookUpRelays, ShowReceipts, HandOver)):
            self._asked(stream, message)
        elif self._billing is not None and isinstance(message, FROM_PAYER):
            if isinstance(stream, _Seat) and stream.tab is not None:
                self._billing.heard(stream.tab, message)
        elif not isinstance(message, Hello):
            raise ControlProtocolError(f"a client does not say {type(message).__name__}")

    def _asked(self, stream: ControlStream, message: LookUpPeer | LookUpRelays | ShowReceipts | HandOver) -> None:
        # Who asks although we did not say that we answer gets none: as from a version that knows no look-ups.
        if self._answering is None or not isinstance(stream, _Seat):
            return
        if stream.client is None:
            stream.client = Client()
        peer = self._endpoint.peers.get(stream.session.peer_id)
        reserved = peer is not None and peer.reservation is not None
        self._answering.heard(stream, stream.client, reserved, message)

    def ended(self, stream: ControlStream, why: str) -> None:
        """A stream is over; see stream.Owner."""
        peer_id = stream.session.peer_id
        if isinstance(stream, _Seat) and stream.client is not None and self._answering is not None:
            self._answering.ended(stream.client)
        if isinstance(stream, _Seat) and stream.tab is not None and self._billing is not None:
            self._billing.ended(stream.tab)
        if self._seats.get(peer_id) is stream:
            del self._seats[peer_id]
        if not self._seats and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _tell_all(self, what: str, message: Callable[[], Message]) -> None:
        # A few in each turn of the loop: thousands of sends at once would hold up what is relayed. Whoever comes
        # meanwhile was told when it came.
        before = self._telling.pop(what, None)
        if before is not None:
            before.cancel()
        if self._seats:
            self._tell(what, message, iter(list(self._seats.values())))

    def _tell(self, what: str, message: Callable[[], Message], seats: Iterator[_Seat]) -> None:
        framed = _framed(message())
        for _ in range(_BATCH):
            seat = next(seats, None)
            if seat is None:
                self._telling.pop(what, None)
                return
            seat.send(framed)
        self._telling[what] = asyncio.get_running_loop().call_soon(self._tell, what, message, seats)

    def _moving_message(self) -> Moving | Staying:
        if self._moving is None:
            return Staying()
        code, at, again_at = self._moving
        return Moving(code=code, after=self._from_now(at), again=self._from_now(again_at))

    def _allowance(self) -> Allowance:
        facts = self._facts()
        periods = tuple(
            Period(quota.period, quota.limit, _coarse(quota.left, quota.limit), self._from_now(quota.resets_at) or 0)
            for quota in facts.quotas
        )
        return Allowance(periods, facts.rate)

    def _from_now(self, at: float | None) -> int | None:
        return None if at is None else round(min(max(0.0, at - self._clock()), _LONGEST_S))

    # --- streams that are of no use ------------------------------------------------------------

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        # A stream keeps its connection open, so one that serves nothing ends: the connection's own idle time follows.
        self._looking = None
        if not self._to_look_at:
            self._to_look_at = list(self._seats)
        for _ in range(min(_LOOK_AT, len(self._to_look_at))):
            seat = self._seats.get(self._to_look_at.pop())
            if seat is None:
                continue
            if seat.looked and (why := self._useless(seat)):
                seat.end(why)
            seat.looked = True
        if self._seats:
            self._look_later()

    def _useless(self, seat: _Seat) -> str:
        if seat.hello is None:
            return "it does not greet"
        if seat.unfinished:
            return "a message does not end"
        if seat.client is not None and seat.client.under_way:
            return ""
        peer = self._endpoint.peers.get(seat.session.peer_id)
        if peer is None or (peer.reservation is None and seat.session.stream_count <= 1):
            if self._billing is not None and seat.tab is not None and self._billing.leaving(seat.tab):
                return ""
            return "neither reservation nor circuit"
        return ""


def _framed(message: Message) -> bytes:
    return frame(encode(message))


def _coarse(left: int, limit: int) -> int:
    # In hundredths of the limit, so that nobody reads other people's traffic off it.
    step = max(1, limit // 100)
    return min(left // step * step, limit)


def _differ(now: Allowance, told: Allowance) -> bool:
    """Is it worth telling? The time until a period ends runs by itself."""
    return [(p.period, p.limit, p.left) for p in now.periods] != [
        (p.period, p.limit, p.left) for p in told.periods
    ] or now.rate != told.rate
