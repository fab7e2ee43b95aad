"""Credits at a relay: who is accepted when it is crowded, with which limit, and what everybody is told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.unit.nodes import ECHO, Meeting, address, client, meeting, relay, until
from towpath import Node
from towpath.credits.receipts import Receipt, Signed, countersign, day_of, read_dual, sign
from towpath.credits.statement import account_text
from towpath.errors import RelayError, TowpathError
from towpath.identity import Identity

MIB = 1 << 20
HERE = b"\x7f\x00\x00"


def owe(node: Node, account: bytes, n: int) -> None:
    """Has this node owe an account so much: its relay carried that for us, and we signed for it."""
    other = Identity.generate()
    now = time.time()
    receipt = Receipt(1, other.peer_id, node.credits.account.public_key, day_of(now), 1, n, 0, 0)
    raw = sign(receipt, node.credits.account.seed)
    node.credits.ledger.owed(read_dual(countersign(raw, other.seed, account)), now)


async def carry(at: Meeting, n: int) -> None:
    """Alice sends so much to bob, who says it again."""
    stream = await at.alice.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
    async with stream:
        for _ in range(n // 65536):
            stream.write(bytes(65536))
            await stream.readexactly(65536)


def only(node: Node) -> int | None:
    """The limit of the one circuit that is open."""
    assert node._relay.relay is not None
    (circuit,) = node._relay.relay.circuits.values()
    return circuit.limit_data or None


async def test_a_quiet_relay_asks_for_nothing_and_tells_no_limit() -> None:
    async with meeting(credits__free_tier="1MiB", credits__free_tier_refill="0B/h") as at:
        await carry(at, 3 * MIB)
        await at.alice.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        assert only(at.relay) is None


async def test_what_the_free_tier_does_not_cover_is_refused_with_words_and_numbers() -> None:
    terms = {"credits__enforce": "always", "credits__free_tier": "4MiB", "credits__free_tier_refill": "4MiB/h"}
    async with meeting(**terms) as at, client() as late:
        for node in (at.alice, at.bob, late):
            await node.change_settings({"relay.priority_access": False}, persist=False)
        await carry(at, 2 * MIB)
        # Both ends sent 2 MiB from one network.
        await until(lambda: at.relay.credits.ledger.free_left(HERE, time.time()) < MIB, 30)
        with pytest.raises(RelayError, match=r"its free tier for your network is used up, and refills to 4.* min"):
            await late.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        told = "\n".join(late.credits.of_peer(at.relay.relay_id)["sentences"])
        assert "refused a circuit: its free tier for your network is used up" in told
        assert "refused a circuit" in "\n".join(late.credits.rows()["sentences"])
        row = at.relay.credits.of_peer("127.0.0.1")
        assert row["kind"] == "network"
        assert not row["accepted"]
        assert row["carried"] >= 4 * MIB
        assert "Refused: the owner asks for it always" in row["sentences"][0]
        assert at.relay.status()["credits"]["refused"] == 1


async def test_a_told_limit_is_promised_and_the_rest_is_for_the_next() -> None:
    terms = {"credits__enforce": "always", "credits__free_tier": "64MiB", "credits__free_tier_refill": "0B/h"}
    async with meeting(**terms) as at, client() as other, client() as third:
        await at.alice.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        assert only(at.relay) == 16 * MIB
        # Each end is promised that much, and both are of one network.
        gate = at.relay.credits.gate
        assert 31 * MIB < gate._escrow.free(HERE) <= 32 * MIB
        await other.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        assert gate._escrow.free(HERE) > 62 * MIB
        with pytest.raises(RelayError, match="free tier"):
            await third.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        await at.alice.close()
        await until(lambda: gate._escrow.free(HERE) <= 32 * MIB, 30)
        await third.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))


async def test_who_relayed_for_us_comes_first_and_says_so() -> None:
    terms = {"credits__enforce": "always", "credits__free_tier": "8MiB", "credits__free_tier_refill": "0B/h"}
    async with meeting(**terms) as at, client(relay__priority_access=False) as stranger, client() as newcomer:
        credits = at.relay.credits
        for node in (at.alice, at.bob):
            owe(at.relay, node.credits.account.public_key, 100 * MIB)
        await until(lambda: credits.credit.credit_of(at.bob.credits.account.public_key) > 0, 30)
        await until(lambda: at.bob.status()["credits"]["priority"]["priority_at"] == 1, 30)
        stream = await stranger.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        async with stream:
            for _ in range(120):
                stream.write(bytes(65536))
                await stream.readexactly(65536)
        await until(lambda: credits.ledger.free_left(HERE, time.time()) < MIB, 30)
        with pytest.raises(RelayError, match="free tier"):
            await newcomer.connect_to_peer_via_relay(at.bob.peer_id, ECHO, via=address(at.relay))
        # Alice, who shows her account first, is not.
        await carry(at, 2 * MIB)
        alice = account_text(at.alice.credits.account.public_key)
        await until(lambda: credits.of_peer(alice)["on_credit"] > MIB, 30)
        told = " ".join(credits.of_peer(alice)["sentences"])
        assert "Accepted on its credit, and served first" in told
        assert "MB for what it relayed for us" in told
        assert "2.1 MB of its circuits were paid so until now" in told


async def test_the_ledger_outlives_the_process(tmp_path: Path) -> None:
    async with relay(credits__enforce="always") as middle:
        account = Identity.generate()
        receipt = Receipt(1, middle._relay.peer_id, account.public_key, day_of(time.time()), 1, 5 * MIB, 0, 0)
        signed = Signed(receipt, sign(receipt, account.seed))
        assert await middle.credits.ledger.paid(account.public_key, signed, 5 * MIB, time.time())
        assert middle.status()["credits"]["earned"] == 5.0


async def test_a_name_that_means_nothing_is_answered_with_a_sentence() -> None:
    async with client() as node:
        with pytest.raises(TowpathError, match="no peer id, account or network"):
            node.credits.of_peer("somebody")
