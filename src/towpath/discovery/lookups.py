"""Look-ups without a DHT of one's own: two relays are asked on their control streams, and what they answer is checked.

A relay can withhold a record, not make one; so the newest of what two say counts, and a relay whose answers are wrong
is told of.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from towpath.discovery.records import (
    Advertisement,
    PeerRecord,
    RecordError,
    is_current,
    newer,
    read_advertisement,
    read_peer_record,
)
from towpath.errors import TowpathError
from towpath.log import get_logger
from towpath.relaystream.messages import MAX_ASKED

if TYPE_CHECKING:
    from towpath._native.session import Session
    from towpath.relaystream.client import ClientSide

__all__ = ["ASKED", "AskedRelay", "ControlRelay", "Lookups", "newest_peer_record", "pick", "valid_advertisements"]

ASKED: Final = 2
"""Relays that are asked at once; the next one when one of them fails."""
GRACE_S: Final = 0.3
"""What the others get once one answered with a record that is valid."""
_log = get_logger("discovery")


class AskedRelay(Protocol):
    """A relay that one look-up may go to. Both raise TowpathError when it does not answer."""

    @property
    def relay_id(self) -> bytes:
        """Whom we ask."""
        ...

    @property
    def prefix(self) -> bytes:
        """Its network (`internet.prefix_of`): two that share one are one voice."""
        ...

    async def look_up_peer(self, peer_id: bytes) -> list[bytes]:
        """Raw records of a peer."""
        ...

    async def look_up_relays(self, most: int) -> list[bytes]:
        """Raw advertisements."""
        ...


class ControlRelay:
    """A relay that we have a connection to."""

    def __init__(self, control: ClientSide, session: Session, prefix: bytes = b"", host: str = "") -> None:
        self._control = control
        self._session = session
        self.relay_id: bytes = session.peer_id
        self.prefix: bytes = prefix
        self.host: str = host
        """The IP address that the connection leads to."""

    async def look_up_peer(self, peer_id: bytes) -> list[bytes]:
        """See AskedRelay."""
        return await self._control.look_up_peer(self._session, peer_id)

    async def look_up_relays(self, most: int) -> list[bytes]:
        """See AskedRelay."""
        return await self._control.look_up_relays(self._session, most)


def pick(relays: Sequence[AskedRelay], rng: random.Random) -> list[AskedRelay]:
    """All of them in the order in which they are asked: at random, but each of the first from another network."""
    shuffled = rng.sample(list(relays), len(relays))
    first: list[AskedRelay] = []
    rest: list[AskedRelay] = []
    seen: set[bytes] = set()
    for relay in shuffled:
        known = bool(relay.prefix) and relay.prefix in seen
        (rest if known else first).append(relay)
        seen.add(relay.prefix)
    return first + rest


def newest_peer_record(
    peer_id: bytes, raws: Iterable[bytes], now: float
) -> tuple[tuple[bytes, PeerRecord] | None, int]:
    """The newest of the records that are of this peer and valid, raw and read; and how many no honest relay sends.

    Those that do not count at this time are not among them: the clocks may differ.
    """
    best: tuple[bytes, PeerRecord] | None = None
    wrong = 0
    for raw in raws:
        try:
            record = read_peer_record(raw, None)
        except RecordError:
            wrong += 1
            continue
        if record.peer_id != peer_id:
            wrong += 1
        elif is_current(record, now) and (best is None or newer(record, best[1])):
            best = raw, record
    return best, wrong


def valid_advertisements(raws: Iterable[bytes], now: float) -> tuple[list[tuple[bytes, Advertisement]], int]:
    """Of each relay the newest advertisement that is valid, raw and read; and how many no honest relay sends."""
    best: dict[bytes, tuple[bytes, Advertisement]] = {}
    wrong = 0
    for raw in raws:
        try:
            read = read_advertisement(raw, None)
        except RecordError:
            wrong += 1
            continue
        if not is_current(read, now):
            continue
        before = best.get(read.peer_id)
        if before is None or newer(read, before[1]):
            best[read.peer_id] = (raw, read)
    return list(best.values()), wrong


class Lookups:
    """Asks the relays that `relays()` gives. `wrong(relay_id)` is told of each that sent what is no valid record."""

    def __init__(
        self,
        relays: Callable[[], Sequence[AskedRelay]],
        *,
        wrong: Callable[[bytes], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._relays = relays
        self._wrong = wrong
        self._clock = clock
        self._rng = rng or random.Random()

    @property
    def available(self) -> bool:
        """Is there anybody to be asked?"""
        return bool(self._relays())

    async def peer(self, peer_id: bytes) -> PeerRecord | None:
        """Where a peer is to be met; None when nobody asked knows. TowpathError when no relay answered."""
        found = await self.record(peer_id)
        return None if found is None else found[1]

    async def record(self, peer_id: bytes) -> tuple[bytes, PeerRecord] | None:
        """The same, raw and read."""
        best: list[tuple[bytes, PeerRecord]] = []
        answers = self._answers(lambda relay: relay.look_up_peer(peer_id), lambda: bool(best))
        async with contextlib.aclosing(answers):
            async for relay_id, raws in answers:
                found, wrong = newest_peer_record(peer_id, raws, self._clock())
                self._tell(relay_id, wrong)
                if found is not None and not (best and newer(best[0][1], found[1])):
                    best[:] = [found]
        return best[0] if best else None

    async def relays(self, most: int) -> AsyncGenerator[tuple[bytes, Advertisement], None]:
        """Valid advertisements, raw and read, as they are found, each relay's once unless a newer one comes.

        Those of relays that withdrew are among them. TowpathError when no relay answered.
        """
        given: dict[bytes, Advertisement] = {}
        each = max(1, min(most, MAX_ASKED))
        answers = self._answers(lambda relay: relay.look_up_relays(each), lambda: len(given) >= most)
        async with contextlib.aclosing(answers):
            async for relay_id, raws in answers:
                found, wrong = valid_advertisements(raws[:MAX_ASKED], self._clock())
                self._tell(relay_id, wrong)
                for raw, advertisement in found:
                    before = given.get(advertisement.peer_id)
                    if before is None or newer(advertisement, before):
                        given[advertisement.peer_id] = advertisement
                        yield raw, advertisement

    async def _answers(
        self, ask: Callable[[AskedRelay], Awaitable[list[bytes]]], enough: Callable[[], bool]
    ) -> AsyncGenerator[tuple[bytes, list[bytes]], None]:
        # Two at a time; who fails is replaced, and who answers makes the others hurry when that is enough.
        left = pick(self._relays(), self._rng)
        under_way: dict[asyncio.Task[list[bytes]], bytes] = {}
        answered = 0
        failure: TowpathError | None = None
        until: float | None = None
        loop = asyncio.get_running_loop()
        try:
            while under_way or (left and answered < ASKED):
                while left and answered + len(under_way) < ASKED:
                    relay = left.pop(0)
                    under_way[asyncio.ensure_future(_asked(ask, relay))] = relay.relay_id
                done, _ = await asyncio.wait(
                    under_way,
                    timeout=None if until is None else max(0.0, until - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    return
                for task in done:
                    relay_id = under_way.pop(task)
                    try:
                        raws = task.result()
                    except TowpathError as error:
                        failure = error
                        continue
                    answered += 1
                    yield relay_id, raws
                if until is None and answered and enough():
                    until = loop.time() + GRACE_S
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        if not answered:
            raise failure or TowpathError("no relay can be asked to look anything up; connect to one first")

    def _tell(self, relay_id: bytes, wrong: int) -> None:
        if wrong:
            _log.info("lookup_answer_wrong", records=wrong)
            self._wrong(relay_id)


async def _asked(ask: Callable[[AskedRelay], Awaitable[list[bytes]]], relay: AskedRelay) -> list[bytes]:
    return await ask(relay)
