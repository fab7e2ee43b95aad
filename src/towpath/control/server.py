"""The control API over HTTP/1.1 on a Unix socket, mode 0600.

HTTP is h11's; this file joins it to asyncio. (aiohttp's server adds 15 MiB and a third of a second to a
process that has 45 MiB and half a second; h11 adds 0.4 MiB.) The socket belongs to the node's owner, so
limits here guard against mistakes: 64 connections, 16 KiB of headers, 64 KiB of body, 30 s of silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from http import HTTPStatus
from typing import Any, Final

import h11
import msgspec

from towpath.control.routes import ROUTES, Controlled, describe
from towpath.errors import TowpathError
from towpath.log import get_logger

__all__ = ["ControlServer"]

MAX_CONNECTIONS: Final = 64
MAX_HEADERS: Final = 16 * 1024
MAX_BODY: Final = 64 * 1024
IDLE: Final = 30.0
DESCRIPTION: Final = "/v1/openapi.json"


class ControlServer:
    """Answers for `node` on a socket that `control.paths.listen` made, between `start` and `stop`."""

    def __init__(self, node: Controlled, sock: socket.socket) -> None:
        self._node = node
        self._socket = sock
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begins to answer, those first who connected already."""
        self._server = await asyncio.start_unix_server(self._connected, sock=self._socket, limit=MAX_HEADERS)

    async def stop(self) -> None:
        """Closes every connection and the socket; its path is the caller's to remove."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            async with contextlib.aclosing(_Connection(reader, writer)) as connection:
                await self._serve(connection)
        except (OSError, TimeoutError, h11.LocalProtocolError):
            writer.transport.abort()
        finally:
            self._connections.discard(task)

    async def _serve(self, connection: _Connection) -> None:
        while True:
            try:
                request = await connection.request()
            except h11.RemoteProtocolError as e:
                await connection.answer(e.error_status_hint, {"error": f"this is not HTTP: {e}"})
                return
            if request is None:
                return
            await connection.answer(*self._reply(request))
            if not connection.again():
                return

    def _reply(self, request: h11.Request) -> tuple[int, Any]:
        path = request.target.split(b"?", 1)[0].decode("ascii", "replace")
        route = ROUTES.get(path)
        if route is None and path != DESCRIPTION:
            known = ", ".join([*ROUTES, DESCRIPTION])
            return HTTPStatus.NOT_FOUND, {"error": f"there is no {path[:200]}; there are {known}"}
        if request.method not in (b"GET", b"HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"{path} answers GET only"}
        try:
            return HTTPStatus.OK, describe() if route is None else route.answer(self._node)
        except TowpathError as e:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(e)}
        except Exception:  # noqa: BLE001 - a row that cannot be made must not end the API
            get_logger("control").exception("control.failed", path=path)
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{path} failed; the node's log says why"}


class _Connection:
    """One client's connection: requests in, answers out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        self._head = False

    async def request(self) -> h11.Request | None:
        """The next request, its body read and thrown away; None when there is none any more."""
        request: h11.Request | None = None
        body = 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                async with asyncio.timeout(IDLE):
                    self._http.receive_data(await self._reader.read(MAX_HEADERS))
            elif isinstance(event, h11.Request):
                request = event
                self._head = event.method == b"HEAD"
                if self._http.they_are_waiting_for_100_continue:
                    self._writer.write(self._sent(h11.InformationalResponse(status_code=100, headers=[])))
            elif isinstance(event, h11.Data):
                body += len(event.data)
                if body > MAX_BODY:
                    too_large = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                    raise h11.RemoteProtocolError("a body that is too large", error_status_hint=too_large)
            elif isinstance(event, h11.EndOfMessage):
                return request
            else:
                return None

    async def answer(self, status: int, content: Any) -> None:
        """Sends JSON."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = msgspec.json.encode(content)
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("allow", "GET, HEAD"))
        reason = HTTPStatus(status).phrase
        out = self._sent(h11.Response(status_code=int(status), headers=headers, reason=reason))
        if not self._head:
            out += self._sent(h11.Data(data=body))
        self._writer.write(out + self._sent(h11.EndOfMessage()))
        async with asyncio.timeout(IDLE):
            await self._writer.drain()

    def again(self) -> bool:
        """May another request follow?"""
        if self._http.our_state is h11.MUST_CLOSE:
            return False
        self._http.start_next_cycle()
        return True

    async def aclose(self) -> None:
        """Closes it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _sent(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""
