"""A relay and clients with control streams between them, as endpoints in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tests.unit.nodes import until
from towpath._native.appstream import AppStream, open_stream
from towpath._native.endpoint import Endpoint
from towpath._native.hop import Verdict
from towpath._native.reactor import Reactor
from towpath._native.session import Session
from towpath.relaystream import PROTOCOL
from towpath.relaystream.answering import Answers
from towpath.relaystream.client import ClientSide
from towpath.relaystream.reasons import Reason, Request
from towpath.relaystream.relay import Facts, RelaySide

NOW = 1_900_000_000.0
"""What the relay's clock shows, always."""


class Policy:
    """Admits everybody, or refuses with a reason."""

    def __init__(self) -> None:
        self.ttl_s = 3600
        self.refusing: Callable[[bytes, Request, bytes | None], None] | None = None

    def reserve(self, peer_id: bytes, remote: bytes, renewing: bool, reservations: int, of_prefix: int) -> Verdict:
        if self.refusing is None:
            return Verdict(100, self.ttl_s)
        self.refusing(peer_id, Request.RESERVE, None)
        return Verdict(200)

    def connect(
        self, dialer: bytes, target: bytes, remote: bytes, circuits: int, of_dialer: int, of_target: int
    ) -> Verdict:
        if self.refusing is None:
            return Verdict(100)
        self.refusing(dialer, Request.CONNECT, target)
        return Verdict(201)


@dataclass
class Relaying:
    """A relay with a control side; `client()` makes endpoints that are connected to it."""

    reactor: Reactor
    endpoint: Endpoint
    policy: Policy
    side: RelaySide
    port: int
    facts: Facts = field(default_factory=Facts)
    made: list[Endpoint] = field(default_factory=list)

    def refuses(self, code: Reason, have: int | None = None, limit: int | None = None) -> None:
        """Whatever is asked from now on."""

        def refuse(peer_id: bytes, request: Request, target: bytes | None) -> None:
            self.side.refused(peer_id, request, code, have, limit, target=target)

        self.policy.refusing = refuse

    async def client(self) -> tuple[Session, ClientSide]:
        """A new client's connection to the relay, which it knows to speak the protocol, and its control side."""
        endpoint = Endpoint(self.reactor, bytes((len(self.made) + 1,)) * 32)
        endpoint.ask_identify = True
        self.made.append(endpoint)
        session = await endpoint.dial("127.0.0.1", self.port, self.endpoint.peer_id)
        await until(lambda: session.protocols is not None)
        return session, ClientSide(endpoint)

    async def attached(self) -> tuple[Session, ClientSide]:
        """A client with a control stream."""
        session, control = await self.client()
        control.attach(session)
        before = len(self.side)
        await until(lambda: len(self.side) > before)
        return session, control

    async def raw(self) -> AppStream:
        """A client's stream for whoever says something else on it than a client would."""
        session, _ = await self.client()
        opened = open_stream(session, PROTOCOL)
        assert opened is not None
        stream, selected = opened
        assert await selected
        return stream


@contextlib.asynccontextmanager
async def relaying(answers: Callable[[Endpoint], Answers] | None = None) -> AsyncIterator[Relaying]:
    """A relay on loopback; each has a key of its own. With `answers` it answers look-ups by what that makes."""
    reactor = Reactor(asyncio.get_running_loop())
    endpoint = Endpoint(reactor, os.urandom(32))
    policy = Policy()
    endpoint.start_relaying(policy)
    made: Relaying
    known = None if answers is None else answers(endpoint)
    side = RelaySide(
        endpoint, lambda: made.facts, answers=None if known is None else lambda _: known, clock=lambda: NOW
    )
    made = Relaying(reactor, endpoint, policy, side, endpoint.listen("127.0.0.1", 0))
    try:
        yield made
    finally:
        side.close()
        for one in [*made.made, endpoint]:
            one.close()
        await asyncio.sleep(0)
        for one in [*made.made, endpoint]:
            one.abort()
        reactor.close()


async def everything_said(stream: AppStream) -> bytes:
    """All bytes until the other side ends or resets the stream."""
    data = b""
    async with asyncio.timeout(5):
        while not (stream.ended or stream.was_reset):
            await stream.wait_readable()
            data += stream.read(65536)
    return data
