"""The process's end of the socket to the node: streams come in, streams are asked for, questions are answered."""

from __future__ import annotations

import array
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from towpath.dht.messages import (
    Ask,
    Failed,
    FromChild,
    FromNode,
    GiveUp,
    Mine,
    Open,
    Opened,
    Start,
    decode_from_node,
)
from towpath.packets import MAX_PACKET, encode

__all__ = ["Link", "NoStream"]

_FD: Final = array.array("i").itemsize
_OPENINGS: Final = 64
"""Streams that may be asked for at once; further ones wait."""


class NoStream(Exception):
    """The node got no stream to a peer."""


@dataclass
class _Opening:
    answered: trio.Event
    stream: trio.SocketStream | None = None


class Link:
    """On one trio thread. `run` returns when the node closes its end."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = trio.socket.from_stdlib_socket(end)
        self._next = 1
        self._opening: dict[int, _Opening] = {}
        self._room = trio.CapacityLimiter(_OPENINGS)
        self.on_stream: Callable[[Opened, trio.SocketStream], None] = _refuse
        """Called with each stream that a peer opened; the stream is the callee's."""
        self.on_ask: Callable[[Ask], None] = _ignore
        self.on_give_up: Callable[[GiveUp], None] = _ignore
        self.on_mine: Callable[[Mine], None] = _ignore

    async def first(self) -> Start:
        """What the node says first."""
        message, stream = await self._receive()
        if not isinstance(message, Start) or stream is not None:
            raise ValueError("the node did not begin with Start")
        return message

    async def say(self, message: FromChild) -> None:
        """Waits while the node does not read."""
        await self._socket.send(encode(message))

    async def open(self, peer_id: bytes, protocol: str, addresses: list[bytes]) -> trio.SocketStream:
        """A stream to a peer, in its protocol; NoStream when there is none to be had."""
        async with self._room:
            number = self._next
            self._next += 1
            opening = self._opening[number] = _Opening(trio.Event())
            try:
                await self.say(Open(number, peer_id, protocol, addresses))  # type: ignore[arg-type]
                await opening.answered.wait()
                if opening.stream is None:
                    raise NoStream
                return opening.stream
            except trio.Cancelled:
                if opening.stream is not None:
                    opening.stream.socket.close()
                raise
            finally:
                del self._opening[number]

    async def run(self) -> None:
        """Until the node closes its end; ValueError when it says what it may not."""
        while True:
            try:
                message, stream = await self._receive()
            except EOFError:
                return
            match message:
                case Opened():
                    if stream is None:
                        raise ValueError("a stream without its descriptor")
                    self._opened(message, stream)
                case Failed(number):
                    self._answer(number, None)
                case Ask():
                    self.on_ask(message)
                case GiveUp():
                    self.on_give_up(message)
                case Mine():
                    self.on_mine(message)
                case _:
                    raise ValueError("the node began twice")

    async def _receive(self) -> tuple[FromNode, trio.SocketStream | None]:
        data, beside, _, _ = await self._socket.recvmsg(MAX_PACKET, socket.CMSG_SPACE(_FD))
        if not data:
            raise EOFError
        stream: trio.SocketStream | None = None
        for level, kind, content in beside:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptor = array.array("i", content[:_FD])[0]
                stream = trio.SocketStream(trio.socket.socket(fileno=descriptor))
        return decode_from_node(data), stream

    def _opened(self, message: Opened, stream: trio.SocketStream) -> None:
        if message.number:
            self._answer(message.number, stream)
        else:
            self.on_stream(message, stream)

    def _answer(self, number: int, stream: trio.SocketStream | None) -> None:
        opening = self._opening.get(number)
        if opening is None or opening.answered.is_set():
            # Whoever asked has given up since.
            if stream is not None:
                stream.socket.close()
            return
        opening.stream = stream
        opening.answered.set()


def _refuse(message: Opened, stream: trio.SocketStream) -> None:
    stream.socket.close()


def _ignore(message: object) -> None:
    pass
