"""Connecting: to an address, and to a peer through a relay. One connection a peer is shared by whoever wants it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

from towpath._native.endpoint import Endpoint, HandshakeFailed
from towpath.addresses import Address, peer_id_to_text
from towpath.client.relaying import request_circuit
from towpath.errors import AddressError, DialError, HandshakeError, PeerIdMismatch, TimeoutExpired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from towpath._native.session import Session

__all__ = ["Dialer", "resolve"]

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
    except socket.gaierror as error:
        raise AddressError(
            f"{address.host} cannot be resolved ({error.strerror}); check the name and the network"
        ) from error
    return list(dict.fromkeys((str(info[4][0]), address.port) for info in found))


class Dialer:
    """Dials for one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._locks: dict[bytes, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, peer_id: bytes) -> AsyncIterator[None]:
        # So that two who want the same peer share a connection instead of making two.
        lock = self._locks.setdefault(peer_id, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._locks.pop(peer_id, None)

    async def connect(self, address: Address) -> Session:
        """The session with the peer at an address, a new one if there is none. The address must name the peer."""
        peer_id = address.peer_id
        if peer_id is None:
            raise AddressError(f"{address} names no peer; append /p2p/ and the peer's id")
        async with self._one_at_a_time(peer_id):
            session = self._endpoint.session_of(peer_id)
            if session is not None and not session.via:
                return session
            return await self._first_of(await resolve(address), peer_id)

    async def _first_of(self, places: list[tuple[str, int]], peer_id: bytes) -> Session:
        # Happy eyeballs (RFC 8305): each next place starts 250 ms after the one before, or when that failed.
        waiting: set[asyncio.Future[Session]] = set()
        errors: list[str] = []
        left = list(places)
        try:
            while left or waiting:
                if left:
                    host, port = left.pop(0)
                    try:
                        waiting.add(self._endpoint.dial(host, port, peer_id))
                    except (HandshakeFailed, OSError) as error:
                        errors.append(f"{host} port {port}: {error}")
                        continue
                done, waiting = await asyncio.wait(
                    waiting, timeout=_HEAD_START_S if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for future in done:
                    failure = future.exception()
                    if failure is None:
                        return future.result()
                    errors.append(str(failure))
        finally:
            for future in waiting:
                future.add_done_callback(_close_late)
        reason = "; ".join(errors) or "no address"
        kind = PeerIdMismatch if "another identity" in reason else HandshakeError
        raise kind(f"no connection to {peer_id_to_text(peer_id)}: {reason}; check that it runs and is reachable there")

    async def through(self, relay: Session, target: bytes) -> Session:
        """The session with `target` over a circuit at this relay, a new one if there is none."""
        async with self._one_at_a_time(target):
            session = self._endpoint.session_of(target)
            if session is not None and session.via == relay.peer_id:
                return session
            stream, _ = await request_circuit(relay, target)
            try:
                return await self.secure(stream, True, target, relay.peer_id)
            except asyncio.CancelledError:
                stream.reset()
                raise

    async def secure(self, stream: Any, initiator: bool, peer_id: bytes | None, via: bytes) -> Session:
        """Makes an end-to-end session inside a circuit's stream."""
        try:
            future = self._endpoint.wrap(stream, initiator, peer_id, via)
            return await asyncio.shield(future)
        except HandshakeFailed as error:
            kind = PeerIdMismatch if "another identity" in str(error) else HandshakeError
            raise kind(f"the circuit was made, but no private connection inside it: {error}") from error


def _close_late(future: asyncio.Future[Session]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


@contextlib.asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Ends what is inside after `seconds` with TimeoutExpired, whose text says what was being done."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        if isinstance(error, DialError):
            raise
        raise TimeoutExpired(f"{what} took longer than {seconds:g} s; try again, or another relay") from error
