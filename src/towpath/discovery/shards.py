"""The 64 shards under which relays are provided in the DHT, so that no 20 nodes carry the whole list. Pure."""

from __future__ import annotations

import hashlib
import random
from typing import Final

__all__ = ["KEYS", "SHARDS", "reading_order", "shard_key", "shard_of"]

SHARDS: Final = 64
_SHA2_256: Final = b"\x12\x20"


def shard_of(relay_id: bytes) -> int:
    """The shard of a relay: the first 6 bits of SHA-256 over its id's bytes."""
    return hashlib.sha256(relay_id).digest()[0] >> 2


def shard_key(shard: int) -> bytes:
    """The DHT key that a shard's relays are provided under: the SHA2-256 multihash of `/relays/available/N`."""
    if not 0 <= shard < SHARDS:
        raise ValueError(f"shard {shard}; there are {SHARDS}")
    return _SHA2_256 + hashlib.sha256(f"/relays/available/{shard}".encode()).digest()


KEYS: Final = frozenset(shard_key(shard) for shard in range(SHARDS))
"""The keys of all shards."""


def reading_order(rng: random.Random) -> list[int]:
    """All shards, in the order in which one client reads them until it has enough."""
    luck = [rng.random() for _ in range(SHARDS)]
    return sorted(range(SHARDS), key=luck.__getitem__)
