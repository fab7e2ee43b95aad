"""Asking a peer whether it relays: a connection, and what its identify says. Under a throw-away identity."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from towpath._native.endpoint import Endpoint
from towpath.addresses import parse
from towpath.client.dialing import Dialer
from towpath.client.relaying import HOP
from towpath.discovery.finder import Probed
from towpath.errors import DialError

if TYPE_CHECKING:
    from towpath._native.reactor import Reactor
    from towpath._native.session import Session

__all__ = ["Prober"]


class Prober:
    """The Probe of a Finder (`ask`), with an endpoint of its own, so that neighbours learn neither of our ids."""

    def __init__(self, reactor: Reactor, agent: str = "towpath") -> None:
        self._endpoint = Endpoint(reactor, secrets.token_bytes(32), agent)
        self._endpoint.ask_identify = True
        self._endpoint.on_identified = self._happened
        self._endpoint.on_session_end = self._ended
        self._dialer = Dialer(self._endpoint)
        self._waiting: dict[Session, asyncio.Future[None]] = {}

    async def ask(self, relay_id: bytes, addresses: Sequence[str]) -> Probed:
        """Does the peer at one of these addresses relay, and how far is it? TowpathError or OSError when it is not
        reached, or leaves before it says. Waits as long as its caller lets it.
        """
        parsed = [parse(text) for text in addresses]
        if not parsed or any(address.peer_id != relay_id for address in parsed):
            raise DialError("no address of the peer is known")
        session = await self._dialer.connect(*parsed)
        connected_at = time.monotonic()
        try:
            if session.protocols is None and not session.closed:
                self._waiting[session] = asyncio.get_running_loop().create_future()
                await self._waiting[session]
            if session.protocols is None:
                raise DialError("it closed the connection before it said what it speaks")
            # A ping's round trip where it is known by now, else identify's own; the loop's clock counts milliseconds.
            rtt_s = session.rtt_s or time.monotonic() - connected_at
            return Probed(HOP in session.protocols, rtt_s * 1000)
        finally:
            self._waiting.pop(session, None)
            session.close()

    def close(self) -> None:
        """Closes what is open."""
        self._endpoint.close()
        self._endpoint.abort()

    def _happened(self, session: Session) -> None:
        waiter = self._waiting.get(session)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _ended(self, session: Session, _why: str) -> None:
        self._happened(session)
