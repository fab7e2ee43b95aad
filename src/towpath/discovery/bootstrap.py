"""Bootstrap relays: where a node without friends begins. Used to join the DHT, and as relays when no volunteer will do.

Also counts how many circuits still went through them, because a network has grown up when none does.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Container, Sequence
from typing import TYPE_CHECKING, Final

from towpath.addresses import dnsaddr as name_of
from towpath.addresses import parse, peer_id_to_bytes
from towpath.discovery import dnsaddr
from towpath.discovery.candidates import Found, usable_addresses
from towpath.errors import AddressError
from towpath.log import get_logger

if TYPE_CHECKING:
    from towpath.store import Store

__all__ = ["Bootstrap", "Share"]

_RESOLVED_S: Final = 600.0
_FAILED_S: Final = 30.0
_DAY_S: Final = 86400
_DAYS: Final = 7
_SHARE: Final = "bootstrap_share"
_log = get_logger("discovery")


class Bootstrap:
    """The bootstrap relays of the settings, asked each time because they change while a node runs. A Source.

    `public()` says which addresses a name may lead to; an IP address in the settings may be any: its owner wrote it.
    """

    name: Final = "bootstrap"

    def __init__(
        self,
        entries: Callable[[], Sequence[str]],
        public: Callable[[], Container[str]],
        *,
        own: Container[bytes] = (),
        look_up: dnsaddr.Lookup = dnsaddr.look_up,
    ) -> None:
        self._entries = entries
        self._public = public
        self._own = own
        self._look_up = look_up
        self._resolved: dict[str, tuple[float, list[str]]] = {}

    @property
    def ids(self) -> frozenset[bytes]:
        """The relays' ids, as far as they are known by now: a /dnsaddr without one must be resolved first."""
        texts = [text for text in self._entries() if "/p2p/" in text]
        texts += [each for text in self._entries() for each in self._resolved.get(text, (0.0, []))[1]]
        return frozenset(found for text in texts if (found := _id(text)) not in self._own)

    async def addresses(self) -> list[str]:
        """Their addresses, texts that end in /p2p/ID, names of the kind /dnsaddr resolved. None of our own.

        A name that cannot be resolved is logged and left out.
        """
        answers = await asyncio.gather(*(self._of(text) for text in self._entries()))
        found = dict.fromkeys(text for answer in answers for text in answer)
        return [text for text in found if _id(text) not in self._own]

    async def search(self) -> AsyncIterator[Found]:
        """See Source."""
        by_id: dict[bytes, list[str]] = {}
        for text in await self.addresses():
            by_id.setdefault(_id(text), []).append(text)
        for relay_id, texts in by_id.items():
            yield Found(relay_id, usable_addresses(relay_id, texts), self.name)

    async def _of(self, text: str) -> list[str]:
        try:
            if name_of(text) is None:
                address = parse(text)
                return [str(address)] if address.peer_id is not None else []
        except AddressError as error:
            _log.warning("bootstrap_unusable", error=str(error))
            return []
        until, known = self._resolved.get(text, (float("-inf"), []))
        if until > time.monotonic():
            return known
        try:
            places = await dnsaddr.resolve(text, self._public(), self._look_up)
        except AddressError as error:
            # What was known of it may still be true.
            _log.warning("bootstrap_unresolved", error=str(error))
            self._resolved[text] = (time.monotonic() + _FAILED_S, known)
            return known
        found = [str(place) for place in places]
        self._resolved[text] = (time.monotonic() + _RESOLVED_S, found)
        return found


@functools.lru_cache(maxsize=256)
def _id(text: str) -> bytes:
    return peer_id_to_bytes(text.rpartition("/p2p/")[2])


class Share:
    """How many of a node's circuits, of the last seven days, needed a bootstrap relay. Kept in the store."""

    def __init__(self, store: Store | None = None, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._days: dict[int, list[int]] = {}
        kept = None if store is None else store.get(_SHARE)
        for row in kept if isinstance(kept, list) else []:
            if isinstance(row, list) and len(row) == 3 and all(isinstance(n, int) and n >= 0 for n in row):
                self._days[row[0]] = row[1:]

    def count(self, needed_bootstrap: bool) -> None:
        """Counts a circuit that was made."""
        today = int(self._clock()) // _DAY_S
        day = self._days.setdefault(today, [0, 0])
        day[0] += needed_bootstrap
        day[1] += 1
        self._days = {at: row for at, row in self._days.items() if today - _DAYS < at <= today}
        if self._store is not None:
            self._store.put(_SHARE, [[at, *row] for at, row in sorted(self._days.items())])

    @property
    def share(self) -> float | None:
        """0…1, None when there were no circuits."""
        today = int(self._clock()) // _DAY_S
        rows = [row for at, row in self._days.items() if today - _DAYS < at <= today]
        made = sum(row[1] for row in rows)
        return sum(row[0] for row in rows) / made if made else None
