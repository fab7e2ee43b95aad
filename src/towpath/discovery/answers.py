"""What a relay answers to look-ups: its own clients' records, what it can find out, and its own advertisement.

Answers are kept for a little while, so that many who ask the same cost one look-up. Everything is as its signer signed
it; who asks checks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from towpath.discovery.reading import read_shards
from towpath.discovery.records import Advertisement, RecordError, newer, peer_key, read_peer_record
from towpath.errors import TowpathError
from towpath.log import get_logger
from towpath.signed import key_of

if TYPE_CHECKING:
    from towpath.discovery.peer_records import HeldRecords
    from towpath.discovery.reading import AskedDht
    from towpath.relaystream.reasons import Answer

__all__ = ["InDht", "KeptAnswers", "Sought"]

FRESH_S: Final = 15.0
"""How long what was found of a peer is answered again: it may be met elsewhere soon. Nothing found: a third of it."""
READ_AGAIN_S: Final = 300.0
"""How long the relays that were found are answered without more being looked for, when there are enough."""
FEW_AGAIN_S: Final = 15.0
"""The same, when there are fewer than asked for: there may be no more yet."""
_MOST_PEERS: Final = 2048
_MOST_RELAYS: Final = 256
_READ: Final = 48
"""Relays that are looked for at once: more than one answer holds, so that answers differ."""
_READ_S: Final = 8.0
_WAIT_S: Final = 3.0
"""What somebody who asks waits at most for the first relay to be found."""
_MORE_S: Final = 1.0
"""The same, when one is known: for more of them."""
_log = get_logger("discovery")


class _Kept(NamedTuple):
    raw: bytes | None
    until: float


class Sought(Protocol):
    """Where what is not known yet is sought. Both raise TowpathError when nobody can be asked."""

    async def record(self, peer_id: bytes) -> bytes | None:
        """The newest record of a peer; it is checked again."""
        ...

    def relays(self, most: int) -> AsyncGenerator[tuple[bytes, Advertisement], None]:
        """Valid advertisements as they are found, raw and read, those of relays that withdrew among them."""
        ...


class InDht:
    """What the DHT says."""

    def __init__(
        self, dht: AskedDht, *, clock: Callable[[], float] = time.time, rng: random.Random | None = None
    ) -> None:
        self._dht = dht
        self._clock = clock
        self._rng = rng

    async def record(self, peer_id: bytes) -> bytes | None:
        """See Sought."""
        return await self._dht.get(peer_key(peer_id))

    def relays(self, most: int) -> AsyncGenerator[tuple[bytes, Advertisement], None]:
        """See Sought."""
        return read_shards(self._dht, most, rng=self._rng, clock=self._clock)


class KeptAnswers:
    """See relaystream.answering.Answers. `own()` is our advertisement, raw; `sought` None: nobody is to be asked."""

    def __init__(
        self,
        sought: Sought | None,
        held: HeldRecords,
        own: Callable[[], bytes | None],
        *,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._sought = sought
        self._held = held
        self._own = own
        self._clock = clock
        self._rng = rng or random.Random()
        self._peers: OrderedDict[bytes, _Kept] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[bytes | None]] = {}
        self._relays: dict[bytes, tuple[bytes, Advertisement]] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self.shown: Callable[[bytes, int], list[bytes]] = lambda payer, day: []
        """The receipts behind what this node's account told of a day; see relaystream.answering.Answers."""

    async def peer(self, peer_id: bytes) -> list[bytes]:
        """Its record, if it is known. TowpathError when nobody can be asked."""
        held = self._held.get(peer_id)
        if held is not None:
            return [held]
        if key_of(peer_id) is None:
            return []  # no such id signs records
        kept = self._peers.get(peer_id)
        if kept is None or self._clock() >= kept.until:
            kept = _Kept(await self._ask(peer_id), 0.0)
        return [] if kept.raw is None else [kept.raw]

    async def relays(self, most: int) -> list[bytes]:
        """Some of the relays that are known, our own among them when there are few. TowpathError as above."""
        known = self._valid()
        few = len(known) < most
        if self._sought is not None and self._clock() - self._read_at >= (FEW_AGAIN_S if few else READ_AGAIN_S):
            reading = self._read_more()
            if few:
                await self._hear(reading, most)
                known = self._valid()
        own = self._own()
        if own is not None and own not in known:
            known.append(own)
        if not known and self._sought is None:
            raise TowpathError("this relay has no DHT to look anything up in; ask another relay")
        return self._rng.sample(known, min(most, len(known)))

    def take(self, peer_id: bytes, raw: bytes) -> Answer:
        """Keeps and publishes a client's record."""
        return self._held.take(peer_id, raw)

    def receipts(self, payer: bytes, day: int) -> list[bytes]:
        """See relaystream.answering.Answers."""
        return self.shown(payer, day)

    def heard_of(self, raw: bytes, advertisement: Advertisement) -> None:
        """A relay's advertisement, read and valid, that came another way."""
        before = self._relays.get(advertisement.peer_id)
        if before is None or newer(advertisement, before[1]):
            self._relays.pop(advertisement.peer_id, None)
            self._relays[advertisement.peer_id] = (raw, advertisement)
            self._heard.set()
        while len(self._relays) > _MOST_RELAYS:
            del self._relays[next(iter(self._relays))]

    def prepare(self) -> None:
        """Reads relays for those who will ask: the DHT was joined just now."""
        if self._sought is not None:
            self._read_more()

    async def close(self) -> None:
        """Ends what is under way."""
        tasks: list[asyncio.Task[None] | asyncio.Task[bytes | None]] = [*self._asking.values()]
        if self._reading is not None:
            tasks.append(self._reading)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- peers ---------------------------------------------------------------------------------

    async def _ask(self, peer_id: bytes) -> bytes | None:
        # One look-up for all who ask for the same peer; it goes on when one of them leaves.
        task = self._asking.get(peer_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._look_up(peer_id))
            self._asking[peer_id] = task
            task.add_done_callback(lambda done: self._asked(peer_id, done))
        return await asyncio.shield(task)

    def _asked(self, peer_id: bytes, task: asyncio.Task[bytes | None]) -> None:
        self._asking.pop(peer_id, None)
        if task.cancelled() or task.exception() is not None:
            return
        raw = task.result()
        self._peers.pop(peer_id, None)
        self._peers[peer_id] = _Kept(raw, self._clock() + (FRESH_S if raw is not None else FRESH_S / 3))
        while len(self._peers) > _MOST_PEERS:
            self._peers.popitem(last=False)

    async def _look_up(self, peer_id: bytes) -> bytes | None:
        if self._sought is None:
            raise TowpathError("this relay has no DHT to look anything up in; ask another relay")
        raw = await self._sought.record(peer_id)
        if raw is None:
            return None
        try:
            record = read_peer_record(raw, self._clock())
        except RecordError:
            return None
        return raw if record.peer_id == peer_id else None

    # --- relays --------------------------------------------------------------------------------

    def _valid(self) -> list[bytes]:
        now = self._clock()
        self._relays = {peer: kept for peer, kept in self._relays.items() if now <= kept[1].not_after}
        return [raw for raw, advertisement in self._relays.values() if not advertisement.withdrawn]

    async def _hear(self, reading: asyncio.Task[None], most: int) -> None:
        # Reading all shards takes seconds; whoever asks first does not wait for that.
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not reading.done() and (have := len(self._valid())) < most:
            left = began + (_MORE_S if have else _WAIT_S) - loop.time()
            if left <= 0:
                return
            self._heard.clear()
            heard = loop.create_task(self._heard.wait())
            try:
                await asyncio.wait([heard, reading], timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                heard.cancel()

    def _read_more(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())
            self._reading.add_done_callback(self._have_read)
        return self._reading

    def _have_read(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        self._read_at = self._clock()

    async def _read(self) -> None:
        if self._sought is None:
            return
        reading = self._sought.relays(_READ)
        try:
            async with asyncio.timeout(_READ_S), contextlib.aclosing(reading):
                async for raw, advertisement in reading:
                    self.heard_of(raw, advertisement)
        except (TowpathError, TimeoutError) as error:
            _log.info("reading_relays_ended", error=str(error) or "it took too long", known=len(self._relays))
