"""AutoNAT v2 with go-libp2p, each as the server of the other: addresses that work, that don't, and that cost bytes."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.unit.nodes import until
from towpath._native.autonat import Autonat
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.addresses import parse, peer_id_to_text, to_bytes
from towpath.internet import PublicAddresses
from towpath.reachability.asking import ask, servers_of
from towpath.reachability.networks import place_of
from towpath.reachability.policy import Vote
from towpath.reachability.serving import Serving

from .build import peer_command
from .fleet import LOOPBACK
from .process import Peer

ELSEWHERE = "127.0.0.2"
"""Another address of this machine: dialing it is paid for by who comes from 127.0.0.1."""


class Ours:
    """An endpoint of towpath that serves and asks; all of loopback counts as public."""

    def __init__(self, reactor: Reactor) -> None:
        self.endpoint = Endpoint(reactor, os.urandom(32))
        self.endpoint.ask_identify = True
        self.granted: list[int] = []
        serving = Serving(
            PublicAddresses(["127.0.0.0/8"]).__contains__, lambda _: True, random.Random(1), time.monotonic
        )

        def decide(peer_id: bytes, remote: bytes, addresses: list[bytes]) -> int | tuple[int, str, int, int, int]:
            verdict = serving.decide(peer_id, remote, addresses)
            self.granted.append(verdict if isinstance(verdict, int) else verdict.owed)
            return verdict

        self.autonat = Autonat(self.endpoint, decide, serving.done)
        self.autonat.serve(True)

    def listen(self, host: str) -> str:
        port = self.endpoint.listen(host, 0)
        return f"/ip4/{host}/tcp/{port}"

    async def ask(self, server: str, about: str) -> Vote:
        """What the node at a multiaddr says of an address."""
        address = parse(server)
        place = place_of(to_bytes(about))
        assert place is not None
        await self.endpoint.dial(address.host, address.port, address.peer_id)
        # go's identify may tell of a protocol only in a push, a moment later.
        await until(lambda: servers_of(self.endpoint), 10)
        (known,) = servers_of(self.endpoint)
        return await ask(self.autonat, self.endpoint, known, place)


@asynccontextmanager
async def ours() -> AsyncIterator[Ours]:
    reactor = Reactor(asyncio.get_running_loop())
    found = Ours(reactor)
    try:
        yield found
    finally:
        found.autonat.close()
        found.endpoint.close()
        await asyncio.sleep(0)
        found.endpoint.abort()
        reactor.close()


def go(*more: str) -> Peer:
    return Peer("go autonat", [*peer_command("go"), "autonat", "--listen", LOOPBACK, *more])


async def said(peer: Peer, event: str) -> dict[str, object]:
    return dict(await asyncio.to_thread(peer.wait, event))


@pytest.mark.parametrize(("host", "paid"), [(LOOPBACK, False), (ELSEWHERE, True)], ids=["same address", "paid"])
async def test_go_finds_that_we_are_reachable(need: Callable[..., None], host: str, *, paid: bool) -> None:
    need("go")
    async with ours() as node:
        about = node.listen(host)
        with go() as server:
            began = time.monotonic()
            vote = await node.ask(str((await said(server, "ready"))["addrs"][0]), about)  # type: ignore[index]
        assert (vote.reached, vote.why) == (True, "connected")
        # For what is paid for go waits up to 3 s.
        assert paid or time.monotonic() - began < 3


async def test_go_finds_that_we_are_not(need: Callable[..., None]) -> None:
    need("go")
    async with ours() as node:
        about = node.listen(LOOPBACK)
        node.endpoint.stop_listening()
        with go() as server:
            vote = await node.ask(str((await said(server, "ready"))["addrs"][0]), about)  # type: ignore[index]
        assert vote.reached is False


@pytest.mark.parametrize(
    ("about", "found", "paid"),
    [("", "Public", False), (f"/ip4/{ELSEWHERE}/tcp/1", "Private", True), (f"/ip4/{LOOPBACK}/tcp/1", "Private", False)],
    ids=["reachable", "paid, and nobody there", "nobody there"],
)
async def test_we_find_whether_go_is_reachable(
    need: Callable[..., None], about: str, found: str, *, paid: bool
) -> None:
    need("go")
    async with ours() as node:
        target = f"{node.listen(LOOPBACK)}/p2p/{peer_id_to_text(node.endpoint.peer_id)}"
        with go("--target", target, "--about", about) as client:
            answer = await said(client, "reachability")
        assert (answer["reachability"], answer["refused"]) == (found, False)
        (owed,) = node.granted
        assert (30_000 <= owed <= 100_000) if paid else owed == 0


async def test_we_dial_no_private_address_for_go(need: Callable[..., None]) -> None:
    need("go")
    async with ours() as node:
        target = f"{node.listen(LOOPBACK)}/p2p/{peer_id_to_text(node.endpoint.peer_id)}"
        with go("--target", target, "--about", "/ip4/192.168.1.1/tcp/4001") as client:
            assert (await said(client, "reachability"))["refused"] is True
        assert node.granted == [101]
