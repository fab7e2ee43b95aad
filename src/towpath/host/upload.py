"""The fastest upload that was seen on this machine's line, which `relay.max_rate = auto` is half of.

What the node itself sends to public addresses is looked at while it sends, over windows long enough that buffers on the
way do not count as line. The relay's own bytes are added to those of the owner's streams; alone they prove nothing,
because they are held below what is to be found out.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from towpath._native.linequality import LineWatch
from towpath.internet import PublicAddresses

if TYPE_CHECKING:
    from towpath._native.endpoint import Endpoint

__all__ = ["WINDOW_S", "UploadWatch", "is_public"]

WINDOW_S: Final = 10.0
_MORE: Final = 1.02
_SOCKETS: Final = 256


class UploadWatch:
    """Watches `endpoint` (the peer identity's) between `start` and `stop`; `seen(rate)` tells of a rate above `best`.

    `relayed()` is what the relay's sockets have sent; `public` are prefixes that count as public besides those that
    are. Rates in bytes per second.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        best: float,
        relayed: Callable[[], int],
        seen: Callable[[float], None],
        *,
        public: Sequence[str] = (),
        window_s: float = WINDOW_S,
    ) -> None:
        self._watch = LineWatch(endpoint)
        self._best = best
        self._relayed = relayed
        self._seen = seen
        self._public = PublicAddresses(public)
        self._window_s = window_s
        self._timer: asyncio.Handle | None = None
        self._since = (0.0, 0)

    def start(self) -> None:
        """Begins to watch."""
        self._watch.on_moving = self._moving
        self._watch.start()

    def stop(self) -> None:
        """Watches no more."""
        self._watch.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _moving(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        # What was sent before the window does not count.
        self._watch.sample(_SOCKETS)
        self._since = (loop.time(), self._relayed())
        self._timer = loop.call_later(self._window_s, self._look)

    def _look(self) -> None:
        self._timer = None
        begun, relayed = self._since
        passed = asyncio.get_running_loop().time() - begun
        rows = self._watch.sample(_SOCKETS)
        # A socket without an earlier sample tells what it sent since it was opened, whenever that was.
        own = sum(row[5] for row in rows if row[7] > 0 and is_public(row[0].remote, self._public))
        rate = (own + self._relayed() - relayed) / passed
        if own and rate > self._best * _MORE:
            self._best = rate
            self._seen(rate)


def is_public(remote: bytes, public: PublicAddresses) -> bool:
    """Is the IP address of a binary multiaddr one of these?"""
    if len(remote) < 5:
        return False
    return ipaddress.ip_address(remote[1:17] if len(remote) >= 17 else remote[1:5]) in public
