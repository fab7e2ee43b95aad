"""Streams to other peers: directly, through a relay, or through whichever relay works.

Belongs to the peer identity. Decides what is tried and under which identity; the order is `ways`', running them side
by side `race`'s, connections are `dialing`'s, streams `relaying`'s.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakValueDictionary

from towpath.addresses import Address, parse, peer_id_to_bytes, peer_id_to_text, to_text
from towpath.client.broken import Broken
from towpath.client.dialing import deadline
from towpath.client.guide import CONNECTED, FAILED, REFUSED, SERVED
from towpath.client.race import Lost, Race, Tier
from towpath.client.relaying import HOP, open_stream
from towpath.client.ways import Plans, Way
from towpath.errors import (
    AddressError,
    ConnectionFailed,
    DialError,
    NoRelaysAvailable,
    NoReservation,
    NotRelaying,
    RelayError,
    StreamReset,
    TowpathError,
)
from towpath.log import get_logger
from towpath.ping import PING, ping_once
from towpath.stream import Stream

if TYPE_CHECKING:
    from towpath._native.session import Session
    from towpath.client.dialing import Dialer
    from towpath.client.disguise import Disguises
    from towpath.client.guide import Guide
    from towpath.client.reservations import HeldReservation
    from towpath.events import EventHub
    from towpath.settings import Settings

__all__ = ["Connector"]

_NOT_DIRECTLY: Final = (
    "directly: not tried, as it shows your address to the peer; set client.allow_direct to always to permit it"
)
_OWN_PREFIX: Final = "/towpath/"
_AGENT: Final = "towpath/"
_RECORD_S: Final = 0.25
"""How long a hiding node waits for a peer's record, which tells that it is a towpath node, before it asks the peer."""
_IDENTIFY_S: Final = 5.0
_UNKNOWN_S: Final = 30.0
"""How long it is believed that a peer is no towpath node."""
_REMEMBERED: Final = 1024
_log = get_logger("client")
V = TypeVar("V")


class Connector:
    """What a node's peer identity reaches others with. `settings` is asked each time: they change while a node runs."""

    def __init__(
        self,
        dialer: Dialer,
        disguises: Disguises,
        held: Sequence[HeldReservation],
        settings: Callable[[], Settings],
        guide: Guide,
        events: EventHub,
    ) -> None:
        self.may_connect_directly: Callable[[str], Awaitable[bool]] | None = None
        """Asks the user, who is told the peer's id, when client.allow_direct is `ask`."""
        self.guide = guide
        self._dialer = dialer
        self._disguises = disguises
        self._held = held
        self._settings = settings
        self._events = events
        # What was learned of peers: that they are towpath nodes (infinity), or that nothing says so, until a monotonic
        # time; and where they were met last.
        self._towpath: OrderedDict[bytes, float] = OrderedDict()
        self._met: OrderedDict[bytes, Way] = OrderedDict()
        self._broken = Broken()
        # One at a time: an entry lasts as long as somebody holds or awaits the lock.
        self._finding_out: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._asked: dict[Session, asyncio.Event] = {}
        self.outbound: set[Session] = set()
        """Open circuits that we asked for under our own id."""
        self.disguised: set[Session] = set()
        """Open circuits that we asked for under a throw-away identity."""

    # --- what the node offers ------------------------------------------------------------------

    async def connect(self, target: str, protocol: str, seconds: float) -> Stream:
        """See Node.connect."""
        address = parse(target)
        if address.circuit:
            return await self.through_relay(target, protocol, None, seconds)
        async with deadline(seconds, f"connecting to {target}"):
            session = await self._dialer.connect(address)
            return Stream(await open_stream(session, protocol))

    async def through_relay(self, target: str, protocol: str, via: str | None, seconds: float) -> Stream:
        """See Node.connect_to_peer_via_relay."""
        until = time.monotonic() + seconds
        target_id, relay = _circuit(target)
        relay = via or relay
        stream = None if via else await self._on_what_there_is(target_id, protocol)
        if stream is not None:
            return stream
        if relay is not None:
            async with deadline(seconds, f"connecting to {peer_id_to_text(target_id)} through {relay}"):
                session = await self._through(self._way(relay), target_id, protocol, None)
        else:
            session = await self._through_any(target_id, protocol, (), until)
        async with deadline(max(0.0, until - time.monotonic()), f"opening a stream to {target}"):
            return Stream(await open_stream(session, protocol))

    async def with_fallback(self, target: str, protocol: str, seconds: float) -> Stream:
        """See Node.connect_with_fallback."""
        until = time.monotonic() + seconds
        address = parse(target) if "/" in target else None
        named: list[Way] = []
        direct: Address | None = None
        if address is None or address.circuit:
            target_id, relay = _circuit(target)
            named = [] if relay is None else [self._way(relay)]
        elif address.peer_id is None:
            raise AddressError(f"{target} names no peer; append /p2p/ and the peer's id")
        else:
            target_id, direct = address.peer_id, address
        stream = await self._on_what_there_is(target_id, protocol)
        if stream is not None:
            return stream
        session = await self._through_any(target_id, protocol, named, until, direct, fallback=True)
        async with deadline(max(0.0, until - time.monotonic()), f"opening a stream to {target}"):
            return Stream(await open_stream(session, protocol))

    async def ping(self, target: str, via: str | None, seconds: float) -> float:
        """See Node.ping."""
        async with deadline(seconds, f"pinging {target}"):
            if "/" in target and not parse(target).circuit:
                stream = await self.connect(target, PING, seconds)
            else:
                stream = await self.through_relay(target, PING, via, seconds)
            async with stream:
                return await ping_once(stream)

    def leaving(self, relay: str) -> bool:
        """See Node.leaving."""
        relay_id = peer_id_to_bytes(relay.rpartition("/p2p/")[2])
        return any(dialer.control.leaving(relay_id) is not None for dialer in self._dialers)

    def met(self, session: Session) -> None:
        """A peer said who it is, on a connection from end to end or to a relay."""
        if session.via and _is_towpath_node(session):
            _remember(self._towpath, session.peer_id, math.inf)
        asked = self._asked.get(session)
        if asked is not None:
            asked.set()

    def ended(self, session: Session) -> None:
        """A connection is over. One through a relay that nobody said goodbye on may have been dropped by it."""
        if not session.via or session.going_away or self.leaving(peer_id_to_text(session.via)):
            return
        self._broken.broke(session.peer_id, session.via, time.monotonic())
        peer = self._dialer.endpoint.peers.get(session.peer_id)
        for other in [] if peer is None else peer.sessions:
            if not other.closed and other.via != session.via:
                self._is_there(session.peer_id, other.via or None)

    def _is_there(self, peer: bytes, relay: bytes | None) -> None:
        dropped = self._broken.met(peer, relay, time.monotonic())
        if dropped is not None:
            _log.info("relay_dropped_circuit", relay=peer_id_to_text(dropped))
            self.guide.note(dropped, FAILED, None)

    # --- relays --------------------------------------------------------------------------------

    @property
    def _dialers(self) -> list[Dialer]:
        return [self._dialer, *self._disguises.dialers]

    def connected(self) -> list[Way]:
        """Relays that hold our reservations, then others we are connected to; those that move out last."""
        found = {held.relay_id: held.relay_address for held in self._held if held.state == "active"}
        for dialer in self._dialers:
            for peer in dialer.endpoint.peers.values():
                relay_id = peer_id_to_text(peer.id)
                for session in peer.sessions:
                    if not session.via and HOP in (session.protocols or ()):
                        found.setdefault(relay_id, f"{to_text(session.remote)}/p2p/{relay_id}")
        return [self._way(relay)._replace(sure=False) for relay in sorted(found.values(), key=self.leaving)]

    def _way(self, relay: str) -> Way:
        # By multiaddr, or by the id of a relay that is known.
        if "/" in relay:
            address = parse(relay)
            if address.peer_id is None or address.circuit:
                raise DialError(f"{relay} is not a relay's own address; it must end in /p2p/ and the relay's id")
            relay_id, addresses = address.peer_id, [address]
        else:
            relay_id = peer_id_to_bytes(relay)
            session = self._dialer.session_with(relay_id)
            known = [] if session is None else [f"{to_text(session.remote)}/p2p/{relay}"]
            known += [held.relay_address for held in self._held if held.relay_id == relay]
            addresses = [parse(text) for text in dict.fromkeys([*known, *self.guide.addresses(relay_id)])]
            if not addresses:
                raise DialError(f"there is no connection to relay {relay}; give its multiaddr")
        return Way(relay_id, tuple(addresses), self.guide.is_bootstrap(relay_id))

    def _is_ours(self, way: Way) -> bool:
        # Does it hold a reservation of ours, so that it knows us anyway?
        relay_id = None if way.relay_id is None else peer_id_to_text(way.relay_id)
        return any(held.relay_id == relay_id for held in self._held)

    def _hiding(self) -> bool:
        return self._settings().client.hide_ip

    def _comes_last(self, way: Way) -> bool:
        # A relay that holds our reservation need not learn whom we talk to, too.
        return (self._hiding() and self._is_ours(way)) or (
            way.relay_id is not None and self.leaving(peer_id_to_text(way.relay_id))
        )

    # --- one way -------------------------------------------------------------------------------

    async def _on_what_there_is(self, target: bytes, protocol: str) -> Stream | None:
        # A connection that carries it already; one whose relay moves out is the last choice, as it would soon end.
        peer = self._dialer.endpoint.peers.get(target)
        sessions = [] if peer is None else [s for s in reversed(peer.sessions) if not s.closed and not s.going_away]
        for session in sorted(sessions, key=lambda s: bool(s.via) and self.leaving(peer_id_to_text(s.via))):
            try:
                return Stream(await open_stream(session, protocol))
            except StreamReset as error:
                _log.info("connection_was_lost", error=str(error))
        return None

    async def _through(self, way: Way, target: bytes, protocol: str, plans: Plans | None) -> Session:
        if way.relay_id is None:
            session = await self._dialer.connect(*way.addresses)
            self._is_there(target, None)
            return session
        if target == self._dialer.endpoint.peer_id:
            raise DialError(f"{peer_id_to_text(target)} is this node itself; name the peer to connect to")
        try:
            hidden = self._hiding() and not self._is_ours(way)
            # A relay at which the peer only might be is never told who asks.
            if hidden and way.sure:
                hidden = await self._is_towpath(way, target, protocol, plans)
            session, rtt_s = await (self._disguised(way, target) if hidden else self._openly(way, target))
        except (TowpathError, OSError) as error:
            self.guide.note(way.relay_id, _outcome(error), None)
            raise
        # From now on it is one that we know, also at the next start.
        relay = peer_id_to_text(way.relay_id)
        self.guide.met(way.relay_id, [f"{address.transport}/p2p/{relay}" for address in way.addresses])
        self.guide.note(way.relay_id, SERVED, rtt_s or None)
        self._is_there(target, way.relay_id)
        _remember(self._met, target, way._replace(sure=True))
        return session

    async def _disguised(self, way: Way, target: bytes) -> tuple[Session, float]:
        there_was = self._dialer.session_with(target, way.relay_id or b"")
        if there_was is not None:
            return there_was, 0.0
        with self._disguises.towards(target) as outer:
            relay = await outer.connect(*way.addresses)
            session = await self._dialer.through(relay, target, outer.control)
        self.disguised = {open_ for open_ in self.disguised if not open_.closed} | {session}
        self.guide.count(way.bootstrap, way.relay_id)
        return session, relay.rtt_s

    async def _openly(self, way: Way, target: bytes) -> tuple[Session, float]:
        relay = self._dialer.session_with(way.relay_id or b"") or await self._dialer.connect(*way.addresses)
        session = await self._dialer.through(relay, target)
        if session not in self.outbound:
            self.outbound = {open_ for open_ in self.outbound if not open_.closed} | {session}
            self.guide.count(way.bootstrap, way.relay_id)
        return session, relay.rtt_s

    async def _is_towpath(self, way: Way, target: bytes, protocol: str, plans: Plans | None) -> bool:
        # Others may abort a circuit whose inner id is not the outer one (js-libp2p does).
        if protocol.startswith(_OWN_PREFIX):
            return True
        async with self._finding_out.setdefault(target, asyncio.Lock()):
            known_until = self._towpath.get(target, -math.inf)
            if time.monotonic() < known_until:
                return known_until == math.inf
            known = await self._has_record(target, plans) or await self._says_so(way, target)
            _remember(self._towpath, target, math.inf if known else time.monotonic() + _UNKNOWN_S)
            return known

    async def _has_record(self, target: bytes, plans: Plans | None) -> bool:
        if plans is not None:
            return await plans.known(_RECORD_S)
        try:
            async with asyncio.timeout(_RECORD_S):
                return await self.guide.relays_of(target) is not None
        except TimeoutError:
            return False

    async def _says_so(self, way: Way, target: bytes) -> bool:
        # Asked as somebody whom neither it nor the relay knows: then the inner id is the outer one, too.
        with self._disguises.towards(target) as outer:
            relay = await outer.connect(*way.addresses)
            session = await outer.through(relay, target)
            self._asked[session] = asked = asyncio.Event()
            try:
                if session.agent is None:
                    async with deadline(_IDENTIFY_S, "asking the peer what it is"):
                        await asked.wait()
                return _is_towpath_node(session)
            finally:
                del self._asked[session]
                session.close()

    # --- any way -------------------------------------------------------------------------------

    async def _through_any(
        self,
        target: bytes,
        protocol: str,
        named: Sequence[Way],
        until: float,
        direct: Address | None = None,
        *,
        fallback: bool = False,
    ) -> Session:
        remembered = self._met.get(target)
        plans = Plans(
            self.guide,
            target,
            [*named, *([] if remembered is None else [remembered])],
            self.connected,
            self._comes_last,
        )
        tiers = [Tier(plans.users()), Tier(plans.bootstrap()), Tier(plans.guesses())]
        race: Race[Way, Session] = Race(lambda way: self._through(way, target, protocol, plans))
        allowed = direct is not None and await self._directly_allowed(target)
        left = until - time.monotonic()
        failures: list[tuple[object, BaseException]] = []
        try:
            # Who may go directly in the end needs some of the time for that.
            async with asyncio.timeout(left / 2 if allowed else left):
                return await race.run(tiers)
        except Lost as lost:
            failures = lost.failures
        except TimeoutError:
            silent = DialError("it did not answer in time")
            failures = [*race.failures, *((way, silent) for way in race.under_way.values())]
        finally:
            await plans.close()
        if allowed and direct is not None:
            async with deadline(max(0.0, until - time.monotonic()), f"connecting to {direct}"):
                return await self._dialer.connect(direct)
        raise self._none(failures, _NOT_DIRECTLY if direct is not None else None, plainly=fallback)

    async def _directly_allowed(self, target: bytes) -> bool:
        allow, peer = self._settings().client.allow_direct, peer_id_to_text(target)
        if allow == "ask" and self.may_connect_directly is not None:
            return await self.may_connect_directly(peer)
        if allow != "always":
            self._events.publish(
                "direct_connection_not_allowed",
                f"{peer} was not connected to directly, as that shows it this machine's address",
                peer=peer,
            )
            _log.warning("direct_connection_not_allowed", peer=peer)
        return allow == "always"

    def _none(
        self, failures: Sequence[tuple[object, BaseException]], more: str | None, *, plainly: bool
    ) -> TowpathError:
        # A relay that has the peer and refuses says more than all those that do not have it.
        for _, error in reversed(failures):
            if isinstance(error, RelayError) and not isinstance(error, NoReservation) and not plainly:
                return error
        tried = [f"{way}: {error}" for way, error in failures]
        return NoRelaysAvailable(tried if more is None else [*tried, more])


def _circuit(target: str) -> tuple[bytes, str | None]:
    # The peer's id, and the relay when a circuit address was given.
    if "/" not in target:
        return peer_id_to_bytes(target), None
    address = parse(target)
    if not address.circuit or address.target_id is None:
        raise DialError(f"{target} leads to no peer through a relay; it must end in /p2p-circuit/p2p/ID")
    return address.target_id, address.relay


def _outcome(error: BaseException) -> str:
    if isinstance(error, (NoReservation, ConnectionFailed)):
        return CONNECTED  # the relay did its part
    return REFUSED if isinstance(error, (RelayError, NotRelaying)) else FAILED


def _remember(kept: OrderedDict[bytes, V], peer_id: bytes, value: V) -> None:
    kept[peer_id] = value
    kept.move_to_end(peer_id)
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)


def _is_towpath_node(session: Session) -> bool:
    return (session.agent or "").startswith(_AGENT)
