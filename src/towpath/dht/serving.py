"""Serving: streams that peers open, one message at a time. Who asks too much waits."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Final, cast

import trio
from libp2p.abc import INetStream
from libp2p.peer.id import ID

from towpath.dht.compat import ASKER, Kad
from towpath.dht.messages import Opened
from towpath.dht.streams import MAX_REQUEST, Buffered, ProtocolError, Request, read_message

__all__ = ["Pace", "Server"]

BODY_S: Final = 10.0
WRITE_S: Final = 10.0
PEER_RATE: Final = 20.0
PEER_BURST: Final = 60.0
ALL_RATE: Final = 200.0
ALL_BURST: Final = 400.0
_PEERS: Final = 4096


class Pace:
    """Token buckets, one of each peer and one of all. Pure; time is passed in."""

    def __init__(self) -> None:
        # When each would be full again.
        self._full: OrderedDict[bytes, float] = OrderedDict()
        self._all = 0.0

    def wait(self, peer_id: bytes, now: float) -> float:
        """Takes a token of the peer's and one of all, and says for how many seconds to wait for them."""
        full = max(self._full.get(peer_id, now), now) + 1 / PEER_RATE
        self._full[peer_id] = full
        self._full.move_to_end(peer_id)
        if len(self._full) > _PEERS:
            self._full.popitem(last=False)
        self._all = max(self._all, now) + 1 / ALL_RATE
        return max(0.0, full - now - PEER_BURST / PEER_RATE, self._all - now - ALL_BURST / ALL_RATE)


class Server:
    """One network's."""

    def __init__(self, kad: Kad, pace: Pace) -> None:
        self._kad = kad
        self._pace = pace

    async def serve(self, opened: Opened, stream: trio.SocketStream) -> None:
        """Answers the messages of a stream until its end, or until one is none. The node ends idle streams."""
        peer_id = ID(opened.peer_id)
        ASKER.set(opened.prefix)
        source = Buffered(stream)
        with stream.socket, contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError):
            while (message := await read_message(source, MAX_REQUEST, BODY_S)) is not None:
                await trio.sleep(self._pace.wait(opened.peer_id, trio.current_time()))
                if not await self._answer(message, peer_id, stream):
                    return

    async def _answer(self, message: bytes, peer_id: ID, stream: trio.SocketStream) -> bool:
        request = Request(message, peer_id)
        await self._kad._do_handle_stream(cast(INetStream, request))
        if request.refused:
            return False
        answer = request.answer()
        if answer and not request.wants_none:
            with trio.move_on_after(WRITE_S) as slow:
                await stream.send_all(answer)
            return not slow.cancelled_caught
        return True
