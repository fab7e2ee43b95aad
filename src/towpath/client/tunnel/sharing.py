"""The end of a tunnel with the service: who may come in, and the connections that outlive their streams."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from towpath.client.ticket import SECRET_SIZE
from towpath.client.tunnel import flow
from towpath.client.tunnel.carried import Carried, Owner, new_scratch
from towpath.client.tunnel.wire import (
    Answer,
    Carry,
    Code,
    Follow,
    Relays,
    TunnelProtocolError,
    decode_opening,
    read_message,
)
from towpath.errors import StreamReset
from towpath.settings.values import HostPort

if TYPE_CHECKING:
    from towpath.stream import Stream

__all__ = ["RESUME_S", "Report", "Share", "reason", "silent"]

RESUME_S: Final = 60.0
"""How long a connection waits without a stream."""
_OPENING_S: Final = 10.0
_SERVICE_S: Final = 10.0
_MAX_CONNECTIONS: Final = 4096
_MAX_FOLLOWERS: Final = 1024
_REFUSED_READS: Final = 64
_SLOWER: Final = 1.5

Report = Callable[..., None]
"""Called as report(event, **facts) when something happened that the user may want to know."""


class Share(Owner):
    """Lets holders of a ticket reach `service`. Its `serve` is the stream handler for PROTOCOL; `async with` ends all.

    `allow` holds the peer ids that may connect; empty: whoever has the secret. With `once`, one connection is served
    and `finished` is set when it is over. `doubt(relay_id)` is called for a relay through which nothing comes any more.
    """

    def __init__(
        self,
        service: HostPort,
        secret: bytes,
        *,
        expires_at: int | None = None,
        allow: Collection[str] = (),
        once: bool = False,
        report: Report | None = None,
        doubt: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service = service
        self.finished = asyncio.Event()
        self._secret = secret
        self._expires_at = expires_at
        self._allow = frozenset(allow)
        self._once = once
        self._used = False
        self._report = report or silent
        self._doubt = doubt
        self._clock = clock
        self._scratch = new_scratch()
        self._sessions: dict[tuple[str, bytes], _Session] = {}
        self._followers: set[Stream] = set()
        self._present: dict[str, int] = {}
        self._relays = Relays(())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in list(self._sessions.values()):
            session.end(ConnectionResetError("sharing was stopped"))
        for stream in list(self._followers):
            stream.reset()

    @property
    def connections(self) -> int:
        """How many there are, those that wait for a stream included."""
        return len(self._sessions)

    def meet_at(self, relays: Sequence[str]) -> None:
        """Tells everybody who follows through which relays we can be met, best first."""
        told = Relays.of(relays)
        if told == self._relays:
            return
        self._relays = told
        for stream in list(self._followers):
            # Whoever is gone is noticed by the one who reads.
            with contextlib.suppress(StreamReset, RuntimeError):
                stream.write(told.encode())

    # --- who comes in ---

    async def serve(self, stream: Stream) -> None:
        """Checks what the opener says first, then does what it asks for. Ends with the stream in others' hands."""
        try:
            async with asyncio.timeout(_OPENING_S):
                secret = await stream.readexactly(SECRET_SIZE)
                # Whoever does not know the secret learns nothing else, and a peer that may not connect the same.
                allowed = not self._allow or stream.peer_id in self._allow
                if not hmac.compare_digest(secret, self._secret) or not allowed:
                    denied = Answer(Code.DENIED, "it does not know this ticket, or does not allow this peer")
                    await self._refuse(stream, denied)
                    return
                opening = decode_opening(await read_message(stream))
        except (TimeoutError, asyncio.IncompleteReadError, StreamReset, TunnelProtocolError):
            stream.reset()
            return
        if isinstance(opening, Follow):
            await self._let_follow(stream)
        else:
            await self._carry(stream, opening)

    def _refusal(self, peer_id: str) -> Answer | None:
        # What began before still goes on.
        if any(peer == peer_id for peer, _ in self._sessions):
            return None
        if self._expires_at is not None and self._clock() >= self._expires_at:
            return Answer(Code.EXPIRED, "the ticket has expired; ask for a new one")
        if self._once and self._used:
            return Answer(Code.USED, "the ticket was for one connection and has been used; ask for a new one")
        return None

    async def _let_follow(self, stream: Stream) -> None:
        refusal = self._refusal(stream.peer_id)
        if refusal is None and len(self._followers) >= _MAX_FOLLOWERS:
            refusal = Answer(Code.BUSY, "too many follow it; try again later")
        if refusal is not None:
            await self._refuse(stream, refusal)
            return
        self._followers.add(stream)
        self._arrived(stream)
        try:
            stream.write(Answer(Code.ACCEPTED).encode() + self._relays.encode())
            # It says nothing more; what is read is its end.
            while await stream.read():
                pass
            await stream.close()
        except StreamReset:
            pass
        finally:
            self._followers.discard(stream)
            self._went(stream)

    async def _carry(self, stream: Stream, opening: Carry) -> None:
        key = stream.peer_id, opening.session
        session = self._sessions.get(key)
        if session is None:
            refusal = self._refusal_of_new(opening, stream.peer_id)
            if refusal is not None:
                await self._refuse(stream, refusal)
                return
            self._used = True
            session = self._sessions[key] = _Session(self, key)
        elif opening.turn <= session.turn:
            await self._refuse(stream, Answer(Code.STALE, "a later attempt took this connection over"))
            return
        session.turn = opening.turn
        try:
            carried = await session.connected()
        except OSError as e:
            self._report("service_unreachable", service=str(self.service), reason=reason(e))
            self._used = False
            self._forget(key)
            await self._refuse(stream, Answer(Code.UNREACHABLE, "the service it shares is not running"))
            return
        if session.turn != opening.turn:
            stream.reset()
            return
        try:
            session.go_on(stream, carried, opening)
        except TunnelProtocolError as e:
            await self._refuse(stream, Answer(Code.GONE, str(e)))

    def _refusal_of_new(self, opening: Carry, peer_id: str) -> Answer | None:
        if opening.begun:
            return Answer(Code.GONE, "it does not know this connection any more")
        if self._once and self._used:
            return Answer(Code.USED, "the ticket was for one connection and has been used; ask for a new one")
        if self._expires_at is not None and self._clock() >= self._expires_at:
            return Answer(Code.EXPIRED, "the ticket has expired; ask for a new one")
        if len(self._sessions) >= _MAX_CONNECTIONS:
            return Answer(Code.BUSY, "it carries as many connections as it can; try again later")
        return None

    async def _refuse(self, stream: Stream, answer: Answer) -> None:
        self._report("connection_refused", peer=stream.peer_id, code=int(answer.code))
        try:
            async with asyncio.timeout(_OPENING_S):
                stream.write(answer.encode())
                await stream.drain()
                await stream.close_write()
                # What the opener sent on already is thrown away, so that no reset overtakes the answer.
                for _ in range(_REFUSED_READS):
                    if not await stream.read(65536):
                        await stream.close()
                        return
            stream.reset()
        except (TimeoutError, StreamReset):
            stream.reset()

    def _arrived(self, stream: Stream) -> None:
        self._present[stream.peer_id] = self._present.get(stream.peer_id, 0) + 1
        if self._present[stream.peer_id] == 1:
            self._report("peer_connected", peer=stream.peer_id, via=stream.via)

    def _went(self, stream: Stream) -> None:
        self._present[stream.peer_id] -= 1
        if not self._present[stream.peer_id]:
            del self._present[stream.peer_id]
            self._report("peer_left", peer=stream.peer_id)

    # --- connections ---

    def window(self) -> int:
        """See Owner."""
        return flow.window(len(self._sessions))

    def _forget(self, key: tuple[str, bytes]) -> None:
        if self._sessions.pop(key, None) is not None and self._once and self._used:
            self.finished.set()


class _Session(Owner):
    """One connection of an opener, with the streams that carry it one after another."""

    def __init__(self, share: Share, key: tuple[str, bytes]) -> None:
        self.turn = -1
        self._share = share
        self._key = key
        self._carried: Carried | None = None
        self._connecting: asyncio.Task[Carried] | None = None
        self._via: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def connected(self) -> Carried:
        """The connection to the service, which is made once; OSError when that cannot be."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Carried:
        loop = asyncio.get_running_loop()
        host, port = self._share.service
        async with asyncio.timeout(_SERVICE_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            connection = await _first_of(loop, [(family, address) for family, _, _, _, address in found])
        carried = Carried(connection, self._share._scratch, self, slower=_SLOWER)
        self._carried = carried
        carried.over.add_done_callback(self._over)
        self._wait_for_stream()
        return carried

    def go_on(self, stream: Stream, carried: Carried, opening: Carry) -> None:
        """Carries on over this stream. TunnelProtocolError when what its opener says cannot be."""
        say = Answer(Code.ACCEPTED, received=carried.incoming.received).encode()
        carried.attach(stream, opening.received, say=say)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        event = "connection_moved" if self._via else "connection_opened"
        self._via = stream.via
        self._share._report(event, peer=stream.peer_id, via=stream.via)

    def end(self, why: BaseException) -> None:
        """Cuts it off."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._carried is not None:
            self._carried.fail(why)
            self._carried.detach()
        if self._timer is not None:
            self._timer.cancel()
        self._share._forget(self._key)

    def _over(self, over: asyncio.Future[None]) -> None:
        carried = self._carried
        if over.cancelled() or carried is None:
            return
        failure = over.exception()
        moved = {"sent": carried.outgoing.total, "received": carried.incoming.received - carried.incoming.ended}
        ended = "closed" if failure is None else reason(failure)
        self._share._report("connection_closed", peer=self._key[0], ended=ended, **moved)
        if failure is not None:
            self._share._forget(self._key)

    # --- what Carried tells ---

    def window(self) -> int:
        return self._share.window()

    def uneasy(self, carried: Carried) -> None:
        if self._via is not None:
            self._share._doubt(self._via)

    def lost(self, carried: Carried, why: str) -> None:
        self._wait_for_stream()

    def left(self, carried: Carried) -> None:
        if carried.over.done():
            # The opener closes the stream when it has heard all.
            carried.detach()
            self._share._forget(self._key)
        else:
            carried.detach()
            self._wait_for_stream()

    def _wait_for_stream(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(RESUME_S, self._given_up)

    def _given_up(self) -> None:
        self.end(ConnectionResetError("the other side did not come back"))


async def _first_of(
    loop: asyncio.AbstractEventLoop, places: Sequence[tuple[socket.AddressFamily, Any]]
) -> socket.socket:
    failure: OSError = OSError("its name has no address")
    for family, address in places:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


def reason(error: BaseException) -> str:
    """What to tell of an error."""
    if isinstance(error, TimeoutError) and not str(error):
        return "it took too long"
    return str(error) or type(error).__name__


def silent(_event: str, **_facts: Any) -> None:
    """Reports to nobody."""
