"""The protocols that an application serves: a task for each inbound stream of one, and what its end means."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from towpath.errors import TowpathError
from towpath.log import get_logger
from towpath.stream import Stream

if TYPE_CHECKING:
    from towpath._native.appstream import AppStream
    from towpath._native.endpoint import Endpoint

__all__ = ["Handler", "Handlers"]

Handler = Callable[[Stream], Awaitable[None]]
_log = get_logger("node")


class Handlers:
    """By protocol, also before there is an endpoint to serve them on; `spawn` runs each stream."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._handlers: dict[str, Handler] = {}
        self._spawn = spawn
        self._endpoint: Endpoint | None = None

    def serve_on(self, endpoint: Endpoint) -> None:
        """Serves them on this endpoint from now on."""
        self._endpoint = endpoint
        for protocol, handler in self._handlers.items():
            endpoint.set_handler(protocol, functools.partial(self._accept, handler))

    def set(self, protocol: str, handler: Handler | None) -> None:
        """See Node.set_stream_handler."""
        if handler is None:
            self._handlers.pop(protocol, None)
        else:
            self._handlers[protocol] = handler
        if self._endpoint is not None:
            accept = None if handler is None else functools.partial(self._accept, handler)
            self._endpoint.set_handler(protocol, accept)

    def _accept(self, handler: Handler, native: AppStream) -> None:
        self._spawn(self._handle(handler, Stream(native)))

    async def _handle(self, handler: Handler, stream: Stream) -> None:
        try:
            await handler(stream)
        except asyncio.CancelledError:
            stream.reset()
            raise
        except TowpathError as error:
            stream.reset()
            _log.info("stream_ended", protocol=stream.protocol, error=str(error))
        except Exception:  # noqa: BLE001 - the application's own, whatever it is; logged with its trace
            stream.reset()
            _log.exception("stream_handler_failed", protocol=stream.protocol)
