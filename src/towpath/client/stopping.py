"""Circuits that others open to us: STOP from a relay, then an end-to-end handshake inside.

Source: libp2p specs, relay/circuit-v2.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from towpath._native import messages
from towpath.client.relaying import OK, STOP_CONNECT, read_message
from towpath.errors import TowpathError
from towpath.log import get_logger

if TYPE_CHECKING:
    from towpath._native.appstream import AppStream
    from towpath.client.dialing import Dialer

__all__ = ["StopService"]

PERMISSION_DENIED: Final = 202
MALFORMED_MESSAGE: Final = 400
UNEXPECTED_MESSAGE: Final = 401
_TIMEOUT_S: Final = 10.0
_log = get_logger("client")


class StopService:
    """Answers STOP streams. `wanted(relay_id)` says whether we hold a reservation there; `spawn` runs each answer.

    `came_in(relay_id)` is told of each circuit that stands.
    """

    def __init__(
        self,
        dialer: Dialer,
        wanted: Callable[[bytes], bool],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        came_in: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._dialer = dialer
        self._wanted = wanted
        self._spawn = spawn
        self._came_in = came_in

    def accept(self, stream: AppStream) -> None:
        """Takes a new STOP stream."""
        self._spawn(self._answer(stream))

    async def _answer(self, stream: AppStream) -> None:
        relay_id = stream.session.peer_id
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                status = await self._decide(stream, relay_id)
                stream.write(messages.stop_status(status))
                if status != OK:
                    stream.close_write()
                    stream.discard()
                    return
                # Who the dialer is, the handshake inside proves; what the relay says of it is not relied on.
                await self._dialer.secure(stream, False, None, relay_id)
                self._came_in(relay_id)
        except (TowpathError, TimeoutError) as error:
            stream.reset()
            _log.info("circuit_failed", error=str(error) or "it took too long")
        except asyncio.CancelledError:
            stream.reset()
            raise

    async def _decide(self, stream: AppStream, relay_id: bytes) -> int:
        try:
            message = messages.read_stop(await read_message(stream))
        except ValueError:
            return MALFORMED_MESSAGE
        if message.type is None or (message.type == STOP_CONNECT and message.peer_id is None):
            return MALFORMED_MESSAGE
        if message.type != STOP_CONNECT:
            return UNEXPECTED_MESSAGE
        return OK if self._wanted(relay_id) else PERMISSION_DENIED
