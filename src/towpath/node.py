"""The node: builds the parts from Settings, starts and stops them. Everything else is behind it.

A node has two identities that never meet on one connection: the relay's, public, which listens and relays; and the
peer's, which friends know, which reserves and dials at relays.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from towpath import __version__, listening, overview
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.addresses import peer_id_to_bytes, to_text
from towpath.by_hand import ByHand
from towpath.client.reservations import HeldReservation
from towpath.client.service import ClientService
from towpath.credits.composition import Credits
from towpath.discovery.composition import Discovery
from towpath.errors import SettingsError, StoreInUse
from towpath.events import EventHub
from towpath.handlers import Handler, Handlers
from towpath.identity import Identity, load_or_create
from towpath.listening import Listeners
from towpath.live_settings import NEXT_START, LiveSettings, differing
from towpath.log import get_logger
from towpath.reachability import Reachability
from towpath.relay.service import RelayService
from towpath.reputation.composition import Reputation
from towpath.settings import RelayMode, Settings
from towpath.store import Store
from towpath.stream import Stream

if TYPE_CHECKING:
    from towpath.discovery.records import Advertisement
    from towpath.discovery.selection import Ranked

__all__ = ["Node"]

STORE_FILE: Final = "towpath.db"
_CLOSE_S: Final = 5.0
"""What stream handlers get to end when the node closes."""
_log = get_logger("node")


class Node:
    """One towpath node on the running event loop; `async with Node(settings, data=path) as node`.

    `data` is the directory of its keys; None makes throw-away identities and writes nothing. A `reachable` node finds
    relays and keeps two reservations by itself, unless relaying is its only job; another one only connects.
    """

    def __init__(
        self, settings: Settings | None = None, *, data: Path | str | None = None, reachable: bool = True
    ) -> None:
        self.settings = Settings.load() if settings is None else settings
        self.events = EventHub()
        """What the owner is told; may be followed before the start."""
        self._data = None if data is None else Path(data)
        self._handlers = Handlers(self._spawn)
        self._tasks: set[asyncio.Task[None]] = set()
        self._reachable = reachable
        self._live = LiveSettings(self.settings, self._data)
        self._appliers: dict[str, Callable[[Settings], None]] = {}
        self._changing = asyncio.Lock()
        self._started = 0.0
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

        OSError when an address cannot be listened on, TowpathError when the data directory cannot be used.
        """
        if self._started:
            raise RuntimeError("a Node starts only once")
        relay_key, peer_key = self._identities()
        self.store = await self._open_store()
        self.events.recorded = lambda kind, sentence, facts: self.store.event(kind, sentence, **facts)
        loop = asyncio.get_running_loop()
        self._started = time.time()
        self._reactor = Reactor(loop, self.settings.native.aead)
        self._relay = self._endpoint(relay_key)
        self._peer = self._endpoint(peer_key)
        self.peer_id: str = peer_key.text
        self.relay_id: str = relay_key.text
        throw_away = functools.partial(self._endpoint, None)
        now, relay = lambda: self.settings, (self._relay, relay_key)
        self._discovery = Discovery(now, self.store, self.events, self._reactor, relay, peer_key, throw_away)
        self._client = ClientService(self._peer, throw_away, now, self._discovery.guide, self.events, self._spawn)
        self._handlers.serve_on(self._peer)
        self.reputation = Reputation(now, self.store, self._discovery, self._relay, throw_away)
        self.by_hand = ByHand(self, self._relay, self._data)
        self._listeners = Listeners(self._relay, self.relay_id)
        self._reachability = Reachability(
            self._relay, self.settings, lambda: self._listeners.addresses, self.events.publish, secret=relay_key.seed
        )
        self._reachability.changed = self._reachability_changed
        self._service = RelayService(
            self._relay, self.settings, self.events, self.store, self._tell_addresses, self._peer
        )
        self.credits = Credits(self._relay, relay_key, now, self.store, self._data)
        self.credits.join(self._service, self._client, self._discovery, self.reputation)
        self._discovery.join(self._client, self._service, self._reachability, lambda: self._listeners.addresses)
        try:
            self._listen(self.settings)
            await self.credits.start()
            await self._service.start()
            await self._reachability.start()
            self._discovery.start()
            self.reputation.start()
            self._hold_or_not()
        except BaseException:
            await self.close()
            raise

    def _endpoint(self, identity: Identity | None) -> Endpoint:
        # None: one that is thrown away.
        seed = (identity or Identity.generate()).seed
        endpoint = Endpoint(self._reactor, seed, f"towpath/{__version__}")
        endpoint.ask_identify = True
        return endpoint

    @property
    def _throw_away(self) -> list[Endpoint]:
        return [*self._client.endpoints, *self._discovery.endpoints]

    def _hold_or_not(self) -> None:
        # A dedicated relay has no friends who would look for it.
        if self._reachable and self.settings.relay.mode is not RelayMode.DEDICATED_SERVER:
            self._client.holding.start()

    async def drain(self, grace: float) -> None:
        """Takes no new connections, and returns when no circuit is open, after at most `grace` seconds."""
        self._listeners.stop()
        await self._service.drain(grace)

    async def close(self) -> None:
        """Closes everything: listeners, reservations, circuits, connections. Stream handlers are cancelled."""
        if self._closed or not self._started:
            return
        self._closed = True
        try:
            await self._client.close()
            await self.reputation.stop()
            await self._discovery.close()
            await self._reachability.stop()
            self._service.end()
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
            self._service.end()
            await self._client.holding.stop()
            await self.reputation.stop()
            await self._discovery.close()
            for endpoint in (*self._throw_away, self._peer, self._relay):
                endpoint.close()
                endpoint.abort()
            self._reactor.close()
            await self._service.close()
            await self.credits.stop()
            await self.store.close()

    async def _open_store(self) -> Store:
        try:
            return await Store.open(None if self._data is None else self._data / STORE_FILE)
        except StoreInUse:
            if self._reachable:
                raise
            # Beside a running node; what is only for now need not be kept.
            return await Store.open(None)

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

    def _apply(self, settings: Settings) -> None:
        # OSError when they cannot be listened by; then everything is as before.
        self._listen(settings)
        self._service.apply(settings)
        self._reachability.apply(settings)
        self._discovery.apply(settings)
        self._hold_or_not()
        self._client.holding.changed()

    def _listen(self, settings: Settings) -> None:
        move = settings.relay.mode is not RelayMode.DEDICATED_SERVER
        self._listeners.listen(settings.network.listen, move=move)
        self.settings = settings
        limit = settings.network.connection_limit(listening.open_files())
        for endpoint in (self._relay, self._peer):
            endpoint.max_connections = (1 << 30) if limit is None else limit
        self._tell_addresses()

    def _reachability_changed(self) -> None:
        self._tell_addresses()
        self._discovery.changed()

    def _tell_addresses(self) -> None:
        confirmed = [to_text(address) for address in self._reachability.confirmed]
        self._listeners.tell(tuple(dict.fromkeys((*self.settings.network.announce, *confirmed))))

    async def set_relay_mode(self, mode: RelayMode) -> dict[str, Any]:
        """Switches relaying on or off, now and for the next starts. Going off, circuits get `relay.drain_grace`.

        Nobody else's streams break. OSError when an address cannot be listened on; then everything is as before. For
        the answer see `change_settings`.
        """
        return await self._change({"relay.mode": str(mode)}, source="set_relay_mode", persist=True)

    async def enable_relay_mode(self, config: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Relays for others, as a volunteer unless `config` names another `mode`.

        `config` holds settings by key, with or without `relay.` before it. Errors and answer as of `change_settings`.
        """
        given = {key if "." in key else f"relay.{key}": value for key, value in (config or {}).items()}
        if not self.settings.relay.mode.relays:
            given.setdefault("relay.mode", str(RelayMode.COOPERATIVE))
        return await self.change_settings(given, source="enable_relay_mode")

    async def pause(self, seconds: float | None = None) -> None:
        """Relays nothing for so long (None: until `resume`), restarts included. Circuits get `relay.drain_grace`."""
        await self._service.pause(None if seconds is None else time.time() + seconds)

    async def resume(self) -> None:
        """Ends a pause."""
        await self._service.resume()

    # --- settings ------------------------------------------------------------------------------

    async def change_settings(
        self, changes: Mapping[str, object], *, source: str = "a change", persist: bool = True
    ) -> dict[str, Any]:
        """Changes settings of the running node, all or none; with `persist` in its file, too.

        Returns `applied` and `at_next_start` (keys), and `overridden` ({key: what wins over the file at the next
        start}). SettingsError when a key or value is wrong, an address cannot be listened on, or the file cannot be
        written.
        """
        try:
            return await self._change(changes, source=source, persist=persist)
        except OSError as error:
            listen = self.settings.changed(changes, source=source).written("network.listen")
            raise SettingsError("network.listen", listen, error.strerror or str(error), source=source) from error

    async def reload_settings(self) -> dict[str, Any]:
        """Reads the file again and goes by it. What was changed while running and not kept in the file stays.

        Answer and errors as of `change_settings`.
        """
        async with self._changing:
            after = await self._live.read_again()
            changed = differing(self.settings, after)
            try:
                self._apply(after)
            except OSError as error:
                listen = after.written("network.listen")
                raise SettingsError("network.listen", listen, error.strerror or str(error)) from error
            return self._tell_changed(changed, "config.toml")

    def on_settings(self, prefix: str, apply: Callable[[Settings], None]) -> None:
        """`apply(settings)` is called when keys that begin with `prefix` changed, which so need no restart."""
        self._appliers[prefix] = apply

    async def _change(self, changes: Mapping[str, object], *, source: str, persist: bool) -> dict[str, Any]:
        async with self._changing:
            before = self.settings
            after = self._live.changed(before, changes, source=source, persist=persist)
            self._apply(after)
            try:
                await self._live.keep(changes, source=source, persist=persist)
            except BaseException:
                self._apply(before)
                raise
            return self._tell_changed(list(changes), source) | {
                "overridden": self._live.overriding(changes) if persist else {}
            }

    def _tell_changed(self, keys: list[str], source: str) -> dict[str, Any]:
        for prefix, apply in self._appliers.items():
            if any(key.startswith(prefix) for key in keys):
                apply(self.settings)
        later = [key for key in keys if key.startswith(NEXT_START) and not key.startswith(tuple(self._appliers))]
        for key in keys:
            value = self._in_words(key)
            when = " at the next start" if key in later else ""
            self.events.publish("setting_changed", f"{key} is {value}{when}", key=key, source=source)
            _log.info("setting_changed", key=key, source=source, note=f"{key} is {value}{when}")
        return {"applied": [key for key in keys if key not in later], "at_next_start": later, "overridden": {}}

    def _in_words(self, key: str) -> str:
        value = self.settings.written(key)
        if isinstance(value, bool):
            return str(value).lower()
        return (", ".join(map(str, value)) or "empty") if isinstance(value, list) else str(value)

    # --- reachable through relays --------------------------------------------------------------

    async def reserve(self, relay: str, *, keep: bool = True, timeout: float = 30.0) -> HeldReservation:
        """Reserves at a relay (multiaddr with /p2p/ID), so that others reach us through it.

        With `keep` it is refreshed, and asked for anew when lost, until `release`. RelayError when refused, DialError
        when unreachable, or when it is so near that it shows where this machine is and `client.hide_ip` is on.
        """
        return await self._client.reserve([relay], keep=keep, seconds=timeout)

    async def release(self, held: HeldReservation) -> None:
        """Gives a reservation up."""
        await self._client.release(held)

    async def hold_reservations(self, relays: Sequence[str] = (), *, timeout: float = 20.0) -> list[str]:
        """Finds relays, those given (multiaddrs) among them, and keeps two reservations from now on.

        Returns `held_relays()` as soon as two stand, or a second after one does; NoRelaysAvailable when none does in
        time, with what each relay answered.
        """
        self._discovery.guide.name(relays)
        return await self._client.hold(timeout)

    def held_relays(self) -> list[str]:
        """Relays that hold our reservations and stay (multiaddrs with /p2p/ID): the active one, then its standby."""
        return self._client.held_relays()

    def on_relays_changed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """`callback()` is called when `held_relays` may have changed, or a relay in use says that it leaves or stays.

        Returns what ends that. `leaving` tells which relay it is.
        """
        return self._client.on_relays_changed(callback)

    def doubt(self, relay: str) -> None:
        """Something sent through this relay (multiaddr or id) had no answer: do our connections to it live?

        Those that do not within a second are cut off, and what went through them fails at once.
        """
        self._client.doubt(relay)

    # --- finding relays ------------------------------------------------------------------------

    async def find_relay_peers(self, enough: int = 4, *, timeout: float = 10.0) -> list[Ranked]:
        """Relays from the local network, the DHT and the bootstrap list, best first, each with its reasons.

        Returns as soon as `enough` are known, and after `timeout` seconds with what was found.
        """
        return await self._discovery.find_relay_peers(enough, timeout)

    async def discover_relays(self) -> list[Ranked]:
        """Asks the DHT alone for relays; all known relays, as `find_relay_peers`."""
        return await self._discovery.discover_relays()

    async def advertise_as_relay(self) -> Advertisement:
        """Publishes our relay in the DHT now; TowpathError when it does not relay, or is not known to be reachable."""
        return await self._discovery.advertise()

    def set_stream_handler(self, protocol: str, handler: Handler | None) -> None:
        """Serves a protocol: `await handler(stream)` runs for each inbound stream; None stops serving it.

        An exception in it resets the stream; otherwise the handler closes it, or leaves that to others.
        """
        self._handlers.set(protocol, handler)

    # --- reaching others -----------------------------------------------------------------------

    async def connect(self, target: str, protocol: str, *, timeout: float = 30.0) -> Stream:
        """A stream to a peer at a multiaddr.

        Direct (`/ip4/…/tcp/…/p2p/ID`) or through a relay (`…/p2p-circuit/p2p/ID`).
        """
        return await self._client.connector.connect(target, protocol, timeout)

    async def connect_to_peer_via_relay(
        self, target: str, protocol: str, via: str | None = None, timeout: float = 30.0
    ) -> Stream:
        """A stream to a peer (id, or circuit multiaddr) through a relay.

        The relay is `via` (multiaddr, or id of a relay we know), else the circuit's; a relay so named that fails
        raises what it failed of. Else a connection that there is already will do, or relays are tried side by side:
        those the peer was met at or names in its record, those we are connected to, ranked and bootstrap relays.
        RelayError when one of them refused, NoRelaysAvailable, which says what was tried, when none leads there.
        """
        return await self._client.connector.through_relay(target, protocol, via, timeout)

    def leaving(self, relay: str) -> bool:
        """Did this relay (multiaddr or id), which we use, say that it moves out?"""
        return self._client.connector.leaving(relay)

    async def connect_with_fallback(self, target: str, protocol: str, *, timeout: float = 30.0) -> Stream:
        """A stream to a peer through relays of users, else through bootstrap relays, else directly.

        Directly only to an address (`/ip4/…/tcp/…/p2p/ID`) given as `target`, and only when `client.allow_direct` is
        `always`, or `ask` and `ask_directly` says yes; the relays then get half of the time. NoRelaysAvailable, which
        says what was tried, when nothing leads there.
        """
        return await self._client.connector.with_fallback(target, protocol, timeout)

    def ask_directly(self, ask: Callable[[str], Awaitable[bool]] | None) -> None:
        """`await ask(peer_id)` decides whether this peer may see our address when `client.allow_direct` is `ask`."""
        self._client.connector.may_connect_directly = ask

    async def ping(self, target: str, via: str | None = None, timeout: float = 30.0) -> float:
        """Seconds that 32 bytes take to the peer and back, end to end. `target` and `via` as for connecting."""
        return await self._client.connector.ping(target, via, timeout)

    # --- what is going on ----------------------------------------------------------------------

    @property
    def listen_addresses(self) -> list[str]:
        """Where the relay identity listens, as multiaddrs with its id."""
        return self._listeners.addresses

    @property
    def addresses(self) -> list[str]:
        """Where others are told to reach the relay identity: the announced addresses, then those it listens on."""
        return self._listeners.told

    @property
    def circuit_addresses(self) -> list[str]:
        """Where the peer identity is reachable through the relays that hold our reservations."""
        return [f"{relay}/p2p-circuit/p2p/{self.peer_id}" for relay in self.held_relays()]

    def circuits(self, *, full: bool = False) -> list[dict[str, Any]]:
        """A row for each circuit that we relay; peer ids are shortened unless `full`."""
        return overview.circuit_rows(self._relay, self.relay_id, full=full)

    def reservations(self) -> list[dict[str, Any]]:
        """A row for each reservation granted and held."""
        return overview.reservation_rows(self._relay, self._client.held)

    def peers(self) -> list[dict[str, Any]]:
        """A row for each connection. Addresses are shown with `log.addresses` only."""
        disguised = [("throw-away", endpoint) for endpoint in self._throw_away]
        endpoints = [("relay", self._relay), ("peer", self._peer), *disguised]
        return overview.peer_rows(endpoints, addresses=self.settings.log.addresses)

    def relays(self) -> list[dict[str, Any]]:
        """A row for each relay that we use or could use, with the reasons."""
        states = self._client.standing()
        used = {peer_id_to_bytes(h.relay_id): (states[h.relay_id], h.reasons()) for h in self._client.held}
        return overview.with_agents(self._discovery.relay_rows(used), (self._peer, *self._throw_away, self._relay))

    def data_plane(self) -> dict[str, Any]:
        """The native counters (see overview.data_plane)."""
        return overview.data_plane(self._reactor, self._relay, self._peer, *self._throw_away)

    async def traffic(self, window: str) -> list[dict[str, int]]:
        """Rows {at, seconds, received, sent, circuits} of the relay's sockets over `5m`, `1h`, `24h` or `30d`.

        ValueError for another window.
        """
        return await self.store.traffic(window)

    async def check(self) -> dict[str, Any]:
        """Asks other nodes now whether they reach this one; see Reachability.facts."""
        return await self._reachability.check()

    def limits(self) -> dict[str, Any]:
        """What limits relaying, and how much of it is used (see RelayService.limits)."""
        return self._service.limits()

    def status(self) -> dict[str, Any]:
        """What `towpath status` shows."""
        return {
            "peer_id": self.peer_id,
            "relay_id": self.relay_id,
            **self._service.status(),
            "addresses": self.addresses,
            "circuit_addresses": self.circuit_addresses,
            "reachability": str(self._reachability.state),
            "reachability_why": self._reachability.sentence,
            **self.reputation.status(),
            "credits": self.credits.status(),
            "client": self._client.status() | {"credits_used": self.credits.used},
            "discovery": self._discovery.status(),
            "uptime_s": round(time.time() - self._started, 1),
            "data_plane": self.data_plane(),
        }
