"""What a DHT server remembers of who provides what: bounded, fair to prefixes, forgotten after two hours. Pure.

It takes the place of py-libp2p's, which keeps the first 20 providers of a key for 48 h, so that a shard of relays is
squatted in an afternoon. Here the newest stay, few from one prefix, and each answer is a fresh random choice.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from towpath.discovery.shards import KEYS

__all__ = ["ANSWERED", "LIFE_S", "MAX_OTHER_KEYS", "PER_KEY", "PER_PREFIX", "Provider", "ProviderStore"]

LIFE_S: Final = 7200.0
PER_KEY: Final = 128
PER_PREFIX: Final = 2
"""Providers of one key from one prefix (see `internet.prefix_of`)."""
ANSWERED: Final = 20
MAX_OTHER_KEYS: Final = 512
"""Keys that are kept besides the shards'."""
_MAX_KEY: Final = 80
_MAX_PEER_ID: Final = 64
_MAX_ADDRESSES: Final = 8
_MAX_ADDRESS: Final = 160


class Provider(NamedTuple):
    """A peer that provides a key, and where it said it is (binary multiaddrs)."""

    peer_id: bytes
    addresses: tuple[bytes, ...]


class _Kept(NamedTuple):
    provider: Provider
    prefix: bytes
    at: float


class ProviderStore:
    """Times are of any one clock that does not go back, in seconds."""

    def __init__(self) -> None:
        # Of each key by peer, the oldest first; the keys that nobody touched for longest first.
        self._keys: OrderedDict[bytes, OrderedDict[bytes, _Kept]] = OrderedDict()
        self._others = 0

    def __len__(self) -> int:
        """How many keys have providers, or had some lately."""
        return len(self._keys)

    def add(self, key: bytes, peer_id: bytes, addrs: Sequence[bytes], prefix: bytes, now: float) -> bool:
        """Remembers a provider, which the caller has authenticated and seen at an address with this prefix.

        Its former entry goes; so do the oldest of its prefix and of the key when there are too many. False: refused,
        because something is too long.
        """
        if not 1 <= len(key) <= _MAX_KEY or not 1 <= len(peer_id) <= _MAX_PEER_ID:
            return False
        kept = self._of(key)
        former = kept.pop(peer_id, None)
        self._forget(kept, now)
        if former is None or former.prefix != prefix:
            # Who had a place keeps it: only a newcomer to its prefix can make it too many.
            same = [other for other, entry in kept.items() if entry.prefix == prefix]
            for other in same[: max(0, len(same) - PER_PREFIX + 1)]:
                del kept[other]
            while len(kept) >= PER_KEY:
                kept.popitem(last=False)
        places = tuple([addr for addr in addrs[:_MAX_ADDRESSES] if 1 <= len(addr) <= _MAX_ADDRESS])
        kept[peer_id] = _Kept(Provider(peer_id, places), prefix, now)
        return True

    def some(self, key: bytes, rng: random.Random, now: float) -> list[Provider]:
        """Providers of a key, 20 at most, another random choice each time."""
        kept = self._keys.get(key)
        if kept is None:
            return []
        self._forget(kept, now)
        if not kept:
            self._drop(key)
            return []
        return [entry.provider for entry in rng.sample(list(kept.values()), min(ANSWERED, len(kept)))]

    def count(self, key: bytes, now: float) -> int:
        """How many providers a key has."""
        kept = self._keys.get(key)
        return 0 if kept is None else sum(now - entry.at < LIFE_S for entry in kept.values())

    def _of(self, key: bytes) -> OrderedDict[bytes, _Kept]:
        kept = self._keys.get(key)
        if kept is None:
            if key not in KEYS:
                if self._others >= MAX_OTHER_KEYS:
                    self._drop(next(other for other in self._keys if other not in KEYS))
                self._others += 1
            self._keys[key] = kept = OrderedDict()
        elif key not in KEYS:
            self._keys.move_to_end(key)
        return kept

    def _drop(self, key: bytes) -> None:
        del self._keys[key]
        self._others -= key not in KEYS

    def _forget(self, kept: OrderedDict[bytes, _Kept], now: float) -> None:
        while kept:
            oldest = next(iter(kept))
            if now - kept[oldest].at < LIFE_S:
                return
            del kept[oldest]
