"""What a node and its DHT process say to one another: one message a packet of a Unix SEQPACKET socket.

A stream travels as the descriptor of a socket of its own, beside its `Opened`. Pure; both sides import it. The node
treats what comes from the process with the same care as what comes from a peer: the process reads what peers send.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

__all__ = [
    "GOSSIP",
    "KAD",
    "PUBLIC_KAD",
    "Answer",
    "Ask",
    "Contact",
    "Failed",
    "FromChild",
    "FromNode",
    "GiveUp",
    "Heard",
    "Mine",
    "Open",
    "Opened",
    "Start",
    "Table",
    "Trouble",
    "decode_from_child",
    "decode_from_node",
]

KAD: Final = "/towpath/kad/1.0.0"
PUBLIC_KAD: Final = "/ipfs/kad/1.0.0"
GOSSIP: Final = "/meshsub/1.1.0"

PeerId = Annotated[bytes, msgspec.Meta(min_length=1, max_length=64)]
Addresses = Annotated[list[Annotated[bytes, msgspec.Meta(min_length=1, max_length=160)]], msgspec.Meta(max_length=8)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Protocol = Literal["/towpath/kad/1.0.0", "/ipfs/kad/1.0.0", "/meshsub/1.1.0"]
Sentence = Annotated[str, msgspec.Meta(max_length=512)]


class Contact(msgspec.Struct, array_like=True, frozen=True):
    """A peer and where it is, in binary multiaddrs."""

    peer_id: PeerId
    addresses: Addresses


Contacts = Annotated[list[Contact], msgspec.Meta(max_length=128)]


# --- from the node ----------------------------------------------------------------------------


class Start(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """The first message: who the process speaks for."""

    peer_id: PeerId
    addresses: Addresses
    serve: bool
    public: bool
    """Serve the public DHT, too."""
    known: Contacts
    """Servers to begin with."""
    gossip: bool = False
    """Take part in the gossip."""


class Mine(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """Where the node is now."""

    addresses: Addresses


class Opened(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """A stream; its descriptor comes along. The answer to `Open` of this number, or one from a peer (number 0)."""

    number: Number
    peer_id: PeerId
    protocol: Protocol
    prefix: Annotated[bytes, msgspec.Meta(max_length=6)] = b""
    """Of the address that the peer is at: its /24 or /48."""
    listens: Addresses = []
    """Where the peer says it listens, if it serves the DHT."""


class Failed(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """No stream for the `Open` of this number."""

    number: Number


class Ask(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """Something to do in towpath's DHT. `join`: look round from the contacts given; `gossip`: tell `value` to all."""

    number: Number
    what: Literal["join", "provide", "providers", "put", "get", "find", "gossip"]
    key: Annotated[bytes, msgspec.Meta(max_length=256)] = b""
    value: Annotated[bytes, msgspec.Meta(max_length=4096)] = b""
    most: Annotated[int, msgspec.Meta(ge=1, le=128)] = 20
    contacts: Contacts = []


class GiveUp(msgspec.Struct, tag=6, array_like=True, frozen=True):
    """Nobody waits for the answer to this `Ask` any more."""

    number: Number


# --- from the process -------------------------------------------------------------------------


class Open(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """A stream to a peer is wanted; `Opened` or `Failed` is the answer."""

    number: Number
    peer_id: PeerId
    protocol: Protocol
    addresses: Addresses


class Answer(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """To an `Ask`: `count` peers answered or took it."""

    number: Number
    count: Number = 0
    value: Annotated[bytes, msgspec.Meta(max_length=4096)] | None = None
    contacts: Contacts = []
    error: Sentence = ""


class Table(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """The routing table: how many servers it holds, and some of them, to begin with after a restart."""

    size: Number
    contacts: Contacts


class Trouble(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """Something in the process failed that should not, and it goes on."""

    sentence: Sentence


class Heard(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """A message of the gossip that was taken; the neighbour that brought it."""

    data: Annotated[bytes, msgspec.Meta(max_length=2048)]
    peer_id: PeerId


FromNode = Start | Mine | Opened | Failed | Ask | GiveUp
FromChild = Open | Answer | Table | Trouble | Heard

_from_node: msgspec.msgpack.Decoder[FromNode] = msgspec.msgpack.Decoder(FromNode)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)


def decode_from_node(data: bytes) -> FromNode:
    """ValueError for what is no message of the node's."""
    return _from_node.decode(data)


def decode_from_child(data: bytes) -> FromChild:
    """ValueError for what is no message of the process's."""
    return _from_child.decode(data)
