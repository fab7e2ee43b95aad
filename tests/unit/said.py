"""Records as their signers would publish them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.memory_dht import NOW
from towpath import addresses
from towpath.discovery.records import LIFE_S, NO_CAPACITY, Advertisement, Capacity, PeerRecord, sign
from towpath.identity import Identity

SOME_RELAY = Identity(bytes((200,)) * 32)


def circuit(relay: Identity) -> bytes:
    """The circuit address at this relay."""
    return addresses.to_bytes(f"/ip4/192.31.196.{relay.seed[0]}/tcp/4001/p2p/{relay.text}/p2p-circuit")


def advertisement(relay: Identity, *, age: int = 0, seq: int = 1, withdrawn: bool = False, load: int = 0) -> bytes:
    """What a relay said of itself so many seconds ago."""
    begin = int(NOW) - age
    record = Advertisement(
        v=1,
        peer_id=relay.peer_id,
        addrs=() if withdrawn else (addresses.to_bytes(f"/ip4/192.31.196.{relay.seed[0]}/tcp/4001"),),
        mode="cooperative",
        capacity=NO_CAPACITY if withdrawn else Capacity(128, 256),
        load=load,
        price=0,
        last_seen=begin,
        seq=seq,
        not_after=begin + LIFE_S,
    )
    return sign(record, relay.seed)


def peer_record(peer: Identity, *, at: Sequence[Identity] = (SOME_RELAY,), age: int = 0, seq: int = 1) -> bytes:
    """Where a peer said so many seconds ago that it is to be met."""
    begin = int(NOW) - age
    record = PeerRecord(
        v=1,
        peer_id=peer.peer_id,
        circuits=tuple(circuit(relay) for relay in at),
        seq=seq,
        issued=begin,
        not_after=begin + LIFE_S,
    )
    return sign(record, peer.seed)
