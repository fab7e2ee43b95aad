"""Discovery of one node: builds its parts from the settings, starts and stops them, and joins them to each other.

The parts know each other only through what is handed to them here; whatever costs time or memory to import is imported
when it is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from towpath.addresses import parse, peer_id_to_bytes, peer_id_to_text, to_bytes, to_text
from towpath.discovery.adverts import AdvertFacts, load_step
from towpath.discovery.asking import Asking, asked_on
from towpath.discovery.bootstrap import Bootstrap, Share
from towpath.discovery.candidates import Found
from towpath.discovery.dht_source import DhtSource
from towpath.discovery.finder import Finder, Probed
from towpath.discovery.guiding import Guided
from towpath.discovery.lookups import ControlRelay, Lookups
from towpath.discovery.mdns import Mdns
from towpath.discovery.passing import PassedOn, leads_out, may_pass_on
from towpath.discovery.peer_records import Place, RecordKeeper
from towpath.discovery.presence import Presence, Wanted
from towpath.discovery.reading import read_shards
from towpath.discovery.records import Capacity, peer_key, read_peer_record
from towpath.discovery.selection import Avoiding
from towpath.errors import AddressError, TowpathError
from towpath.internet import PublicAddresses
from towpath.log import get_logger
from towpath.relay.modes import State
from towpath.settings import RelayMode

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.reactor import Reactor
    from towpath.client.service import ClientService
    from towpath.discovery.answers import KeptAnswers
    from towpath.discovery.finder import Source
    from towpath.discovery.probing import Prober
    from towpath.discovery.records import Advertisement, PeerRecord
    from towpath.discovery.selection import Ranked
    from towpath.events import EventHub
    from towpath.identity import Identity
    from towpath.reachability import Reachability
    from towpath.relay.service import RelayService
    from towpath.settings import Settings
    from towpath.store import Store

__all__ = ["Discovery"]

_LOOK_UP_S: Final = 6.0
"""What looking a peer's record up may take."""
_log = get_logger("discovery")


class Discovery:
    """What a node finds relays and peers with, and is found by.

    Made first, because the client needs its `guide`; `join` then names the parts that it goes by itself.
    """

    client: ClientService
    relay: RelayService
    reachability: Reachability

    def __init__(
        self,
        settings: Callable[[], Settings],
        store: Store,
        events: EventHub,
        reactor: Reactor,
        relay: tuple[Endpoint, Identity],
        peer: Identity,
        throw_away: Callable[[], Endpoint],
    ) -> None:
        self.own_score: Callable[[], int | None] = lambda: None
        """What others say of our relay, 0…100: shown to people in the advertisement."""
        self.account: bytes | None = None
        """The public key of the account that the relay's advertisement names."""
        self._settings = settings
        self._events = events
        self._reactor = reactor
        self._endpoint, key = relay
        own = (key.peer_id, peer.peer_id)
        self._mdns = Mdns()
        self._prober: Prober | None = None
        self.bootstrap = Bootstrap(lambda: settings().discovery.bootstrap, self._public, own=own)
        self.finder = Finder(
            [
                _While(self._mdns, lambda: settings().discovery.mdns),
                _While(DhtSource(self._read_relays, self._public), lambda: settings().discovery.dht),
                self.bootstrap,
            ],
            store=store,
            probe=self._probe,
            own=own,
            bootstrap=lambda: self.bootstrap.ids,
            volunteers=lambda: settings().client.use_volunteer_relays,
        )
        self.guide = Guided(
            self.finder, self.bootstrap, Share(store), self._look_up, self._public, lambda: self.client.near()
        )
        self._asking = Asking(throw_away, self.guide.to_ask, self._avoids, self._failed)
        self._asking_for_others = Asking(
            throw_away, lambda: leads_out(self.guide.offers(), self._public()), self._avoids, self._failed
        )
        self._lookups = Lookups(lambda: self._asked(self._asking), wrong=self._failed)
        self.presence = Presence(
            self._endpoint,
            key.seed,
            store,
            wanted=self._wanted,
            facts=self._facts,
            contacts=self._contacts,
            may_dial=self._may_dial,
            mdns=lambda: self._mdns,
            told=events.publish,
            for_neighbours=PassedOn(
                Lookups(lambda: self._asked_for_others(), wrong=self._failed),
                lambda: self._ready(self._asking_for_others, self._asked_for_others),
            ),
        )
        self._keeper = RecordKeeper(peer.seed, self._places, self._hand_over, store)
        self._listens: Callable[[], Sequence[str]] = tuple

    # --- life ----------------------------------------------------------------------------------

    def join(
        self,
        client: ClientService,
        relay: RelayService,
        reachability: Reachability,
        listens: Callable[[], Sequence[str]],
    ) -> None:
        """Names the parts that this one goes by; `listens()` are the relay's listening addresses with /p2p/ID."""
        self.client, self.relay, self.reachability, self._listens = client, relay, reachability, listens
        relay.answers = self._answers
        relay.on_state = self.changed
        reachability.known = self._contacts
        client.on_relays_changed(self._keeper.changed)

    def start(self) -> None:
        """Begins."""
        self.apply(self._settings())
        self.presence.start()
        self._keeper.start()

    def apply(self, settings: Settings) -> None:
        """Goes by these settings from now on."""
        self.guide.take_bootstrap(settings.discovery.bootstrap)
        self.changed()

    def changed(self) -> None:
        """The relay's state, its reachability or a setting is another one."""
        self.presence.changed()

    async def close(self) -> None:
        """Ends everything, and keeps what is known for the next start."""
        await self._keeper.stop()
        await self.presence.stop()
        await self.finder.close()
        await self._asking.close()
        await self._asking_for_others.close()
        if self._prober is not None:
            self._prober.close()
        await self._mdns.close()

    @property
    def endpoints(self) -> list[Endpoint]:
        """The throw-away identities in use."""
        return [*self._asking.endpoints, *self._asking_for_others.endpoints]

    # --- what the node offers ------------------------------------------------------------------

    async def find_relay_peers(self, enough: int, seconds: float) -> list[Ranked]:
        """See Node.find_relay_peers."""
        return await self.finder.find(enough, seconds)

    async def discover_relays(self) -> list[Ranked]:
        """See Node.discover_relays."""
        return await self.finder.search(("dht",))

    async def advertise(self) -> Advertisement:
        """See Node.advertise_as_relay."""
        return await self.presence.advertiser.advertise()

    def relay_rows(self, used: dict[bytes, tuple[str, list[str]]]) -> list[dict[str, Any]]:
        """See Node.relays."""
        rows = self.finder.rows(used, Avoiding(near=self.client.near()))
        shown = {row["relay_id"] for row in rows}
        missing = {"source": "cache", "score": None, "stars": None, "latency_ms": None, "load": None}
        for relay_id, (state, reasons) in used.items():
            if (text := peer_id_to_text(relay_id)) not in shown:
                rows.append({"relay_id": text, **missing, "state": state, "reasons": reasons})
        return rows

    def status(self) -> dict[str, Any]:
        """The `discovery` part of the node's status."""
        dht, said = self.presence.slot.dht, self.presence.advertiser.said
        return {
            "dht": dht is not None and dht.running,
            "dht_servers": 0 if dht is None else dht.size,
            "relays_known": len(self.guide.offers()),
            "advertised": said is not None and self.presence.advertiser.raw is not None,
            "advertising_failed": self.presence.advertiser.problem,
        }

    # --- addresses -----------------------------------------------------------------------------

    def _public(self) -> PublicAddresses:
        return PublicAddresses(self._settings().network.public_ranges)

    def is_public(self, host: str) -> bool:
        """May strangers' words lead to this host?"""
        return host in self._public()

    def _may_dial(self, peer_id: bytes, host: str) -> bool:
        # Strangers' words lead to public addresses only; the owner's own to any.
        named = (parse(text).host for text in self.guide.addresses(peer_id) if self.guide.is_bootstrap(peer_id))
        return host in self._public() or host in named

    def _contacts(self) -> list[str]:
        offers = [*self.guide.offers()]
        offers.sort(key=lambda relay: not relay.offer.bootstrap)
        return [address for relay in offers[:16] for address in relay.addresses[:2]]

    # --- our relay -----------------------------------------------------------------------------

    def _wanted(self) -> Wanted:
        settings = self._settings()
        mode = settings.relay.mode
        reached = mode is RelayMode.DEDICATED_SERVER or bool(self.reachability.confirmed)
        relaying = self.relay.position.state is State.RELAYING
        announce = tuple(self._listens()) if relaying and settings.discovery.mdns else ()
        serve = mode.relays and reached and settings.discovery.dht
        return Wanted(serve, settings.discovery.public_dht, announce)

    def _facts(self) -> AdvertFacts:
        settings, position = self._settings().relay, self.relay.position
        confirmed = tuple(to_bytes(parse(to_text(address)).transport) for address in self.reachability.confirmed)
        relaying = position.state is State.RELAYING and position.admitting
        rate = self.relay.owners_rate
        capacity = Capacity(
            settings.max_reservations,
            settings.max_circuits,
            settings.circuit_data,
            None if rate is None else round(rate),
        )
        dedicated = settings.mode is RelayMode.DEDICATED_SERVER
        mode: Literal["cooperative", "dedicated"] = "dedicated" if dedicated else "cooperative"
        return AdvertFacts(relaying, confirmed, mode, capacity, self._load(), self.own_score(), account=self.account)

    def _load(self) -> int:
        settings, limits = self._settings().relay, self.relay.limits()
        relay = self._endpoint.relay
        rate = limits["rate"]
        used = [
            (len(relay.reservations) if relay is not None else 0, settings.max_reservations),
            (self.relay.circuits_now, settings.max_circuits),
            (max(rate["received"], rate["sent"]), rate["limit"]),
            *((row["used"], row["limit"]) for row in limits["budget"]),
        ]
        return load_step(*(have / limit if limit else 1.0 for have, limit in used if limit is not None))

    # --- finding relays ------------------------------------------------------------------------

    async def _probe(self, relay_id: bytes, addresses: Sequence[str]) -> Probed:
        if self._prober is None:
            from towpath.discovery.probing import Prober

            self._prober = Prober(self._reactor)
        return await self._prober.ask(relay_id, addresses)

    async def _read_relays(self, most: int) -> AsyncIterator[tuple[bytes, Advertisement]]:
        # By our own server in the DHT if there is one, else by relays that look up for us.
        slot = self.presence.slot
        if slot.dht is not None and slot.dht.size:
            reading = read_shards(slot, most)
        else:
            await self._ready(self._asking, self._ours)
            if not self._lookups.available:
                return
            reading = self._lookups.relays(most)
        async with contextlib.aclosing(reading):
            async for found in reading:
                yield found

    # --- looking up for others -----------------------------------------------------------------

    def _answers(self, asker: str) -> KeptAnswers:
        # By our own server in the DHT; a relay that has none asks others for its neighbours.
        dht = self.presence.slot.dht
        reached = self._settings().relay.mode is RelayMode.DEDICATED_SERVER or bool(self.reachability.confirmed)
        passing = (dht is None or not dht.size) and not reached and may_pass_on(asker, self._public())
        return self.presence.neighbours if passing else self.presence.answers

    def _asked_for_others(self) -> list[ControlRelay]:
        public = self._public()
        return [relay for relay in self._asked(self._asking_for_others) if relay.host in public]

    # --- finding peers, and being found --------------------------------------------------------

    def _asked(self, asking: Asking) -> list[ControlRelay]:
        # The relays of a hiding node learn whom it looks for only when nobody else can be asked.
        others = asking.relays()
        return others if others and self._settings().client.hide_ip else [*self._ours(), *others]

    def _ours(self) -> list[ControlRelay]:
        return [
            asked_on(self.client.dialer, held.session)
            for held in self.client.held
            if held.session is not None and held.state == "active" and not held.session.closed
        ]

    async def _ready(self, asking: Asking, ours: Callable[[], Sequence[ControlRelay]]) -> None:
        if self._settings().client.hide_ip or not ours():
            await asking.ready()

    def _failed(self, relay_id: bytes) -> None:
        self.guide.note(relay_id, "failed")

    def _avoids(self, relay_id: bytes) -> bool:
        # It knows us, and with a connection under another id it would know that one, too.
        return self._settings().client.hide_ip and any(
            peer_id_to_bytes(held.relay_id) == relay_id for held in self.client.held
        )

    async def _look_up(self, target: bytes) -> PeerRecord | None:
        reached = False
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                await self._ready(self._asking, self._ours)
                reached = self._lookups.available or self.presence.slot.dht is not None
                if self._lookups.available:
                    return await self._lookups.peer(target)
                if self.presence.slot.dht is not None:
                    raw = await self.presence.slot.get(peer_key(target))
                    return None if raw is None else read_peer_record(raw, time.time())
        except (TowpathError, OSError) as error:
            _log.info("peer_not_looked_up", error=str(error) or "it took too long")
        if not reached:
            raise TowpathError("no relay that looks peers up was reached")
        return None

    def _places(self) -> list[Place]:
        found = []
        for held in self.client.holding.ranked():
            with contextlib.suppress(AddressError):
                circuit = to_bytes(f"{held.relay_address}/p2p-circuit")
                found.append(Place(peer_id_to_bytes(held.relay_id), circuit))
        return found

    async def _hand_over(self, relay_id: bytes, raw: bytes) -> None:
        for held in self.client.held:
            if peer_id_to_bytes(held.relay_id) == relay_id and held.session is not None:
                await self.client.dialer.control.hand_over(held.session, raw)
                return
        raise TowpathError("there is no reservation at this relay any more")


class _While:
    """A source that is asked only while a setting says so."""

    def __init__(self, source: Source, wanted: Callable[[], bool]) -> None:
        self.name: str = source.name
        self._source = source
        self._wanted = wanted

    async def search(self) -> AsyncIterator[Found]:
        """See Source."""
        if self._wanted():
            async for found in self._source.search():
                yield found
