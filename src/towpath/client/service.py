"""The client's part of one node: what its peer identity reserves, dials and hides. Owns the identity's endpoint.

What decides is pure and elsewhere (`choice`, `hiding`, `ways`); this carries it out on the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from towpath.addresses import Address, parse, peer_id_to_bytes, peer_id_to_text, to_text
from towpath.client import hiding
from towpath.client.connecting import Connector
from towpath.client.dialing import Dialer, deadline
from towpath.client.disguise import Disguises
from towpath.client.guide import FAILED, REFUSED, SERVED, Guide
from towpath.client.holding import Holding
from towpath.client.relaying import STOP
from towpath.client.reservations import HeldReservation
from towpath.client.stopping import StopService
from towpath.errors import DialError, NotRelaying, RelayError, TowpathError
from towpath.log import get_logger, short_peer_id

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.credits.paying import Paying
    from towpath.events import EventHub
    from towpath.relaystream.client import Leaving
    from towpath.relaystream.messages import Standing
    from towpath.settings import Settings

__all__ = ["ClientService"]

_OBSERVED_S: Final = 1.0
"""How long a relay has to say where it sees us, before a hiding node reserves there."""
_DOUBT_S: Final = 1.0
"""What a relay has to show that it lives when it is doubted."""
_DOUBT_LONG_S: Final = 3.0
"""The same, when its kernel still acknowledges what it is sent."""
_SETTLE_S: Final = 1.0
"""What relays get to ask for the last receipt when we end."""
_ELSEWHERE: Final = ("192.0.2.1", "2001:db8::1")
"""Addresses of nobody: what this machine would send from to them is its own address on the way out."""
_log = get_logger("client")


class TooNear(DialError):
    """A relay in our own network, at which a hiding node does not reserve. No fault of the relay."""


class ClientService:
    """Everything a node does under its peer identity. `throw_away()` gives an endpoint with a fresh key."""

    def __init__(
        self,
        endpoint: Endpoint,
        throw_away: Callable[[], Endpoint],
        settings: Callable[[], Settings],
        guide: Guide,
        events: EventHub,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.held: list[HeldReservation] = []
        self.endpoint = endpoint
        self.guide = guide
        self.dialer = Dialer(endpoint)
        self.disguises = Disguises(functools.partial(self._disguised, throw_away))
        self.connector = Connector(self.dialer, self.disguises, self.held, settings, guide, events)
        self.holding = Holding(guide, self.keep_at, self.release, lambda: self.held, spawn, self._dialed_through)
        self._settings = settings
        self._events = events
        self._spawn = spawn
        self._paying: Paying | None = None
        self._seen = hiding.Seen()
        self._observed: dict[Session, asyncio.Event] = {}
        self._listeners: list[Callable[[], None]] = []
        self._watched: set[tuple[Dialer, bytes]] = set()
        endpoint.set_handler(STOP, StopService(self.dialer, self._takes_circuits_of, spawn, self._came_in).accept)
        endpoint.on_session_end = self._session_ended
        endpoint.on_identified = self._identified

    # --- life ----------------------------------------------------------------------------------

    def pay_with(self, paying: Paying) -> None:
        """Relays are shown this account from now on; to be called before the first is used."""
        self._paying = paying
        self.dialer.control.paying = self.disguises.paying = paying

    def account_at(self, relay_id: bytes) -> Standing | None:
        """How our account stands at a relay that we use, as it said last; None: it did not."""
        for dialer in [self.dialer, *self.disguises.dialers]:
            standing = dialer.control.standing(relay_id)
            if standing is not None:
                return standing
        return None

    def relays_in_use(self) -> set[bytes]:
        """Ids of the relays that we are connected to for what they relay, under any of our identities."""
        dialers = [self.dialer, *self.disguises.dialers]
        return {relay_id for dialer in dialers for relay_id in dialer.control.relays}

    async def close(self) -> None:
        """Gives up every reservation and closes every connection, politely."""
        await self.holding.stop()
        try:
            await self._pay_the_rest()
        finally:
            for held in list(self.held):
                await self.release(held)
            self.disguises.close()

    async def _pay_the_rest(self) -> None:
        if self._paying is None:
            return
        # What circuits say at their end is paid for as well.
        for endpoint in [self.endpoint, *self.endpoints]:
            for peer in list(endpoint.peers.values()):
                for session in [session for session in peer.sessions if session.via]:
                    session.close()
        try:
            await asyncio.sleep(0)
            await self._paying.settle(_SETTLE_S)
        finally:
            self._paying.close()

    @property
    def endpoints(self) -> list[Endpoint]:
        """The throw-away identities in use now."""
        return self.disguises.endpoints

    def _disguised(self, throw_away: Callable[[], Endpoint]) -> Endpoint:
        endpoint = throw_away()
        endpoint.ask_identify = True
        endpoint.on_identified = self._identified
        return endpoint

    # --- reservations --------------------------------------------------------------------------

    async def reserve(self, relays: Sequence[str], *, keep: bool, seconds: float) -> HeldReservation:
        """Reserves at one relay, known under these addresses. See Node.reserve."""
        addresses = [parse(relay) for relay in relays]
        for address, text in zip(addresses, relays, strict=True):
            if address.circuit or address.peer_id is None:
                raise DialError(f"{text} is not a relay's own address; it must end in /p2p/ and the relay's id")
        relay_id = addresses[0].peer_id or b""
        self.guide.met(relay_id, relays)
        connect = functools.partial(self._connect_for_reserving, addresses)
        held = HeldReservation(relay_id, relays[0], connect, keep, self.dialer.control, self._reservations_changed)
        self.held.append(held)
        try:
            async with deadline(seconds, f"reserving at {relays[0]}"):
                await held.start()
        except BaseException as error:
            await self.release(held)
            if isinstance(error, (TowpathError, OSError)) and not isinstance(error, TooNear):
                refused = isinstance(error, (RelayError, NotRelaying))
                self.guide.note(relay_id, REFUSED if refused else FAILED)
            raise
        if held.session is not None:
            self._choose_address(held, held.session, relays)
            self.guide.note(relay_id, SERVED, held.session.rtt_s or None)
        return held

    async def keep_at(self, relays: Sequence[str]) -> HeldReservation:
        """Reserves at one relay and keeps it, as `holding` does."""
        return await self.reserve(relays, keep=True, seconds=30.0)

    async def release(self, held: HeldReservation) -> None:
        """Gives a reservation up."""
        with contextlib.suppress(ValueError):
            self.held.remove(held)
        await held.stop()

    async def hold(self, seconds: float) -> list[str]:
        """See Node.hold_reservations."""
        self.holding.start()
        self.holding.changed()
        await self.holding.some(seconds)
        return self.held_relays()

    def held_relays(self) -> list[str]:
        """See Node.held_relays."""
        return [held.relay_address for held in self.holding.ranked()]

    def standing(self) -> dict[str, str]:
        """The state of each relay that holds a reservation of ours: `active`, `standby`, `avoided` or `candidate`."""
        states = {held.relay_id: "avoided" if held.state == "leaving" else "candidate" for held in self.held}
        ranked = [held.relay_id for held in self.holding.ranked()]
        return states | dict.fromkeys(ranked, "standby") | dict.fromkeys(ranked[:1], "active")

    async def _connect_for_reserving(self, addresses: Sequence[Address]) -> Session:
        hide = self._settings().client.hide_ip
        if hide:
            self._refuse_neighbours(addresses[0].peer_id or b"", [address.host for address in addresses])
        session = await self.dialer.connect(*addresses)
        if hide:
            if session.observed is None:
                told = self._observed.setdefault(session, asyncio.Event())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_OBSERVED_S):
                        await told.wait()
            self._note_observed(session)
            self._refuse_neighbours(session.peer_id, [hiding.ip_of(session.remote) or ""], session)
        return session

    def _refuse_neighbours(self, relay_id: bytes, hosts: Sequence[str], session: Session | None = None) -> None:
        if not self._near(relay_id, hosts):
            return
        if session is not None and session.pins == 0 and session.stream_count == 0:
            session.close()
        raise TooNear(
            f"relay {short_peer_id(peer_id_to_text(relay_id))} is in the same network as this machine: an address "
            "there would tell where it is; use another relay, or set client.hide_ip to false"
        )

    def _near(self, relay_id: bytes, hosts: Sequence[str]) -> bool:
        ours = self._seen.ours(relay_id)
        ours |= {own for own in map(hiding.own_address, filter(_is_ip, hosts)) if own is not None}
        return hiding.too_near(hosts, ours)

    def near(self) -> tuple[str, ...]:
        """The /24 and /56 networks that a hiding node reserves at no relay in, as far as they are known."""
        if not self._settings().client.hide_ip:
            return ()
        own = {own for own in map(hiding.own_address, _ELSEWHERE) if own is not None}
        found = {hiding.neighbourhood(ip) for ip in self._seen.ours() | own}
        return tuple(sorted(prefix for prefix in found if prefix is not None))

    def _dialed_through(self) -> set[bytes]:
        # Relays that carry a throw-away identity of ours: with a reservation there they would know whose it is.
        endpoints = self.disguises.endpoints if self._settings().client.hide_ip else []
        return {relay_id for endpoint in endpoints for relay_id in endpoint.peers}

    @staticmethod
    def _choose_address(held: HeldReservation, session: Session, relays: Sequence[str]) -> None:
        # Others are told the address that worked for us.
        where = to_text(session.remote) if session.remote else ""
        held.relay_address = next((relay for relay in relays if relay.startswith(f"{where}/p2p/")), relays[0])

    # --- what happens to connections -----------------------------------------------------------

    def _session_ended(self, session: Session, why: str) -> None:
        self._observed.pop(session, None)
        if session.peer_id not in self.endpoint.peers and (self.dialer, session.peer_id) in self._watched:
            self._watched.discard((self.dialer, session.peer_id))
            self.dialer.control.unwatch(session.peer_id, self._relay_said)
        self.connector.ended(session)
        for held in self.held:
            held.session_ended(session)

    def _identified(self, session: Session) -> None:
        self._note_observed(session)
        self.connector.met(session)
        told = self._observed.pop(session, None)
        if told is not None:
            told.set()
        if not session.via:
            self._watch(session.peer_id)
            self.holding.changed()

    def _note_observed(self, session: Session) -> None:
        ours, relay = hiding.ip_of(session.observed), hiding.ip_of(session.remote)
        if ours is not None and relay is not None and not session.via:
            self._seen.note(ours, session.peer_id, relay)

    def _takes_circuits_of(self, relay_id: bytes) -> bool:
        text = peer_id_to_text(relay_id)
        return any(held.relay_id == text and held.state != "released" for held in self.held)

    def _came_in(self, relay_id: bytes) -> None:
        self.guide.count(self.guide.is_bootstrap(relay_id), relay_id)

    # --- relays that leave, or seem dead -------------------------------------------------------

    def on_relays_changed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """See Node.on_relays_changed."""
        self._listeners.append(callback)

        def undo() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(callback)

        return undo

    def _reservations_changed(self) -> None:
        self.holding.changed()
        self._tell()

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()

    def _watch(self, relay_id: bytes) -> None:
        # Whatever a relay that we use says of moving out, on a connection under any of our identities.
        for dialer in [self.dialer, *self.disguises.dialers]:
            if (dialer, relay_id) not in self._watched and relay_id in dialer.endpoint.peers:
                self._watched.add((dialer, relay_id))
                dialer.control.watch(relay_id, self._relay_said)
        in_use = {self.dialer, *self.disguises.dialers}
        self._watched = {(dialer, one) for dialer, one in self._watched if dialer in in_use}

    def _relay_said(self, leaving: Leaving | None) -> None:
        self._tell()

    def doubt(self, relay: str) -> None:
        """See Node.doubt."""
        relay_id = peer_id_to_bytes(relay.rpartition("/p2p/")[2])
        for endpoint in [self.endpoint, *self.endpoints]:
            peer = endpoint.peers.get(relay_id)
            for session in [] if peer is None else list(peer.sessions):
                if not session.via and not session.closed:
                    self._spawn(self._examine(session))

    async def _examine(self, session: Session) -> None:
        if not session.ping_pending:
            session.ping()
        await asyncio.sleep(_DOUBT_S)
        # A relay that takes little because its owner allows no more answers late, and lives.
        if session.ping_pending and not session.closed and session.unheard_ms < 700 * _DOUBT_S:
            await asyncio.sleep(_DOUBT_LONG_S - _DOUBT_S)
        if session.ping_pending and not session.closed:
            _log.info("relay_silent", relay=peer_id_to_text(session.peer_id))
            self.guide.note(session.peer_id, FAILED)
            session.abort()

    # --- what is hidden ------------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What is missing for "IP hidden" at this moment; empty: it is hidden."""
        holding = {held.relay_id for held in self.held}
        near = []
        connections = []
        for peer in self.endpoint.peers.values():
            text = peer_id_to_text(peer.id)
            for session in peer.sessions:
                if session.closed:
                    continue
                through = short_peer_id(peer_id_to_text(session.via)) if session.via else None
                ours = session in self.connector.outbound or (
                    session in self.connector.disguised and peer_id_to_text(session.via) in holding
                )
                connections.append(hiding.Standing(short_peer_id(text), through, ours, text in holding))
                if not session.via and text in holding and self._near(peer.id, [hiding.ip_of(session.remote) or ""]):
                    near.append(short_peer_id(text))
        wanted = self._settings().client.hide_ip
        return hiding.missing(hiding.View(wanted, False, near, connections))

    def status(self) -> dict[str, Any]:
        """The `client` part of the node's status."""
        missing = self.missing()
        share = self.guide.bootstrap_share()
        return {
            "connected_via": [held.relay_id for held in self.holding.ranked()],
            "ip_hidden": not missing,
            "ip_hidden_missing": missing,
            "credits_used": 0,
            "bootstrap_share": None if share is None else round(share, 3),
        }


def _is_ip(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
