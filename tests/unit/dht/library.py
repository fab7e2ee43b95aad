"""py-libp2p's kad-dht as it is, on a host in memory: peers are functions from one message to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.records.validator import NamespacedValidator, Validator
from multiaddr import Multiaddr

from towpath.dht.streams import frame

Peer = Callable[[Message], Awaitable[Message | None]]
LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/4001")


def some_id() -> ID:
    return ID.from_pubkey(create_new_key_pair().public_key)


class MemoryStream:
    """One question, written or given, and what is written to it."""

    metric_send_channel = None

    def __init__(self, peer_id: ID, question: bytes = b"", peer: Peer | None = None) -> None:
        self.muxed_conn = SimpleNamespace(peer_id=peer_id)
        self.incoming = frame(question) if question else b""
        self.written = b""
        self.was_reset = False
        self._peer = peer

    async def read(self, n: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.incoming and self._peer is not None and self.written:
            question, self.written = body(self.written), b""
            answer = await self._peer(question)
            if answer is not None:
                self.incoming = frame(answer.SerializeToString())
        data = self.incoming if n is None else self.incoming[:n]
        self.incoming = self.incoming[len(data) :]
        return data

    async def write(self, data: bytes) -> None:
        self.written += data

    async def close(self) -> None:
        if self._peer is not None and self.written:
            await self._peer(body(self.written))

    async def reset(self) -> None:
        self.was_reset = True


class IdleStream(MemoryStream):
    """Says nothing."""

    async def read(self, n: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


def body(framed: bytes) -> Message:
    at = next(index for index, byte in enumerate(framed) if not byte & 0x80) + 1
    return Message.FromString(framed[at:])


class MemoryHost:
    """What kad-dht asks of a host."""

    def __init__(self) -> None:
        self.keys = create_new_key_pair()
        self.id = ID.from_pubkey(self.keys.public_key)
        self.store = PeerStore()
        self.peers: dict[ID, Peer] = {}
        self.handled: list[str] = []
        self.asked = 0

    def knows(self, peer: Peer) -> ID:
        peer_id = some_id()
        self.peers[peer_id] = peer
        self.store.add_addrs(peer_id, [LOOPBACK], 3600)
        return peer_id

    def get_id(self) -> ID:
        return self.id

    def get_addrs(self) -> list[Multiaddr]:
        return [LOOPBACK]

    def get_peerstore(self) -> PeerStore:
        return self.store

    def get_private_key(self) -> Any:
        return self.keys.private_key

    def get_public_key(self) -> Any:
        return self.keys.public_key

    def get_connected_peers(self) -> list[ID]:
        return list(self.peers)

    def set_stream_handler(self, protocol: str, handler: object) -> None:
        self.handled.append(protocol)

    async def new_stream(self, peer_id: ID, protocols: Sequence[str]) -> MemoryStream:
        self.asked += 1
        return MemoryStream(peer_id, peer=self.peers[peer_id])


class Anything(Validator):
    """Takes all but b"bad"; the larger counts."""

    def validate(self, key: str, value: bytes) -> None:
        if value == b"bad":
            raise ValueError("bad")

    def select(self, key: str, values: list[bytes]) -> int:
        return values.index(max(values))


def library(host: MemoryHost | None = None, **options: Any) -> KadDHT:
    validator = NamespacedValidator({"t": Anything()}, strict_validation=True)
    return KadDHT(
        host or MemoryHost(),  # type: ignore[arg-type]
        DHTMode.SERVER,
        validator=validator,
        validator_changed=True,
        strict_validation=True,
        **options,
    )


def silent_closer(*closer: ID, addresses: Sequence[bytes] = (LOOPBACK.to_bytes(),)) -> Message:
    """The answer of a server that knows these."""
    message = Message(type=Message.MessageType.FIND_NODE)
    for peer in closer:
        message.closerPeers.add(id=peer.to_bytes(), addrs=addresses)
    return message
