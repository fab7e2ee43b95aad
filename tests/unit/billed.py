"""A relay that bills, and clients that pay it, as endpoints in one loop, each with a ledger of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.unit.nodes import until
from towpath._native.appstream import AppStream
from towpath._native.endpoint import Endpoint
from towpath._native.hop import Relay, Verdict
from towpath._native.reactor import Reactor
from towpath._native.session import Session
from towpath.addresses import parse
from towpath.client.dialing import Dialer
from towpath.client.relaying import STOP, open_stream, request_reservation
from towpath.client.stopping import StopService
from towpath.credits.billing import Billing
from towpath.credits.free_tier import Tier
from towpath.credits.ledger import Ledger
from towpath.credits.paying import Paying
from towpath.errors import StreamReset
from towpath.identity import Identity
from towpath.relaystream.relay import RelaySide
from towpath.store import Store
from towpath.stream import Stream

SINK = "/sink/1"


class Admitting:
    """Lets everybody in."""

    def reserve(self, *_: Any) -> Verdict:
        return Verdict(100, 3600)

    def connect(self, *_: Any) -> Verdict:
        return Verdict(100)


async def refusing(*_: object) -> bool:
    """As `Ledger.commit_seq`: a disk that takes nothing."""
    return False


@dataclass
class Clock:
    """Unix time, which a test may move."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Billed:
    """The relay, and what makes clients of it."""

    reactor: Reactor
    key: Identity
    clock: Clock
    ledger: Ledger
    endpoint: Endpoint
    billing: Billing
    side: RelaySide
    relay: Relay
    port: int
    stack: contextlib.AsyncExitStack
    brought: list[tuple[bytes, list[bytes]]] = field(default_factory=list)
    frauds: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger.on_fraud = self.frauds.append

    @property
    def address(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{self.key.text}"

    async def client(self, account: Identity | None = None, path: Path | None = None, **how: Any) -> Payer:
        """A client; `how` as Paying takes it."""
        store = await Store.open(path)
        self.stack.push_async_callback(store.close)
        ledger = await ledger_in(store, bytes(38), self.clock)
        endpoint = Endpoint(self.reactor, Identity.generate().seed)
        endpoint.ask_identify = True
        self.stack.push_async_callback(closed, endpoint)
        paying = Paying(account or Identity.generate(), ledger, clock=self.clock, **how)
        made = Payer(self, store, ledger, endpoint, paying)
        endpoint.set_handler(STOP, StopService(made.dialer, lambda _: True, made.spawn).accept)
        endpoint.set_handler(SINK, made.sink)
        return made

    def carried(self, peer_id: bytes) -> int:
        """Bytes that the data plane carried for a peer that is connected, as their sender."""
        return self.relay.peer_totals()[peer_id][0]

    def signed(self, payer: Payer) -> int:
        """Bytes that a payer signed for, by our ledger."""
        return self.ledger.paid_ever(payer.account)


@dataclass
class Payer:
    """A client that has an account."""

    at: Billed
    store: Store
    ledger: Ledger
    endpoint: Endpoint
    paying: Paying
    received: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.dialer = Dialer(self.endpoint, self.paying)

    @property
    def account(self) -> bytes:
        return self.paying.account.public_key

    @property
    def spent(self) -> int:
        """What it signed for, by its own ledger."""
        return self.ledger.relayed_for_me(self.at.key.peer_id)

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def sink(self, stream: AppStream) -> None:
        self.spawn(self._swallow(Stream(stream)))

    async def _swallow(self, stream: Stream) -> None:
        with contextlib.suppress(StreamReset):
            async with stream:
                while part := await stream.read():
                    self.received += len(part)

    async def meet(self) -> Session:
        """The connection to the relay."""
        return await self.dialer.connect(parse(self.at.address))

    async def reserve(self) -> Self:
        session = await self.meet()
        await request_reservation(session, self.dialer.control)
        await self.shown()
        return self

    async def shown(self) -> None:
        """Until the relay knows the account."""
        await until(lambda: self.at.billing.account_of(self.endpoint.peer_id) == self.account, 30)

    async def call(self, target: Payer) -> Session:
        """A private connection to another client, through the relay."""
        return await self.dialer.through(await self.meet(), target.endpoint.peer_id)

    async def send(self, session: Session, size: int, target: Payer) -> None:
        """Sends so many bytes, and waits until they are there."""
        goal = target.received + size
        stream = Stream(await open_stream(session, SINK))
        piece = bytes(1 << 16)
        for at in range(0, size, len(piece)):
            stream.write(piece[: size - at])
            await stream.drain()
        await until(lambda: target.received >= goal, 30)
        await stream.close()


async def ledger_in(store: Store, relay: bytes, clock: Callable[[], float]) -> Ledger:
    """A ledger in this store."""
    ledger = Ledger(store, relay, lambda: Tier(1 << 30, 1 << 20))
    await ledger.load(clock())
    return ledger


async def closed(*endpoints: Endpoint) -> None:
    for endpoint in endpoints:
        endpoint.close()
    await asyncio.sleep(0)
    for endpoint in endpoints:
        endpoint.abort()


@contextlib.asynccontextmanager
async def billed(path: Path | None = None, key: Identity | None = None, **how: Any) -> AsyncIterator[Billed]:
    """A relay on loopback; `how` as Billing takes it."""
    async with contextlib.AsyncExitStack() as stack:
        clock = how.pop("clock", Clock())
        key = key or Identity.generate()
        reactor = Reactor(asyncio.get_running_loop())
        stack.callback(reactor.close)
        store = await Store.open(path)
        stack.push_async_callback(store.close)
        ledger = await ledger_in(store, key.peer_id, clock)
        endpoint = Endpoint(reactor, key.seed)
        stack.push_async_callback(closed, endpoint)
        brought: list[tuple[bytes, list[bytes]]] = []
        how["bring"] = lambda account, duals, network: brought.append((account, duals))
        billing = Billing(endpoint, key, bytes(range(32)), ledger, clock=clock, **how)
        stack.callback(billing.close)
        side = RelaySide(endpoint, billing=billing, clock=clock)
        relay = endpoint.start_relaying(Admitting())
        billing.follow(relay)
        port = endpoint.listen("127.0.0.1", 0)
        made = Billed(reactor, key, clock, ledger, endpoint, billing, side, relay, port, stack.pop_all(), brought)
        async with made.stack:
            yield made
