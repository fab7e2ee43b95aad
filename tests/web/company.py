"""Others whom a node served, who signed for it, and a relay that served the node: real nodes, receipts and ledgers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from tests.web.running import PageNode
from towpath import Node, Settings, Stream

__all__ = ["have_company"]

_FAST: Final = {"relay.max_rate": "unlimited", "relay.queue_guard": False}
_TAKE: Final = "/take/1"
_PIECE: Final = 1_000_000
_PATIENCE_S: Final = 60.0
_CUSTOMERS: Final = ((14, 3), (9, 5), (6, 2), (4, 4), (3, 1))
"""Megabytes that others send through the node, and in how many circuits;"""
_USED: Final = (12, 4)
"""the same of what it sends through another."""


async def have_company(node: PageNode, relay: PageNode, directory: Path) -> None:
    """Some others send through this node and sign for that, and it does so through another. Both run; the first does
    not afterwards. The others live in `directory`.
    """
    async with _fast(node) as address:
        for number, sent in enumerate(_CUSTOMERS):
            await _send(_settings({}), directory / f"customer{number}", address, *sent)
    node.stop()
    async with _fast(relay) as address:
        await _send(_settings({"discovery.bootstrap": [address]}), node.data, address, *_USED)


@contextlib.asynccontextmanager
async def _fast(relay: PageNode) -> AsyncIterator[str]:
    """Its address, while it relays as fast as it can."""
    before = await relay.ask("/v1/settings")
    await relay.ask("/v1/settings", "PATCH", _FAST)
    yield relay.process.addresses[0]
    back = {key: None if before[key]["source"] == "default" else before[key]["value"] for key in _FAST}
    await relay.ask("/v1/settings", "PATCH", back)


def _settings(given: Mapping[str, object]) -> Settings:
    return Settings.load({"discovery.mdns": False, "discovery.dht": False, **given}, environ={})


async def _send(settings: Settings, data: Path, relay: str, megabytes: int, circuits: int) -> None:
    """The node on `data` sends to somebody at this relay; what it owes is signed when it leaves."""
    each = megabytes * 1_000_000 // circuits
    arrived: asyncio.Queue[None] = asyncio.Queue()

    async def take(stream: Stream) -> None:
        async with stream:
            await stream.readexactly(each)
            arrived.put_nowait(None)

    # Who takes it shows no account: what it answers is a few bytes.
    other = Node(_settings({"relay.priority_access": False}), reachable=False)
    async with other, Node(settings, data=data, reachable=False) as sender:
        other.set_stream_handler(_TAKE, take)
        await other.reserve(relay)
        for _ in range(circuits):
            async with await sender.connect_to_peer_via_relay(other.peer_id, _TAKE, via=relay) as stream:
                async with asyncio.timeout(_PATIENCE_S):
                    for at in range(0, each, _PIECE):
                        stream.write(bytes(min(_PIECE, each - at)))
                        await stream.drain()
                    await arrived.get()
