"""Our side of kad-dht on a node in memory: peers are functions from one message to another, behind real sockets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID

from tests.unit.dht.library import LOOPBACK, Anything, Peer, some_id
from towpath.dht.compat import Kad, Namespaces
from towpath.dht.host import Host, Places
from towpath.dht.link import Link, NoStream
from towpath.dht.messages import KAD
from towpath.dht.streams import MAX_ANSWER, Buffered, frame, read_message


class MemoryLink:
    """A node that is connected to `peers`; None is one to whom no connection is ever made or refused."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.peers: dict[bytes, Peer | None] = {}
        self.opened: list[bytes] = []
        self.protocols: set[str] = set()

    async def open(self, peer_id: bytes, protocol: str, addresses: list[bytes]) -> trio.SocketStream:
        self.opened.append(peer_id)
        self.protocols.add(protocol)
        if peer_id not in self.peers:
            raise NoStream
        peer = self.peers[peer_id]
        if peer is None:
            await trio.sleep_forever()
            raise AssertionError
        here, there = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair())
        self._nursery.start_soon(self._be, peer, there)
        return here

    async def _be(self, peer: Peer, stream: trio.SocketStream) -> None:
        source = Buffered(stream)
        with stream.socket, contextlib.suppress(trio.BrokenResourceError):
            while (data := await read_message(source, MAX_ANSWER, 60)) is not None:
                answer = await peer(Message.FromString(data))
                if answer is not None:
                    await stream.send_all(frame(answer.SerializeToString()))


class Ours:
    """Our DHT, and the peers that it may meet."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.link = MemoryLink(nursery)
        self.places = Places()
        self.host = Host(cast(Link, self.link), some_id().to_bytes(), self.places, KAD)
        self.kad = Kad(self.host, Namespaces({"t": Anything()}, strict_validation=True))

    def knows(self, peer: Peer | None) -> ID:
        """A peer with an address; None: it is silent."""
        peer_id = some_id()
        self.link.peers[peer_id.to_bytes()] = peer
        self.places.learn(peer_id, [LOOPBACK.to_bytes()])
        return peer_id


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[Ours]:
    async with trio.open_nursery() as nursery:
        yield Ours(nursery)
        nursery.cancel_scope.cancel()


def answers(**fields: Any) -> Peer:
    """A server that answers every question with these fields, whatever was asked."""

    async def peer(question: Message) -> Message:
        return Message(type=question.type, key=question.key, **fields)

    return peer
