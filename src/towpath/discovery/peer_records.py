"""Peer records on their way: `RecordKeeper` gives a peer's own to its relays, `HeldRecords` has what a relay was given.

A peer never puts its record into the DHT itself: the relays that hold its reservations know its id and address anyway,
and publish it while they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from towpath.discovery.records import (
    LIFE_S,
    MAX_CIRCUITS,
    PeerRecord,
    RecordError,
    may_be_met_at,
    peer_key,
    read_peer_record,
    sign,
)
from towpath.errors import TowpathError
from towpath.identity import Identity
from towpath.log import get_logger
from towpath.relaystream.reasons import Answer
from towpath.waiting import doubled, spread

if TYPE_CHECKING:
    from towpath.discovery.advertising import PublishingDht
    from towpath.store import Store

__all__ = ["HeldRecords", "Place", "RecordKeeper", "next_record"]

REFRESH_S: Final = 2400.0
"""After this long a record is made anew; a random part of up to a fifth earlier."""
_ROOM: Final = 720
"""Bytes of circuits that leave room for all else in a record."""
_SETTLE_S: Final = 0.05
"""Reservations that come at about the same time get into one record."""
_RETRY_S: Final = (5.0, 120.0)
_KEPT: Final = "peer_record"
_PUTS_AT_ONCE: Final = 4
_TRIES: Final = 6
_TRY_AGAIN_S: Final = 5.0
_SWEEP_S: Final = 60.0
_log = get_logger("discovery")


class Place(NamedTuple):
    """A relay that holds our reservation, and the circuit there: a binary multiaddr that ends in /p2p-circuit."""

    relay_id: bytes
    circuit: bytes


def next_record(peer_id: bytes, places: Sequence[Place], last_seq: int, now: float) -> PeerRecord:
    """The record that says of `peer_id` where it is to be met, best first. Its number is higher than `last_seq`.

    Places that cannot stand in it, or for which there is no room, are left out.
    """
    fitting = dict.fromkeys(place.circuit for place in places if may_be_met_at(place.circuit, peer_id))
    circuits = tuple(fitting)[:MAX_CIRCUITS]
    while sum(map(len, circuits)) > _ROOM:
        circuits = circuits[:-1]
    issued = int(now)
    return PeerRecord(
        v=1,
        peer_id=peer_id,
        circuits=circuits,
        seq=max(issued, last_seq + 1),
        issued=issued,
        not_after=issued + LIFE_S,
    )


class RecordKeeper:
    """Keeps the record of one peer at its relays, from `start` to `stop`.

    `places()` are the reservations held now, best first; call `changed` when they are others.
    `hand_over(relay_id, raw)` gives a relay the record; TowpathError when it does not take it: it is given it again.
    """

    def __init__(
        self,
        seed: bytes,
        places: Callable[[], Sequence[Place]],
        hand_over: Callable[[bytes, bytes], Awaitable[None]],
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._seed = seed
        self._peer_id = Identity(seed).peer_id
        self._places = places
        self._hand_over = hand_over
        self._store = store
        self._clock = clock
        self._rng = rng or random.Random()
        self._seq = _number(store.get(_KEPT))
        self._record: PeerRecord | None = None
        self._raw = b""
        self._due = 0.0
        self._has: set[bytes] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failures: dict[bytes, str] = {}
        """By relay id, why it does not have the record; relays that have it are not in it."""

    @property
    def raw(self) -> bytes | None:
        """The record that was made last, signed."""
        return self._raw or None

    def start(self) -> None:
        """From now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="peer record")

    def changed(self) -> None:
        """The reservations held may be others."""
        self._changed.set()

    async def stop(self) -> None:
        """Ends it. The relays stop to publish the record when the reservations end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        failed = 0
        while True:
            self._changed.clear()
            places = list(self._places())
            wait: float | None = None
            if places or (self._record is not None and self._record.circuits):
                self._make(places)
                given = await self._give_while_true(places)
                if given is None:
                    failed = 0
                    continue
                failed = 0 if given else failed + 1
                wait = max(1.0, self._due - self._clock())
                if failed:
                    least, most = _RETRY_S
                    wait = spread(min(wait, doubled(least, most, failed - 1)), self._rng.random())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
                    failed = 0
                    await asyncio.sleep(_SETTLE_S)

    def _make(self, places: Sequence[Place]) -> None:
        now = self._clock()
        record = next_record(self._peer_id, places, self._seq, now)
        last = self._record
        # Another order of the same places is not worth a record.
        same = last is not None and set(last.circuits) == set(record.circuits)
        if last is not None and same and last.issued - 1 <= now < self._due:
            return
        self._raw, self._record, self._seq = sign(record, self._seed), record, record.seq
        self._store.put(_KEPT, record.seq)
        self._due = now + REFRESH_S * (1.0 - 0.2 * self._rng.random())
        self._has.clear()

    async def _give_while_true(self, places: Sequence[Place]) -> bool | None:
        # A relay that fell silent must not keep the one that took its place waiting. None: the places are others.
        giving = asyncio.ensure_future(self._give(places))
        try:
            while not giving.done():
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait([giving, changed], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                if self._changed.is_set() and not giving.done():
                    if list(self._places()) != places:
                        return None
                    self._changed.clear()
            return giving.result()
        finally:
            giving.cancel()
            await asyncio.gather(giving, return_exceptions=True)

    async def _give(self, places: Sequence[Place]) -> bool:
        # True: everybody has it.
        wanting = {place.relay_id for place in places}
        self._has &= wanting
        self.failures = {relay: why for relay, why in self.failures.items() if relay in wanting}
        await asyncio.gather(*(self._give_to(relay_id) for relay_id in wanting - self._has))
        return wanting <= self._has

    async def _give_to(self, relay_id: bytes) -> None:
        raw = self._raw
        try:
            await self._hand_over(relay_id, raw)
        except TowpathError as error:
            self.failures[relay_id] = str(error)
            _log.info("record_not_taken", error=str(error))
        else:
            self.failures.pop(relay_id, None)
            self._has.add(relay_id)


class _Held(NamedTuple):
    raw: bytes
    seq: int
    not_after: int


class HeldRecords:
    """The records of those who hold reservations at this relay, kept while they do and published.

    `reserved(peer_id)`: does it hold one now? `dht` None: they are only there for those who ask us. Bounded by the
    number of reservations; a record that cannot be published soon waits for those before it.
    """

    def __init__(
        self,
        relay_id: bytes,
        reserved: Callable[[bytes], bool],
        dht: PublishingDht | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._relay_id = relay_id
        self._reserved = reserved
        self._dht = dht
        self._clock = clock
        self._held: dict[bytes, _Held] = {}
        # Peers whose newest record is still to be published, with the tries made.
        self._to_publish: OrderedDict[bytes, int] = OrderedDict()
        self._publishing: set[asyncio.Task[None]] = set()
        self._later: dict[bytes, asyncio.TimerHandle] = {}
        self._swept_at = clock()
        self._closed = False
        self.published = 0
        """Puts that the DHT took."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._held)

    def take(self, peer_id: bytes, raw: bytes) -> Answer:
        """A record that this peer handed over on its own connection."""
        try:
            record = read_peer_record(raw, self._clock())
        except RecordError:
            return Answer.NOT_VALID
        # It may be one that takes back that the peer is met here, from a peer that goes; then it names no other.
        if record.peer_id != peer_id or (record.circuits and self._relay_id not in record.relay_ids):
            return Answer.NOT_VALID
        before = self._held.get(peer_id)
        if before is not None and before.raw != raw and record.seq <= before.seq:
            return Answer.OUTDATED
        if before is None or before.raw != raw:
            self._held[peer_id] = _Held(raw, record.seq, record.not_after)
            self._sweep()
            if self._dht is not None:
                self._to_publish[peer_id] = 0
                self._to_publish.move_to_end(peer_id)
                self._publish_more()
        return Answer.DONE

    def get(self, peer_id: bytes) -> bytes | None:
        """The raw record of a peer that holds a reservation here."""
        held = self._held.get(peer_id)
        if held is None:
            return None
        if not self._reserved(peer_id) or self._clock() > held.not_after:
            del self._held[peer_id]
            return None
        return held.raw

    def _sweep(self) -> None:
        # Those who hold nothing here any more.
        now = self._clock()
        if not 0 <= now - self._swept_at < _SWEEP_S:
            self._swept_at = now
            for peer_id in list(self._held):
                self.get(peer_id)

    def republish(self) -> None:
        """Publishes all of them anew: the DHT is another one, or was joined just now."""
        if self._dht is not None:
            self._to_publish.update((peer_id, 0) for peer_id in self._held if peer_id not in self._to_publish)
            self._publish_more()

    async def close(self) -> None:
        """Publishes no more."""
        self._closed = True
        for later in self._later.values():
            later.cancel()
        for task in self._publishing:
            task.cancel()
        if self._publishing:
            await asyncio.wait(self._publishing)

    def _publish_more(self) -> None:
        while self._to_publish and len(self._publishing) < _PUTS_AT_ONCE and not self._closed:
            peer_id, tries = self._to_publish.popitem(last=False)
            raw = self.get(peer_id)
            if raw is not None:
                task = asyncio.get_running_loop().create_task(self._publish(peer_id, raw, tries))
                self._publishing.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._publishing.discard(task)
        self._publish_more()

    async def _publish(self, peer_id: bytes, raw: bytes, tries: int) -> None:
        if self._dht is None:
            return
        why = ""
        try:
            if await self._dht.put(peer_key(peer_id), raw) == 0:
                why = "nobody is there to take it"
            else:
                self.published += 1
        except TowpathError as error:
            why = str(error)
        if why:
            last = tries + 1 >= _TRIES
            (_log.info if last else _log.debug)("record_not_published", error=why, tries=tries + 1)
            if not last and not self._closed:
                loop = asyncio.get_running_loop()
                before = self._later.pop(peer_id, None)
                if before is not None:
                    before.cancel()
                self._later[peer_id] = loop.call_later(_TRY_AGAIN_S * 2.0**tries, self._again, peer_id, tries + 1)

    def _again(self, peer_id: bytes, tries: int) -> None:
        del self._later[peer_id]
        # A newer one may be under way already.
        if peer_id not in self._to_publish:
            self._to_publish[peer_id] = tries
            self._publish_more()


def _number(kept: object) -> int:
    return kept if isinstance(kept, int) and not isinstance(kept, bool) and 0 <= kept < 2**62 else 0
