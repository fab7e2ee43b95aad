"""The node: builds the parts from Settings, starts and stops them. Everything else is behind it.

A node has two identities that never meet on one connection: the relay's, public, which listens and relays; and the
peer's, which friends know, which reserves and dials at relays.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from towpath import __version__, listening, overview
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.addresses import parse, peer_id_to_bytes, peer_id_to_text, to_bytes
from towpath.client.dialing import Dialer, deadline
from towpath.client.relaying import HOP, STOP, open_stream
from towpath.client.reservations import HeldReservation
from towpath.client.stopping import StopService
from towpath.errors import (
    AddressError,
    DialError,
    NoRelaysAvailable,
    NoReservation,
    RelayError,
    TimeoutExpired,
    TowpathError,
)
from towpath.identity import Identity, load_or_create
from towpath.log import get_logger
from towpath.ping import PING, ping_once
from towpath.relay.admission import Admission
from towpath.relay.interpreter import hasten, relax
from towpath.settings import RelayMode, Settings
from towpath.stream import Stream

if TYPE_CHECKING:
    from towpath._native.appstream import AppStream
    from towpath._native.session import Session

__all__ = ["Node"]

_NOT_DIRECTLY: Final = (
    "directly: not tried, as it shows your address to the peer; set client.allow_direct to always to permit it"
)
_CLOSE_S: Final = 5.0
"""What stream handlers get to end when the node closes."""
_log = get_logger("node")
Handler = Callable[[Stream], Awaitable[None]]


class Node:
    """One towpath node on the running event loop; `async with Node(settings, data=path) as node`.

    `data` is the directory of its keys; None makes throw-away identities and writes nothing.
    """

    def __init__(self, settings: Settings | None = None, *, data: Path | str | None = None) -> None:
        self.settings = Settings.load() if settings is None else settings
        self._data = None if data is None else Path(data)
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[HeldReservation] = []
        self._started = 0.0
        self._listening: list[tuple[str, int]] = []
        self._relayed_before = 0
        self._circuits_before = 0
        self._draining = False
        self._closed = False

    # --- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Opens the listeners and begins to relay, as the settings say. Once; afterwards make another Node.

        OSError when an address cannot be listened on.
        """
        if self._started:
            raise RuntimeError("a Node starts only once")
        relay_key, peer_key = self._identities()
        loop = asyncio.get_running_loop()
        agent = f"towpath/{__version__}"
        self._started = time.time()
        self._reactor = Reactor(loop, self.settings.native.aead)
        self._relay = Endpoint(self._reactor, relay_key.seed, agent)
        self._peer = Endpoint(self._reactor, peer_key.seed, agent)
        self.peer_id: str = peer_key.text
        self.relay_id: str = relay_key.text
        for endpoint in (self._relay, self._peer):
            endpoint.ask_identify = True
            limit = self.settings.network.connection_limit(listening.open_files())
            if limit is not None:
                endpoint.max_connections = limit
        self._dialer = Dialer(self._peer)
        self._peer.set_handler(STOP, StopService(self._dialer, self._takes_circuits_of, self._spawn).accept)
        self._peer.on_session_end = self._session_ended
        for protocol in self._handlers:
            self._serve(protocol)
        try:
            self._listen(self.settings)
            if self.settings.relay.mode.relays:
                self._begin_relaying()
        except BaseException:
            await self.close()
            raise

    async def drain(self, grace: float) -> None:
        """Takes no new connections and waits until no circuit is open, at most `grace` seconds."""
        self._draining = True
        self._relay.stop_listening()
        until = time.monotonic() + grace
        while self._open_circuits() and time.monotonic() < until:  # noqa: ASYNC110 - the native core tells nobody
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Closes everything: listeners, reservations, circuits, connections. Stream handlers are cancelled."""
        if self._closed or not self._started:
            return
        self._closed = True
        try:
            for held in list(self._held):
                await self.release(held)
            self._end_relaying()
            tasks = self._tasks - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_CLOSE_S)
            self._peer.close()
            self._relay.close()
            # The goodbyes go out at the end of the loop's turn.
            await asyncio.sleep(0)
        finally:
            self._end_relaying()
            for endpoint in (self._peer, self._relay):
                endpoint.close()
                endpoint.abort()
            self._reactor.close()

    def _identities(self) -> tuple[Identity, Identity]:
        if self._data is None:
            return Identity.generate(), Identity.generate()
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        return load_or_create(self._data / "relay.key"), load_or_create(self._data / "peer.key")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- relaying ------------------------------------------------------------------------------

    def _listen(self, settings: Settings) -> None:
        wanted = settings.network.listen
        if not wanted:
            self._relay.stop_listening()
            self._listening = []
        elif not self._listening:
            move = settings.relay.mode is not RelayMode.DEDICATED_SERVER
            try:
                self._listening = listening.open_listeners(self._relay, wanted, move=move)
            except BaseException:
                self._relay.stop_listening()
                raise
        self._tell_addresses()

    def _tell_addresses(self) -> None:
        addresses = [to_bytes(text) for text in listening.reachable_at(self._listening, self.settings.network.announce)]
        self._relay.set_addresses(addresses)
        if self._relay.relay is not None:
            suffix = to_bytes(f"/p2p/{self.relay_id}")
            self._relay.relay.addresses = [address + suffix for address in addresses]

    def _begin_relaying(self) -> None:
        policy = Admission(self.settings.relay)
        if self._relay.relay is not None:
            self._relay.relay.policy = policy
            return
        self._relay.start_relaying(policy)
        self._tell_addresses()
        hasten()
        _log.info("relaying", mode=str(self.settings.relay.mode), addresses=self.listen_addresses)

    def _end_relaying(self) -> None:
        relay = self._relay.relay
        if relay is None:
            return
        self._relay.stop_relaying()
        self._relayed_before += sum(relay.totals())
        self._circuits_before += relay.circuits_opened
        relax()
        _log.info("not_relaying")

    def _open_circuits(self) -> int:
        return len(self._relay.relay.circuits) if self._relay.relay is not None else 0

    async def set_relay_mode(self, mode: RelayMode) -> None:
        """Switches relaying on or off. Circuits end when it goes off; nobody else's streams break.

        OSError when an address cannot be listened on; then everything is as before.
        """
        settings = self.settings.changed({"relay.mode": str(mode)}, source="set_relay_mode")
        self._listen(settings)
        self.settings = settings
        if mode.relays:
            self._begin_relaying()
        else:
            self._end_relaying()
        self._relay.push_identify()

    # --- reachable through relays --------------------------------------------------------------

    async def reserve(self, relay: str, *, keep: bool = True, timeout: float = 30.0) -> HeldReservation:
        """Reserves at a relay (multiaddr with /p2p/ID), so that others reach us through it.

        With `keep` it is refreshed, and asked for anew when lost, until `release`. RelayError when refused, DialError
        when unreachable.
        """
        address = parse(relay)
        if address.circuit or address.peer_id is None:
            raise DialError(f"{relay} is not a relay's own address; it must end in /p2p/ and the relay's id")
        held = HeldReservation(address.peer_id, relay, functools.partial(self._dialer.connect, address), keep)
        self._held.append(held)
        try:
            async with deadline(timeout, f"reserving at {relay}"):
                await held.start()
        except BaseException:
            await self.release(held)
            raise
        return held

    async def release(self, held: HeldReservation) -> None:
        """Gives a reservation up."""
        with contextlib.suppress(ValueError):
            self._held.remove(held)
        await held.stop()

    def _session_ended(self, session: Session, why: str) -> None:
        for held in self._held:
            held.session_ended(session)

    def _takes_circuits_of(self, relay_id: bytes) -> bool:
        text = peer_id_to_text(relay_id)
        return any(held.relay_id == text and held.state != "released" for held in self._held)

    def set_stream_handler(self, protocol: str, handler: Handler | None) -> None:
        """Serves a protocol: `await handler(stream)` runs for each inbound stream; None stops serving it.

        An exception in it resets the stream; otherwise the handler closes it, or leaves that to others.
        """
        if handler is None:
            self._handlers.pop(protocol, None)
        else:
            self._handlers[protocol] = handler
        if self._started:
            self._serve(protocol)

    def _serve(self, protocol: str) -> None:
        handler = self._handlers.get(protocol)
        self._peer.set_handler(protocol, None if handler is None else functools.partial(self._accept, handler))

    def _accept(self, handler: Handler, native: AppStream) -> None:
        self._spawn(self._handle(handler, Stream(native)))

    async def _handle(self, handler: Handler, stream: Stream) -> None:
        try:
            await handler(stream)
        except asyncio.CancelledError:
            stream.reset()
            raise
        except TowpathError as error:
            stream.reset()
            _log.info("stream_ended", protocol=stream.protocol, error=str(error))
        except Exception:  # noqa: BLE001 - the application's own, whatever it is; logged with its trace
            stream.reset()
            _log.exception("stream_handler_failed", protocol=stream.protocol)

    # --- reaching others -----------------------------------------------------------------------

    async def connect(self, target: str, protocol: str, *, timeout: float = 30.0) -> Stream:
        """A stream to a peer at a multiaddr.

        Direct (`/ip4/…/tcp/…/p2p/ID`) or through a relay (`…/p2p-circuit/p2p/ID`).
        """
        address = parse(target)
        if address.circuit:
            return await self.connect_to_peer_via_relay(target, protocol, timeout=timeout)
        async with deadline(timeout, f"connecting to {target}"):
            session = await self._dialer.connect(address)
            return Stream(await open_stream(session, protocol))

    async def connect_to_peer_via_relay(
        self, target: str, protocol: str, via: str | None = None, timeout: float = 30.0
    ) -> Stream:
        """A stream to a peer (id, or circuit multiaddr) through a relay.

        The relay is `via` (multiaddr, or id of a relay we know), else the circuit's; a relay so named that fails
        raises what it failed of. Else a connection that there is already will do, or the relays we are connected to
        and the bootstrap relays are tried, each with its share of the time: RelayError when one of them refused,
        NoRelaysAvailable, which says what was tried, when none leads there.
        """
        until = time.monotonic() + timeout
        relay = via
        if "/" in target:
            address = parse(target)
            if not address.circuit or address.target_id is None:
                raise DialError(f"{target} leads to no peer through a relay; it must end in /p2p-circuit/p2p/ID")
            target_id = address.target_id
            relay = via or address.relay
        else:
            target_id = peer_id_to_bytes(target)
        session = None if via else self._peer.session_of(target_id)
        if session is None and relay is not None:
            session = await self._through(relay, target_id, timeout)
        elif session is None:
            session = await self._through_any(target_id, until)
        async with deadline(max(0.0, until - time.monotonic()), f"opening a stream to {target}"):
            return Stream(await open_stream(session, protocol))

    async def _through(self, relay: str, target: bytes, seconds: float) -> Session:
        async with deadline(seconds, f"connecting to {peer_id_to_text(target)} through {relay}"):
            return await self._dialer.through(await self._session_with_relay(relay), target)

    async def _through_any(self, target: bytes, until: float) -> Session:
        tried: list[str] = []
        refusal: RelayError | None = None
        candidates = self._relays_to_try()
        for at, relay in enumerate(candidates):
            share = max(0.0, until - time.monotonic()) / (len(candidates) - at)
            try:
                return await self._through(relay, target, share)
            except (TowpathError, OSError) as error:
                tried.append(f"{relay}: {error}")
                if isinstance(error, RelayError) and not isinstance(error, NoReservation):
                    refusal = error
        if refusal is not None:
            raise refusal
        raise NoRelaysAvailable(tried)

    def _relays_to_try(self) -> list[str]:
        # Those that hold our reservations, others we are connected to, then those of the settings.
        found = {held.relay_id: held.relay_address for held in self._held if held.state == "active"}
        for peer in self._peer.peers.values():
            if any(HOP in (session.protocols or ()) and not session.via for session in peer.sessions):
                relay_id = peer_id_to_text(peer.id)
                found.setdefault(relay_id, relay_id)
        for relay in self.settings.discovery.bootstrap:
            found.setdefault(relay.rpartition("/p2p/")[2], relay)
        return list(found.values())

    async def _session_with_relay(self, relay: str) -> Session:
        if "/" in relay:
            return await self._dialer.connect(parse(relay))
        session = self._peer.session_of(peer_id_to_bytes(relay))
        if session is not None:
            return session
        for known in self._relays_to_try():
            if known.endswith(f"/p2p/{relay}"):
                return await self._dialer.connect(parse(known))
        raise DialError(f"there is no connection to relay {relay}; give its multiaddr")

    async def connect_with_fallback(self, target: str, protocol: str, *, timeout: float = 30.0) -> Stream:
        """A stream to a peer through whichever relay works, else directly.

        Directly only to an address (`/ip4/…/tcp/…/p2p/ID`) given as `target`, and only when `client.allow_direct` is
        `always`; the relays then get half of the time.
        """
        address = parse(target) if "/" in target else None
        if address is None or address.circuit:
            return await self.connect_to_peer_via_relay(target, protocol, timeout=timeout)
        if address.peer_id is None:
            raise AddressError(f"{target} names no peer; append /p2p/ and the peer's id")
        peer = peer_id_to_text(address.peer_id)
        direct = self.settings.client.allow_direct == "always"
        async with deadline(timeout, f"connecting to {target}"):
            try:
                return await self.connect_to_peer_via_relay(peer, protocol, timeout=timeout / 2 if direct else timeout)
            except (DialError, NoRelaysAvailable, TimeoutExpired) as error:
                if not direct:
                    _log.warning("direct_connection_not_allowed", peer=peer)
                    tried = error.tried if isinstance(error, NoRelaysAvailable) else [str(error)]
                    raise NoRelaysAvailable([*tried, _NOT_DIRECTLY]) from error
            return await self.connect(target, protocol, timeout=timeout)

    async def ping(self, target: str, via: str | None = None, timeout: float = 30.0) -> float:
        """Seconds that 32 bytes take to the peer and back, end to end. `target` and `via` as for connecting."""
        async with deadline(timeout, f"pinging {target}"):
            if "/" in target and not parse(target).circuit:
                stream = await self.connect(target, PING, timeout=timeout)
            else:
                stream = await self.connect_to_peer_via_relay(target, PING, via, timeout)
            async with stream:
                return await ping_once(stream)

    # --- what is going on ----------------------------------------------------------------------

    @property
    def listen_addresses(self) -> list[str]:
        """Where the relay identity listens, as multiaddrs with its id."""
        return [f"{text}/p2p/{self.relay_id}" for text in listening.reachable_at(self._listening, ())]

    @property
    def addresses(self) -> list[str]:
        """Where others are told to reach the relay identity: the announced addresses, then those it listens on."""
        announced = [f"{text}/p2p/{self.relay_id}" for text in self.settings.network.announce]
        return list(dict.fromkeys([*announced, *self.listen_addresses]))

    @property
    def circuit_addresses(self) -> list[str]:
        """Where the peer identity is reachable through the relays that hold our reservations."""
        return [f"{held.relay_address}/p2p-circuit/p2p/{self.peer_id}" for held in self._held if held.state == "active"]

    def circuits(self, *, full: bool = False) -> list[dict[str, Any]]:
        """A row for each circuit that we relay; peer ids are shortened unless `full`."""
        return overview.circuit_rows(self._relay, self.relay_id, full=full)

    def reservations(self) -> list[dict[str, Any]]:
        """A row for each reservation granted and held."""
        return overview.reservation_rows(self._relay, self._held)

    def peers(self) -> list[dict[str, Any]]:
        """A row for each connection. Addresses are shown with `log.addresses` only."""
        return overview.peer_rows([("relay", self._relay), ("peer", self._peer)], addresses=self.settings.log.addresses)

    def relays(self) -> list[dict[str, Any]]:
        """A row for each relay that we use or could use, with the reasons."""
        return overview.relay_rows(self._held, self.settings.discovery.bootstrap)

    def data_plane(self) -> dict[str, Any]:
        """The native counters (see overview.data_plane)."""
        return overview.data_plane(self._reactor, self._relay, self._peer)

    def status(self) -> dict[str, Any]:
        """What `towpath status` shows."""
        relay = self._relay.relay
        relayed = self._relayed_before + (sum(relay.totals()) if relay is not None else 0)
        state, why = self._state()
        active = [held for held in self._held if held.state == "active"]
        return {
            "peer_id": self.peer_id,
            "relay_id": self.relay_id,
            "mode": str(self.settings.relay.mode),
            "state": state,
            "why": why,
            "addresses": self.addresses,
            "circuit_addresses": self.circuit_addresses,
            "reachability": "announced" if self.settings.network.announce else "unknown",
            "circuits_now": self._open_circuits(),
            "reservations_now": len(relay.reservations) if relay is not None else 0,
            "circuits_today": self._circuits_before + (relay.circuits_opened if relay is not None else 0),
            "bytes_relayed_today": relayed,
            "bytes_relayed_total": relayed,
            "budget": [],
            "reputation": None,
            "stars": None,
            "credits": {"earned": 0, "spent": 0, "balance": 0},
            "client": {
                "connected_via": [held.relay_id for held in active],
                "ip_hidden": False,
                "ip_hidden_missing": [] if not active else ["relays learn the dialer's own peer id"],
                "credits_used": 0,
            },
            "uptime_s": round(time.time() - self._started, 1),
            "data_plane": self.data_plane(),
        }

    def _state(self) -> tuple[str, str]:
        if self._relay.relay is None:
            return "off", "relay mode is off; switch it on with --mode cooperative"
        if self._draining:
            return "draining", "the node is about to stop"
        return "relaying", "relay mode is on"
