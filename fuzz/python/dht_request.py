"""A peer's message to the DHT: it leads to an answer within bounds, a refusal or nothing, and never to a fault."""

from __future__ import annotations

import time
from typing import Any, cast

import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message, Record
from libp2p.peer.id import ID

from towpath.dht.compat import Kad, hush, public_validators, towpath_validators
from towpath.dht.host import Host, Places
from towpath.dht.messages import KAD
from towpath.dht.streams import MAX_ANSWER, ProtocolError, Request
from towpath.identity import Identity

__all__ = ["check", "seeds"]

_PEER = ID(Identity(bytes(range(32))).peer_id)
_PLACE = b"\x04\x7f\x00\x00\x01\x06\x0f\xa1"
_KINDS = Message.MessageType
hush()


def _server(validators: Any) -> Kad:
    places = Places()
    kad = Kad(Host(cast(Any, None), Identity(bytes(32)).peer_id, places, KAD), validators)
    for number in range(30):
        peer = ID(Identity(number.to_bytes(32)).peer_id)
        places.learn(peer, [_PLACE])
        kad.routing_table.admit(peer, [_PLACE])
    return kad


_SERVERS = (_server(towpath_validators()), _server(public_validators()))
_SIZE = _SERVERS[0].routing_table.size()


def seeds() -> list[bytes]:
    """One message of each kind, and records that a validator sees."""
    key = b"\x12\x20" + bytes(32)
    found = [Message(type=kind, key=key) for kind in _KINDS.values()]
    provider = Message(type=_KINDS.ADD_PROVIDER, key=key)
    provider.providerPeers.add(id=_PEER.to_bytes(), addrs=[_PLACE])
    named = Message(type=_KINDS.FIND_NODE, key=_PEER.to_bytes(), senderRecord=b"\x0a\x00")
    named.closerPeers.add(id=_PEER.to_bytes(), addrs=[_PLACE], signedRecord=b"x")
    found += [provider, named]
    for name in (b"/relays/available/", b"/towpath/peer/", b"/pk/", b"/ipns/"):
        place = name + _PEER.to_base58().encode()
        found.append(Message(type=_KINDS.PUT_VALUE, key=place, record=Record(key=place, value=bytes(120))))
        found.append(Message(type=_KINDS.GET_VALUE, key=place))
    return [bytes(message.SerializeToString()) for message in found]


def check(data: bytes) -> None:
    """AssertionError when an answer is out of bounds; any other exception is a fault of the server, too."""
    for kad in _SERVERS:
        try:
            request = Request(data, _PEER)
        except ProtocolError:
            continue
        began = time.monotonic()
        trio.run(kad._do_handle_stream, request)
        _must(time.monotonic() - began < 5, "it took seconds")
        _must(len(request.answer()) <= MAX_ANSWER, "its answer is too large")
        _must(kad.routing_table.size() == _SIZE, "it entered the routing table")
        _must(kad.value_store.size() <= 1000, "it fills the store")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
