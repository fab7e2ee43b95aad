"""The control API, loaded when somebody first asks: most relays run for weeks without being asked anything.

Owns the listening sockets until then. The import takes a third of a second and 12 MiB; it is done in a thread, as
circuits wait for nobody, and who connected meanwhile is answered after.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

    from aiohttp import web

    from towpath.control.route import Controlled
    from towpath.control.server import ControlServer

__all__ = ["Face", "LateServer"]


class Face(Protocol):
    """Another place where the API is answered, for whoever it lets in."""

    @property
    def sock(self) -> socket.socket:
        """It listens already."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """By what it is reached."""

    def load(self) -> Callable[[web.Application], None]:
        """What makes an application that answers the API this place's. In a thread: it may be slow."""


class LateServer:
    """Answers for `node` on sockets that listen already, between `start` and `stop`; see ControlServer.

    `failed(error)` is called when it cannot be loaded: then nobody can ask the node anything. `face` is where it is
    answered besides, as the page's server.
    """

    def __init__(
        self,
        node: Controlled,
        sock: socket.socket,
        metrics: socket.socket | None,
        failed: Callable[[BaseException], None],
        face: Face | None = None,
    ) -> None:
        self._node = node
        self._socket = sock
        self._metrics = metrics
        self._failed = failed
        self._face = face
        self._watched: list[socket.socket] = []
        self._loading: asyncio.Task[None] | None = None
        self._server: ControlServer | None = None

    def start(self) -> None:
        """Waits for the first who connects."""
        loop = asyncio.get_running_loop()
        self._watched = self._sockets()
        for sock in self._watched:
            loop.add_reader(sock.fileno(), self._asked)

    def _sockets(self) -> list[socket.socket]:
        face = None if self._face is None else self._face.sock
        return [sock for sock in (self._socket, self._metrics, face) if sock is not None]

    @property
    def loaded(self) -> bool:
        """Has somebody asked?"""
        return self._server is not None

    def _rest(self) -> None:
        for sock in self._watched:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        self._watched = []

    def _asked(self) -> None:
        self._rest()
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
            self._loading.add_done_callback(self._loaded)

    async def _load(self) -> None:
        make, dress = await asyncio.to_thread(self._import)
        server = make(self._node, self._socket, self._metrics)
        if self._face is not None and dress is not None:
            server.serve_also(self._face.sock, self._face.tls, dress)
        self._server = server
        await server.start()

    def _import(self) -> tuple[type[ControlServer], Callable[[web.Application], None] | None]:
        module = importlib.import_module("towpath.control.server")
        return module.ControlServer, None if self._face is None else self._face.load()

    def _loaded(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)

    def move_metrics(self, sock: socket.socket | None) -> None:
        """Answers `/metrics` on this socket from now on instead; None: on no TCP socket."""
        if self._server is not None:
            self._server.move_metrics(sock)
            return
        waiting = bool(self._watched)
        self._rest()
        if self._metrics is not None:
            self._metrics.close()
        self._metrics = sock
        if waiting:
            self.start()

    async def stop(self) -> None:
        """Closes every connection and the sockets; the path of the Unix socket is the caller's to remove."""
        self._rest()
        if self._loading is not None:
            # What began to be served ends as what is served.
            await asyncio.wait((self._loading,))
        if self._server is not None:
            await self._server.stop()
            return
        for sock in self._sockets():
            sock.close()
