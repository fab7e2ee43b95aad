"""Streams to other peers: directly, through a relay, or through whichever relay works.

Belongs to the peer identity. Decides what is tried in which order; connections are `dialing`'s, streams `relaying`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from towpath.addresses import parse, peer_id_to_bytes, peer_id_to_text
from towpath.client.dialing import Dialer, deadline
from towpath.client.relaying import HOP, open_stream
from towpath.errors import (
    AddressError,
    DialError,
    NoRelaysAvailable,
    NoReservation,
    RelayError,
    TimeoutExpired,
    TowpathError,
)
from towpath.log import get_logger
from towpath.ping import PING, ping_once
from towpath.stream import Stream

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.client.reservations import HeldReservation
    from towpath.settings import Settings

__all__ = ["Connector"]

_NOT_DIRECTLY: Final = (
    "directly: not tried, as it shows your address to the peer; set client.allow_direct to always to permit it"
)
_log = get_logger("client")


class Connector:
    """What a node's peer identity reaches others with. `settings` is asked each time: they change while a node runs."""

    def __init__(
        self, endpoint: Endpoint, dialer: Dialer, held: Sequence[HeldReservation], settings: Callable[[], Settings]
    ) -> None:
        self._peer = endpoint
        self._dialer = dialer
        self._held = held
        self._settings = settings

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
            session = await self._through(relay, target_id, seconds)
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
        # Those that hold our reservations, others we are connected to, then those of the settings; last of all those
        # that said that they move out.
        found = {held.relay_id: held.relay_address for held in self._held if held.state == "active"}
        for peer in self._peer.peers.values():
            if any(HOP in (session.protocols or ()) and not session.via for session in peer.sessions):
                relay_id = peer_id_to_text(peer.id)
                found.setdefault(relay_id, relay_id)
        for relay in self._settings().discovery.bootstrap:
            found.setdefault(relay.rpartition("/p2p/")[2], relay)
        return sorted(found.values(), key=self.leaving)

    def leaving(self, relay: str) -> bool:
        """See Node.leaving."""
        return self._dialer.control.leaving(peer_id_to_bytes(relay.rpartition("/p2p/")[2])) is not None

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

    async def with_fallback(self, target: str, protocol: str, seconds: float) -> Stream:
        """See Node.connect_with_fallback."""
        address = parse(target) if "/" in target else None
        if address is None or address.circuit:
            return await self.through_relay(target, protocol, None, seconds)
        if address.peer_id is None:
            raise AddressError(f"{target} names no peer; append /p2p/ and the peer's id")
        peer = peer_id_to_text(address.peer_id)
        direct = self._settings().client.allow_direct == "always"
        async with deadline(seconds, f"connecting to {target}"):
            try:
                return await self.through_relay(peer, protocol, None, seconds / 2 if direct else seconds)
            except (DialError, NoRelaysAvailable, TimeoutExpired) as error:
                if not direct:
                    _log.warning("direct_connection_not_allowed", peer=peer)
                    tried = error.tried if isinstance(error, NoRelaysAvailable) else [str(error)]
                    raise NoRelaysAvailable([*tried, _NOT_DIRECTLY]) from error
            return await self.connect(target, protocol, seconds)

    async def ping(self, target: str, via: str | None, seconds: float) -> float:
        """See Node.ping."""
        async with deadline(seconds, f"pinging {target}"):
            if "/" in target and not parse(target).circuit:
                stream = await self.connect(target, PING, seconds)
            else:
                stream = await self.through_relay(target, PING, via, seconds)
            async with stream:
                return await ping_once(stream)
