"""Publishing our relay's advertisement in the DHT, as `discovery.adverts` plans it, and withdrawing it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from towpath.discovery.adverts import LOOK_S, AdvertFacts, Do, plan, said_by
from towpath.discovery.records import (
    Advertisement,
    RecordError,
    advertisement_key,
    read_advertisement,
    sign,
)
from towpath.discovery.shards import shard_key, shard_of
from towpath.errors import TowpathError
from towpath.identity import Identity
from towpath.log import get_logger
from towpath.waiting import doubled, spread

if TYPE_CHECKING:
    from towpath.store import Store

__all__ = ["Advertiser", "PublishingDht"]

_RETRY_S: Final = (5.0, 300.0)
_BEGINNING: Final = 3
_GOODBYE_S: Final = 2.0
_KEPT: Final = "advertisement"
_log = get_logger("discovery")


class PublishingDht(Protocol):
    """What is asked of a DHT that one publishes in. Both raise TowpathError when it cannot be reached.

    Both return how many servers took it: with 0 only we ourselves have it; None when that is as it shall be.
    """

    async def provide(self, key: bytes) -> int | None:
        """Says that we provide a key (a multihash)."""
        ...

    async def put(self, key: str, value: bytes) -> int | None:
        """Puts a value under a key."""
        ...


class Advertiser:
    """Keeps what the DHT says of one relay true, from `start` to `stop`.

    `facts()` answers at once; call `changed` when it may answer something else, or the DHT is there again. `dht` None:
    nothing is published, and `raw` is there all the same, for those who ask us. `seed` is the relay's key.
    """

    def __init__(
        self,
        facts: Callable[[], AdvertFacts],
        dht: PublishingDht | None,
        seed: bytes,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._facts = facts
        self._dht = dht
        self._seed = seed
        self._relay_id = Identity(seed).peer_id
        self._store = store
        self._clock = clock
        self._rng = rng or random.Random()
        self._raw, self._said = self._kept()
        self._jitter = self._rng.random()
        self._published = True
        """Does the DHT have what was said last, or never was told anything?"""
        self._alone_until: float | None = None
        """When to put it anew because nobody was there to take it."""
        self._failures = 0
        self._changed = asyncio.Event()
        self._acting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.problem = ""
        """Why the last publication failed; empty when it did not."""

    @property
    def said(self) -> Advertisement | None:
        """What was said last."""
        return self._said

    @property
    def raw(self) -> bytes | None:
        """The advertisement that stands; None when we are no relay to others now."""
        said = self._said
        if said is None or said.withdrawn or not said.last_seen - 1 <= self._clock() <= said.not_after:
            return None
        return self._raw

    def start(self) -> None:
        """From now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="advertising")

    def changed(self) -> None:
        """`facts()` may answer something else, or the DHT can be reached again."""
        self._failures = 0
        self._changed.set()

    def republish(self) -> None:
        """Puts what stands into the DHT anew: it is another one, or was joined just now."""
        if self.raw is not None:
            self._published = False
        self.changed()

    async def stop(self) -> None:
        """Ends it, and withdraws what stands if the DHT takes that within 2 s."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._facts = lambda: AdvertFacts(False)
        with contextlib.suppress(TowpathError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._act()

    async def advertise(self) -> Advertisement:
        """Publishes now what there is. TowpathError when there is nothing to advertise, or the DHT does not take it."""
        facts = self._facts()
        if not facts.offered:
            missing = "no address of it is confirmed to be reachable"
            if not facts.relaying:
                missing = "it does not relay now"
            elif facts.fitting:
                missing = "one of its limits is 0, so it takes nobody"
            raise TowpathError(f"this node is not advertised: {missing}; see `towpath status` and `towpath check`")
        async with self._acting:
            said = self._say(facts)
            await self._publish()
        return said

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            wait = await self._act_and_tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def _act_and_tell(self) -> float:
        try:
            wait = await self._act()
        except (TowpathError, TimeoutError) as error:
            self._failures += 1
            least, most = _RETRY_S
            wait = spread(doubled(least, most, self._failures - 1), self._rng.random())
            self.problem = str(error) or "it took too long"
            # The first times are those of a DHT that is only beginning.
            say = _log.info if self._failures > _BEGINNING else _log.debug
            say("advertising_failed", error=self.problem, next_try_s=round(wait, 1))
        return wait

    async def _act(self) -> float:
        async with self._acting:
            facts = self._facts()
            now = self._clock()
            do, wait = plan(facts, self._said, now, self._jitter)
            if do is not Do.NOTHING:
                self._say(facts)
            if not self._published or (self._alone_until is not None and now >= self._alone_until):
                await self._publish()
            return wait

    def _say(self, facts: AdvertFacts) -> Advertisement:
        record = said_by(self._relay_id, facts, self._said, self._clock())
        self._raw, self._said = sign(record, self._seed), record
        # Before it goes out: no number is given twice.
        self._store.put(_KEPT, self._raw.hex())
        self._published = False
        self._jitter = self._rng.random()
        return record

    async def _publish(self) -> None:
        said, raw = self._said, self._raw
        if said is None or raw is None:
            return
        self._alone_until = None
        if self._dht is not None:
            took = await self._dht.put(advertisement_key(self._relay_id), raw)
            if not said.withdrawn:
                await self._dht.provide(shard_key(shard_of(self._relay_id)))
                # A relay that is the first one: others come, and it need not hear of it.
                self._alone_until = self._clock() + LOOK_S if took == 0 else None
        self._published = True
        self._failures = 0
        self.problem = ""
        _log.info("advertised", withdrawn=said.withdrawn, load=said.load, seq=said.seq, addresses=len(said.addrs))

    def _kept(self) -> tuple[bytes | None, Advertisement | None]:
        kept = self._store.get(_KEPT)
        if isinstance(kept, str):
            with contextlib.suppress(ValueError, RecordError):
                raw = bytes.fromhex(kept)
                # Expired or not: its number counts.
                said = read_advertisement(raw, None)
                if said.peer_id == self._relay_id:
                    return raw, said
        return None, None
