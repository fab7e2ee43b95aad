"""What the client asks of whoever finds relays and peers: a small protocol, so that the two know nothing else of each
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from towpath.client.choice import Offer

__all__ = ["AWAY", "CONNECTED", "FAILED", "KEPT", "REFUSED", "SERVED", "Guide", "RelayOffer"]

AWAY = "away"
"""It holds our reservation and still cannot be reached."""

CONNECTED = "connected"
"""It answered."""
SERVED = "served"
"""It granted a reservation, or made a circuit."""
KEPT = "kept"
"""It refreshed a reservation."""
REFUSED = "refused"
"""It has no room, or does not take us."""
FAILED = "failed"
"""It did not answer, or broke off."""


class RelayOffer(NamedTuple):
    """A relay that could serve us, and where it is (multiaddrs with /p2p/ID, the best first)."""

    offer: Offer
    addresses: tuple[str, ...]


class Guide(Protocol):
    """Knows relays, and where peers are to be met."""

    def offers(self) -> Sequence[RelayOffer]:
        """The relays known now that may be asked, best first, bootstrap relays among them; without I/O."""

    async def search(self, enough: int, seconds: float) -> None:
        """Looks for more, until there are `enough` or time is up."""

    async def relays_of(self, target: bytes) -> list[RelayOffer] | None:
        """The relays that the signed record of a peer names; None when no record is found. Ends by itself."""

    def addresses(self, relay_id: bytes) -> tuple[str, ...]:
        """Where a relay is; empty when nothing is known of it."""

    def met(self, relay_id: bytes, addresses: Sequence[str]) -> None:
        """The application named this relay."""

    def is_bootstrap(self, relay_id: bytes) -> bool:
        """Is it one of the relays to begin with?"""

    def count(self, bootstrap: bool, relay_id: bytes | None = None) -> None:
        """A circuit of ours was made, through a bootstrap relay or another one; this one, where it is known."""

    def bootstrap_share(self) -> float | None:
        """What share of our circuits needed a bootstrap relay, 0…1; None when there were none."""

    def note(self, relay_id: bytes, outcome: str, rtt_s: float | None = None) -> None:
        """What became of something tried with a relay: one of the words above."""
