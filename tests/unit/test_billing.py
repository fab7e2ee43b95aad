"""Accounts on the control stream: who sends pays for it, both ledgers say what the data plane counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import msgspec
import pytest

from tests.unit.billed import Billed, Clock, Payer, billed, refusing
from tests.unit.nodes import until
from towpath._native.session import Session
from towpath.credits.paying import Stub
from towpath.credits.receipts import (
    DAY_S,
    MIN_STEP,
    day_of,
    read_dual,
    read_fraud_proof,
    sign,
    unsigned_allowed,
)
from towpath.identity import Identity
from towpath.relaystream.messages import Account, Evidence, Message, Settle
from towpath.relaystream.messages import Receipt as ReceiptMessage

MIB = 1 << 20


async def test_both_ledgers_say_what_the_data_plane_counted() -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        session = await alice.call(bob)
        await alice.send(session, 10 * MIB, bob)
        session.close()
        await until(lambda: not at.relay.circuits)
        for payer in (alice, bob):
            await payer.paying.settle(30)
            sent = at.carried(payer.endpoint.peer_id)
            assert sent > 0
            assert at.signed(payer) == payer.spent == sent
        assert at.signed(alice) > 10 * MIB
        assert at.signed(bob) < MIB


async def test_the_last_receipt_of_who_leaves_is_countersigned() -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        await alice.send(await alice.call(bob), MIB, bob)
        await alice.paying.settle(30)
        (signed,) = alice.ledger.ours(day_of(at.clock()))
        assert signed.receipt.cum_bytes == at.signed(alice)
        assert signed.receipt.relay == at.key.peer_id
        assert signed.relay_account == bytes(range(32))
        (evidence,) = at.ledger.evidence(at.clock())
        assert read_dual(evidence) == signed


async def test_receipts_come_in_steps_while_bytes_flow() -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        session = await alice.call(bob)
        await alice.send(session, 8 * MIB, bob)
        await until(lambda: at.carried(alice.endpoint.peer_id) - at.signed(alice) < 2 * MIN_STEP, 30)
        assert at.signed(alice) >= 6 * MIB


async def test_evidence_reaches_who_uses_it_once_and_whole() -> None:
    evidence = [bytes((n,)) * 300 for n in range(64)]
    async with billed() as at:
        alice = await at.client(evidence=lambda relay: [*evidence, b"one too many"])
        await alice.reserve()
        await until(lambda: at.brought, 30)
        assert at.brought == [(alice.account, evidence)]


async def test_an_account_is_shown_to_nobody_while_the_owner_does_not_want_to() -> None:
    async with billed() as at:
        alice, bob = await at.client(show=lambda: False), await (await at.client()).reserve()
        session = await alice.call(bob)
        await alice.send(session, 6 * MIB, bob)
        assert at.billing.account_of(alice.endpoint.peer_id) is None
        assert at.signed(alice) == alice.spent == 0


async def test_what_is_sent_before_the_account_is_shown_is_nobodys() -> None:
    async with billed() as at:
        told: list[tuple[bytes | None, int]] = []
        at.ledger.carried = lambda payer, prefix, n, now: told.append((payer, n))  # type: ignore[method-assign]
        alice, bob = await at.client(), await (await at.client()).reserve()
        session = await alice.call(bob)
        await alice.send(session, MIB, bob)
        session.close()
        await until(lambda: not at.relay.circuits)
        of_alice = sum(n for payer, n in told if payer == alice.account)
        assert of_alice == at.carried(alice.endpoint.peer_id)
        assert {payer for payer, _ in told} == {alice.account, bob.account}


async def test_a_relay_that_bills_more_than_was_sent_gets_a_receipt_for_what_was_sent() -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        session = await alice.call(bob)
        await alice.shown()
        await alice.send(session, MIB, bob)
        bill = at.billing._bills[alice.account]
        bill.debt = 100 * MIB
        at.billing._ask(alice.account)
        await until(lambda: 0 < at.signed(alice) == alice.spent, 30)
        assert at.signed(alice) <= alice.dialer.endpoint.session_of(at.key.peer_id).sent_in_circuits  # type: ignore[union-attr]


@pytest.mark.slow
async def test_a_sender_that_never_signs_is_held_and_then_carried_for_no_account() -> None:
    async with billed(patience_s=0.5) as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        alice.ledger.commit_seq = refusing  # type: ignore[assignment]
        told = told_of(at)
        session = await alice.call(bob)
        await alice.send(session, 9 * MIB, bob)
        assert at.billing.account_of(alice.endpoint.peer_id) is None
        session.close()
        await until(lambda: not at.relay.circuits)
        assert 3 * MIB < told[alice.account] <= 4 * MIB
        assert told[None] >= 5 * MIB
        assert at.signed(alice) == 0


@pytest.mark.slow
async def test_a_sender_that_never_signs_and_has_no_free_tier_is_cut_off() -> None:
    async with billed(patience_s=0.5) as at:
        at.billing.may_ride = lambda peer_id, account: False
        alice, bob = await at.client(), await (await at.client()).reserve()
        alice.ledger.commit_seq = refusing  # type: ignore[assignment]
        session = await alice.call(bob)
        sending = asyncio.create_task(alice.send(session, 9 * MIB, bob))
        await until(lambda: session.closed, 30)
        sending.cancel()
        assert 3 * MIB < bob.received <= 4 * MIB


@pytest.mark.slow
async def test_many_circuits_bring_a_sender_that_never_signs_no_further_than_one() -> None:
    async with billed(patience_s=0.5) as at:
        at.billing.may_ride = lambda peer_id, account: False
        alice, bobs = await at.client(), [await (await at.client()).reserve() for _ in range(24)]
        alice.ledger.commit_seq = refusing  # type: ignore[assignment]
        sessions = [await alice.call(bob) for bob in bobs]
        assert len(at.relay.circuits_of(alice.endpoint.peer_id)) == 24
        pairs = zip(sessions, bobs, strict=True)
        sending = [asyncio.create_task(alice.send(session, MIB, bob)) for session, bob in pairs]
        await until(lambda: all(session.closed for session in sessions), 30)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        assert 0 < sum(bob.received for bob in bobs) <= 4 * MIB
        # Nor is what waited in them carried for nobody at last.
        assert MIB <= at.carried(alice.endpoint.peer_id) <= 4 * MIB
        assert MIB <= at.ledger.unsigned(alice.account, at.clock()) <= 4 * MIB


@pytest.mark.slow
async def test_who_signs_after_all_is_billed_again() -> None:
    async with billed(patience_s=0.5) as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        commit = alice.ledger.commit_seq
        alice.ledger.commit_seq = refusing  # type: ignore[assignment]
        session = await alice.call(bob)
        await alice.send(session, 5 * MIB, bob)
        assert at.billing.account_of(alice.endpoint.peer_id) is None
        alice.ledger.commit_seq = commit  # type: ignore[method-assign]
        # The relay asks again by itself, later. To ask at once here could come beside that, and be answered twice.
        await alice.shown()
        await alice.send(session, 5 * MIB, bob)
        await alice.paying.settle(30)
        assert 8 * MIB < at.signed(alice) < 10 * MIB


@pytest.mark.slow
async def test_a_payer_with_many_idle_circuits_signs_whole_steps_on_one_stream() -> None:
    async with billed() as at:
        alice, bobs = await at.client(), [await (await at.client()).reserve() for _ in range(20)]
        sessions = [await alice.call(bob) for bob in bobs]
        await alice.shown()
        (stub,) = alice.paying._stubs
        await alice.send(sessions[0], 12 * MIB, bobs[0])
        await until(lambda: at.signed(alice) >= 10 * MIB, 30)
        assert not stub.stream.over
        assert at.billing.account_of(alice.endpoint.peer_id) == alice.account


@pytest.mark.parametrize("debt", [3 * MIB, 100 * MIB])
async def test_a_payer_that_was_killed_signs_for_all_that_it_knows_of_and_keeps_its_stream(debt: int) -> None:
    async with billed(patience_s=3600) as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        await alice.reserve()
        (stub,) = alice.paying._stubs
        bill = at.billing._bills[alice.account]
        bill.debt = debt
        # To this it has no answer.
        at.billing._ask(alice.account)
        assert bill.asked == debt
        await alice.send(await alice.call(bob), 20 * MIB, bob)
        await until(lambda: at.signed(alice) >= 19 * MIB, 30)
        alice.paying.leave(stub)
        await until(stub.settled.is_set, 30)
        assert not stub.stream.over
        assert at.signed(alice) == at.carried(alice.endpoint.peer_id) == bill.purse.signed
        assert bill.debt == debt


async def test_who_leaves_while_nothing_is_relayed_has_nothing_to_sign_for_when_it_is_again() -> None:
    shows = [True]
    async with billed() as at:
        alice, bob = await at.client(show=lambda: shows[0]), await (await at.client()).reserve()
        await alice.reserve()
        at.billing.follow(None)
        shows[0] = False
        for stub in list(alice.paying._stubs):
            stub.stream.end("the owner shows no account any more")
        await until(lambda: at.billing.shown_by(alice.endpoint.peer_id) is None, 30)
        at.billing.follow(at.relay)
        session = await alice.call(bob)
        await alice.send(session, 6 * MIB, bob)
        assert at.carried(alice.endpoint.peer_id) > 6 * MIB
        assert at.ledger.unsigned(alice.account, at.clock()) == 0


async def test_a_rider_owes_nothing_for_what_it_rode_when_its_stream_ends() -> None:
    async with billed() as at:
        told = told_of(at)
        alice, bob = await at.client(), await (await at.client()).reserve()
        session = await alice.call(bob)
        await alice.shown()
        at.billing._rides(at.billing._bills[alice.account])
        before = told.get(alice.account, 0)
        await alice.send(session, MIB // 2, bob)
        for stub in list(alice.paying._stubs):
            stub.stream.end("it goes")
        await until(lambda: at.billing.shown_by(alice.endpoint.peer_id) is None, 30)
        assert told.get(alice.account, 0) == before
        session.close()
        await until(lambda: told.get(None, 0) >= MIB // 2, 30)


def told_of(at: Billed) -> dict[bytes | None, int]:
    """What the relay's ledger is told from now on that was carried, by payer; None: for no account."""
    told: dict[bytes | None, int] = {}
    counted = at.ledger.carried

    def carried(payer: bytes | None, prefix: bytes, n: int, now: float) -> None:
        told[payer] = told.get(payer, 0) + n
        counted(payer, prefix, n, now)

    at.ledger.carried = carried  # type: ignore[method-assign]
    return told


async def test_a_day_ends_with_a_countersigned_receipt_and_the_next_begins_at_nothing() -> None:
    # Noon, so that no midnight comes by itself.
    clock = Clock()
    clock.ahead = DAY_S / 2 - time.time() % DAY_S
    async with billed(clock=clock) as at:
        today = day_of(clock())
        alice, bob = await at.client(), await (await at.client()).reserve()
        session = await alice.call(bob)
        await alice.send(session, 3 * MIB, bob)
        await until(lambda: at.signed(alice) >= 2 * MIB, 30)
        clock.ahead += DAY_S
        await until(lambda: alice.ledger.ours(today), 30)
        await alice.send(session, 3 * MIB, bob)
        await alice.paying.settle(30)
        (old,), (new,) = alice.ledger.ours(today), alice.ledger.ours(today + 1)
        assert old.receipt.cum_bytes >= 2 * MIB
        assert old.receipt.cum_bytes + new.receipt.cum_bytes == at.carried(alice.endpoint.peer_id) == at.signed(alice)


async def test_two_receipts_that_contradict_one_another_are_kept_as_proof() -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        await alice.send(await alice.call(bob), MIB, bob)
        await alice.paying.settle(30)
        last = at.ledger.last_paid(alice.account, day_of(at.clock()))
        assert last is not None
        other = msgspec.structs.replace(last.receipt, cum_bytes=last.receipt.cum_bytes - 1)
        (stub,) = alice.paying._stubs
        stub.send(ReceiptMessage(sign(other, alice.paying.account.seed)))
        await until(lambda: at.frauds, 30)
        assert read_fraud_proof(at.frauds[0]) == alice.account
        assert stub.stream.over or await over(stub)
        assert at.signed(alice) == last.receipt.cum_bytes


async def test_who_signs_for_more_than_was_carried_is_trusted_no_more_for_it() -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        await alice.send(await alice.call(bob), MIB, bob)
        await alice.paying.settle(30)
        last = at.ledger.last_paid(alice.account, day_of(at.clock()))
        assert last is not None
        lavish = msgspec.structs.replace(last.receipt, seq=last.receipt.seq + 10, cum_bytes=2**63 - 1)
        (stub,) = alice.paying._stubs
        stub.send(ReceiptMessage(sign(lavish, alice.paying.account.seed)))
        await until(lambda: at.signed(alice) == lavish.cum_bytes, 30)
        bill = at.billing._bills[alice.account]
        assert unsigned_allowed(bill.paid) == 4 * MIN_STEP
        assert at.ledger.paid_for(alice.account) <= at.carried(alice.endpoint.peer_id)
        earned = at.ledger.balance(at.clock())["earned_ever"]
        assert earned <= last.receipt.cum_bytes + at.carried(bob.endpoint.peer_id) + 5 * MIN_STEP
        # The file takes it, and whatever comes behind it.
        await bob.paying.settle(30)
        assert await at.ledger._store.written()


async def test_of_many_accounts_a_few_are_looked_at_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, seen = asyncio.get_running_loop(), []
    turns = Counter({"turn": 1})

    def turn() -> None:
        if turns:
            turns["turn"] += 1
            loop.call_soon(turn)

    async with billed() as at:
        many = {bytes((n,)) * 32: object() for n in range(200)}
        monkeypatch.setattr(at.billing, "_look_at", lambda account, *_: seen.append((turns["turn"], account)))
        monkeypatch.setattr(at.billing, "_bills", many)
        loop.call_soon(turn)
        await until(lambda: len(seen) >= 200, 30)
        monkeypatch.undo()
        assert {account for _, account in seen[:200]} == set(many)
        assert max(Counter(number for number, _ in seen).values()) <= 64
        turns.clear()  # Ends the counting.


async def over(stub: Stub) -> bool:
    """The relay ended the stream."""
    await until(lambda: stub.stream.over, 30)
    return True


@pytest.mark.parametrize("what", ["repeated", "older", "of another day", "of somebody else", "for another relay"])
async def test_a_receipt_that_says_nothing_new_changes_nothing(what: str) -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        await alice.send(await alice.call(bob), MIB, bob)
        await alice.paying.settle(30)
        before = at.signed(alice)
        last = at.ledger.last_paid(alice.account, day_of(at.clock()))
        assert last is not None
        receipt, seed = last.receipt, alice.paying.account.seed
        stranger = Identity.generate()
        said = {
            "repeated": last.raw,
            "older": sign(msgspec.structs.replace(receipt, seq=1, cum_bytes=5), seed),
            "of another day": sign(msgspec.structs.replace(receipt, day=receipt.day - 2, cum_bytes=1 << 40), seed),
            "of somebody else": sign(
                msgspec.structs.replace(receipt, payer=stranger.public_key, cum_bytes=1 << 40), stranger.seed
            ),
            "for another relay": sign(
                msgspec.structs.replace(receipt, relay=stranger.peer_id, cum_bytes=1 << 40), seed
            ),
        }[what]
        (stub,) = alice.paying._stubs
        stub.send(ReceiptMessage(said))
        if what in ("repeated", "older"):
            await alice.paying.settle(30)
        else:
            await until(lambda: stub.stream.over, 30)
        # What the two say to one another meanwhile is paid for as well.
        assert before <= at.signed(alice) == alice.spent <= at.carried(alice.endpoint.peer_id)
        assert at.frauds == []


@pytest.mark.parametrize("message", [Settle(), Evidence((b"x",)), ReceiptMessage(b"x"), Account(b"x" * 200)])
async def test_messages_out_of_place_end_the_stream(message: Message) -> None:
    async with billed() as at:
        alice = await at.client(show=lambda: False)
        alice.dialer.control.attach(await connected(alice))
        await until(lambda: alice.paying._stubs, 30)
        (stub,) = alice.paying._stubs
        await until(lambda: stub.challenged, 30)
        stub.send(message)
        assert await over(stub)


async def connected(payer: Payer) -> Session:
    """Its connection to the relay, which it knows to have control streams."""
    session = await payer.meet()
    await until(lambda: session.protocols is not None, 30)
    return session
