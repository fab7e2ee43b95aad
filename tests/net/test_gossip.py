"""The gossip between real DHT processes on loopback: what is said once is heard by all, and a flood by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.net.dht_speakers import Speaker, network, reactors
from tests.unit.nodes import address, relay, until
from towpath._native.appstream import AppStream
from towpath._native.endpoint import Endpoint
from towpath._native.reactor import Reactor
from towpath.addresses import peer_id_to_text
from towpath.client.relaying import open_stream
from towpath.credits.receipts import Receipt, Signed, countersign, fraud_proof, read_dual
from towpath.credits.receipts import sign as sign_receipt
from towpath.dht.messages import GOSSIP
from towpath.discovery.candidates import Found
from towpath.errors import DhtError, StreamReset, TowpathError
from towpath.identity import Identity
from towpath.reputation.digest import compose, due, sign
from towpath.reputation.messages import TOPIC, of_digest, of_fraud
from towpath.stream import Stream

pytestmark = pytest.mark.slow


def digest(day: int | None = None) -> bytes:
    """A digest of an account of its own."""
    account = Identity.generate()
    relay = Identity.generate().peer_id
    made = compose(account.peer_id[6:], relay, due(time.time()) if day is None else day, {relay: 1 << 30})
    assert made is not None
    return of_digest(sign(made, account.seed))


def fraud() -> bytes:
    account, relay = Identity.generate(), Identity.generate().peer_id
    two = (
        sign_receipt(
            Receipt(v=1, relay=relay, payer=account.peer_id[6:], day=1, seq=1, cum_bytes=amount, ok=0, fail=0),
            account.seed,
        )
        for amount in (1, 2)
    )
    return of_fraud(fraud_proof(*two))


async def said(one: Speaker, make: Callable[[], bytes] = digest, *, to: int = 2) -> bytes:
    """What was told to so many neighbours at once; they may take a while to find each other, and miss what was told
    to others before.
    """
    async with asyncio.timeout(90):
        while True:
            message = make()
            with contextlib.suppress(DhtError):
                if await one.dht.gossip(message) >= to:
                    return message
            await asyncio.sleep(0.1)


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 1 << 14
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([number << 3 | 2]) + length + content


def framed(body: bytes) -> bytes:
    size = len(body)
    return (bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])) + body


def subscription() -> bytes:
    return framed(field(1, b"\x08\x01" + field(2, TOPIC.encode())))


def publication(*messages: bytes) -> bytes:
    """A frame of pubsub with these messages, as docs/protocol.md defines it."""
    rows = (
        field(2, field(2, data) + field(3, hashlib.sha256(data).digest()[:16]) + field(4, TOPIC.encode()))
        for data in messages
    )
    return framed(b"".join(rows))


class Stranger:
    """A neighbour that speaks the protocol by hand."""

    def __init__(self, reactor: Reactor) -> None:
        self._endpoint = Endpoint(reactor, os.urandom(32))
        self._told: list[AppStream] = []
        """What it is told goes there: who takes no streams is no neighbour."""
        self._endpoint.set_handler(GOSSIP, self._told.append)

    async def neighbour_of(self, one: Speaker) -> Stream:
        session = await self._endpoint.dial("127.0.0.1", one.port, one.endpoint.peer_id)
        return Stream(await open_stream(session, GOSSIP))

    def close(self) -> None:
        self._endpoint.close()
        self._endpoint.abort()


async def test_what_one_says_all_hear_once_and_nobody_hears_what_does_not_hold() -> None:
    async with network(3, gossip=True) as (a, b, c):
        first = await said(a)
        await until(lambda: first in b.heard and first in c.heard, 30)
        second = await said(c, fraud)
        await until(lambda: second in a.heard and second in b.heard, 30)
        # What is none is not said at all.
        with pytest.raises(DhtError, match="digest"):
            await a.dht.gossip(b"\x01nonsense")
        with pytest.raises(DhtError, match="not over"):
            await a.dht.gossip(digest(due(time.time()) + 2))
        # Saying it again is heard by nobody a second time.
        await a.dht.gossip(first)
        last = await said(b)
        await until(lambda: last in a.heard and last in c.heard, 30)
        for one in (a, b, c):
            assert len(set(one.heard)) == len(one.heard)
        assert first not in a.heard
        assert [a.told, b.told, c.told] == [[], [], []]


async def test_a_stranger_is_heard_and_what_it_makes_up_goes_no_further() -> None:
    async with network(3, gossip=True) as (a, b, c), reactors() as reactor:
        for one in (a, b, c):
            await said(one)
        stranger = Stranger(reactor)
        try:
            stream = await stranger.neighbour_of(b)
            stream.write(subscription())
            # Three that are refused or early, and one of a later version: no reason to drop whoever brings so few.
            forged = bytearray(digest())
            forged[-1] ^= 1
            made_up = [b"\x01nonsense", bytes(forged), digest(due(time.time()) + 2), b"\x09later"]
            stream.write(publication(*made_up))
            good = digest()
            stream.write(publication(good))
            await stream.drain()
            # It was handed on by b alone: the stranger knows nobody else.
            await until(lambda: all(good in one.heard for one in (a, b, c)), 30)
            assert not any(message in one.heard for message in made_up for one in (a, b, c))
        finally:
            stranger.close()


async def test_a_stranger_that_floods_is_dropped_and_the_others_go_on() -> None:
    async with network(3, gossip=True) as (a, b, c), reactors() as reactor:
        await said(a)
        stranger = Stranger(reactor)
        try:
            stream = await stranger.neighbour_of(b)
            stream.write(subscription())
            rubbish = publication(*(b"\x01" + os.urandom(300) for _ in range(40)))
            with contextlib.suppress(StreamReset):
                async with asyncio.timeout(60):
                    for _ in range(2000):
                        stream.write(rubbish)
                        await stream.drain()
                    # It takes no more: the stream ends.
                    assert await stream.read() == b""
            # It is not let in again.
            with contextlib.suppress(StreamReset, TowpathError):
                again = await stranger.neighbour_of(b)
                async with asyncio.timeout(30):
                    assert await again.read() == b""
            after = await said(a)
            await until(lambda: after in b.heard and after in c.heard, 30)
            assert not any(len(message) == 301 for message in b.heard)
            assert not a.told
        finally:
            stranger.close()


async def test_nodes_tell_each_other_who_cheats_and_bear_out_what_they_tell() -> None:
    lab = {"discovery__dht": True, "network__public_ranges": ["127.0.0.0/8"], "credits__share_digest": True}
    account, payees = Identity.generate(), [Identity.generate(), Identity.generate()]
    day, cheat = due(time.time()), fraud()
    async with relay(**lab) as a, relay(**lab, discovery__bootstrap=[address(a)]) as b:
        receipts = [
            Receipt(v=1, relay=one.peer_id, payer=account.public_key, day=day, seq=1, cum_bytes=5 << 20, ok=1, fail=0)
            for one in payees
        ]
        raws = [sign_receipt(receipt, account.seed) for receipt in receipts]
        duals = [countersign(raw, one.seed) for raw, one in zip(raws, payees, strict=True)]
        a.reputation.receipts, a.reputation.account = Shown([read_dual(dual) for dual in duals]), account
        shown = list[tuple[bytes, list[bytes]]]()
        b.reputation.on_evidence = lambda payer, found: shown.append((payer, found))
        where = f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_to_text(payees[0].peer_id)}"
        b._discovery.finder.take(Found(payees[0].peer_id, (where,), "dht"))

        async def told(what: Callable[[], Awaitable[object]], heard: Callable[[], object]) -> None:
            async with asyncio.timeout(90):
                while not heard():
                    await what()
                    await asyncio.sleep(0.2)

        await told(a.reputation._tell_digest, lambda: len(b.reputation._claims))
        await told(b.reputation._ask, lambda: shown)
        # At a's relay, which b knows from its bootstrap list.
        assert shown == [(account.public_key, duals)]
        await told(lambda: b.reputation._said(cheat), lambda: a.reputation._claims.convicted(time.time()))


class Shown:
    """The receipts of a ledger, as far as they are shown."""

    def __init__(self, own: list[Signed]) -> None:
        self._own = own

    def paid_to_us(self, since_day: int) -> list[Receipt]:
        return []

    def ours(self, day: int) -> list[Signed]:
        return [one for one in self._own if one.receipt.day == day]

    def relayed_for_me(self, relay: bytes) -> int:
        return 0
