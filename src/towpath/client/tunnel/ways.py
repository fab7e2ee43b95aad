"""The ways to a sharer: circuits through two relays, held open while the ticket is, so that the loss of one costs a
round trip or two.

On each the sharer tells through which relays it can be met now (Follow): in time, who goes by the ticket alone would
know none that is left. Every connection of an Opener takes one of these ways.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from towpath.client.reservations import back_off
from towpath.client.ticket import Ticket
from towpath.client.tunnel.wire import PROTOCOL, Answer, Code, Follow, Relays, TunnelProtocolError, read_message
from towpath.errors import StreamReset, TicketError, TowpathError

if TYPE_CHECKING:
    from towpath.stream import Stream

__all__ = ["Dialer", "NotThere", "Refused", "Way", "Ways", "read_answer"]

_HELD: Final = 2
_DIAL_S: Final = 10.0
_ANSWER_S: Final = 5.0
_DOUBT_S: Final = 1.0
_HEAD_START_S: Final = 0.25
_AT_ONCE: Final = 4
_LONGEST_REST_S: Final = 10.0
_REFUSED_REST_S: Final = 30.0
_LOOK_S: Final = 1.0
_FRESH_S: Final = 1.0
"""A failure so long ago counts as tried."""
_BY_RECORD: Final = ""
"""Stands for whichever relay the node itself meets the sharer at."""


class Refused(TicketError):
    """The sharer answered, and said no: `code` of wire.Code, or one that this version does not know."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(f"the sharer refused: {why or f'code {code}'}")


class NotThere(TowpathError):
    """No relay leads to the sharer. `tried` holds a line for each one that was tried, with the reason."""

    def __init__(self, tried: Sequence[str]) -> None:
        self.tried = list(tried)
        text = "the sharer is not there; check that `share` still runs, and that both machines are online"
        super().__init__(f"{text}. Tried: {'; '.join(self.tried)}." if self.tried else text)


class Dialer(Protocol):
    """What a Node is to an Opener."""

    async def connect_to_peer_via_relay(
        self,
        target: str,
        protocol: str,
        via: str | None = None,
        timeout: float = ...,  # noqa: ASYNC109
    ) -> Stream:
        """See Node."""

    def leaving(self, relay: str) -> bool:
        """See Node."""

    def doubt(self, relay: str) -> None:
        """See Node."""


class Way:
    """One circuit to the sharer. `relay` is what `via` takes, `stream` the one on which the sharer is followed."""

    def __init__(self, relay: str, relay_id: str, stream: Stream) -> None:
        self.relay = relay
        self.relay_id = relay_id
        self.stream = stream
        self.users = 0
        """Connections that it carries."""


class Ways:
    """Keeps two ways open while its context lasts. `changed()` is called when one came, went, or is to be left."""

    def __init__(self, node: Dialer, ticket: Ticket, changed: Callable[[], None] = lambda: None) -> None:
        self.up: list[Way] = []
        """Those that are open, the oldest first."""
        self.failures: dict[str, str] = {}
        """Why a relay (multiaddr) was no way when it was tried last."""
        self._node = node
        self._ticket = ticket
        self._tell = changed
        self._news: tuple[str, ...] = ()
        self._refused: Refused | None = None
        self._fault: BaseException | None = None
        self._rests: dict[str, tuple[int, float]] = {}
        """By relay id: failures in a row, and until when it is not tried again."""
        self._tried_at: dict[str, float] = {}
        """By relay: when it failed last."""
        self._trying: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._doubted: set[Way] = set()
        self._changed = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._spawn(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for way in self.up:
            way.stream.reset()
        self.up.clear()

    # --- for connections ---

    async def best(self, *, but: Way | None = None, seconds: float | None = None) -> Way:
        """The way to take, but rather not `but`; awaited for `seconds` (None: until each relay was tried once more).

        Refused when the sharer takes the ticket no more; NotThere, with what was tried, when there is none.
        """
        began = self._loop.time()
        until = None if seconds is None else began + seconds
        if not self.up:
            self._rest_no_longer_than(began)
        while not self.up:
            if self._fault is not None:
                raise self._fault
            tried = not self._trying and all(
                self._tried_at.get(relay, 0.0) >= began - _FRESH_S for relay in self._known()
            )
            if self._refused is not None and tried:
                raise self._refused
            if tried if until is None else self._loop.time() >= until:
                raise NotThere([f"{relay}: {why}" for relay, why in self.failures.items() if relay])
            changed: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(changed)
            await asyncio.wait([changed], timeout=None if until is None else until - self._loop.time())
        return min(self.up, key=lambda way: (way is but, not self.lasts(way)))

    def lasts(self, way: Way) -> bool:
        """Neither does its relay say that it moves out, nor the sharer that it is not met there any more."""
        met = not self._news or any(relay.endswith(f"/p2p/{way.relay_id}") for relay in self._news)
        return met and not self._node.leaving(way.relay)

    def failed(self, way: Way, why: str) -> None:
        """A connection came to nothing on this way, although it seemed open."""
        if way in self.up:
            self._node.doubt(way.relay)
            self._rest(way.relay, why)
            way.stream.abandon()
            self._drop(way)

    def doubt(self) -> None:
        """Something had no answer for seconds: those that have none within another one are given up.

        All are asked: whoever loses a line or an address loses every way at once.
        """
        for way in self.up:
            self._node.doubt(way.relay)
            if way not in self._doubted:
                self._doubted.add(way)
                self._spawn(self._examine(way))

    async def _examine(self, way: Way) -> None:
        try:
            if not await way.stream.answers(_DOUBT_S):
                self.failed(way, "nothing came through it any more")
        finally:
            self._doubted.discard(way)

    # --- keeping them ---

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # Nothing of what is expected to fail: whoever waits shall not wait for ever.
            self._fault = fault
            self._note()

    def note(self) -> None:
        """Somebody may have to be left, or may stay after all (see `lasts`)."""
        self._changed.set()
        self._look()

    def _note(self) -> None:
        self._changed.set()
        waiting, self._waiting = self._waiting, []
        for changed in waiting:
            if not changed.done():
                changed.set_result(None)
        self._tell()

    def _known(self) -> list[str]:
        # The sharer's own word first, then the ticket's. One relay under two addresses is one.
        found: dict[str, str] = {}
        for relay in (*self._news, *self._ticket.relays):
            found.setdefault(_id_of(relay), relay)
        return list(found.values()) or [_BY_RECORD]

    def _rest_no_longer_than(self, now: float) -> None:
        # Somebody waits: what failed a while ago may work again.
        for relay_id, (failures, until) in self._rests.items():
            self._rests[relay_id] = (failures, min(until, now))
        for relay, at in self._tried_at.items():
            if at > now - _FRESH_S:
                failures, _ = self._rests.get(_id_of(relay), (0, 0.0))
                self._rests[_id_of(relay)] = (failures, at + _FRESH_S)
        self._changed.set()

    async def _keep(self) -> None:
        while True:
            self._changed.clear()
            relay = self._to_try()
            if relay is not None:
                self._trying[_id_of(relay)] = self._spawn(self._try(relay))
            # A rest that ends and a relay that leaves tell nobody.
            soon = _HEAD_START_S if relay is not None else _LOOK_S
            try:
                async with asyncio.timeout(soon):
                    await self._changed.wait()
            except TimeoutError:
                self._look()

    def _look(self) -> None:
        lasting = [way for way in self.up if self.lasts(way)]
        if len(lasting) < len(self.up):
            if len(lasting) >= _HELD:
                for way in [way for way in self.up if way not in lasting and not way.users]:
                    self._drop(way)
            self._tell()

    def _to_try(self) -> str | None:
        lasting = sum(self.lasts(way) for way in self.up)
        # In a hurry only while there is no way at all.
        if lasting >= _HELD or len(self._trying) >= (1 if lasting else _AT_ONCE):
            return None
        now = self._loop.time()
        taken = {way.relay_id for way in self.up} | set(self._trying)
        known = self._known()
        if not self.up and all(relay in self.failures for relay in known):
            # All that we were told of failed: the node may know better.
            known.append(_BY_RECORD)
        free = [r for r in known if _id_of(r) not in taken and self._rests.get(_id_of(r), (0, 0.0))[1] <= now]
        return min(free, key=lambda r: (self._node.leaving(r) if r else True, known.index(r)), default=None)

    async def _try(self, relay: str) -> None:
        try:
            way = await self._open(relay)
        except Refused as error:
            self._refused = error
            self._rest(relay, str(error), _REFUSED_REST_S)
        except (TowpathError, OSError) as error:
            self._rest(relay, str(error) or type(error).__name__)
        else:
            self._refused = None
            self._rests.pop(_id_of(relay), None)
            self.failures.pop(relay, None)
            self.up.append(way)
            self._spawn(self._follow(way))
        finally:
            self._trying.pop(_id_of(relay), None)
            self._note()

    async def _open(self, relay: str) -> Way:
        peer = self._ticket.peer_id
        stream = await self._node.connect_to_peer_via_relay(peer, PROTOCOL, via=relay or None, timeout=_DIAL_S)
        try:
            async with asyncio.timeout(_ANSWER_S):
                stream.write(self._ticket.secret + Follow().encode())
                await read_answer(stream)
                self._news = Relays.decode(await read_message(stream)).relays
            relay_id = stream.via or _id_of(relay)
            if any(way.relay_id == relay_id for way in self.up):
                raise StreamReset("another way through the same relay is open")
        except BaseException as error:
            stream.reset()
            if isinstance(error, TimeoutError):
                stream.abandon()
                raise StreamReset(
                    "the sharer was reached, and did not answer; check that `share` runs there"
                ) from error
            if isinstance(error, asyncio.IncompleteReadError):
                raise StreamReset("the sharer ended the stream before it had answered") from error
            raise
        return Way(relay or relay_id, relay_id, stream)

    async def _follow(self, way: Way) -> None:
        why = "the circuit ended"
        try:
            while True:
                self._news = Relays.decode(await read_message(way.stream)).relays
                self._note()
        except (StreamReset, asyncio.IncompleteReadError):
            pass
        except TunnelProtocolError as error:
            why = str(error)
        if way in self.up:
            self._rest(way.relay, why, 0.0)
            self._drop(way)

    def _drop(self, way: Way) -> None:
        self.up.remove(way)
        way.stream.reset()
        self._note()

    def _rest(self, relay: str, why: str, seconds: float | None = None) -> None:
        relay_id = _id_of(relay)
        failures = self._rests.get(relay_id, (0, 0.0))[0] + 1
        wait = min(_LONGEST_REST_S, back_off(failures, random.random())) if seconds is None else seconds
        self._rests[relay_id] = (failures, self._loop.time() + wait)
        self.failures[relay] = why
        self._tried_at[relay] = self._loop.time()


def _id_of(relay: str) -> str:
    return relay.rpartition("/p2p/")[2]


async def read_answer(stream: Stream) -> Answer:
    """What a sharer answers when it accepts; Refused when it does not, StreamReset when it said nothing."""
    try:
        answer = Answer.decode(await read_message(stream))
    except asyncio.IncompleteReadError as error:
        raise StreamReset("the sharer ended the stream before it had answered") from error
    if answer.code != Code.ACCEPTED:
        raise Refused(answer.code, answer.why)
    return answer
