"""A node's reputation: what it tells of itself and of others, what it takes from the gossip, what it tells there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest

from tests.unit.nodes import address, relay, until
from tests.unit.relays import advertisement, relay_id
from tests.unit.relays import identity as made_up
from towpath.addresses import peer_id_to_bytes, peer_id_to_text
from towpath.credits.receipts import DAY_S, Receipt, Signed, countersign, day_of, fraud_proof, read_dual
from towpath.credits.receipts import sign as sign_receipt
from towpath.discovery.candidates import Found
from towpath.discovery.outcomes import Outcome
from towpath.errors import AddressError
from towpath.identity import Identity
from towpath.reputation.claims import DIGESTS, FRAUDS, Claims
from towpath.reputation.digest import Digest, compose, due, sign
from towpath.reputation.messages import Fraud, of_digest, of_fraud, open_message
from towpath.reputation.score import score
from towpath.reputation.sources import DAYS, Sources
from towpath.store import Store


def identity(n: int) -> Identity:
    return Identity(n.to_bytes(32, "big"))


def proof(n: int) -> bytes:
    who = identity(n)
    two = (
        sign_receipt(
            Receipt(v=1, relay=relay_id(0), payer=who.public_key, day=1, seq=1, cum_bytes=amount, ok=0, fail=0),
            who.seed,
        )
        for amount in (1, 2)
    )
    return fraud_proof(*two)


class Receipts:
    """A ledger, as far as reputation reads it."""

    def __init__(self, paid: list[Receipt], ours: list[Signed]) -> None:
        self.paid = paid
        self.own = ours

    def paid_to_us(self, since_day: int) -> Iterable[Receipt]:
        return [one for one in self.paid if one.day >= since_day]

    def ours(self, day: int) -> Iterable[Signed]:
        return [one for one in self.own if one.receipt.day == day]

    def relayed_for_me(self, relay: bytes) -> int:
        return sum(one.receipt.cum_bytes for one in self.own if one.receipt.relay == relay)


class Neighbours:
    """A DHT of which only the gossip is used."""

    size = 1
    running = True

    def __init__(self) -> None:
        self.there = 0
        self.told: list[bytes] = []

    async def gossip(self, message: bytes) -> int:
        if self.there:
            self.told.append(message)
        return self.there

    def snapshot(self) -> bytes:
        return b""

    async def stop(self) -> None:
        """There is nothing to stop."""


async def test_what_payers_signed_is_a_nodes_own_reputation_with_how_many_say_it() -> None:
    async with relay() as node:
        before = node.status()
        assert (before["reputation"], before["stars"], before["reputation_from"]) == (None, None, 0)
        own = node.reputation._relay
        today = day_of(time.time())
        said = [
            Receipt(v=1, relay=own, payer=identity(n).public_key, day=today, seq=1, cum_bytes=9, ok=87, fail=13)
            for n in (1, 2, 3)
        ]
        node.reputation.receipts = Receipts(said, [])
        status = node.status()
        assert (status["reputation"], status["stars"], status["reputation_from"]) == (87, 4, 3)
        assert status["reputation_parts"][0] == "87% of 300 circuits worked"
        assert node.reputation.facts()["reputation"] == 87
        assert node._discovery._facts().reputation == 87


async def test_of_each_relay_it_is_told_what_was_measured_and_the_score_is_the_documented_one() -> None:
    async with relay() as node:
        finder = node._discovery.finder
        finder.take(Found(relay_id(1), (f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_to_text(relay_id(1))}",), "dht"))
        for outcome in (Outcome.SERVED, Outcome.SERVED, Outcome.CONNECTED):
            finder.note(relay_id(1), outcome, 40.0)
        day = day_of(time.time())
        dual = countersigned(made_up(1), identity(5), day, 3_000_000)
        node.reputation.receipts = Receipts([], [dual])
        found = node.reputation.of_peer(peer_id_to_text(relay_id(1)))
        assert found["known"]
        assert found["score"] == score(1.0, 2, 0, 40.0) == 82
        assert (found["successful_circuits"], found["failed_circuits"]) == (2.0, 0.0)
        assert (found["uptime_percentage"], found["avg_latency_ms"]) == (100.0, 40.0)
        assert (found["bandwidth_contributed_mb"], found["bytes_relayed_for_me"]) == (3.0, 3_000_000)
        assert (found["bytes_relayed_by_me"], found["reputation"], found["ranking"]) == (0, 82, 82.0)
        assert [row["peer"] for row in node.reputation.facts()["relays"]] == [found["peer"]]
        stranger = node.reputation.of_peer(Identity.generate().text)
        assert (stranger["known"], stranger["score"], stranger["reputation"]) == (False, 0, None)
        with pytest.raises(AddressError):
            node.reputation.of_peer("nobody")


def countersigned(at: Identity, account: Identity, day: int, amount: int) -> Signed:
    payer = account.public_key
    receipt = Receipt(v=1, relay=at.peer_id, payer=payer, day=day, seq=1, cum_bytes=amount, ok=1, fail=0)
    return read_dual(countersign(sign_receipt(receipt, account.seed), at.seed))


async def test_a_proof_from_the_gossip_takes_a_relay_out_of_the_choice_and_one_of_our_own_is_told_on() -> None:
    async with relay(discovery__dht=True) as node:
        liar, told = identity(7), list[bytes]()
        node.reputation.on_fraud = told.append
        finder, dht = node._discovery.finder, Neighbours()
        node._discovery.presence.slot.dht = dht  # type: ignore[assignment]
        said = advertisement(1, account=liar.public_key)
        where = f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_to_text(said.peer_id)}"
        finder.take(Found(said.peer_id, (where,), "dht", said))
        assert finder.ranked()[0].usable
        node.reputation._heard(of_fraud(b"nonsense"), b"")
        assert finder.ranked()[0].usable
        node.reputation._heard(of_fraud(proof(7)), b"")
        judged = finder.ranked()[0]
        assert (judged.usable, judged.score) == (False, 0)
        assert judged.reasons[0] == "its account signed two receipts that contradict each other"
        assert told == [liar.public_key]
        # Heard is known: nothing is said a second time. What is found here is said.
        node.reputation.fraud(proof(7))
        dht.there = 3
        node.reputation.fraud(proof(8))
        await until(lambda: dht.told)
        assert [open_message(message, time.time()) for message in dht.told] == [Fraud(identity(8).public_key, proof(8))]
        node._discovery.presence.slot.dht = None


async def test_a_digest_is_told_only_when_its_owner_wants_it_once_a_day_and_when_somebody_hears_it() -> None:
    async with relay() as node:
        account, dht = identity(5), Neighbours()
        node._discovery.presence.slot.dht = dht  # type: ignore[assignment]
        day = due(time.time())
        duals = [countersigned(made_up(1), account, day + n, 5 << 20) for n in (0, 1, 2)]
        node.reputation.receipts, node.reputation.account = Receipts([], duals), account
        dht.there = 2
        await node.reputation._tell_digest()
        assert dht.told == []
        await node.change_settings({"credits.share_digest": True}, persist=False)
        dht.there = 0
        await node.reputation._tell_digest()
        dht.there = 2
        await node.reputation._tell_digest()
        await node.reputation._tell_digest()
        (message,) = dht.told
        told = open_message(message, time.time())
        assert isinstance(told, Digest)
        assert (told.payer, told.day, told.paid) == (account.public_key, day, ((relay_id(1), 22),))
        assert told.at == node.reputation._relay
        node._discovery.presence.slot.dht = None


async def test_a_digest_is_borne_out_by_the_node_that_told_it_and_only_as_far_as_its_receipts_go() -> None:
    async with relay() as teller, relay() as asker:
        account, day = identity(5), due(time.time())
        small = countersigned(made_up(2), account, day, 2 << 20)
        duals = [
            countersigned(made_up(1), account, day, 5 << 20),
            small,
            countersigned(made_up(3), account, day + 1, 9),
        ]
        teller.reputation.receipts, teller.reputation.account = Receipts([], duals), account
        await teller.change_settings({"credits.share_digest": True}, persist=False)
        # It makes itself larger than its receipts say at one of two relays.
        at = peer_id_to_bytes(teller.relay_id)
        said = compose(account.public_key, at, day, {relay_id(1): 5 << 20, relay_id(2): 1 << 40})
        assert said is not None
        asker.reputation._heard(of_digest(sign(said, account.seed)), b"")
        shown = list[tuple[bytes, list[bytes]]]()
        asker.reputation.on_evidence = lambda payer, found: shown.append((payer, found))
        # Of relays that nobody here knows nothing is asked.
        await asker.reputation._ask()
        assert shown == []
        finder = asker._discovery.finder
        finder.take(Found(at, (address(teller),), "cache"))
        finder.take(Found(relay_id(1), (f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_to_text(relay_id(1))}",), "dht"))
        await asker.reputation._ask()
        assert shown == [(account.public_key, [duals[0].dual])]
        # Once.
        await asker.reputation._ask()
        assert len(shown) == 1
        # Nobody is shown what its owner does not tell.
        await teller.change_settings({"credits.share_digest": False}, persist=False)
        asker.reputation._heard(of_digest(sign(said, account.seed)), b"")
        await asker.reputation._ask()
        assert len(shown) == 1


async def test_what_the_gossip_says_is_bounded_and_proofs_outlive_a_restart() -> None:
    store = await Store.open(None)
    try:
        now = time.time()
        claims = Claims(store, now)
        for n in range(DIGESTS + 9):
            made = compose(identity(n).public_key, relay_id(0), due(now), {relay_id(n % 3): 1 << 30})
            assert made is not None
            claims.take(made)
        assert len(claims) == DIGESTS
        assert len(claims.naming({relay_id(1)})) == pytest.approx(DIGESTS / 3, abs=1)
        account = identity(7).public_key
        assert claims.convict(account, proof(7), now)
        assert not claims.convict(account, proof(7), now)
        assert Claims(store, now).convicted(now) == {account}
        assert Claims(store, now + 31 * DAY_S).convicted(now + 31 * DAY_S) == set()
        kept: Any = store.get("reputation.frauds")
        store.put("reputation.frauds", [[identity(9).public_key.hex(), *kept[0][1:]], "x", [1, 2]])
        assert Claims(store, now).convicted(now) == set()
    finally:
        await store.close()


async def test_invented_liars_neither_push_out_a_known_one_nor_write_without_end() -> None:
    store, now = await Store.open(None), time.time()
    try:
        claims = Claims(store, now)
        known = identity(1).public_key
        claims.matter = lambda: {known}
        assert claims.convict(known, proof(1), now)
        first = store.get("reputation.frauds")
        for n in range(2, FRAUDS + 9):
            claims.convict(identity(n).public_key, proof(n), now + 1)
        assert claims.fraudulent(known, now)
        assert len(claims.convicted(now)) == FRAUDS
        assert store.get("reputation.frauds") == first
        claims.write(now + 1)
        assert Claims(store, now + 1).convicted(now + 1) == claims.convicted(now + 1)
    finally:
        await store.close()


async def test_circuits_are_counted_by_source_for_a_week_and_bootstrap_relays_are_missed_or_not() -> None:
    store, now = await Store.open(None), time.time()
    try:
        sources = Sources(store, lambda: now)
        for source in ("dht", "dht", "bootstrap"):
            sources.count(source)
        assert Sources(store, lambda: now).made() == {"dht": 2, "bootstrap": 1}
        assert Sources(store, lambda: now + DAYS * DAY_S).made() == {}
    finally:
        await store.close()
    async with relay() as node:
        for _ in range(30):
            node._discovery.guide.count(True)
        found = node.status()["self_sustaining"]
        assert (found["self_sustaining"], found["share_by_source"]) == (False, {"bootstrap": 1.0})
        assert "no volunteer's relay is known" in found["missing"]


def test_the_digest_that_is_told_is_one_that_others_take() -> None:
    made = compose(identity(1).public_key, relay_id(0), due(time.time()), {relay_id(1): 1 << 20})
    assert made is not None
    assert open_message(of_digest(sign(made, identity(1).seed)), time.time()) == made
