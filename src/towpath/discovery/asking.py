"""Relays that look things up for us: connections under a throw-away identity, made when somebody asks.

So a relay that is asked for a peer does not learn who asks. A relay that holds our reservation, and knows us anyway, is
asked only when there is no other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from towpath.addresses import host_of, parse
from towpath.client.dialing import Dialer
from towpath.discovery.lookups import ASKED, ControlRelay
from towpath.errors import TowpathError
from towpath.internet import prefix_of
from towpath.relaystream import PROTOCOL

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.client.guide import RelayOffer

__all__ = ["Asking"]

_TRIED: Final = 4
"""Relays that a connection is tried to at once."""
_CONNECT_S: Final = 3.0
_GRACE_S: Final = 0.3
"""What a second relay gets once the first one is there."""


class Asking:
    """`make()` gives an endpoint with a fresh key; `offers()` relays that could be asked, best first.

    Relays that `avoided(relay_id)` are left alone; `failed(relay_id)` is told of those not reached. The identity lasts
    as long as one of its connections does.
    """

    def __init__(
        self,
        make: Callable[[], Endpoint],
        offers: Callable[[], Sequence[RelayOffer]],
        avoided: Callable[[bytes], bool],
        failed: Callable[[bytes], None] = lambda _: None,
        rng: random.Random | None = None,
    ) -> None:
        self._make = make
        self._offers = offers
        self._avoided = avoided
        self._failed = failed
        self._rng = rng or random.Random()
        self._endpoint: Endpoint | None = None
        self._dialer: Dialer | None = None
        self._told: dict[Session, asyncio.Event] = {}
        self._useless: set[bytes] = set()
        """Relays that were reached and do not look anything up."""
        self._getting_ready: asyncio.Task[None] | None = None

    @property
    def endpoints(self) -> list[Endpoint]:
        """The identity in use, if any."""
        return [] if self._endpoint is None else [self._endpoint]

    def relays(self) -> list[ControlRelay]:
        """Those there is a connection to."""
        if self._dialer is None or self._endpoint is None:
            return []
        sessions = [peer.sessions[-1] for peer in self._endpoint.peers.values() if peer.sessions]
        usable = [session for session in sessions if _answers(session) and not self._avoided(session.peer_id)]
        return [asked_on(self._dialer, session) for session in usable]

    async def ready(self) -> None:
        """Returns when two relays can be asked, or shortly after one can, or when none can be had."""
        if len(self.relays()) >= ASKED:
            return
        if not self._preparing or self._getting_ready is None:
            self._getting_ready = asyncio.create_task(self._get_ready(), name="relays to ask")
        await asyncio.shield(self._getting_ready)

    async def close(self) -> None:
        """Closes the connections."""
        if self._getting_ready is not None:
            self._getting_ready.cancel()
            await asyncio.gather(self._getting_ready, return_exceptions=True)
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint.abort()
            self._endpoint = self._dialer = None

    async def _get_ready(self) -> None:
        have = {relay.relay_id for relay in self.relays()} | self._useless
        fresh = [offer for offer in self._offers() if offer.offer.relay_id not in have]
        tried = [offer for offer in fresh if not self._avoided(offer.offer.relay_id)][:_TRIED]
        self._rng.shuffle(tried)
        connecting = {asyncio.create_task(self._connect(offer)): offer.offer.relay_id for offer in tried}
        loop = asyncio.get_running_loop()
        until = loop.time() + _CONNECT_S
        graced = bool(self.relays())
        try:
            while connecting and len(self.relays()) < ASKED and loop.time() < until:
                done, _ = await asyncio.wait(
                    connecting, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    del connecting[task]
                if self.relays() and not graced:
                    graced, until = True, min(until, loop.time() + _GRACE_S)
            if not graced:
                for relay_id in connecting.values():
                    self._failed(relay_id)
        finally:
            for task in connecting:
                task.cancel()
            await asyncio.gather(*connecting, return_exceptions=True)

    async def _connect(self, offer: RelayOffer) -> None:
        dialer = self._ours()
        try:
            session = await dialer.connect(*map(parse, offer.addresses))
        except (TowpathError, OSError):
            self._failed(offer.offer.relay_id)
            return
        if session.protocols is None and not session.closed:
            await self._told.setdefault(session, asyncio.Event()).wait()
        if not session.closed and not _answers(session):
            self._useless.add(session.peer_id)
            session.close()

    def _ours(self) -> Dialer:
        if self._dialer is None:
            self._endpoint = self._make()
            self._endpoint.on_identified = self._happened
            self._endpoint.on_session_end = self._ended
            self._dialer = Dialer(self._endpoint)
        return self._dialer

    def _happened(self, session: Session) -> None:
        told = self._told.pop(session, None)
        if told is not None:
            told.set()

    def _ended(self, session: Session, _why: str) -> None:
        self._happened(session)
        endpoint = self._endpoint
        if endpoint is not None and not endpoint.connections and not self._preparing:
            endpoint.close()
            self._endpoint = self._dialer = None

    @property
    def _preparing(self) -> bool:
        return self._getting_ready is not None and not self._getting_ready.done()


def asked_on(dialer: Dialer, session: Session) -> ControlRelay:
    """The relay at the other end of a connection, as a look-up asks it."""
    host = host_of(session.remote)
    return ControlRelay(dialer.control, session, prefix_of(host) if host else b"", host)


def _answers(session: Session) -> bool:
    return not session.closed and not session.going_away and not session.via and PROTOCOL in (session.protocols or ())
