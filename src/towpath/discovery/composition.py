"""Discovery of one node: builds its parts from the settings, starts and stops them, and joins them to each other.

The parts know each other only through what is handed to them here; whatever costs time or memory to import is imported
when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from towpath.addresses import peer_id_to_text
from towpath.discovery.bootstrap import Bootstrap
from towpath.discovery.candidates import PublicAddresses
from towpath.discovery.finder import Finder
from towpath.discovery.guiding import Guided

if TYPE_CHECKING:
    from towpath.client.service import ClientService
    from towpath.discovery.records import PeerRecord
    from towpath.discovery.selection import Ranked
    from towpath.settings import Settings
    from towpath.store import Store

__all__ = ["Discovery"]


class Discovery:
    """What a node finds relays and peers with, and is found by. `own`: the ids of its identities."""

    client: ClientService

    def __init__(self, settings: Callable[[], Settings], store: Store, own: tuple[bytes, ...]) -> None:
        self._settings = settings
        self.bootstrap = Bootstrap(lambda: settings().discovery.bootstrap, self._public, own=own)
        self.finder = Finder(
            [self.bootstrap],
            store=store,
            own=own,
            bootstrap=lambda: self.bootstrap.ids,
            volunteers=lambda: settings().client.use_volunteer_relays,
        )
        self.guide = Guided(self.finder, self.bootstrap, self._look_up, self._public, lambda: self.client.near())

    async def start(self) -> None:
        """Begins."""
        self.apply(self._settings())

    def apply(self, settings: Settings) -> None:
        """Goes by these settings from now on."""
        self.guide.take_bootstrap(settings.discovery.bootstrap)

    async def close(self) -> None:
        """Ends everything, and keeps what is known for the next start."""
        await self.finder.close()

    async def find_relay_peers(self, enough: int, seconds: float) -> list[Ranked]:
        """See Node.find_relay_peers."""
        return await self.finder.find(enough, seconds)

    async def discover_relays(self) -> list[Ranked]:
        """See Node.discover_relays."""
        return await self.finder.search(("dht",))

    def relay_rows(self, used: dict[bytes, tuple[str, list[str]]]) -> list[dict[str, Any]]:
        """See Node.relays."""
        rows = self.finder.rows(used)
        shown = {row["relay_id"] for row in rows}
        missing = {"source": "cache", "score": None, "stars": None, "latency_ms": None, "load": None}
        for relay_id, (state, reasons) in used.items():
            if (text := peer_id_to_text(relay_id)) not in shown:
                rows.append({"relay_id": text, **missing, "state": state, "reasons": reasons})
        return rows

    def _public(self) -> PublicAddresses:
        return PublicAddresses(self._settings().network.public_ranges)

    async def _look_up(self, target: bytes) -> PeerRecord | None:
        return None
