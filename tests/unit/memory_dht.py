"""A DHT of one process: what is put is there, checked as a server checks it; it can be made to fail or to wait."""

from __future__ import annotations

import asyncio

from towpath.discovery import records
from towpath.errors import TowpathError

NOW = 1_900_000_000.0


class Clock:
    """Shows what it is set to."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class MemoryDht:
    """Everything of towpath's DHT that discovery asks for."""

    def __init__(self, clock: Clock | None = None, peer_id: bytes = b"us") -> None:
        self.clock = clock or Clock()
        self.peer_id = peer_id
        self.values: dict[str, bytes] = {}
        self.provided: dict[bytes, list[bytes]] = {}
        self.down = False
        self.servers = 1
        self.open = asyncio.Event()
        self.open.set()
        self.puts: list[tuple[str, bytes]] = []
        self.gets: list[str] = []
        self.read: list[bytes] = []
        self.at_once = 0
        self.most_at_once = 0

    async def _turn(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            await self.open.wait()
        finally:
            self.at_once -= 1
        if self.down:
            raise TowpathError("the DHT cannot be reached")

    async def put(self, key: str, value: bytes) -> int:
        """Keeps the newest valid value."""
        await self._turn()
        records.check(key, value, self.clock())
        self.puts.append((key, value))
        known = [*([self.values[key]] if key in self.values else []), value]
        self.values[key] = known[records.select(key, known)]
        return self.servers

    async def get(self, key: str) -> bytes | None:
        """The value, if it is valid still."""
        self.gets.append(key)
        await self._turn()
        value = self.values.get(key)
        return value if value is not None and records.valid(key, value, self.clock()) else None

    async def provide(self, key: bytes) -> int:
        """We provide a key."""
        await self._turn()
        self.provided.setdefault(key, []).append(self.peer_id)
        return self.servers

    async def providers(self, key: bytes, most: int) -> list[tuple[bytes, list[bytes]]]:
        """The first ones."""
        self.read.append(key)
        await self._turn()
        return [(peer_id, []) for peer_id in self.provided.get(key, [])[:most]]
