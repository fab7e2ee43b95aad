"""Can others reach the relay identity? Finds out, keeps it true, and says it in a sentence.

Candidates come from this machine, from the router and from what peers saw; up to three servers in different networks
are asked about each, and the majority decides. `network.announce` is the owner's word and needs nobody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from towpath._native.autonat import Autonat
from towpath.addresses import peer_id_to_text, to_bytes
from towpath.internet import PublicAddresses, prefix_of
from towpath.log import get_logger
from towpath.reachability.asking import ask, meet, servers_of, sighting_of
from towpath.reachability.networks import Place, place_of
from towpath.reachability.policy import (
    SERVERS,
    Candidate,
    Origin,
    Server,
    Sighting,
    State,
    Vote,
    candidates,
    choose,
    judge,
    lasts,
    pace,
    rest,
    settled,
)
from towpath.reachability.serving import Serving
from towpath.reachability.words import Finding, Known, sentence

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.host.port_mapping import PortMapping
    from towpath.settings import Settings

__all__ = ["Reachability"]

_SIGHTINGS: Final = 64
_GLANCE_S: Final = 30.0
"""How often this machine's own addresses are looked at."""
_AT_ONCE: Final = 2
"""Addresses that are asked about at the same time: servers serve nobody more often."""
_CHECK_S: Final = 80.0
_MAPPING_S: Final = 6.0
"""What a check waits for the router."""
_log = get_logger("reachability")


class Reachability:
    """Watches over one endpoint (the relay identity's) between `start` and `stop`.

    `listening()` gives the multiaddrs it listens on, with or without /p2p. `told(kind, sentence, **facts)` hears of
    every change of `state`. `changed()` may be set by who needs to know of another `confirmed` or `state`, `known` by
    who knows more nodes to ask than `discovery.bootstrap` (a callable of multiaddrs with /p2p).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        listening: Callable[[], Iterable[str]],
        told: Callable[..., None],
        *,
        secret: bytes = b"",
        chance: random.Random | None = None,
    ) -> None:
        self.state = State.UNKNOWN
        self.confirmed: tuple[bytes, ...] = ()
        """Multiaddrs, without /p2p, at which others reach the endpoint: announced, or confirmed by a majority."""
        self.changed: Callable[[], None] = lambda: None
        self.known: Callable[[], Iterable[str]] = lambda: self._settings.discovery.bootstrap
        self._endpoint = endpoint
        self._settings = settings
        self._listening = listening
        self._told = told
        self._secret = hashlib.blake2b(secret, digest_size=32, person=b"port mapping").digest()
        self._chance = chance or random.Random()
        self._public = PublicAddresses(settings.network.public_ranges).__contains__
        self._serving = Serving(self._public, _routed, self._chance, time.monotonic)
        self._autonat: Autonat | None = None
        self._mapping: PortMapping | None = None
        self._sightings: OrderedDict[bytes, Sighting] = OrderedDict()
        self._findings: list[Finding] = []
        self._servers = 0
        self._wake = asyncio.Event()
        self._round = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._rounds: deque[float] = deque(maxlen=8)
        self._started = False

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serves others and watches, as long as the endpoint listens."""
        self._started = True
        self._endpoint.on_identified = self._identified
        self.apply(self._settings)

    async def stop(self) -> None:
        """Ends it all; what the router forwards is given back."""
        self._started = False
        self._rest()
        if self._ending:
            await asyncio.wait(self._ending)

    def apply(self, settings: Settings) -> None:
        """Goes by these settings, and by what is listened on now."""
        self._settings = settings
        self._public = PublicAddresses(settings.network.public_ranges).__contains__
        self._serving.public = self._public
        if not self._started:
            return
        if self._listens() and self._autonat is None:
            self._autonat = Autonat(self._endpoint, self._serving.decide, self._serving.done)
            self._autonat.serve(True)
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif not self._listens() and self._autonat is not None:
            self._rest()
        self._choose_mapping()
        self._reconsider()

    def _rest(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None
        if self._autonat is not None:
            self._autonat.close()
            self._autonat = None
        self._end_mapping()

    def _end_mapping(self) -> None:
        if self._mapping is not None:
            ending = asyncio.get_running_loop().create_task(self._mapping.stop())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._mapping = None

    # --- what is seen --------------------------------------------------------------------------

    def _identified(self, session: Session) -> None:
        sighting = sighting_of(session)
        if sighting is not None and self._public(sighting.place.ip):
            before = self._candidates()
            network = prefix_of(sighting.witness)
            self._sightings.pop(network, None)
            self._sightings[network] = sighting
            if len(self._sightings) > _SIGHTINGS:
                self._sightings.popitem(last=False)
            if self._candidates() != before:
                self._wake.set()
        if self.state is State.UNKNOWN and self._servers < SERVERS:
            self._wake.set()

    def _places(self) -> list[Place]:
        found = [place_of(to_bytes(text.partition("/p2p/")[0])) for text in self._listening()]
        return [place for place in found if place is not None]

    def _listens(self) -> bool:
        return next(iter(self._listening()), None) is not None

    def _announced(self) -> tuple[str, ...]:
        return self._settings.network.announce if self._listens() else ()

    def _candidates(self) -> list[Candidate]:
        mapped = () if self._mapping is None else self._mapping.mapped
        outside = [Place(each.external_ip, each.external_port) for each in mapped]
        return candidates(self._places(), outside, self._sightings.values(), self._public)

    # --- the router ----------------------------------------------------------------------------

    def _ports_to_map(self) -> list[int]:
        places = [place for place in self._places() if place.ip.version == 4]
        if any(self._public(place.ip) for place in places):
            return []
        return sorted({p.port for p in places if not (p.ip.is_loopback or p.ip.is_link_local)})

    def _choose_mapping(self) -> None:
        # An announced address is the owner's word: the owner has seen to the router, too.
        wanted = self._settings.network.port_mapping and not self._announced() and bool(self._ports_to_map())
        if wanted and self._mapping is None:
            # Loaded only behind a router.
            from towpath.host.port_mapping import PortMapping, of_this_network

            self._mapping = PortMapping(self._ports_to_map, self._wake.set, lambda: of_this_network(self._secret))
            self._mapping.start()
        elif not wanted and self._mapping is not None:
            self._end_mapping()
        elif self._mapping is not None:
            self._mapping.look_again()

    def _second_router(self) -> str | None:
        mapped = () if self._mapping is None else self._mapping.mapped
        return next((str(each.external_ip) for each in mapped if not self._public(each.external_ip)), None)

    # --- rounds --------------------------------------------------------------------------------

    async def _run(self) -> None:
        fruitless = 0
        while True:
            await asyncio.sleep(pace(self._rounds, time.monotonic()))
            self._wake.clear()
            await self._look()
            fruitless = 0 if self.state is State.REACHABLE else fruitless + 1
            until = time.monotonic() + rest(self.state, fruitless, self._chance)
            places = self._places()
            while not self._wake.is_set() and (left := until - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), min(left, _GLANCE_S))
                if self._places() != places:
                    places = self._places()
                    self._choose_mapping()
                    self._reconsider()
                    self.changed()

    def _reconsider(self) -> None:
        self._forget()
        self._wake.set()

    def _forget(self) -> None:
        # What was found out of addresses that are gone is no longer true, of others it is.
        wanted = self._wanted()
        self._conclude([finding for finding in self._findings if finding.candidate in wanted])

    async def _look(self) -> None:
        async with self._round:
            self._rounds.append(time.monotonic())
            self._forget()
            wanted = self._wanted()
            if not wanted:
                # Others must see this node before it can ask about what they saw.
                await meet(self._endpoint, self.known(), SERVERS)
                wanted = self._wanted()
            servers = await self._choose_servers(wanted) if wanted else []
            self._servers = len(servers)
            turns = asyncio.Semaphore(_AT_ONCE)
            self._conclude(await asyncio.gather(*(self._find_out(each, servers, turns) for each in wanted)))

    def _wanted(self) -> list[Candidate]:
        announced = [place_of(to_bytes(text)) for text in self._announced()]
        named = [Candidate(place, Origin.OWN) for place in announced if place is not None and self._public(place.ip)]
        return named or self._candidates()

    async def _choose_servers(self, wanted: Iterable[Candidate]) -> list[Server]:
        ours = {candidate.place.ip for candidate in wanted}
        found = choose(servers_of(self._endpoint), ours, self._public, self._chance)
        if len(found) < SERVERS:
            await meet(self._endpoint, self.known(), SERVERS - len(found))
            found = choose(servers_of(self._endpoint), ours, self._public, self._chance)
        return found

    async def _find_out(self, candidate: Candidate, servers: list[Server], turns: asyncio.Semaphore) -> Finding:
        votes: list[Vote] = []
        autonat = self._autonat
        waiting = list(servers)
        async with turns:
            while waiting and autonat is not None and not settled(votes):
                # As many at once as may still be needed; one that says nothing is replaced by another.
                said = sum(vote.reached is not None for vote in votes)
                asked, waiting = waiting[: SERVERS - said], waiting[SERVERS - said :]
                votes += await asyncio.gather(*(ask(autonat, self._endpoint, each, candidate.place) for each in asked))
        _log.debug("reachability_asked", address=_text(candidate.place), answers=[vote.why for vote in votes])
        now = time.monotonic()
        found = Finding(candidate, judge(votes), tuple(votes), now)
        before = next((finding for finding in self._findings if finding.candidate == candidate), None)
        if found.reached is None and before is not None and lasts(before.reached, before.at, now):
            return before
        return found

    def _conclude(self, findings: list[Finding]) -> None:
        self._findings = findings
        announced = tuple(to_bytes(text) for text in self._announced())
        confirmed = announced or tuple(f.candidate.place.address for f in findings if f.reached)
        if confirmed:
            state = State.REACHABLE
        elif any(finding.reached is False for finding in findings) and all(f.reached is not None for f in findings):
            state = State.UNREACHABLE
        else:
            state = State.UNKNOWN
        if (state, confirmed) == (self.state, self.confirmed):
            return
        before, self.state, self.confirmed = self.state, state, confirmed
        if state is not before:
            _log.info("reachability", state=str(state), before=str(before), note=self.sentence)
            self._told("reachability", self.sentence, state=str(state), before=str(before))
        self.changed()

    # --- what is known -------------------------------------------------------------------------

    @property
    def sentence(self) -> str:
        """What is known, and what to do."""
        places = self._places()
        private = [str(place.ip) for place in places if not self._public(place.ip)]
        known = Known(
            listens=self._listens(),
            announced=self._announced(),
            findings=self._findings,
            servers=self._servers,
            mapping=None if self._mapping is None else self._mapping.sentence,
            second_router=self._second_router(),
            private=list(dict.fromkeys(private)),
            ports=sorted({place.port for place in places}),
        )
        return sentence(known, self.state)

    async def check(self) -> dict[str, Any]:
        """Asks everybody now; see `facts`."""
        if self._autonat is not None:
            if self._mapping is not None:
                await self._mapping.asked(_MAPPING_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_S):
                    await self._look()
        return self.facts()

    def facts(self) -> dict[str, Any]:
        """`state`, `sentence`, `servers` (that could be asked), `port_mapping`, `addresses` with the answers."""
        return {
            "state": str(self.state),
            "sentence": self.sentence,
            "servers": self._servers,
            "port_mapping": None if self._mapping is None else self._mapping.sentence,
            "addresses": [self._row(finding) for finding in self._findings],
        }

    def _row(self, finding: Finding) -> dict[str, Any]:
        return {
            "address": _text(finding.candidate.place),
            "origin": "announced" if self._announced() else str(finding.candidate.origin),
            "reached": finding.reached,
            "answers": [
                {"server": peer_id_to_text(vote.server.peer_id), "reached": vote.reached, "answer": vote.why}
                for vote in finding.votes
            ],
        }


def _text(place: Place) -> str:
    return f"/ip{place.ip.version}/{place.ip}/tcp/{place.port}"


def _routed(place: Place) -> bool:
    # Connecting a datagram socket sends nothing, and fails where there is no way.
    family = socket.AF_INET if place.ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(place.ip), place.port))
    except OSError:
        return False
    return True
