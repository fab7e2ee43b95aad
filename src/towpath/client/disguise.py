"""Throw-away identities: what a hiding node dials under, so that the relay in between does not learn who it is.

Each target is dialed under an identity of its own, with a Noise key and connections of its own; it lasts as long as
one of them does. Who we are, the target learns inside the circuit, from the end-to-end handshake.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from towpath.client.dialing import Dialer

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint
    from towpath._native.session import Session
    from towpath.credits.paying import Paying

__all__ = ["IDLE_MS", "Disguises"]

IDLE_MS: Final = 15_000
"""How long a connection that carries nothing is kept for the next circuit to the same target."""


class Disguises:
    """The throw-away identities of one node; `make()` gives an endpoint with a fresh key."""

    def __init__(self, make: Callable[[], Endpoint]) -> None:
        self.paying: Paying | None = None
        """Who pays for what they send."""
        self._make = make
        self._by_target: dict[bytes, _Disguise] = {}

    @contextlib.contextmanager
    def towards(self, target: bytes) -> Iterator[Dialer]:
        """What to dial relays with on the way to this target; connections made meanwhile may outlast the context."""
        disguise = self._by_target.get(target)
        if disguise is None:
            disguise = _Disguise(self._make(), lambda: self._over(target), self.paying)
            self._by_target[target] = disguise
        disguise.users += 1
        try:
            yield disguise.dialer
        finally:
            disguise.users -= 1
            disguise.end_if_idle()

    @property
    def dialers(self) -> list[Dialer]:
        """Those in use now."""
        return [disguise.dialer for disguise in self._by_target.values()]

    @property
    def endpoints(self) -> list[Endpoint]:
        """Those in use now."""
        return [disguise.endpoint for disguise in self._by_target.values()]

    def _over(self, target: bytes) -> None:
        self._by_target.pop(target, None)

    def close(self) -> None:
        """Closes all their connections."""
        for endpoint in self.endpoints:
            endpoint.close()

    def abort(self) -> None:
        """Closes at once whatever `close` left to be sent."""
        for endpoint in self.endpoints:
            endpoint.abort()
        self._by_target.clear()


class _Disguise:
    """One identity, and how many are dialing under it now."""

    def __init__(self, endpoint: Endpoint, over: Callable[[], None], paying: Paying | None) -> None:
        self.endpoint = endpoint
        self.dialer = Dialer(endpoint, paying)
        self.users = 0
        self._over = over
        endpoint.idle_ms = IDLE_MS
        endpoint.on_session_end = self._session_ended

    def _session_ended(self, session: Session, why: str) -> None:
        self.end_if_idle()

    def end_if_idle(self) -> None:
        if not self.users and not self.endpoint.connections:
            self.endpoint.close()
            self._over()
