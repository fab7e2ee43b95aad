"""Tunnels: a TCP service here, reachable through relays for whoever holds a ticket (`/towpath/tunnel/1`).

`Share` is the end with the service, `Opener` the end with the ticket. Both work on a running Node and say
what happens through a callback `report(event, **facts)`.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final, Protocol

from towpath.client.ticket import Ticket
from towpath.client.tunnel.pipe import RESET_ON_CLOSE, Pipe, new_scratch
from towpath.client.tunnel.wire import (
    PROTOCOL,
    SESSION_SIZE,
    Answer,
    Code,
    Opening,
    TunnelProtocolError,
    read_message,
)
from towpath.errors import NoRelaysAvailable, StreamReset, TicketError, TowpathError
from towpath.settings.values import HostPort

if TYPE_CHECKING:
    from towpath.stream import Stream

__all__ = ["PROTOCOL", "Opener", "Report", "Share"]

OPENING_TIMEOUT: Final = 10.0
SERVICE_TIMEOUT: Final = 10.0
DIAL_TIMEOUT: Final = 30.0
MAX_CONNECTIONS: Final = 4096
REFUSED_READS: Final = 64

Report = Callable[..., None]
"""Called as report(event, **facts) when something happened that the user may want to know."""


class Dialer(Protocol):
    """What an Opener needs of a Node."""

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


class Share:
    """Lets holders of a ticket reach `service`. Its `serve` is the stream handler for PROTOCOL.

    `allow` holds the peer ids that may connect; empty: whoever has the secret. With `once`, one connection
    is served and `finished` is set when it is over.
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service = service
        self.finished = asyncio.Event()
        self.connections = 0
        self._secret = secret
        self._expires_at = expires_at
        self._allow = frozenset(allow)
        self._once = once
        self._used = False
        self._report = report or _silent
        self._clock = clock
        self._scratch = new_scratch()

    async def serve(self, stream: Stream) -> None:
        """Checks what the opener says first, then carries one connection. Ends with the stream closed or reset."""
        try:
            async with asyncio.timeout(OPENING_TIMEOUT):
                opening = Opening.decode(await read_message(stream))
        except (TimeoutError, asyncio.IncompleteReadError, StreamReset, TunnelProtocolError):
            stream.reset()
            return
        refusal = self._refusal(opening, stream.peer_id)
        if refusal is not None:
            await self._refuse(stream, refusal)
            return
        self._used = True
        self.connections += 1
        try:
            await self._carry(stream)
        finally:
            self.connections -= 1
            if self._once and self._used:
                self.finished.set()

    def _refusal(self, opening: Opening, peer_id: str) -> Answer | None:
        # Whoever does not know the secret learns nothing else, and a peer that may not connect the same.
        allowed = not self._allow or peer_id in self._allow
        if not hmac.compare_digest(opening.secret, self._secret) or not allowed:
            return Answer(Code.DENIED, "it does not know this ticket, or does not allow this peer")
        if self._expires_at is not None and self._clock() >= self._expires_at:
            return Answer(Code.EXPIRED, "the ticket has expired; ask for a new one")
        if self._once and self._used:
            return Answer(Code.USED, "the ticket was for one connection and has been used; ask for a new one")
        if self.connections >= MAX_CONNECTIONS:
            return Answer(Code.BUSY, "it carries as many connections as it can; try again later")
        return None

    async def _carry(self, stream: Stream) -> None:
        pipe = Pipe(stream, self._scratch, greeting=Answer(Code.ACCEPTED).encode(), answered=False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SERVICE_TIMEOUT):
                await loop.create_connection(lambda: pipe, self.service.host, self.service.port)
        except (TimeoutError, OSError) as e:
            self._report("service_unreachable", service=str(self.service), reason=_reason(e))
            self._used = False
            await self._refuse(stream, Answer(Code.UNREACHABLE, "the service it shares is not running"))
            return
        self._report("connection_opened", peer=stream.peer_id, via=stream.via)
        ended = "closed"
        try:
            await pipe.run()
        except (TowpathError, OSError) as e:
            ended = _reason(e)
        finally:
            moved = {"sent": pipe.bytes_up, "received": pipe.bytes_down}
            self._report("connection_closed", peer=stream.peer_id, ended=ended, **moved)

    async def _refuse(self, stream: Stream, answer: Answer) -> None:
        self._report("connection_refused", peer=stream.peer_id, code=int(answer.code))
        try:
            async with asyncio.timeout(OPENING_TIMEOUT):
                stream.write(answer.encode())
                await stream.drain()
                await stream.close_write()
                # What the opener sent on already is thrown away, so that no reset overtakes the answer.
                for _ in range(REFUSED_READS):
                    if not await stream.read(65536):
                        await stream.close()
                        return
            stream.reset()
        except (TimeoutError, StreamReset):
            stream.reset()


class Opener:
    """Listens on this machine and carries each connection to the sharer of `ticket`, through one of its relays."""

    _listener: socket.socket

    def __init__(self, node: Dialer, ticket: Ticket, *, report: Report | None = None) -> None:
        self._node = node
        self._ticket = ticket
        self._relays = list(ticket.relays)
        self._report = report or _silent
        self._scratch = new_scratch()
        self._tasks: set[asyncio.Task[None]] = set()

    async def dial(self) -> Stream:
        """A stream to the sharer, through the first relay that works, which is tried first from then on.

        Relays that said that they move out come last: what is opened there would soon end.
        Raises NoRelaysAvailable with what each relay answered.
        """
        tried = []
        for relay in sorted(self._relays, key=self._node.leaving):
            try:
                stream = await self._node.connect_to_peer_via_relay(
                    self._ticket.peer_id, PROTOCOL, via=relay, timeout=DIAL_TIMEOUT
                )
            except (TowpathError, OSError) as e:
                tried.append(f"{relay}: {_reason(e)}")
                continue
            self._relays.remove(relay)
            self._relays.insert(0, relay)
            return stream
        raise NoRelaysAvailable(tried)

    def listen(self, at: HostPort) -> HostPort:
        """Starts to listen, on a port of the system's choice when that is 0; OSError when it is taken."""
        family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        listener = socket.create_server((at.host, at.port), family=family, backlog=1024)
        listener.setblocking(False)
        self._listener = listener
        host, port = listener.getsockname()[:2]
        return HostPort(host, port)

    async def serve(self) -> None:
        """Carries connections until cancelled; then resets those that are open."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError as e:
                    # Out of descriptors, most likely: connections that end make room.
                    self._report("connection_failed", reason=_reason(e))
                    await asyncio.sleep(0.1)
                    continue
                if len(self._tasks) >= MAX_CONNECTIONS:
                    connection.close()
                    continue
                task = asyncio.create_task(self._carry(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            self._listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, connection: socket.socket) -> None:
        """One connection, which is reset when it cannot be carried to its end."""
        stream: Stream | None = None
        pipe: Pipe | None = None
        try:
            if self._ticket.expired(time.time()):
                raise TicketError("the ticket has expired; ask for a new one")
            stream = await self.dial()
            opening = Opening(secrets.token_bytes(SESSION_SIZE), self._ticket.secret)
            made = Pipe(stream, self._scratch, greeting=opening.encode(), answered=True)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: made, connection)
            pipe = made
            self._report("connection_opened", via=stream.via)
            await pipe.run()
            self._report("connection_closed", sent=pipe.bytes_up, received=pipe.bytes_down)
        except (TowpathError, OSError) as e:
            self._report("connection_failed", reason=_reason(e))
        finally:
            if pipe is None:
                # From here on the pipe would have owned both.
                if stream is not None:
                    stream.reset()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                connection.close()


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "it took too long"
    return str(error) or type(error).__name__


def _silent(_event: str, **_facts: Any) -> None:
    pass
