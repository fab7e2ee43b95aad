"""Finding relays: asks the sources side by side, knows what they told and what we measured, keeps it on disk.

A source earlier in the list gets a head start. What was known at the last run is there at once and tried first; while
it lasts nothing is searched. What a source cannot vouch for (mDNS) is asked whether it relays before it counts, and
after a search a few strangers are measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from towpath.addresses import peer_id_to_text
from towpath.discovery.cache import Kept, load, save
from towpath.discovery.candidates import MAX_ADDRESSES, SOURCES, Candidate, Found, Measured
from towpath.discovery.outcomes import Outcome, blamed, noted, rest_left
from towpath.discovery.selection import NOTHING, Avoiding, Ranked, rank, usable
from towpath.errors import TowpathError
from towpath.log import get_logger

if TYPE_CHECKING:
    from towpath.discovery.records import Advertisement
    from towpath.store import Store

__all__ = ["Finder", "Probe", "Probed", "Source"]

HEAD_START_S: Final = 0.25
SEARCH_S: Final = 20.0
"""What a search may take, whoever waits for it."""
SETTLE_S: Final = 1.0
AGAIN_S: Final = 600.0
"""After this long a search is worth another one although enough is known."""
MOST_KNOWN: Final = 256
_PROBES: Final = 8
_EXPLORED: Final = 4
"""Relays that are measured after a search although nobody needs them yet."""
_STALE_S: Final = 3600.0
_PROBE_S: Final = 5.0
_NO_RELAY_S: Final = (5.0, 600.0)
"""How long who did not relay is not asked again: at first, as it may just be starting, and at last."""
_BLAME_S: Final = 60.0
_SAVE_S: Final = 10.0
_log = get_logger("discovery")


class Source(Protocol):
    """Where relays are found."""

    @property
    def name(self) -> str:
        """One of SOURCES."""
        ...

    def search(self) -> AsyncIterator[Found]:
        """Tells of relays as they are found, and ends when there are no more to be expected now.

        It may be left early. TowpathError and OSError end it, too.
        """
        ...


class Probed(NamedTuple):
    """What became of asking a peer whether it relays."""

    relays: bool
    rtt_ms: float | None = None


Probe = Callable[[bytes, Sequence[str]], Awaitable[Probed]]
"""Connects to a peer at one of these addresses and reads its identify; TowpathError or OSError when that fails."""


class Finder:
    """The relays of one node. Made on its loop; `close` ends it.

    `own` are our ids, which are never found; `bootstrap()` the ids of the bootstrap relays, wherever else they are
    found; `volunteers()` whether others may be used at all.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        store: Store | None = None,
        probe: Probe | None = None,
        own: Collection[bytes] = (),
        bootstrap: Callable[[], Collection[bytes]] = tuple,
        volunteers: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.walks: Callable[[], Mapping[bytes, float]] = dict
        """The standing of relays' accounts by others' receipts, 0…100; empty while there are none."""
        self.fraudulent: Callable[[bytes], bool] = lambda account: False
        """Was it proven that this account signed two receipts that contradict each other?"""
        self._sources = list(sources)
        self._store = store
        self._probe = probe
        self._own = frozenset(own)
        self._bootstrap = bootstrap
        self._volunteers = volunteers
        self._clock = clock
        self._rng = random.Random() if rng is None else rng
        self._known: dict[bytes, _Entry] = {}
        self._no_relay: dict[bytes, tuple[float, float]] = {}
        self.tried: Callable[[bytes, bool], None] = lambda relay_id, served: None
        """Called with each relay that served us, and with each that failed us through its own fault; see `note`."""
        self._unsure: dict[bytes, tuple[float, bool]] = {}
        self._answered_at = float("-inf")
        self._probing: dict[bytes, asyncio.Task[None]] = {}
        self._probe_slots = asyncio.Semaphore(_PROBES)
        self._search: asyncio.Task[None] | None = None
        self._searched_at = float("-inf")
        self._told = asyncio.Event()
        self._saver: asyncio.TimerHandle | None = None
        self._closed = False
        for kept in load(store, self._clock()):
            self._known[kept.relay_id] = _Entry.of(kept)

    # --- finding -------------------------------------------------------------------------------

    async def find(
        self,
        enough: int = 4,
        timeout: float = 10.0,  # noqa: ASYNC109 - its end is an answer, not an error
        *,
        avoiding: Avoiding = NOTHING,
    ) -> list[Ranked]:
        """All known relays, ranked, as soon as `enough` volunteers are usable; else after a search, or `timeout`.

        A second after the first one it returns with what there is; the search goes on behind the caller's back. With
        enough known of old it returns at once, and searches likewise when the last search is long ago. What a source
        failed of is logged, and no error here.
        """
        if self._usable(avoiding) >= enough:
            if time.monotonic() - self._searched_at > AGAIN_S:
                self._begin_search()
            return self.ranked(avoiding)
        until = time.monotonic() + timeout
        settled = False
        search = self._begin_search()
        while not search.done() and (number := self._usable(avoiding)) < enough:
            if number and not settled:
                settled, until = True, min(until, time.monotonic() + SETTLE_S)
            left = until - time.monotonic()
            if left <= 0:
                break
            self._told.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._told.wait()
        return self.ranked(avoiding)

    async def search(self, names: Collection[str] = SOURCES) -> list[Ranked]:
        """Asks the sources of these names to their end, whatever is known; what is known then, ranked."""
        await self._ask_all([source for source in self._sources if source.name in names])
        return self.ranked()

    def ranked(self, avoiding: Avoiding = NOTHING) -> list[Ranked]:
        """What is known now, the best first (see selection.rank)."""
        return rank(self._candidates(), self._clock(), self._rng, avoiding)

    def candidate(self, relay_id: bytes) -> Candidate | None:
        """What is known of one relay."""
        entry = self._known.get(relay_id)
        return None if entry is None else self._candidate(entry, self._bootstrap(), self.walks())

    def take(self, found: Found) -> None:
        """Hears of a relay. Sources that are told of relays at any time call this; a search does it by itself."""
        if self._closed or found.relay_id in self._own:
            return
        if not found.addresses and found.relay_id not in self._known:
            return
        if not found.relays and found.relay_id not in self._known:
            self._ask(found)
            return
        self._learn(found)

    # --- measuring -----------------------------------------------------------------------------

    def note(self, relay_id: bytes, outcome: Outcome, rtt_ms: float | None = None, *, used: bool = False) -> None:
        """Tells what became of something tried with a relay; of one that is not known nothing is kept. `used`: it was
        to serve us, and not only looked at.

        A failure counts against a relay only when another answers within a minute, before or after: otherwise our own
        line is down.
        """
        now = self._clock()
        up = outcome not in (Outcome.FAILED, Outcome.AWAY)
        sure = up or now - self._answered_at <= _BLAME_S
        entry = self._known.get(relay_id)
        if entry is not None:
            entry.own = noted(entry.own, outcome, now, rtt_ms=rtt_ms, blame=sure)
            if not sure and outcome is Outcome.FAILED:
                self._unsure[relay_id] = (now, used)
            elif used and outcome in (Outcome.SERVED, Outcome.FAILED):
                self.tried(relay_id, outcome is Outcome.SERVED)
            self._changed()
        if up:
            self._answered_at = now
            for other, (at, was_used) in self._unsure.items():
                if other != relay_id and now - at <= _BLAME_S and (unsure := self._known.get(other)) is not None:
                    unsure.own = blamed(unsure.own)
                    if was_used:
                        self.tried(other, False)
            self._unsure.clear()

    async def measure(self, most: int) -> None:
        """Asks so many of the relays that are known whether they are there, those first that are known for longest."""
        if self._probe is None or self._closed:
            return
        now = self._clock()
        known = [one for one in self._candidates() if one.addresses and rest_left(one.own, now) == 0]
        known.sort(key=lambda one: (-one.own.up_s, one.seen_at))
        for one in known[:most]:
            if one.relay_id not in self._probing:
                self._start_probe(self._measure(self._probe, one), one.relay_id)
        if self._probing:
            await asyncio.wait(list(self._probing.values()))

    def candidates(self) -> list[Candidate]:
        """What is known of all relays, in no order."""
        return self._candidates()

    # --- telling -------------------------------------------------------------------------------

    def rows(
        self, used: Mapping[bytes, tuple[str, list[str]]] | None = None, avoiding: Avoiding = NOTHING
    ) -> list[dict[str, Any]]:
        """A row for each known relay, as `towpath relays` shows it.

        `used` tells the state (`active`, `standby`, `avoided`) and the first reasons of those that hold our
        reservations.
        """
        used = used or {}
        others = avoiding._replace(relays=avoiding.relays.difference(used))
        now = self._clock()
        ours = rank((c for c in self._candidates() if c.relay_id in used), now, self._rng)
        rest = rank((c for c in self._candidates() if c.relay_id not in used), now, self._rng, others)
        rows = []
        for one in [*ours, *rest]:
            state, reasons = used.get(one.candidate.relay_id, ("candidate" if one.usable else "avoided", []))
            rows.append(_row(one, state, reasons))
        return rows

    # --- life ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Ends searches and keeps what is known."""
        if self._closed:
            return
        self._closed = True
        tasks = [*self._probing.values(), *([] if self._search is None else [self._search])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._told.set()
        if self._saver is not None:
            self._saver.cancel()
        self._save()

    # --- inside --------------------------------------------------------------------------------

    def _candidates(self) -> list[Candidate]:
        bootstrap = self._bootstrap()
        walks = self.walks()
        found = [self._candidate(entry, bootstrap, walks) for entry in self._known.values()]
        return found if self._volunteers() else [one for one in found if one.source == "bootstrap"]

    def _candidate(self, entry: _Entry, bootstrap: Collection[bytes], walks: Mapping[bytes, float]) -> Candidate:
        source = "bootstrap" if entry.relay_id in bootstrap else entry.source
        said = entry.advertisement
        account = None if said is None else said.account
        # Where there are such scores, a relay gains nothing by not saying which account is its own.
        walk = None if not walks else 0.0 if account is None else walks.get(account, 0.0)
        fraud = account is not None and self.fraudulent(account)
        return Candidate(entry.relay_id, entry.all_addresses(), source, said, entry.own, entry.seen_at, walk, fraud)

    def _usable(self, avoiding: Avoiding) -> int:
        # Volunteers, unless only bootstrap relays may be used.
        now = self._clock()
        among = self._candidates()
        if self._volunteers():
            among = [one for one in among if one.source != "bootstrap"]
        return sum(usable(one, now, avoiding) for one in among)

    def _learn(self, found: Found) -> None:
        entry = self._known.get(found.relay_id)
        if entry is None:
            if len(self._known) >= MOST_KNOWN:
                self._forget_one()
            self._known[found.relay_id] = entry = _Entry(found.relay_id)
        entry.learn(found, self._clock())
        self._told.set()
        self._changed()

    def _forget_one(self) -> None:
        # What was never tried is the cheapest to lose, and to find again.
        least = min(self._known.values(), key=lambda entry: (entry.own.observed_at > 0, entry.seen_at))
        del self._known[least.relay_id]

    def _begin_search(self) -> asyncio.Task[None]:
        if self._search is None or self._search.done():
            self._searched_at = time.monotonic()
            self._search = asyncio.create_task(self._ask_all(self._sources), name="relay search")
            self._search.add_done_callback(lambda _: self._explore())
        return self._search

    def _explore(self) -> None:
        # So that the next choice, when one we use has gone, is among relays whose distance is known.
        if self._probe is None or self._closed:
            return
        now = self._clock()
        strange = [
            one
            for one in self._candidates()
            if now - one.own.observed_at > _STALE_S and one.source != "bootstrap" and usable(one, now)
        ]
        for one in self._rng.sample(strange, min(_EXPLORED, len(strange))):
            if one.relay_id not in self._probing:
                self._start_probe(self._measure(self._probe, one), one.relay_id)

    async def _measure(self, probe: Probe, candidate: Candidate) -> None:
        try:
            async with self._probe_slots, asyncio.timeout(_PROBE_S):
                probed = await probe(candidate.relay_id, candidate.addresses)
        except (TowpathError, OSError):
            self.note(candidate.relay_id, Outcome.FAILED)
        else:
            self.note(candidate.relay_id, Outcome.CONNECTED if probed.relays else Outcome.REFUSED, probed.rtt_ms)

    def _start_probe(self, probing: Coroutine[Any, Any, None], relay_id: bytes) -> None:
        task = asyncio.create_task(probing, name="relay?")
        self._probing[relay_id] = task
        task.add_done_callback(lambda _: self._probing.pop(relay_id, None))

    async def _ask_all(self, sources: Sequence[Source]) -> None:
        if not self._volunteers():
            sources = [source for source in sources if source.name == "bootstrap"]
        asked: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.timeout(SEARCH_S):
                for source in sources:
                    if any(not task.done() for task in asked):
                        await asyncio.wait(asked, timeout=HEAD_START_S, return_when=asyncio.ALL_COMPLETED)
                    asked.add(asyncio.create_task(self._ask_one(source), name=f"search by {source.name}"))
                if asked:
                    await asyncio.wait(asked)
                if self._probing:
                    await asyncio.wait(self._probing.values())
        except TimeoutError:
            _log.info("search_cut_short", after_s=SEARCH_S)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            self._told.set()

    async def _ask_one(self, source: Source) -> None:
        number = 0
        search = source.search()
        try:
            async for found in search:
                number += 1
                self.take(found)
        except (TowpathError, OSError) as error:
            _log.info("source_failed", source=source.name, error=str(error))
        finally:
            # A generator that is left in the middle would otherwise keep its sockets until it is collected.
            if isinstance(search, AsyncGenerator):
                await search.aclose()
        _log.debug("source_asked", source=source.name, found=number)

    def _ask(self, found: Found) -> None:
        until, _ = self._no_relay.get(found.relay_id, (0.0, 0.0))
        if self._probe is None or found.relay_id in self._probing or until > time.monotonic():
            return
        if len(self._probing) < MOST_KNOWN:
            self._start_probe(self._find_out(self._probe, found), found.relay_id)

    async def _find_out(self, probe: Probe, found: Found) -> None:
        probed = Probed(False)
        try:
            async with self._probe_slots, asyncio.timeout(_PROBE_S):
                probed = await probe(found.relay_id, found.addresses)
        except (TowpathError, OSError) as error:
            _log.debug("probe_failed", peer=peer_id_to_text(found.relay_id), error=str(error))
        if probed.relays:
            self._no_relay.pop(found.relay_id, None)
            self._learn(found)
            self.note(found.relay_id, Outcome.CONNECTED, probed.rtt_ms)
        else:
            first_s, longest_s = _NO_RELAY_S
            _, before_s = self._no_relay.pop(found.relay_id, (0.0, first_s / 2))
            while len(self._no_relay) >= MOST_KNOWN:
                del self._no_relay[next(iter(self._no_relay))]
            wait_s = min(longest_s, 2 * before_s)
            self._no_relay[found.relay_id] = (time.monotonic() + wait_s, wait_s)

    def _changed(self) -> None:
        if self._store is not None and self._saver is None and not self._closed:
            self._saver = asyncio.get_running_loop().call_later(_SAVE_S, self._save)

    def _save(self) -> None:
        self._saver = None
        if self._store is not None:
            save(self._store, [entry.kept() for entry in self._known.values()])


class _Entry:
    """What is known of one relay: where each source saw it, what it says, what we measured."""

    __slots__ = ("addresses", "advertisement", "own", "raw", "relay_id", "seen_at", "source")

    def __init__(self, relay_id: bytes) -> None:
        self.relay_id = relay_id
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.source = "cache"
        self.advertisement: Advertisement | None = None
        self.raw: bytes | None = None
        self.own = Measured()
        self.seen_at = 0.0

    @classmethod
    def of(cls, kept: Kept) -> _Entry:
        entry = cls(kept.relay_id)
        entry.addresses["cache"] = kept.addresses
        entry.advertisement, entry.raw = kept.advertisement, kept.raw
        entry.own, entry.seen_at = kept.own, kept.seen_at
        return entry

    def kept(self) -> Kept:
        return Kept(self.relay_id, self.all_addresses(), self.raw, self.own, self.seen_at, self.advertisement)

    def learn(self, found: Found, now: float) -> None:
        if found.addresses:
            self.addresses[found.source] = found.addresses
        if found.source != "cache":
            self.addresses.pop("cache", None)
        if self.source == "cache" or SOURCES.index(found.source) < SOURCES.index(self.source):
            self.source = found.source
        newer = self.advertisement is None or (
            found.advertisement is not None and found.advertisement.seq >= self.advertisement.seq
        )
        if found.advertisement is not None and newer:
            self.advertisement, self.raw = found.advertisement, found.raw
        self.seen_at = now

    def all_addresses(self) -> tuple[str, ...]:
        told = (text for source in SOURCES for text in self.addresses.get(source, ()))
        return tuple(dict.fromkeys(told))[:MAX_ADDRESSES]


def _row(one: Ranked, state: str, reasons: list[str]) -> dict[str, Any]:
    candidate = one.candidate
    latency = candidate.own.latency_ms
    return {
        "relay_id": candidate.text,
        "source": candidate.source,
        "score": one.score,
        "stars": one.stars,
        "latency_ms": None if latency is None else round(latency, 3),
        "load": None if candidate.advertisement is None else candidate.advertisement.load,
        "state": state,
        "reasons": [*reasons, *one.reasons],
    }
