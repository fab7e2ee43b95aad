"""The end of a tunnel with the ticket: listens on this machine, and carries connections on when their relay is lost."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from towpath.client.ticket import Ticket
from towpath.client.tunnel import flow
from towpath.client.tunnel.carried import SILENT, Carried, Owner, new_scratch, reset_connection
from towpath.client.tunnel.sharing import RESUME_S, Report, reason, silent
from towpath.client.tunnel.ways import Dialer, Refused, Way, Ways, read_answer
from towpath.client.tunnel.wire import PROTOCOL, SESSION_SIZE, Carry, Code
from towpath.errors import StreamReset, TowpathError
from towpath.settings.values import HostPort

if TYPE_CHECKING:
    from towpath.stream import Stream

__all__ = ["Opener"]

_FIRST_ANSWER_S: Final = 15.0
_ANSWER_S: Final = 5.0
_HURRIED_S: Final = 1.5
"""What a way gets to take a connection on, when there is another one to try."""
_MAX_CONNECTIONS: Final = 4096


class Opener:
    """Carries what connects here to the sharer of `ticket`. Its context holds the ways there; `serve` carries.

    OSError from `async with` is `listen`'s; see there.
    """

    _listener: socket.socket

    def __init__(self, node: Dialer, ticket: Ticket, *, report: Report | None = None) -> None:
        self.ways = Ways(node, ticket, self._reconsider)
        self._node = node
        self._ticket = ticket
        self._report = report or silent
        self._scratch = new_scratch()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self, at: HostPort) -> HostPort:
        """Starts to listen, on a port of the system's choice when that is 0; OSError when it is taken."""
        family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        listener = socket.create_server((at.host, at.port), family=family, backlog=1024)
        listener.setblocking(False)
        self._listener = listener
        host, port = listener.getsockname()[:2]
        return HostPort(host, port)

    async def __aenter__(self) -> Self:
        await self.ways.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.ways.__aexit__(kind, error, trace)

    async def reach(self) -> str:
        """The id of the relay through which the sharer takes the ticket.

        TicketError when it does not, NotThere, with what each relay answered, when there is no way there.
        """
        return (await self.ways.best()).relay_id

    async def serve(self) -> None:
        """Carries connections until cancelled; then resets those that are open."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError as error:
                    # Out of descriptors, most likely: connections that end make room.
                    self._report("connection_failed", reason=reason(error))
                    await asyncio.sleep(0.1)
                    continue
                if len(self._tasks) >= _MAX_CONNECTIONS:
                    reset_connection(connection)
                    continue
                task = asyncio.create_task(self._carry(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            self._listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, socket_: socket.socket) -> None:
        if self._ticket.expired(time.time()):
            self._report("connection_failed", reason="the ticket has expired; ask for a new one")
            reset_connection(socket_)
            return
        connection = _Connection(self, socket_)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def _reconsider(self) -> None:
        # A way that is to be left is left as soon as there is a better one.
        better = any(self.ways.lasts(way) for way in self.ways.up)
        for connection in self._connections:
            way = connection.way
            if better and way is not None and not self.ways.lasts(way):
                connection.move()


class _Connection(Owner):
    """One connection, with the streams that carry it one after another."""

    def __init__(self, opener: Opener, connection: socket.socket) -> None:
        self.way: Way | None = None
        self._opener = opener
        self._session = secrets.token_bytes(SESSION_SIZE)
        self._turn = 0
        self._begun = False
        self._relay_id: str | None = None
        self._stream_wanted = asyncio.Event()
        self._stream_wanted.set()
        self._carried = Carried(connection, opener._scratch, self)

    async def run(self) -> None:
        """Until it is over, or cannot be carried on; then both ends of it are closed or reset."""
        carried, report = self._carried, self._opener._report
        keeping = asyncio.create_task(self._keep())
        try:
            await asyncio.wait([carried.over, keeping], return_when=asyncio.FIRST_COMPLETED)
            if not carried.over.done():
                failure = keeping.exception()
                carried.fail(failure or ConnectionResetError("it could not be carried on"))
            carried.over.result()
            report("connection_closed", sent=carried.outgoing.total, received=carried.incoming.received - 1)
        except (TowpathError, OSError) as error:
            report("connection_failed", reason=reason(error))
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            carried.fail(ConnectionResetError("`open` was stopped"))
            stream, carried.stream = carried.stream, None
            carried.detach()
            self._leave_way()
            if stream is not None:
                await stream.close()

    def move(self) -> None:
        """Goes on over another way."""
        self._stream_wanted.set()

    async def _keep(self) -> None:
        while True:
            await self._stream_wanted.wait()
            self._stream_wanted.clear()
            await self._find_stream()

    async def _find_stream(self) -> None:
        ways, carried = self._opener.ways, self._carried
        loop = asyncio.get_running_loop()
        lost_at, moved = carried.patience.heard_at, self._relay_id is not None
        until = loop.time() + RESUME_S
        but = self.way
        while True:
            # The first time it fails as soon as nothing works; later on there is something to lose.
            way = await ways.best(but=but, seconds=max(0.0, until - loop.time()) if moved else None)
            if way is self.way and carried.stream is not None:
                return
            try:
                async with asyncio.timeout(_HURRIED_S if len(ways.up) > 1 else _ANSWER_S):
                    await self._take(way)
            except Refused as error:
                if error.code != Code.STALE:
                    raise
            except (TowpathError, OSError) as error:
                ways.failed(way, reason(error))
            else:
                break
        self._relay_id = way.relay_id
        if moved:
            self._opener._report("connection_moved", via=way.relay_id, stalled_s=round(loop.time() - lost_at, 3))
        else:
            self._opener._report("connection_opened", via=way.relay_id)

    async def _take(self, way: Way) -> None:
        opener, carried = self._opener, self._carried
        stream = await opener._node.connect_to_peer_via_relay(
            opener._ticket.peer_id, PROTOCOL, via=way.relay, timeout=_ANSWER_S
        )
        try:
            self._turn += 1
            opening = Carry(self._session, self._turn, carried.freeze(), self._begun)
            self._leave_way()
            say = opener._ticket.secret + opening.encode()
            if self._turn == 1:
                carried.attach(stream, say=say, greet=self._greet)
            else:
                stream.write(say)
                answer = await read_answer(stream)
                self._begun = True
                carried.attach(stream, answer.received)
        except BaseException:
            stream.reset()
            raise
        self.way = way
        way.users += 1

    def _leave_way(self) -> None:
        if self.way is not None:
            self.way.users -= 1
            self.way = None

    async def _greet(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(_FIRST_ANSWER_S):
                await read_answer(stream)
        except TimeoutError as error:
            raise StreamReset("the sharer did not answer") from error
        self._begun = True

    # --- what Carried tells ---

    def window(self) -> int:
        return flow.window(len(self._opener._connections))

    def uneasy(self, carried: Carried) -> None:
        self._opener.ways.doubt()

    def lost(self, carried: Carried, why: str) -> None:
        way = self.way
        if way is not None and why == SILENT:
            self._opener.ways.failed(way, why)
        self._stream_wanted.set()

    def left(self, carried: Carried) -> None:
        carried.detach()
        self._stream_wanted.set()
