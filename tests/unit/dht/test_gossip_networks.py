"""Neighbours of the gossip: of one network only a few, however many ids somebody has there."""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing

from tests.unit.dht.library import some_id
from tests.unit.dht.ours import MemoryLink
from towpath.dht.gossip import MOST, MOST_OF_NETWORK, Gossip, network_of
from towpath.dht.host import Places
from towpath.dht.link import Link
from towpath.dht.messages import GOSSIP, Opened

NETWORK = b"\xc6\x0a\x01"
OTHER = b"\xc6\x0a\x02"
HOME = b"\xc0\xa8\x01"


class Round:
    """A node's gossip, and who comes to it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.left = trio.Event()
        self.ends: list[trio.SocketStream] = []
        self.gossip = Gossip(cast(Link, MemoryLink(nursery)), some_id().to_bytes(), Places(), list)
        nursery.start_soon(self.gossip.run)

    async def comes(self, prefix: bytes) -> trio.SocketStream | None:
        """A peer from there; None: it is not let in."""
        here, there = trio.socket.socketpair()
        peer_id = some_id()
        answered = trio.Event()
        let_in = []

        async def serve() -> None:
            await self.gossip.serve(Opened(0, peer_id.to_bytes(), GOSSIP, prefix), trio.SocketStream(there))
            answered.set()
            if let_in:
                self.left.set()

        async def look() -> None:
            # Who is let in is so before anything else is awaited of it.
            await trio.testing.wait_all_tasks_blocked()
            let_in.extend([True] if peer_id in self.gossip._links else [])
            answered.set()

        await self.gossip._ready.wait()
        self._nursery.start_soon(serve)
        self._nursery.start_soon(look)
        await answered.wait()
        if not let_in:
            here.close()
            return None
        end = trio.SocketStream(here)
        self.ends.append(end)
        return end


def test_of_one_network_a_few_neighbours_are_heard_and_others_find_room() -> None:
    async def gossip() -> None:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(60):
                at = Round(nursery)
                for _ in range(MOST_OF_NETWORK):
                    assert await at.comes(NETWORK) is not None
                assert await at.comes(NETWORK) is None
                assert await at.comes(OTHER) is not None
                # When one goes another may come.
                await at.ends[0].aclose()
                await at.left.wait()
                assert await at.comes(NETWORK) is not None
                # Who is at home counts as one of us.
                for _ in range(MOST - MOST_OF_NETWORK - 1):
                    assert await at.comes(HOME) is not None
                assert await at.comes(HOME) is None, "there are as many as there may be"
                for end in at.ends:
                    await end.aclose()
            nursery.cancel_scope.cancel()

    trio.run(gossip)


@pytest.mark.parametrize(
    ("prefix", "network"),
    [
        (NETWORK, NETWORK),
        (bytes.fromhex("2a0104f80001"), bytes.fromhex("2a0104f80001")),
        (HOME, b""),
        (b"\x7f\x00\x00", b""),
        (bytes.fromhex("fd0000000001"), b""),
        (b"", b""),
        (b"\x01", b""),
    ],
)
def test_private_networks_count_for_none(prefix: bytes, network: bytes) -> None:
    assert network_of(prefix) == network
