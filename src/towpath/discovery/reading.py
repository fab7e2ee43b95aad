"""Reading relays out of the DHT: the shards in random order, each one's providers, and their advertisements."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Final, Protocol

from towpath.discovery.records import Advertisement, RecordError, advertisement_key, read_advertisement
from towpath.discovery.shards import reading_order, shard_key
from towpath.errors import TowpathError
from towpath.signed import key_of

__all__ = ["AskedDht", "read_shards"]

SHARDS_AT_ONCE: Final = 6
RECORDS_AT_ONCE: Final = 12
_PROVIDERS: Final = 20
"""Of one shard; a client that needs more reads another shard."""


class AskedDht(Protocol):
    """What is asked of a DHT. Both raise TowpathError when it cannot be asked."""

    async def providers(self, key: bytes, most: int) -> list[tuple[bytes, list[bytes]]]:
        """Who provides a key (a multihash): peer ids, and addresses that are not checked."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The newest value under a key."""
        ...


async def read_shards(
    dht: AskedDht,
    enough: int,
    *,
    rng: random.Random | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[tuple[bytes, Advertisement], None]:
    """Valid advertisements as they are found, raw and read, those of relays that withdrew among them.

    Ends when `enough` relays were found that did not withdraw, or all shards were read. A provider without a valid
    advertisement is none. TowpathError when not a single shard could be read.
    """
    shards = deque(reading_order(rng or random.Random()))
    wanted: deque[bytes] = deque()
    seen: set[bytes] = set()
    reading: set[asyncio.Task[list[tuple[bytes, list[bytes]]]]] = set()
    getting: dict[asyncio.Task[bytes | None], bytes] = {}
    read = found = 0
    failure: TowpathError | None = None
    try:
        while found < enough and (shards or wanted or reading or getting):
            while wanted and len(getting) < RECORDS_AT_ONCE:
                relay_id = wanted.popleft()
                getting[asyncio.ensure_future(dht.get(advertisement_key(relay_id)))] = relay_id
            # What was found already is read before more is looked for.
            while shards and len(reading) < SHARDS_AT_ONCE and not wanted:
                reading.add(asyncio.ensure_future(dht.providers(shard_key(shards.popleft()), _PROVIDERS)))
            done, _ = await asyncio.wait({*reading, *getting}, return_when=asyncio.FIRST_COMPLETED)
            for task in reading & done:
                reading.discard(task)
                try:
                    providers = task.result()
                except TowpathError as error:
                    failure = error
                    continue
                read += 1
                for relay_id, _ in providers[:_PROVIDERS]:
                    # Who has another kind of id has no advertisement.
                    if relay_id not in seen and key_of(relay_id) is not None:
                        seen.add(relay_id)
                        wanted.append(relay_id)
            for got in [task for task in getting if task in done]:
                relay_id = getting.pop(got)
                try:
                    raw = got.result()
                    advertisement = None if raw is None else read_advertisement(raw, clock())
                except TowpathError as error:
                    failure = error if not isinstance(error, RecordError) else failure
                    continue
                if raw is not None and advertisement is not None and advertisement.peer_id == relay_id:
                    found += not advertisement.withdrawn
                    yield raw, advertisement
    finally:
        left: set[asyncio.Task[object]] = {*reading, *getting}
        for unread in left:
            unread.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    if failure is not None and not read:
        raise failure
