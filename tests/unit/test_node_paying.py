"""Nodes that meet through a relay pay it for what they send: all three ledgers say what the data plane counted."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.nodes import meeting, until
from towpath import Stream
from towpath.addresses import peer_id_to_bytes

MIB = 1 << 20
WAIT_S = 30.0


async def carry(here: Stream, there: Stream, size: int) -> None:
    """So many bytes from one end to the other."""
    here.write(bytes(size))
    await asyncio.gather(here.drain(), there.readexactly(size))


@pytest.mark.parametrize("hidden", [True, False])
async def test_everything_that_was_relayed_is_signed_for_at_the_end(hidden: bool) -> None:
    async with meeting() as at:
        at.alice.settings = at.alice.settings.changed({"client.hide_ip": hidden}, source="test")
        here, there = await at.pair()
        await carry(here, there, 6 * MIB)
        await carry(there, here, MIB)
        relay = at.relay._relay.relay
        assert relay is not None
        await at.alice.close()
        await until(lambda: not relay.circuits, WAIT_S)
        await at.bob.close()
        books, relay_id = at.relay.credits.ledger, peer_id_to_bytes(at.relay.relay_id)
        signed = [books.paid_ever(node.credits.account.public_key) for node in (at.alice, at.bob)]
        assert signed == [node.credits.ledger.relayed_for_me(relay_id) for node in (at.alice, at.bob)]
        assert sum(signed) == sum(relay.totals())
        assert signed[0] > 6 * MIB
        assert MIB < signed[1] < 2 * MIB
        assert at.relay.status()["credits"]["earned"] == pytest.approx(sum(signed) / MIB, abs=0.1)
        # Both say that the relay served them; what they say makes its reputation.
        assert all(receipt.ok >= 1 and receipt.fail == 0 for receipt in books.paid_to_us(0))
        assert "circuits worked" in " ".join(at.relay.reputation.own().parts)


async def test_a_relay_that_ends_asks_for_the_rest_first() -> None:
    async with meeting() as at:
        here, there = await at.pair()
        await carry(here, there, MIB // 2)
        await at.relay.drain(0)
        books = at.relay.credits.ledger
        assert books.paid_ever(at.alice.credits.account.public_key) > MIB // 2
