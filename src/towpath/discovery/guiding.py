"""What the client is told of relays and peers: the finder's knowledge in the words of `client.guide`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import TYPE_CHECKING, Final

from towpath.addresses import parse, peer_id_to_text, to_text
from towpath.client.choice import Offer
from towpath.client.guide import RelayOffer
from towpath.discovery.candidates import Found, networks, usable_addresses
from towpath.discovery.outcomes import Outcome
from towpath.discovery.selection import Avoiding
from towpath.errors import AddressError, TowpathError
from towpath.log import get_logger

if TYPE_CHECKING:
    from towpath.discovery.bootstrap import Bootstrap, Share
    from towpath.discovery.finder import Finder
    from towpath.discovery.records import PeerRecord
    from towpath.discovery.selection import Ranked

__all__ = ["Guided"]

_FIRST_S: Final = 3.0
_FRESH_S: Final = 0.5
"""How long a ranking is used again: it costs more than a dial when many relays are known."""
_log = get_logger("discovery")


class Guided:
    """See client.guide.Guide. `look_up(target)` gives the verified record of a peer, None when there is none, and
    TowpathError when nobody could be asked.

    `public()` tells which addresses a stranger may have us dial, `near()` the networks whose relays are not for us.
    """

    def __init__(
        self,
        finder: Finder,
        bootstrap: Bootstrap,
        share: Share,
        look_up: Callable[[bytes], Awaitable[PeerRecord | None]],
        public: Callable[[], Container[str]],
        near: Callable[[], tuple[str, ...]],
    ) -> None:
        self._finder = finder
        self._bootstrap = bootstrap
        self._share = share
        self._look_up = look_up
        self._public = public
        self._near = near
        self.counted: Callable[[str], None] = lambda source: None
        """Called with the source (one of candidates.SOURCES) of the relay of each circuit of ours."""
        self._named: set[bytes] = set()
        self._ranked: list[RelayOffer] = []
        self._ranked_at = float("-inf")

    def offers(self) -> Sequence[RelayOffer]:
        """See Guide. A bootstrap relay that failed is among them: there may be no other."""
        now = time.monotonic()
        if now - self._ranked_at > _FRESH_S:
            ranked = self._finder.ranked(Avoiding(near=self._near()))
            self._ranked = [self._offer(one) for one in ranked if one.candidate.addresses and self._may_be_asked(one)]
            self._ranked_at = now
        return self._ranked

    def to_ask(self) -> Sequence[RelayOffer]:
        """Relays that may look something up for us: those on offer, and while none of them is of use neighbours first.

        Nobody is told that a neighbour was asked, as everybody is of one that holds a reservation; but it sees us near.
        """
        offers = self.offers()
        ranked = self._finder.ranked()
        offered = {relay.offer.relay_id for relay in offers}
        usable = [one for one in ranked if one.usable]
        if any(one.candidate.relay_id in offered for one in usable):
            return offers
        return [*map(self._offer, usable), *offers]

    def _offer(self, one: Ranked) -> RelayOffer:
        candidate = one.candidate
        relay_id = candidate.relay_id
        begin = _to_begin_with(one) and relay_id not in self._named
        return RelayOffer(
            Offer(relay_id, candidate.networks, candidate.family, float(one.score), begin), candidate.addresses
        )

    def _may_be_asked(self, one: Ranked) -> bool:
        return one.usable or _to_begin_with(one) or one.candidate.relay_id in self._named

    def changed(self) -> None:
        """Something new is known; the next question is answered by it."""
        self._ranked_at = float("-inf")

    async def search(self, enough: int, seconds: float) -> None:
        """See Guide."""
        await self._finder.find(enough, seconds, avoiding=Avoiding(near=self._near()))
        self.changed()

    async def relays_of(self, target: bytes) -> list[RelayOffer] | None:
        """See Guide. Addresses in it that are not public count only when we know the relay there ourselves."""
        record = await self._record_of(target)
        if record is None:
            return None
        found: dict[bytes, list[str]] = {}
        for raw in record.circuits:
            try:
                address = parse(to_text(raw))
            except AddressError:
                continue
            if address.peer_id is not None:
                texts = found.setdefault(address.peer_id, [])
                if address.host in self._public():
                    texts.append(address.relay)
        relays = [(relay_id, tuple(texts) or self.addresses(relay_id)) for relay_id, texts in found.items()]
        return [
            RelayOffer(Offer(relay_id, networks(texts), bootstrap=self.is_bootstrap(relay_id)), texts)
            for relay_id, texts in relays
            if texts
        ]

    async def _record_of(self, target: bytes) -> PeerRecord | None:
        # Who was told of nobody, or only of relays that are gone, may have one next door to ask.
        searched = not self.offers()
        if searched:
            await self._look_around()
        for again in (not searched, False):
            try:
                return await self._look_up(target)
            except TowpathError as error:
                _log.info("peer_not_looked_up", error=str(error))
            if again:
                await self._look_around()
        return None

    async def _look_around(self) -> None:
        await self._finder.find(1, _FIRST_S)
        self.changed()

    def addresses(self, relay_id: bytes) -> tuple[str, ...]:
        """See Guide."""
        candidate = self._finder.candidate(relay_id)
        return () if candidate is None else candidate.addresses

    def met(self, relay_id: bytes, addresses: Sequence[str]) -> None:
        """See Guide."""
        if self._finder.candidate(relay_id) is None:
            self._finder.take(Found(relay_id, usable_addresses(relay_id, addresses), "cache"))
            self.changed()

    def is_bootstrap(self, relay_id: bytes) -> bool:
        """See Guide."""
        return relay_id in self._bootstrap.ids

    def count(self, bootstrap: bool, relay_id: bytes | None = None) -> None:
        """See Guide."""
        self._share.count(bootstrap)
        known = None if relay_id is None else self._finder.candidate(relay_id)
        self.counted("bootstrap" if bootstrap else "cache" if known is None else known.source)

    def bootstrap_share(self) -> float | None:
        """See Guide."""
        return self._share.share

    def note(self, relay_id: bytes, outcome: str, rtt_s: float | None = None) -> None:
        """See Guide."""
        self._finder.note(relay_id, Outcome(outcome), rtt_s * 1000 if rtt_s else None, used=True)
        self.changed()

    def name(self, relays: Sequence[str]) -> None:
        """The user names these relays: they are tried however they did so far, and are none to begin with only."""
        for text in relays:
            address = parse(text)
            if address.peer_id is not None and not address.circuit:
                self._named.add(address.peer_id)
                self._finder.take(Found(address.peer_id, usable_addresses(address.peer_id, [text]), "cache"))
        self.changed()

    def take_bootstrap(self, entries: Sequence[str]) -> None:
        """Knows the bootstrap relays of the settings at once, as far as they need no resolving."""
        for text in entries:
            try:
                address = parse(text)
            except AddressError:
                continue
            if address.peer_id is not None:
                text = f"{address.transport}/p2p/{peer_id_to_text(address.peer_id)}"
                self._finder.take(Found(address.peer_id, (text,), "bootstrap"))
        self.changed()


def _to_begin_with(one: Ranked) -> bool:
    return one.candidate.source == "bootstrap"
