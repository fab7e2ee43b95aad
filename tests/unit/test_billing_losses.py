"""Billing goes on where a connection, a process or a ledger was lost, and nothing signed is."""

from __future__ import annotations

import asyncio
import functools
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.billed import Payer, billed, refusing
from tests.unit.nodes import until
from towpath.credits.bill import Bill
from towpath.credits.decay import HALF_LIFE_S
from towpath.credits.receipts import (
    COUNTERSIGN_EVERY,
    Signed,
    day_of,
)
from towpath.identity import Identity

MIB = 1 << 20


async def test_what_was_unsigned_when_a_connection_was_lost_is_signed_on_the_next() -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        session = await alice.call(bob)
        await alice.send(session, MIB // 2, bob)
        lost = await alice.meet()
        sent = at.carried(alice.endpoint.peer_id)
        lost.abort()
        await until(lambda: alice.endpoint.peer_id not in at.endpoint.peers, 30)
        await alice.reserve()
        at.billing._ask(alice.account)
        await until(lambda: at.signed(alice) == sent == alice.spent, 30)
        bill = at.billing._bills[alice.account]
        bill.rest()
        assert bill.debt == 0
        assert bill.purse.signed == bill.purse.carried


@pytest.mark.slow
async def test_what_a_killed_payer_cannot_sign_for_fades() -> None:
    account = Identity.generate()
    async with billed() as at:
        alice, bob = await at.client(account), await (await at.client()).reserve()
        alice.ledger.commit_seq = refusing  # type: ignore[assignment]
        await alice.send(await alice.call(bob), 3 * MIB, bob)
        owed = at.carried(alice.endpoint.peer_id)
        (await alice.meet()).abort()
        await until(lambda: account.public_key not in at.billing._bills, 30)
        assert abs(at.ledger.unsigned(account.public_key, at.clock()) - owed) <= 1
        # The next process knows nothing of that.
        again = await at.client(account)
        await again.reserve()
        bill = at.billing._bills[account.public_key]
        assert abs(bill.debt - owed) <= 1
        at.clock.ahead = HALF_LIFE_S
        await until(lambda: bill.debt < owed, 30)
        assert abs(bill.debt - owed // 2) < 4096
        at.clock.ahead = 20 * HALF_LIFE_S
        await until(lambda: bill.debt < 16, 30)
        assert at.ledger.unsigned(account.public_key, at.clock()) < 16


@pytest.mark.slow
async def test_a_payer_that_was_killed_gives_no_number_twice_and_goes_on(tmp_path: Path) -> None:
    account = Identity.generate()
    async with billed() as at:
        bob = await (await at.client()).reserve()
        given: list[tuple[int, int]] = []
        paid = at.ledger.paid

        def counted(payer: bytes, signed: Signed, n: int, now: float, network: bytes = b"") -> asyncio.Future[bool]:
            if payer == account.public_key:
                given.append((signed.receipt.seq, signed.receipt.cum_bytes))
            return paid(payer, signed, n, now, network)

        at.ledger.paid = counted  # type: ignore[method-assign]
        for run in range(3):
            alice = await at.client(account, tmp_path / f"{run}.db")
            session = await alice.call(bob)
            await alice.send(session, 3 * MIB, bob)
            await until(functools.partial(reached, given, (3 * run + 1) * MIB), 30)
            # As a kill leaves it: nothing said, nothing more written.
            await alice.store.flush()
            copied(tmp_path / f"{run}.db", tmp_path / f"{run + 1}.db")
            (await alice.meet()).abort()
            await gone(alice)
        assert given == sorted(given)
        assert len(dict(given)) == len(given)
        assert sum(later[0] - earlier[0] > 1000 for earlier, later in pairwise(given)) == 2
        assert at.frauds == []


def reached(given: list[tuple[int, int]], total: int) -> bool:
    """Does the newest receipt say so much?"""
    return bool(given) and given[-1][1] >= total


async def gone(payer: Payer) -> None:
    """Until the relay knows that its connection is lost."""
    await until(lambda: payer.endpoint.peer_id not in payer.at.endpoint.peers, 30)


def copied(source: Path, target: Path) -> None:
    """The file and its log, as a kill at this moment leaves them."""
    for tail in ("", "-wal"):
        shutil.copy(f"{source}{tail}", f"{target}{tail}")


async def test_a_payer_that_lost_its_ledger_learns_from_the_relay_what_it_signed(tmp_path: Path) -> None:
    account = Identity.generate()
    async with billed() as at:
        bob = await (await at.client()).reserve()
        for run in range(2):
            alice = await at.client(account, tmp_path / f"{run}.db")
            await alice.send(await alice.call(bob), 2 * MIB, bob)
            await alice.paying.settle(30)
            (await alice.meet()).abort()
            await gone(alice)
        assert at.signed(alice) > 4 * MIB
        assert at.frauds == []


async def test_a_relay_that_forgot_a_receipt_gets_it_again(tmp_path: Path) -> None:
    key = Identity.generate()
    account = Identity.generate()
    async with billed(tmp_path / "relay.db", key) as at:
        alice, bob = await at.client(account, tmp_path / "alice.db"), await (await at.client()).reserve()
        copied(tmp_path / "relay.db", tmp_path / "before.db")
        await alice.send(await alice.call(bob), 2 * MIB, bob)
        await alice.paying.settle(30)
        paid = at.signed(alice)
        await alice.store.flush()
        copied(tmp_path / "alice.db", tmp_path / "again.db")
    async with billed(tmp_path / "before.db", key) as at:
        alice = await at.client(account, tmp_path / "again.db")
        assert at.signed(alice) == 0
        await alice.reserve()
        await until(lambda: at.signed(alice) == paid == alice.spent, 30)


@pytest.mark.slow
async def test_what_is_not_on_the_disk_yet_is_not_countersigned(monkeypatch: pytest.MonkeyPatch) -> None:
    async with billed() as at:
        alice, bob = await at.client(), await (await at.client()).reserve()
        paid, looks = at.ledger.paid, at.billing._look_at
        waiting: list[asyncio.Future[bool]] = []
        looked = Counter[bytes]()

        def slowly(payer: bytes, signed: Signed, n: int, now: float, network: bytes = b"") -> asyncio.Future[bool]:
            done = paid(payer, signed, n, now, network)
            if payer != alice.account:
                return done
            waiting.append(asyncio.get_running_loop().create_future())
            return waiting[-1]

        def look_at(account: bytes, bill: Bill, now: float, wall: float) -> None:
            looks(account, bill, now, wall)
            looked[account] += 1

        monkeypatch.setattr(at.ledger, "paid", slowly)
        monkeypatch.setattr(at.billing, "_look_at", look_at)
        session = await alice.call(bob)
        for number in range(COUNTERSIGN_EVERY + 1):
            await alice.send(session, MIB, bob)
            await until(functools.partial(lambda n: len(waiting) > n, number), 30)
        before = looked[alice.account]
        await until(lambda: looked[alice.account] > before + 1, 30)
        alice.paying.leave(next(iter(alice.paying._stubs)))
        purse = at.billing._bills[alice.account].purse
        await until(lambda: purse.carried == purse.signed, 30)
        assert alice.ledger.owed_duals() == []
        assert len(waiting) > COUNTERSIGN_EVERY + 1
        for number, one in enumerate(waiting[:-1]):
            one.set_result(number > 0)
        # Also when another one is always under way.
        await until(lambda: alice.ledger.owed_duals(), 30)
        waiting[-1].set_result(True)
        await until(lambda: alice.ledger.ours(day_of(at.clock()))[0].receipt.cum_bytes == at.signed(alice), 30)
