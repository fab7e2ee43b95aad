"""Where relays are found in the simulated network: the DHT's 64 shards, kept by the node's own provider store.

Each shard has one store where a real network has twenty alike: who provides a key tells all of them. Records are
there by relay id, as in the DHT's other half; nobody can put one for somebody else, so they need no signature here.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from towpath.discovery.provider_store import ProviderStore
from towpath.discovery.records import Advertisement
from towpath.discovery.shards import SHARDS, reading_order, shard_key, shard_of

__all__ = ["LOOKUP_S", "Read", "Shards"]

LOOKUP_S: Final = 0.5
"""One look-up in the DHT; of those of IPFS from Europe 80% take less (Trautwein et al., SIGCOMM 2022)."""
_AT_ONCE: Final = 6
_KEYS: Final = [shard_key(shard) for shard in range(SHARDS)]


class Read(NamedTuple):
    """What a reading found: relays with their records, how many shards were read, and how long it took."""

    found: list[tuple[bytes, Advertisement]]
    shards: int
    seconds: float


class Shards:
    """`stores[n]` keeps the providers of shard n; who adds to one itself says so in `used`."""

    def __init__(self) -> None:
        self.stores = [ProviderStore() for _ in range(SHARDS)]
        self.used = [False] * SHARDS
        """Those that ever had a provider."""
        self._shards: dict[bytes, int] = {}
        self.records: dict[bytes, Advertisement] = {}
        self.reachable = True
        """False: nobody's look-up is answered any more."""

    def provide(self, record: Advertisement, prefix: bytes, now: float) -> None:
        """A relay says that it is there, and publishes its record; one that withdraws has only that read."""
        self.records[record.peer_id] = record
        if not record.withdrawn:
            shard = self._shards.get(record.peer_id, -1)
            if shard < 0:
                shard = self._shards[record.peer_id] = shard_of(record.peer_id)
            self.used[shard] = True
            self.stores[shard].add(_KEYS[shard], record.peer_id, record.addrs, prefix, now)

    def read(self, enough: int, rng: random.Random, now: float) -> Read:
        """Reads shards in a random order until that many relays were found, as a client does."""
        found: dict[bytes, Advertisement] = {}
        shards = 0
        if self.reachable:
            for shard in reading_order(rng):
                shards += 1
                if not self.used[shard]:
                    continue
                for provider in self.stores[shard].some(_KEYS[shard], rng, now):
                    record = self.records.get(provider.peer_id)
                    if record is not None and not record.withdrawn and record.last_seen <= now <= record.not_after:
                        found[provider.peer_id] = record
                if len(found) >= enough:
                    break
        rounds = max(1, -(-shards // _AT_ONCE)) + 1
        return Read(list(found.items()), shards, rounds * LOOKUP_S)
