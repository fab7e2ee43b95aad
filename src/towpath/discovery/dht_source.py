"""The DHT as a source of relays: asked by ourselves, or by two relays that look up for us."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container
from typing import TYPE_CHECKING, Final

from towpath.discovery.candidates import Found, usable_addresses

if TYPE_CHECKING:
    from towpath.discovery.records import Advertisement

__all__ = ["DhtSource"]

Read = Callable[[int], AsyncIterator["tuple[bytes, Advertisement]"]]
"""Gives at most about so many advertisements, raw and read, whose signatures are verified."""


class DhtSource:
    """A Source. `public()` says which addresses are dialed: a stranger's record must not lead into our own network."""

    name: Final = "dht"

    def __init__(self, read: Read, public: Callable[[], Container[str]], *, most: int = 20) -> None:
        self._read = read
        self._public = public
        self._most = most

    async def search(self) -> AsyncIterator[Found]:
        """See Source. Relays that withdrew are told of, too: what is known of them must not be used any more."""
        public = self._public()
        async for raw, advertisement in self._read(self._most):
            addresses = usable_addresses(advertisement.peer_id, advertisement.addrs, public.__contains__)
            if addresses or advertisement.withdrawn:
                yield Found(advertisement.peer_id, addresses, self.name, advertisement, raw)
