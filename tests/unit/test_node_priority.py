"""Credit from end to end: who relayed for a relay, or for one that did, is served first there, and sees it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.unit.nodes import address, client, relay, until
from towpath import Node, Stream

MIB = 1 << 20
WAIT_S = 60.0
SENT = 3 * MIB


async def drain(stream: Stream) -> None:
    async with stream:
        while await stream.read():
            pass


@contextlib.asynccontextmanager
async def friend_at(helpful: Node) -> AsyncIterator[Node]:
    async with client() as friend:
        friend.set_stream_handler("/sink/1", drain)
        await friend.reserve(address(helpful))
        yield friend


async def send(sender: Node, helpful: Node, friend: Node) -> None:
    """Through the relay of `helpful`, which so gets a receipt."""
    async with await sender.connect_to_peer_via_relay(friend.peer_id, "/sink/1", via=address(helpful)) as stream:
        for _ in range(SENT // MIB):
            stream.write(bytes(MIB))
            await stream.drain()
        await stream.close_write()
        assert await stream.read() == b""
    # As when the relay stops: it would otherwise countersign behind eight receipts, or when the sender leaves.
    await helpful.credits.billing.settle(WAIT_S)


def account(node: Node) -> bytes:
    return node.credits.account.public_key


def first_at(node: Node) -> int:
    return int(node.status()["credits"]["priority"]["priority_at"])


@pytest.mark.slow
async def test_who_relayed_for_a_relay_has_priority_there_until_it_is_used_up() -> None:
    async with relay() as helpful, relay() as asked, friend_at(helpful) as friend:
        await send(asked, helpful, friend)
        credit = asked.credits.credit
        await until(lambda: credit.credit_of(account(helpful)) >= SENT, WAIT_S)
        await helpful.reserve(address(asked))
        await until(lambda: first_at(helpful) == 1, WAIT_S)
        assert helpful.status()["credits"]["priority"]["sentence"] == "priority at 1 relay"
        assert first_at(friend) == 0
        credit.used(account(helpful), SENT)
        await until(lambda: first_at(helpful) == 0, WAIT_S)


@pytest.mark.slow
async def test_who_relayed_for_one_that_did_shows_it_and_has_priority_too() -> None:
    async with relay() as helpful, relay() as between, relay() as asked:
        async with friend_at(helpful) as friend:
            await send(between, helpful, friend)
        async with friend_at(between) as friend:
            await send(asked, between, friend)
        await until(lambda: asked.credits.ledger.owed_duals(), WAIT_S)
        await until(lambda: between.credits.ledger.owed_duals(), WAIT_S)
        await helpful.reserve(address(asked))
        await until(lambda: first_at(helpful) == 1, WAIT_S)
        standing = asked.credits.credit.standing(account(helpful))
        assert standing.direct == 0
        assert standing.through >= SENT
