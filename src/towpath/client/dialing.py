"""Connecting: to an address, and to a peer through a relay. One connection a peer is shared by whoever wants it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from towpath._native.endpoint import Endpoint, HandshakeFailed, WrongIdentity
from towpath.addresses import Address, peer_id_to_text
from towpath.client.liveness import Liveness
from towpath.client.relaying import request_circuit
from towpath.errors import AddressError, DialError, HandshakeError, PeerIdMismatch, TimeoutExpired
from towpath.relaystream.client import ClientSide

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from towpath._native.appstream import AppStream
    from towpath._native.session import Session
    from towpath.credits.paying import Paying

__all__ = ["Dialer", "deadline", "resolve"]

_HEAD_START_S: Final = 0.25
_FAMILIES: Final = {
    "ip4": socket.AF_INET,
    "ip6": socket.AF_INET6,
    "dns4": socket.AF_INET,
    "dns6": socket.AF_INET6,
    "dns": socket.AF_UNSPEC,
}


async def resolve(address: Address) -> list[tuple[str, int]]:
    """(IP address, port) pairs of a multiaddr's transport part, in the resolver's order.

    AddressError when the name has none.
    """
    if address.family in ("ip4", "ip6"):
        return [(address.host, address.port)]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host, address.port, family=_FAMILIES[address.family], type=socket.SOCK_STREAM
        )
    except (socket.gaierror, UnicodeError) as error:
        # UnicodeError: what is no host name at all, such as one with an empty label.
        why = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise AddressError(f"{address.host} cannot be resolved ({why}); check the name and the network") from error
    return list(dict.fromkeys((str(info[4][0]), address.port) for info in found))


class Dialer:
    """Dials for one endpoint; with `paying` relays are shown whose account pays for what it sends."""

    def __init__(self, endpoint: Endpoint, paying: Paying | None = None) -> None:
        self._endpoint = endpoint
        self.control: Final = ClientSide(endpoint, paying)
        """What the relays that the endpoint uses say of themselves."""
        self._liveness = Liveness()
        # An entry lasts as long as somebody holds or awaits the lock.
        self._locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    def _one_at_a_time(self, way: bytes) -> asyncio.Lock:
        # So that two who want the same peer the same way share a connection instead of making two.
        lock = self._locks.get(way)
        if lock is None:
            self._locks[way] = lock = asyncio.Lock()
        return lock

    @property
    def endpoint(self) -> Endpoint:
        """For whom it dials."""
        return self._endpoint

    async def connect(self, address: Address, *others: Address) -> Session:
        """The session with the peer at an address, a new one if there is none. The address must name the peer.

        `others` are more addresses of the same peer, tried after it.
        """
        peer_id = address.peer_id
        if peer_id is None:
            raise AddressError(f"the address of {address.host} names no peer; append /p2p/ and the peer's id")
        async with self._one_at_a_time(peer_id):
            session = self.session_with(peer_id)
            if session is None:
                session = await self._first_of(await _places([address, *others]), peer_id)
            self._liveness.watch(session)
            return session

    def session_with(self, peer_id: bytes, via: bytes = b"") -> Session | None:
        """The newest usable session with a peer that goes through this relay, or (without one) through none."""
        peer = self._endpoint.peers.get(peer_id)
        for session in [] if peer is None else reversed(peer.sessions):
            if session.via == via and not session.closed and not session.going_away:
                return session
        return None

    async def _first_of(self, places: list[tuple[str, int]], peer_id: bytes) -> Session:
        # Happy eyeballs (RFC 8305): each next place starts 250 ms after the one before, or when that failed.
        dials: dict[asyncio.Future[Session], str] = {}
        waiting: set[asyncio.Future[Session]] = set()
        failures: list[str] = []
        kind: type[DialError] = DialError
        left = list(places)
        winner: asyncio.Future[Session] | None = None
        try:
            while left or waiting:
                if left:
                    host, port = left.pop(0)
                    place = f"{host} port {port}"
                    try:
                        dial = self._endpoint.dial(host, port, peer_id)
                    except (HandshakeFailed, OSError) as error:
                        failures.append(f"{place}: {_reason(error)}")
                        continue
                    dials[dial] = place
                    waiting.add(dial)
                done, waiting = await asyncio.wait(
                    waiting, timeout=_HEAD_START_S if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for dial in done:
                    failure = dial.exception()
                    if failure is None:
                        winner = dial
                        return dial.result()
                    failures.append(f"{dials[dial]}: {_reason(failure)}")
                    if isinstance(failure, HandshakeFailed) and kind is not PeerIdMismatch:
                        kind = PeerIdMismatch if isinstance(failure, WrongIdentity) else HandshakeError
        finally:
            for dial in dials:
                if dial is not winner:
                    _give_up(dial)
        told = "; ".join(failures) or "its name has no address"
        raise kind(f"no connection to {peer_id_to_text(peer_id)}: {told}; check that it runs and is reachable there")

    async def through(self, relay: Session, target: bytes, control: ClientSide | None = None) -> Session:
        """The session with `target` over a circuit at this relay, a new one if there is none.

        The connection to the relay may be another endpoint's: `control` is then that one's.
        """
        async with self._one_at_a_time(relay.peer_id + target):
            session = self.session_with(target, relay.peer_id)
            if session is not None:
                return session
            stream, _ = await request_circuit(relay, target, control or self.control)
            return await self.secure(stream, True, target, relay.peer_id)

    async def secure(self, stream: AppStream, initiator: bool, peer_id: bytes | None, via: bytes) -> Session:
        """Makes an end-to-end session inside a circuit's stream, which is its own from now on."""
        try:
            dial = self._endpoint.wrap(stream, initiator, peer_id, via)
        except HandshakeFailed as error:
            stream.reset()
            raise _not_private(error) from error
        try:
            return await dial
        except HandshakeFailed as error:
            raise _not_private(error) from error
        except asyncio.CancelledError:
            _give_up(dial)
            raise


async def _places(addresses: Sequence[Address]) -> list[tuple[str, int]]:
    # Of a name that cannot be resolved nothing, if another address can.
    found: list[tuple[str, int]] = []
    failure: AddressError | None = None
    for address in addresses:
        try:
            found += await resolve(address)
        except AddressError as error:
            failure = error
    if not found and failure is not None:
        raise failure
    return list(dict.fromkeys(found))


def _not_private(error: HandshakeFailed) -> HandshakeError:
    kind = PeerIdMismatch if isinstance(error, WrongIdentity) else HandshakeError
    return kind(f"the circuit was made, but no private connection inside it: {error}; check who runs there")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return str(error)


def _give_up(dial: asyncio.Future[Session]) -> None:
    # Cancelling ends a dial under way; one that succeeded in the same moment has a session that nobody knows of.
    if not dial.cancel() and not dial.cancelled() and dial.exception() is None:
        dial.result().close()


@contextlib.asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Ends what is inside after `seconds` with TimeoutExpired, whose text says what was being done."""
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            yield
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise TimeoutExpired(f"{what} took longer than {seconds:.3g} s; try again, or another relay") from error
